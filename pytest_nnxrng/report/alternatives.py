"""How other ways of building a model differ from an ordinary call, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Protocol

from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.compare.numbers import Numbers

_LISTED = 12
_WIDTH = 80


class Variant(Protocol):
    """A way of building (``equivalence.Variant`` is one)."""

    @property
    def how(self) -> str: ...
    @property
    def comparison(self) -> Comparison: ...


def differing(variants: Iterable[Variant]) -> str:
    """The lines on variants that give another model; empty if none does."""
    lines: list[str] = []
    for variant in variants:
        found = variant.comparison.differences
        if not found:
            continue
        verb = "differs" if len(found) == 1 else "differ"
        head = f"built {variant.how}, {len(found)} of {variant.comparison.leaves} leaves {verb}"
        lines += _wrap(f"  also    {head} from those of an ordinary call:", "          ")
        for difference in found[:_LISTED]:
            told = f"{difference.path or 'the value'}: {_told(difference)}"
            lines += _wrap(f"      {told}", "        ")
        if len(found) > _LISTED:
            lines.append(f"      ... and {len(found) - _LISTED} more")
    return "\n".join(lines)


def rounding(variants: Iterable[Variant], golden: str) -> tuple[str, ...]:
    """A line for each variant that rounds otherwise, within the tolerance."""
    found = []
    for variant in variants:
        rounded = variant.comparison.rounded
        if not variant.comparison.differences and rounded:
            path = max(rounded, key=lambda path: rounded[path].headroom)
            found.append(
                f"{golden}: built {variant.how}, {len(rounded)} of "
                f"{variant.comparison.leaves} leaves differ by rounding, most "
                f"{path or 'the value'} ({_apart(rounded[path])})"
            )
    return tuple(found)


def _told(difference: Difference) -> str:
    old, new, kinds = difference.expected, difference.obtained, difference.kinds
    if "aliasing" in kinds:
        here, there = difference.alias
        return f"{_tied(there)} here, {_tied(here)} there"
    if new is None:
        return "not there"
    if old is None:
        return "only there"
    parts = [
        f"{'Variable type' if kind == 'type' else kind} {getattr(new, kind)}, not "
        f"{getattr(old, kind)}"
        for kind in ("type", "shape", "dtype")
        if kind in kinds
    ]
    if "values" in kinds:
        parts.append(_apart(difference.numbers))
    return "; ".join(parts)


def _tied(alias: str | None) -> str:
    return f"tied to {alias}" if alias else "not tied"


def _apart(numbers: Numbers | None) -> str:
    if numbers is None:
        return "other values"
    share = f"{numbers.differing:,} of {numbers.total:,} elements differ"
    if numbers.nonfinite:
        return f"{share}, {numbers.nonfinite:,} of them NaN or infinite on one side"
    if numbers.worst is None:
        return share
    ulp = "" if numbers.ulp is None else f", {numbers.ulp:,} ULP"
    if numbers.ulp is not None and numbers.ulp >= 1e6:
        ulp = f", {numbers.ulp:.1e} ULP"
    return f"{share}, by {numbers.worst:.3g} at most{ulp}; allowed {max(numbers.allowed, 0):.3g}"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
