"""A leaf that differs -> a line that says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_nnxrng.compare.differences import Difference
    from pytest_nnxrng.compare.numbers import Numbers


def change(difference: Difference) -> str:
    """What differs in a leaf, in a line."""
    old, new, kinds = difference.expected, difference.obtained, difference.kinds
    if "aliasing" in kinds:
        was, now = difference.alias
        return f"tied to {was or 'nothing'}, now to {now or 'nothing'}"
    if old is None or new is None:
        leaf = old or new
        assert leaf is not None
        what = f"{leaf.type} {leaf.dtype}{list(leaf.shape) or ''}"
        return f"{'added' if old is None else 'removed'}: {what}"
    parts = []
    for kind in ("type", "shape", "dtype"):
        if kind in kinds:
            was_, now_ = (getattr(leaf, kind) for leaf in (old, new))
            parts.append(f"{kind} {_shape(was_)} -> {_shape(now_)}")
    if "derivation" in kinds:
        parts.append(f"{_drawn(old.draws)} -> {_drawn(new.draws)}")
    if "values" in kinds:
        parts.append(_numbers(difference.numbers))
    return "; ".join(parts) or ", ".join(kinds)


def _shape(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _drawn(draws: tuple[str, ...] | None) -> str:
    return ", ".join(draws or ()) or "no key"


def _numbers(numbers: Numbers | None) -> str:
    if numbers is None:
        return "other values, by their digests"
    if numbers.sketched:
        return f"by its sketch: {numbers.sketched}; allowed {max(numbers.allowed, 0):.3g}"
    what = "spots" if numbers.spots else "elements"
    text = f"{numbers.differing:,} of {numbers.total:,} {what} differ"
    if numbers.total == 1:
        text = "the value differs"
    if numbers.nonfinite:
        text += f", {numbers.nonfinite:,} of them NaN or infinite on one side"
    elif numbers.worst is not None and numbers.scale:
        text += f", by {numbers.worst:.3g} at most (allowed {max(numbers.allowed, 0):.3g})"
    if numbers.expected:
        at = f" at {list(numbers.index)}" if numbers.index else ""
        text += f":{at} {numbers.expected} -> {numbers.obtained}"
    return text
