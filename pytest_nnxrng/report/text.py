"""Failures as text for a terminal 80 columns wide: the cause first, and nothing twice.

What a proven cause explains stands folded under it, as patterns of paths and a count. What nothing
explains has its numbers in full. ``verbosity`` 1 (``pytest -v``) shows every leaf, 2 all numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pytest_nnxrng.compare.differences import Change, Comparison, Difference
from pytest_nnxrng.report import keymap, rows
from pytest_nnxrng.report.fold import folded, natural
from pytest_nnxrng.report.rows import wrap
from pytest_nnxrng.why.cause import Cause, Evidence, line_of
from pytest_nnxrng.why.structure import attribute
from pytest_nnxrng.why.words import FOLLOWS, KEYED, NEVER_WRITTEN, OPEN, PLAIN

_DETAILED = 5  # differing leaves that get all their lines; the others get one each
_LISTED = 200
_LONGEST = 300  # characters of a headline
_PATTERNS = 4


class Shown(Protocol):
    """What a failure's text is made from (``state.Result`` is one)."""

    name: str
    kind: str
    where: str
    comparison: Comparison | None
    problem: str
    lacks: str
    gone: str
    new: str
    also: str
    changes: tuple[tuple[str, Any, Any], ...]
    causes: tuple[Cause, ...]
    evidence: Evidence | None


@dataclass(frozen=True)
class Told:
    """A failed test's text, and its headline.

    Tests with one ``key`` failed by the same change; "" where something is not explained.
    ``place`` is the line of the first check that failed, ``tests/test_model.py:6``.
    """

    full: str
    headline: str
    key: str = ""
    place: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    def after(self, others: Sequence[str]) -> Told:
        """The same after texts of other failures of the test, which are told each time."""
        if not others:
            return self
        heads = [other.partition("\n")[0] for other in others]
        return Told(
            _printable("\n\n".join(filter(None, [*others, self.full]))),
            _printable(_cut("; ".join(filter(None, [*heads, self.headline])))),
            place=self.place,
        )


def failure(
    results: Sequence[tuple[Shown, str]],
    command: str = "",
    *,
    against: str = "",
    verbosity: int = 0,
    brief: bool = False,
) -> Told:
    """What to say of a failed test: each failing check with its golden's path, then the way out.

    ``against`` names the code that made the goldens, where these are no files of the user's.
    ``brief`` leaves out what ``--tb=short`` has no room for.
    """
    blocks = [_check(shown, golden, against, verbosity, brief) for shown, golden in results]
    way_out = _ways_out([shown for shown, _ in results], command) if command else []
    heads = [_head(shown, golden) for shown, golden in results if not _follows(shown)]
    heads = heads or [_head(shown, golden) for shown, golden in results]
    return Told(
        full=_printable("\n\n".join([*blocks, *way_out])),
        headline=_printable(_cut("; ".join(heads))),
        key=_key([shown for shown, _ in results]),
        place=next((line_of(shown.where) for shown, _ in results), ""),
    )


def _ways_out(results: Sequence[Shown], command: str) -> list[str]:
    found = []
    if any(map(_is_movable, results)):
        move = command.replace("--nnx-update-snapshots", "--nnx-move-snapshots")
        found.append(f"to move: {move}")
    rest = [shown for shown in results if not _is_movable(shown)]
    if any(map(_is_accepted_by_update, rest)):
        written = all(shown.comparison is None or _lacks_alone(shown) for shown in rest)
        found.append(f"to {'write' if written else 'accept'}: {command}")
    return found


def headline(results: Sequence[tuple[Shown, str]]) -> str:
    """One line for the short summary and for machines: each golden and why it failed."""
    return failure(results).headline


def again(headline: str, first: str) -> str:
    """The text of a test that failed by the change that the test ``first`` failed by, too."""
    return "\n".join(
        [*wrap(headline, "  ", ""), *wrap(f"the same change as in {first}, where it is told", "  ")]
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _is_accepted_by_update(shown: Shown) -> bool:
    problem = shown.problem or shown.lacks
    if any(cause.word in NEVER_WRITTEN for cause in shown.causes):
        return False
    return (not problem and not shown.also) or "--nnx-update-snapshots" in problem


def _key(results: Sequence[Shown]) -> str:
    causes = [c for shown in results for c in shown.causes if c.word != FOLLOWS]
    whole = all(shown.comparison and not shown.problem and not shown.also for shown in results)
    if not whole or not causes or any(cause.word in OPEN for cause in causes):
        return ""
    return "; ".join(sorted({f"{cause.word}: {cause.finding or cause.text}" for cause in causes}))


# -- one check -------------------------------------------------------------------------


def lines(causes: Sequence[Cause], comparison: Comparison) -> list[str]:
    """The lines on what differs and why, of two values of one environment."""
    found = [*_causes(causes, 0), *_leaves(comparison, causes, 0)]
    return [_printable_line(line) for line in found]


def _check(shown: Shown, golden: str, against: str, verbosity: int, brief: bool) -> str:
    lines = [
        *wrap(_head(shown, golden), "  ", ""),
        *(_row("against", against) if against else [f"  file    {golden}"]),
        *_row("called", shown.where),
    ]
    if shown.gone:
        lines += _row("equals" if _is_movable(shown) else "beside", shown.gone)
    if shown.new:
        lines += _row("why", shown.new)
    if shown.lacks and not shown.problem:
        lines += wrap(shown.lacks, "  ")
    if shown.problem:
        lines += wrap(shown.problem, "  ")
    elif shown.comparison is not None and not shown.comparison.matches:
        lines += _causes(shown.causes, verbosity)
        lines += _pointer(shown)
        if verbosity >= 1 and (drawn := key_map(shown, rows.WIDTH - 4)):
            lines += ["  keys", *(f"    {line}" for line in drawn)]
        lines += _leaves(shown.comparison, shown.causes, verbosity, brief)
        lines += _environment(shown.changes, against, brief)
    return "\n".join([*lines, *shown.also.splitlines()])


def _head(shown: Shown, golden: str) -> str:
    name = golden.rpartition("/")[2].removesuffix(".json")
    if shown.problem:
        return f"{name}: the golden cannot be compared"
    if shown.comparison is None:
        built = "; the model depends on how it is built" if shown.also else ""
        return f"{name}: the golden is missing{built}"
    if _is_movable(shown):
        return f"{name}: the golden is missing; it equals one whose test is gone"
    if _lacks_alone(shown):
        return f"{name}: the golden lacks its values"
    if shown.comparison.matches and shown.also:
        return f"{name}: the model depends on how it is built"
    if _follows(shown):
        return f"{name}: follows from the model"
    if not shown.causes:
        return f"{name}: {len(shown.comparison.differences)} leaves differ"
    # What merely follows is told elsewhere. The widest change first; of equally wide ones that
    # which tells where it happened.
    own = [cause for cause in shown.causes if cause.word != FOLLOWS]
    first = max(own, key=lambda cause: (len(cause.leaves), cause.word in PLAIN))
    finding = " ".join((first.finding or first.text).replace("`", "").split())
    if shown.kind == "call":
        first = own[0]  # in the order of execution
        finding = first.finding or first.text
        finding += f" ({first.place})" if first.place else ""
    word = "" if first.word in PLAIN else f"{first.word}: "
    more = len(shown.causes) - 1
    also = f" (+{more} more cause{'s' if more > 1 else ''})" if more else ""
    return f"{name}: {word}{finding}{also}"


def _printable(text: str) -> str:
    """A golden is a file: what it holds must not steer the terminal."""
    return "\n".join(map(_printable_line, text.split("\n")))


def _printable_line(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _is_movable(shown: Shown) -> bool:
    """Whether the check agrees with the golden of a test that is gone."""
    agrees = shown.comparison is not None and shown.comparison.matches
    return bool(shown.gone) and agrees and not (shown.problem or shown.lacks or shown.also)


def _lacks_alone(shown: Shown) -> bool:
    return bool(shown.lacks) and shown.comparison is not None and shown.comparison.matches


def _follows(shown: Shown) -> bool:
    """Whether an output differs because the model did that the test checked before."""
    return bool(shown.causes) and all(cause.word == FOLLOWS for cause in shown.causes)


def _row(label: str, text: str) -> list[str]:
    return wrap(text, "          ", first=f"  {label:8}") or [f"  {label}"]


# -- causes ----------------------------------------------------------------------------


def _causes(causes: Sequence[Cause], verbosity: int) -> list[str]:
    lines: list[str] = []
    for cause in causes:
        lines += _row("why", f"{cause.word}: {cause.text}")
        if verbosity < 1 and cause.word not in OPEN:
            lines += _folded(cause)
    return lines


def _pointer(shown: Shown) -> list[str]:
    """Of an output that moved though its model did not: which check says where."""
    open_ = any(
        cause.word == "forward" or (cause.word == "unknown" and "forward pass" in cause.text)
        for cause in shown.causes
    )
    if shown.kind != "value" or not open_:
        return []
    return _row("where", "check_call(model, ...) in place of check(model(...)) tells which module")


def _folded(cause: Cause) -> list[str]:
    """The leaves that a cause explains, where its own text does not name them all."""
    if all(path in cause.text for path in cause.leaves):
        return []
    patterns = folded(cause.leaves)
    more = [f"... and {len(patterns) - _PATTERNS} more patterns"]
    shown = patterns[:_PATTERNS] + (more if len(patterns) > _PATTERNS else [])
    return [part for pattern in shown for part in wrap(pattern, "            ")]


def key_map(shown: Shown, width: int = rows.WIDTH) -> list[str]:
    """The key map of golden and run, where keys are what moved it."""
    seen = shown.evidence
    if seen is None or KEYED.isdisjoint(cause.word for cause in shown.causes):
        return []
    sides = zip(seen.streams, (seen.expected, seen.obtained), strict=True)
    both = [
        keymap.Keys.of(streams, {path: leaf.draws or () for path, leaf in leaves.items()})
        for streams, leaves in sides
    ]
    return [_printable_line(line) for line in keymap.aligned(both[0], both[1], width)]


# -- leaves ----------------------------------------------------------------------------


def _leaves(
    comparison: Comparison, causes: Sequence[Cause], verbosity: int, brief: bool = False
) -> list[str]:
    differences = sorted(comparison.differences, key=lambda d: natural(d.path))
    hidden = set() if verbosity >= 1 else _explained(differences, causes)
    lines = _row("leaves", _counts(comparison, len(hidden)))
    left = [d for d in differences if d.path not in hidden]
    for title, group in (
        ("", [d for d in left if not d.rng]),
        ("RNG state (keys and counts), apart from the weights:", [d for d in left if d.rng]),
    ):
        if group and title:
            lines += ["", f"  {title}"]
        most = 1 if brief else _LISTED if verbosity < 2 else len(group)
        for number, difference in enumerate(group[:most]):
            lines += rows.difference(difference, detailed=verbosity >= 2 or number < _DETAILED)
        if len(group) > most:
            more = len(group) - most
            rest = f"{more} more leaves that differ" if more > 1 else "1 more leaf that differs"
            lines.append(f"  ... and {rest} (-vv: all)")
    return lines + (_static(comparison.static) if verbosity >= 1 else [])


def _static(changes: Sequence[Change]) -> list[str]:
    """The modules that are not as in the golden, apart from their leaves."""
    lines = ["", "  modules: classes and static attributes, apart from the leaves"] * bool(changes)
    for path, found in itertools.groupby(changes, key=lambda change: change.path):
        lines.append(f"  {path or '(the value)'}")
        for change in found:
            was, now = attribute(change.expected), attribute(change.obtained)
            lines += wrap(f"{change.attribute}: golden {was}, now {now}")
    return lines


def _counts(comparison: Comparison, explained: int) -> str:
    differences = comparison.differences
    counts = [f"{len(comparison.matched)} match"]
    if comparison.spotted:
        counts.append(f"{len(comparison.spotted)} of these at their spots alone")
    if comparison.rounded:
        counts.append(f"{len(comparison.rounded)} match by rounding")
    if comparison.unread:
        counts.append(f"{len(comparison.unread)} agree but for values")
    counts.append(f"{len(differences)} differ")
    if not differences:
        return ", ".join(counts)
    if explained == len(differences):
        counts[-1] += ", as told above"
    elif explained:
        counts[-1] += f", {explained} of them as told above"
    return ", ".join(counts)


def _explained(differences: Sequence[Difference], causes: Sequence[Cause]) -> set[str]:
    """The paths whose causes say all that there is to know of them."""
    told = {path for cause in causes if cause.word not in OPEN for path in cause.leaves}
    told -= {path for cause in causes if cause.word in OPEN for path in cause.leaves}
    if any(cause.word == "renamed" for cause in causes):
        # A rename is listed by its new path; its old one went with it.
        listed = {path for cause in causes for path in cause.leaves}
        told |= {d.path for d in differences if "removed" in d.kinds and d.path not in listed}
    if told:
        told |= {d.path for d in differences if d.rng and not _is_open(d, causes)}
    return told & {d.path for d in differences}


def _is_open(difference: Difference, causes: Sequence[Cause]) -> bool:
    return any(difference.path in cause.leaves for cause in causes if cause.word in OPEN)


def _environment(changes: Iterable[tuple[str, Any, Any]], against: str, brief: bool) -> list[str]:
    shown = [
        f"{name} {'-' if old is None else old} -> {'-' if new is None else new}"
        for name, old, new in changes
    ]
    if not shown:
        said = "environment: as recorded in the golden"
        return [] if against or brief else ["", f"  {said}"]
    title = f"not as in {against}" if against else "not as recorded in the golden's environment"
    lines = ["", *wrap(f"{title}:", "  ")]
    for row in shown:
        lines += wrap(row)
    return lines
