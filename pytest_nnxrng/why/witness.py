"""Two records of one call -> what they tell of an output that moved, without another call.

A failing test and ``nnxrng diff`` say the same, as far as two goldens go. Needs no JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.why.abreast import Pair, Passage, aligned, first_moved, growth
from pytest_nnxrng.why.cause import Cause, few, line_of
from pytest_nnxrng.why.draws import ratio
from pytest_nnxrng.why.passage import facts, first_step, number_of_step
from pytest_nnxrng.why.unproven import shown

_FAR = 1e-3  # of outputs in another environment: no rounding
_LARGE = 100  # times the tolerance: no rounding


def known(passage: Passage, comparison: Comparison) -> tuple[Cause, ...]:
    """The causes that the records prove; none if they do not differ."""
    found = facts(passage)
    if not found:
        return ()
    rest = "; ".join(filter(None, [told_gradients(comparison), first_step(passage)]))
    first = found[0]
    text = f"{first.text}; {rest}" if rest else first.text
    return (replace(first, text=text), *found[1:])


def remaining(passage: Passage, comparison: Comparison, tolerance: Tolerance) -> Cause:
    """What is left to tell where nothing that was recorded differs."""
    gradients = told_gradients(comparison)
    if (
        gradients
        and passage.comparable
        and not passage.changes
        and all(map(_is_gradient, passage.paths))
    ):
        step = first_step(passage)
        text = "; ".join(filter(None, [f"{_BACKWARD}: {gradients}", step]))
        return Cause("computation", passage.paths, text, "the record of the call", _BACKWARD)
    numbers = _by_numbers(passage, comparison, tolerance)
    return replace(numbers, text="; ".join(filter(None, [numbers.text, first_step(passage)])))


_BACKWARD = (
    "the forward pass is the same, its gradients are others (a stop_gradient, a custom_vjp, or "
    "another argument that is differentiated)"
)


def _is_gradient(path: str) -> bool:
    return path.startswith("gradients.")


def told_gradients(comparison: Comparison) -> str:
    """The gradients that vanished, are not finite, or changed their scale."""
    groups: dict[str, list[str]] = {}
    for d in comparison.differences:
        if _is_gradient(d.path) and (change := _of_gradient(d)):
            groups.setdefault(change, []).append(d.path)
    return "; ".join(f"{change}: {few(paths)}" for change, paths in groups.items())


def _of_gradient(d: Difference) -> str:
    old, new = d.expected, d.obtained
    if old is None or new is None or new.read is None or old.shape != new.shape:
        return ""
    now = np.asarray(new.read(), np.float64)
    if not np.isfinite(now).all():
        return "a gradient is not finite"
    if not now.any():
        return "the gradient vanished"
    scale = ratio(old, new)
    return "" if scale is None else f"gradients are {scale:.6g} times the golden's"


def _by_numbers(passage: Passage, comparison: Comparison, tolerance: Tolerance) -> Cause:
    """What the outputs of modules tell where nothing that was recorded differs."""
    pairs, _, _ = aligned(passage.old.calls, passage.new.calls)
    numbers = [d.numbers for d in comparison.differences]
    # Before a later step nothing had moved by a bit: it did something else than the first one.
    later = number_of_step(passage) > 1 and not passage.changes
    small = all(map(_is_small, numbers)) and not later
    dtype = next((d.expected.dtype for d in comparison.differences if d.expected), "float32")
    told = growth(pairs, tolerance.of(dtype))
    where = f": {told}, as a share of the largest element" if told else ""
    elsewhere = _listed(passage.changes)
    same = _SAME if _computes_alike(pairs) else _UNKNOWN if _is_foreign(passage) else _HARMLESS
    same = _FIRST if passage.new.steps and same == _SAME else same
    if passage.comparable and small:
        text = f"{same}; the difference grows{where}{elsewhere}" if told else f"{same}{elsewhere}"
        return Cause("rounding", passage.paths, text, "size", f"{same}{elsewhere}")
    first = first_moved(pairs, _FAR if passage.changes else 0.0)
    begins = ""
    if first is not None:
        place = line_of(first.new.where)
        begins = f"; {first.new.name} is the first whose output moved" + (
            f" ({place})" if place else ""
        )
    reason = passage.new.untraced or passage.old.untraced
    what = f"the call could not be traced ({reason})" if reason else same
    static = _static(passage) if reason else ""
    return Cause("unknown", passage.paths, f"{what}{begins}{static}{elsewhere}", "", what)


_SAME = "every module computes what it did, from the same inputs, weights and keys"
_FIRST = "the first step computes what it did, from the same inputs, weights and keys"
_UNKNOWN = "computations do not compare with the golden's, which other versions made"
_HARMLESS = "no module that computes otherwise gives another output"


def _is_foreign(passage: Passage) -> bool:
    """Whether the two sides were traced by other versions."""
    calls = (*passage.old.calls, *passage.new.calls)
    moved = any(name in ("jax", "flax") for name, _, _ in passage.changes)
    return moved or not all(call.computation.fingerprint for call in calls)


def _computes_alike(pairs: Sequence[Pair]) -> bool:
    return all(p.old.computation.fingerprint == p.new.computation.fingerprint for p in pairs)


def _is_small(numbers: Numbers | None) -> bool:
    if numbers is None or numbers.worst is None or numbers.nonfinite:
        return False
    return 0 <= numbers.worst <= _LARGE * numbers.allowed


def _static(passage: Passage) -> str:
    """Of a call that was not traced: the attributes that are others."""
    pairs, _, _ = aligned(passage.old.calls, passage.new.calls)
    for pair in pairs:
        old, new = pair.old.computation.attributes, pair.new.computation.attributes
        moved = [k for k in old if k in new and old[k] != new[k]]
        if moved:
            told = ", ".join(f"{k} {shown(old[k])} -> {shown(new[k])}" for k in moved)
            return f"; {pair.new.name} has {told}"
    return ""


def _listed(changes: Any) -> str:
    rows = [f"{name} {shown(old)} -> {shown(new)}" for name, old, new in changes]
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"; the environment moved: {', '.join(rows[:3])}{more}" if rows else ""
