"""One differing leaf as lines of text, 80 columns wide: what it was, what it is, how far apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.why.structure import sharding

WIDTH = 80
_INDENT = "      "
_SIZES = 16  # of a shape


def wrap(text: str, indent: str = _INDENT, first: str | None = None) -> list[str]:
    """``text`` in lines of 80 columns, ``first`` before the first of them."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def difference(found: Difference, *, detailed: bool) -> list[str]:
    """A leaf that differs; its numbers in full if ``detailed``."""
    if "aliasing" in found.kinds:
        return [f"  {found.path}", *wrap(_aliasing(found.alias, found.kinds))]
    old, new = found.expected, found.obtained
    if new is None or old is None:
        leaf = old or new
        assert leaf is not None
        verb = "removed: the golden has it" if new is None else "added: the golden does not have it"
        return [*_title(leaf), f"{_INDENT}{verb}"]
    lines = _title(new.but(path=found.path))
    for kind in ("type", "shape", "dtype"):
        if kind in found.kinds:
            was, now = getattr(old, kind), getattr(new, kind)
            if kind == "shape":
                was, now = _shape(was), _shape(now)
            label = "Variable type" if kind == "type" else kind
            lines += wrap(f"{label}: golden {was}, now {now}")
    if "sharding" in found.kinds:
        lines += wrap(f"sharding: {sharding(found)}")
    if "derivation" in found.kinds:
        lines += wrap(_derivations(old, new))
    if "values" in found.kinds:
        lines += _numbers(found.numbers, old) if detailed else _brief(found.numbers)
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
    return [f"  {leaf.path}", *wrap(_describe(leaf))]


def _describe(leaf: Leaf) -> str:
    return f"{leaf.type} {leaf.dtype}{_shape(leaf.shape) if leaf.shape else ''}"


def _shape(shape: tuple[int, ...]) -> str:
    """A shape as a list; of one that no array has, the first sizes."""
    shown = ", ".join(map(str, shape[:_SIZES]))
    return f"[{shown}]" if len(shape) <= _SIZES else f"[{shown}, ... {len(shape)} sizes]"


def _numbers(numbers: Numbers | None, old: Leaf) -> list[str]:
    if numbers is None and old.stored:
        told = f"the golden's values of this leaf are not there ({_statistics(old)})"
        return wrap(f"the values differ; {told}")
    if numbers is None:
        return wrap(
            "the values differ; the golden keeps a digest of this leaf but not its values "
            f"({_statistics(old)}), as it is larger than nnx_snapshot_store_limit"
        )
    if numbers.sketched:
        return wrap(
            f"by the golden's sketch, its values not being stored: {numbers.sketched} (allowed "
            f"{max(numbers.allowed, 0.0):.3g} for each element; the golden's largest "
            f"{_beside(numbers)}is {numbers.scale:.3g})"
        ) + _at(numbers)
    what = "spots" if numbers.spots else "elements"
    share = f"{numbers.differing:,} of {numbers.total:,} {what} differ"
    if numbers.total == 1:
        share = "the value differs"
    lines = [share]
    if numbers.nonfinite:
        lines[0] += f", {numbers.nonfinite:,} of them NaN or infinite on one side"
    elif numbers.worst is not None and numbers.scale:
        allowed = max(numbers.allowed, 0.0)
        lines[0] += f"; the largest difference is {numbers.worst:.3g}"
        lines.append(
            f"(allowed {allowed:.3g}; the golden's largest element {_beside(numbers)}"
            f"is {numbers.scale:.3g})"
        )
    return [part for line in lines for part in wrap(line)] + _at(numbers)


def _beside(numbers: Numbers) -> str:
    return "of those on its scale " if numbers.aside else ""


def _at(numbers: Numbers) -> list[str]:
    """The element that differs most, on both sides."""
    if not numbers.expected and not numbers.obtained:
        return []
    at = f"at {list(numbers.index)}: " if numbers.index else ""
    return wrap(f"{at}golden {numbers.expected}, now {numbers.obtained}{_ulp(numbers)}")


def _ulp(numbers: Numbers) -> str:
    # Beyond a million, a distance over all floats between says nothing.
    told = numbers.ulp is not None and numbers.ulp < 1e6
    return f"  ({numbers.ulp:,} ULP)" if told else ""


def _brief(numbers: Numbers | None) -> list[str]:
    if numbers is None or numbers.sketched:
        return [f"{_INDENT}the values differ"]
    what = "spots" if numbers.spots else "elements"
    return [f"{_INDENT}{numbers.differing:,} of {numbers.total:,} {what} differ"]


def _statistics(leaf: Leaf) -> str:
    shown = ", ".join(f"{name} {value}" for name, value in leaf.statistics.items())
    return shown or "no statistics"
