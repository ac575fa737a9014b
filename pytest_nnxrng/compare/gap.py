"""A leaf of a golden and one of the run -> how far apart, by whatever the golden holds of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pytest_nnxrng.compare.estimate import Verdict, difference, judge
from pytest_nnxrng.compare.numbers import Numbers, exact, inexact
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.dtypes import dtype_of, is_inexact, is_key, is_small_float
from pytest_nnxrng.leaf.form import Aside
from pytest_nnxrng.leaf.grid import at_places, largest_step, steps
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.scale import LEAST, Scale, scale, starts
from pytest_nnxrng.leaf.sketch import Sketch, sketch
from pytest_nnxrng.leaf.slabs import SLAB, Slabs
from pytest_nnxrng.leaf.spots import elements, places


def gap(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers | None:
    """How the elements differ, by the golden's values, its sketch, its spots; None if it has none.

    Raises:
      GoldenError: when the golden's values cannot be read.
    """
    if old.read is not None and new.read is not None:
        return _numbers(old, new, tolerance)
    found = _sketched(old, new, tolerance)
    spots = gap_at_spots(old, new, tolerance)
    if spots is None or not spots.differing:
        return found
    if found is None:
        return replace(spots, less=True)
    return replace(
        found,
        changed=found.changed or not spots.is_rounding,
        index=spots.index,
        expected=spots.expected,
        obtained=spots.obtained,
        ulp=spots.ulp,
    )


def gap_at_spots(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers | None:
    """How the elements at a leaf's spots differ; None if one side has none.

    Raises:
      GoldenError: when the golden's values cannot be read.
    """
    a, b = elements(old), elements(new)
    if a is None or b is None:
        return None
    row = old.but(shape=(len(a),))
    if a.shape != b.shape:  # key data of another PRNG implementation
        return Numbers(differing=row.size, total=row.size, spots=True)
    if is_inexact(old.dtype):
        found = inexact(a, b, tolerance, row, _scale(old, a))
    else:
        found = exact(a, b, row)
    at = np.unravel_index(places(old)[found.index], old.shape) if found.index else ()
    return replace(found, index=tuple(map(int, at)) if old.shape else (), spots=True)


def _scale(golden: Leaf, spots: np.ndarray) -> Scale:
    """The scale of a golden's leaf, as far as its values, its sketch or its row tell."""
    held = constant(golden)
    if held is None and golden.read is not None:
        held = golden.read()
    if held is not None:
        return scale(held)
    told = [golden.statistics.get(name) for name in ("min", "max", "constant", "value")]
    numbers = [abs(float(x)) for x in told if isinstance(x, int | float)]
    if golden.sketch is not None:
        if golden.sketch.aside:
            sizes: Scale = golden.sketch.sizes
            return sizes
        numbers = [float(golden.sketch.scale)]
    largest, few = max(filter(math.isfinite, numbers), default=0.0), scale(spots)
    if largest <= few.largest:
        return few
    if not few.aside:
        return Scale(largest)
    # Of usual values the largest of 32 is at least a quarter of the largest of all.
    return replace(few, rest=_OF_FEW * few.rest)


_OF_FEW = 4


def _numbers(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers:
    assert old.read is not None
    assert new.read is not None
    if new.slabs is not None and new.slabs.nbytes > SLAB and not is_key(new.dtype):
        return _streamed(old.read(), new.slabs, tolerance, old)
    a, b = old.read(), new.read()
    if a.shape != b.shape:  # key data of another PRNG implementation
        return Numbers(differing=old.size, total=old.size)
    if not is_inexact(old.dtype):
        return exact(a, b, old)
    return inexact(a, b, tolerance, old, scale(a))


def _streamed(a: np.ndarray, slabs: Slabs, tolerance: Tolerance, leaf: Leaf) -> Numbers:
    """The same, slab by slab: most of the golden's elements stand for a constant."""
    rounds = is_inexact(leaf.dtype)
    sizes = scale(a) if rounds else Scale(0.0)
    allowed = tolerance.of(leaf.dtype) * sizes.largest + tolerance.atol if rounds else 0.0
    merged, flat, at = Numbers(0, 0, sizes.largest, allowed), a.flat, 0
    for piece in slabs.pieces():
        part = leaf.but(shape=(piece.size,))
        golden = np.asarray(flat[at : at + piece.size])
        if rounds:
            found = inexact(golden, piece, tolerance, part, sizes)
        else:
            found = exact(golden, piece, part)
        show = merged
        if found.differing and _tells_more(found, merged):
            place = tuple(int(i) for i in np.unravel_index(at + found.index[0], leaf.shape))
            show = replace(found, index=place)
        merged = replace(
            show,
            differing=merged.differing + found.differing,
            total=merged.total + found.total,
            nonfinite=merged.nonfinite + found.nonfinite,
        )
        at += piece.size
    return merged


def _tells_more(found: Numbers, shown: Numbers) -> bool:
    if bool(found.nonfinite) != bool(shown.nonfinite):
        return bool(found.nonfinite)
    if found.nonfinite:
        return False
    return shown.worst is None or (found.headroom, found.worst or 0.0) > (
        shown.headroom,
        shown.worst,
    )


def _sketched(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers | None:
    held, ours = _sketches(old, new)
    if held is None or ours is None or (ours.size, ours.form) != (held.size, held.form):
        return None
    share, rest = tolerance.of(old.dtype), held.sizes.rest
    allowed = share * rest + tolerance.atol
    if tolerance.by_steps(old.dtype) and not held.by_steps:
        allowed += rest * largest_step(dtype_of(old.dtype))
    if not math.isfinite(allowed):
        return None
    most = _steps(held, old, tolerance, allowed) if held.by_steps else allowed
    verdict = judge(held, ours, math.ldexp(most, -held.shift))
    moved = verdict.kind == "changed" or any(
        _aside_moved(one, other, share * one.highest + tolerance.atol)
        for one, other in zip(held.aside, ours.aside, strict=True)
    )
    told, rms = _told(held, ours, verdict)
    return Numbers(
        differing=0,
        total=old.size,
        scale=rest,
        allowed=-1.0 if tolerance.exact else most,
        worst=rms,
        sketched=told,
        where=verdict.where if verdict.kind == "changed" else (),
        changed=moved,
        aside=bool(held.aside),
        less=new.read is not None and _tells_less(held, new),
    )


def _sketches(old: Leaf, new: Leaf) -> tuple[Sketch | None, Sketch | None]:
    """Both in the form of one that is kept: of a golden's leaf without values, on either side."""
    a: Sketch | None = old.sketch
    b: Sketch | None = new.sketch if new.read is None else None
    kept = a or b
    if kept is None:
        return None, None
    if a is None and old.read is not None:
        a = sketch(old.contents(), form=kept.form)
    if b is None and new.read is not None:
        b = sketch(new.contents(), form=kept.form)
    return a, b


def _steps(held: Sketch, old: Leaf, tolerance: Tolerance, allowed: float) -> float:
    """How many steps of its format an element may move, for an absolute tolerance, or by itself."""
    own = tolerance.by_steps(old.dtype) and largest_step(dtype_of(old.dtype)) > 0
    ends = at_places(held.kind, (min(held.lowest), max(held.highest)))
    return max(float(own), steps(dtype_of(old.dtype), allowed, *ends))


def _aside_moved(golden: Aside, ours: Aside, allowed: float) -> bool:
    """Whether elements that are set aside moved further than allowed, by their own scale."""
    ends = (golden.lowest - ours.lowest, golden.highest - ours.highest)
    if golden.count != ours.count or max(map(abs, ends)) > allowed:
        return True
    a, b = golden.inner, ours.inner
    if a is None or b is None:  # all alike on one side: the ends tell of all
        return False
    return a.form != b.form or judge(a, b, math.ldexp(allowed, -a.shift)).kind == "changed"


def _told(held: Sketch, ours: Sketch, verdict: Verdict) -> tuple[str, float]:
    """What a reader is told of two sketches, and the root mean square of the difference."""
    found = difference(held, ours)
    rms = math.ldexp(found.rms, held.shift)
    told = f"root mean square of the difference {rms:.3g}"
    if held.by_steps:
        told += f" steps of {held.kind}"
    elif found.factor is not None:
        told += f"; the values are {found.factor:.6g} times the golden's"
    if verdict.where and verdict.kind == "changed":
        told += "; it lies in elements " + ", ".join(f"{a}:{b}" for a, b in verdict.where[:3])
    return told, rms


def _tells_less(held: Sketch, new: Leaf) -> bool:
    """Whether a golden of an early version has one scale for what now has several, or no steps."""
    if held.kind:
        return False
    if is_small_float(new.dtype):
        return True
    return held.scale >= 2.0**LEAST and bool(starts(new.contents()))
