"""Failures as text for a terminal 80 columns wide."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.why.cause import Cause
from pytest_nnxrng.why.structure import sharding

WIDTH = 80
_DETAILED = 12  # differing leaves that get all their lines; the others get one each
_LISTED = 200


class Shown(Protocol):
    """What a failure's text is made from (``snapshot.Result`` is one)."""

    name: str
    kind: str
    where: str
    comparison: Comparison | None
    problem: str
    also: str
    changes: tuple[tuple[str, Any, Any], ...]
    causes: tuple[Cause, ...]


def failure(results: Sequence[tuple[Shown, str]], command: str, against: str = "") -> str:
    """The text of a failed test: each failing check with its golden's path, then the way out.

    ``against`` names the code that made the goldens, where these are no files of the user's.
    """
    blocks = [_check(shown, golden, against) for shown, golden in results]
    if command and any(_is_accepted_by_update(shown) for shown, _ in results):
        written = all(shown.comparison is None for shown, _ in results)
        blocks.append(f"to {'write' if written else 'accept'}: {command}")
    return "\n".join(map(_printable, "\n\n".join(blocks).split("\n")))


def lines(causes: Sequence[Cause], comparison: Comparison) -> list[str]:
    """The lines on what differs and why, of two values of one environment."""
    why = _causes(causes) if causes else []
    return [_printable(line) for line in [*why, *_comparison(comparison)]]


def headline(results: Sequence[tuple[Shown, str]]) -> str:
    """One line for a machine's report: the first line of each check's text, and its causes."""
    parts = []
    for shown, golden in results:
        words = ", ".join(dict.fromkeys(cause.word for cause in shown.causes))
        parts.append(_check(shown, golden).partition("\n")[0] + (f" ({words})" if words else ""))
    return "; ".join(parts)


def _is_accepted_by_update(shown: Shown) -> bool:
    return (not shown.problem and not shown.also) or "--nnx-update-snapshots" in shown.problem


def _check(shown: Shown, golden: str, against: str = "") -> str:
    name = golden.rpartition("/")[2].removesuffix(".json")
    if shown.problem:
        head = f"golden {name} cannot be compared"
    elif shown.comparison is None:
        head = f"golden {name} is missing"
        head += ", and the model depends on how it is built" if shown.also else ""
    elif shown.comparison.matches and shown.also:
        head = f"golden {name} matches, but the model depends on how it is built"
    else:
        count = len(shown.comparison.differences)
        head = f"golden {name} differs in {count} of {shown.comparison.leaves} leaves"
    place = _row("against", against) if against else [f"  file    {golden}"]
    lines = [head, *place, *_row("called", shown.where)]
    if shown.problem:
        lines += _wrap(shown.problem, "  ")
    elif shown.comparison is not None and not shown.comparison.matches:
        lines += [*_causes(shown.causes), *_comparison(shown.comparison)]
        lines += _environment(shown.changes)
    return "\n".join([*lines, *shown.also.splitlines()])


def _printable(line: str) -> str:
    """A golden is a file: what it holds must not steer the terminal."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _row(label: str, text: str) -> list[str]:
    first, *rest = _wrap(text, "          ") or [""]
    return [f"  {label:8}{first.strip()}", *rest]


def _causes(causes: Sequence[Cause]) -> list[str]:
    if not causes:
        return _wrap("why     it follows: the model that this test checked before differs", "  ")
    return [line for cause in causes for line in _row("why", f"{cause.word}: {cause.text}")]


def _comparison(comparison: Comparison) -> list[str]:
    differences = comparison.differences
    counts = [f"{len(comparison.matched)} match"]
    if comparison.spotted:
        counts.append(f"{len(comparison.spotted)} of these at their spots alone")
    if comparison.rounded:
        counts.append(f"{len(comparison.rounded)} match by rounding")
    if comparison.unread:
        counts.append(f"{len(comparison.unread)} agree but for values")
    counts.append(f"{len(differences)} differ")
    lines = [f"  leaves  {', '.join(counts)}"]
    for title, group in (
        ("", [d for d in differences if not d.rng]),
        ("RNG state (keys and counts), apart from the weights:", [d for d in differences if d.rng]),
    ):
        if group and title:
            lines += ["", f"  {title}"]
        for number, difference in enumerate(group[:_LISTED]):
            lines += _difference(difference, detailed=number < _DETAILED)
        if len(group) > _LISTED:
            lines.append(f"  ... and {len(group) - _LISTED} more leaves that differ")
    return lines


def _difference(difference: Difference, *, detailed: bool) -> list[str]:
    if "aliasing" in difference.kinds:
        told = _aliasing(difference.alias, difference.kinds)
        return [f"  {difference.path}", *_wrap(told, "      ")]
    old, new = difference.expected, difference.obtained
    if new is None or old is None:
        leaf = old or new
        assert leaf is not None
        verb = "removed: the golden has it" if new is None else "added: the golden does not have it"
        return [*_title(leaf), f"      {verb}"]
    lines = _title(new.but(path=difference.path))
    for kind in ("type", "shape", "dtype"):
        if kind in difference.kinds:
            was, now = getattr(old, kind), getattr(new, kind)
            if kind == "shape":
                was, now = list(was), list(now)
            label = "Variable type" if kind == "type" else kind
            lines += _wrap(f"{label}: golden {was}, now {now}", "      ")
    if "sharding" in difference.kinds:
        lines += _wrap(f"sharding: {sharding(difference)}", "      ")
    if "derivation" in difference.kinds:
        lines += _wrap(_derivations(old, new), "      ")
    if "values" in difference.kinds:
        lines += _numbers(difference.numbers, old) if detailed else _brief(difference.numbers)
    return lines


def _derivations(old: Leaf, new: Leaf) -> str:
    if (old.draws, old.initializer) == (new.draws, new.initializer):
        drawn = ", ".join(new.draws or ())
        return f"from {drawn} by the same initializer; the base key of its stream is another"
    return f"golden: {_derivation(old)}; now: {_derivation(new)}"


def _derivation(leaf: Leaf) -> str:
    drawn = ", ".join(leaf.draws or ()) or "no key"
    return f"from {drawn} by initializer {leaf.initializer}"


def _aliasing(alias: tuple[str | None, str | None], kinds: Sequence[str]) -> str:
    old, new = alias
    if "removed" in kinds:
        return f"removed: in the golden it is {old} itself"
    if "added" in kinds:
        return f"added: it is {new} itself, and the golden does not have it"
    if new is None:
        return f"no longer tied: in the golden it is {old} itself, now it has values of its own"
    if old is None:
        return f"tied: it is {new} itself now, in the golden it has values of its own"
    return f"tied to {new} now, to {old} in the golden"


def _title(leaf: Leaf) -> list[str]:
    line = f"  {leaf.path or '(the value)'}  {_describe(leaf)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"  {leaf.path}", *_wrap(_describe(leaf), "      ")]


def _describe(leaf: Leaf) -> str:
    return f"{leaf.type} {leaf.dtype}{list(leaf.shape) if leaf.shape else ''}"


def _numbers(numbers: Numbers | None, old: Leaf) -> list[str]:
    if numbers is None:
        return _wrap(
            "the values differ; the golden keeps a digest of this leaf but not its values "
            f"({_statistics(old)}), as it is larger than nnx_snapshot_store_limit",
            "      ",
        )
    if numbers.sketched:
        return _wrap(
            f"by the golden's sketch, its values not being stored: {numbers.sketched} (allowed "
            f"{max(numbers.allowed, 0.0):.3g} for each element; the golden's largest is "
            f"{numbers.scale:.3g})",
            "      ",
        ) + _at(numbers)
    what = "spots" if numbers.spots else "elements"
    share = f"{numbers.differing:,} of {numbers.total:,} {what} differ"
    if numbers.total == 1:
        share = "the value differs"
    lines = [f"      {share}"]
    if numbers.nonfinite:
        lines[0] += f", {numbers.nonfinite:,} of them NaN or infinite on one side"
    elif numbers.worst is not None and numbers.scale:
        allowed = max(numbers.allowed, 0.0)
        lines[0] += f"; the largest difference is {numbers.worst:.3g}"
        lines.append(
            f"      (allowed {allowed:.3g}; the golden's largest element is {numbers.scale:.3g})"
        )
    return [part for line in lines for part in _wrap(line.strip(), "      ")] + _at(numbers)


def _at(numbers: Numbers) -> list[str]:
    """The element that differs most, on both sides."""
    at = f"at {list(numbers.index)}: " if numbers.index else ""
    ulp = ""
    if numbers.ulp is not None:
        ulp = f"  ({numbers.ulp:,} ULP)" if numbers.ulp < 1e6 else f"  ({numbers.ulp:.1e} ULP)"
    if not numbers.expected and not numbers.obtained:
        return []
    return _wrap(f"{at}golden {numbers.expected}, now {numbers.obtained}{ulp}", "      ")


def _brief(numbers: Numbers | None) -> list[str]:
    if numbers is None or numbers.sketched:
        return ["      the values differ"]
    what = "spots" if numbers.spots else "elements"
    return [f"      {numbers.differing:,} of {numbers.total:,} {what} differ"]


def _statistics(leaf: Leaf) -> str:
    return (
        ", ".join(f"{name} {value}" for name, value in leaf.statistics.items()) or "no statistics"
    )


def _environment(changes: Iterable[tuple[str, Any, Any]]) -> list[str]:
    rows = [
        f"{name} {'-' if old is None else old} -> {'-' if new is None else new}"
        for name, old, new in changes
    ]
    if not rows:
        return ["", "  environment: as recorded in the golden"]
    lines = ["", "  not as recorded in the golden's environment:"]
    for row in rows:
        lines += _wrap(row, "      ")
    return lines


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


_STYLES: tuple[tuple[re.Pattern[str], dict[str, bool]], ...] = (
    (re.compile(r"golden "), {"red": True, "bold": True}),
    (re.compile(r"  (file|against|called|leaves) "), {}),
    (re.compile(r"to (accept|write): "), {"green": True}),
    (re.compile(r"  why "), {"yellow": True, "bold": True}),
    (re.compile(r"  not as recorded"), {"yellow": True, "bold": True}),
    (re.compile(r"  \S+  \S+ \S+(, \d+)*\]?\Z"), {"bold": True}),
    (re.compile(r"      .*golden .* now "), {"red": True}),
)


def style(line: str) -> dict[str, bool]:
    """The markup of a line of ``failure``'s text, as pytest's terminal writer takes it."""
    return next((markup for pattern, markup in _STYLES if pattern.match(line)), {})


@dataclass(frozen=True)
class _Crash:
    """What pytest's short summary and JUnit file show of a failure."""

    message: str

    def __str__(self) -> str:
        return self.message


class Failure(str):
    """A failure's text as a report's ``longrepr``: it paints itself on a terminal."""

    reprcrash: _Crash

    @classmethod
    def of(cls, text: str, headline: str) -> Failure:
        made = cls(text)
        made.reprcrash = _Crash(headline)
        return made

    def toterminal(self, writer: Any) -> None:
        """Write the text to a ``pytest`` terminal writer, with colour if it has any."""
        for line in self.splitlines():
            writer.line(line, **style(line))
