"""The elements of two leaves of one shape and dtype -> how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from pytest_nnxrng.compare.estimate import difference, judge
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.dtypes import is_inexact, is_key
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.sketch import Sketch, sketch
from pytest_nnxrng.leaf.slabs import SLAB, Slabs
from pytest_nnxrng.leaf.spots import elements, places

_BLOCK = 1 << 16  # elements; two float64 copies of a block stay in the cache


@dataclass(frozen=True)
class Numbers:
    """How two arrays of one shape and dtype differ.

    ``worst`` is the largest absolute difference between finite elements (None for keys), found
    at ``index``, where the golden has ``expected`` and the run ``obtained``, ``ulp`` units in
    the last place apart (None for what are not floats). ``scale`` is S, ``allowed`` the
    tolerance in absolute terms. ``nonfinite`` counts the elements of which one is NaN or
    infinite and the other is not, or not the same; ``index`` is at the first of them, if any.

    Of a leaf whose values the golden does not store, ``sketched`` says what its sketch tells,
    and ``worst`` is the root mean square of the difference.
    """

    differing: int
    total: int
    scale: float = 0.0
    allowed: float = 0.0
    worst: float | None = None
    index: tuple[int, ...] = ()
    expected: str = ""
    obtained: str = ""
    ulp: int | None = None
    nonfinite: int = 0
    sketched: str = ""
    spots: bool = False  # ``differing`` and ``total`` count spots, not all elements
    where: tuple[tuple[int, int], ...] = ()  # flat ranges that hold the difference
    changed: bool = False  # the sketch proves that an element moved further than allowed

    @property
    def is_rounding(self) -> bool:
        if self.nonfinite or self.worst is None or self.changed:
            return False
        return self.worst <= self.allowed

    @property
    def headroom(self) -> float:
        """How near the worst element came to the tolerance: 1.0 is at it."""
        if self.worst is None or not self.worst:
            return 0.0
        return self.worst / self.allowed if self.allowed else math.inf


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
        return spots
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
    exact = not is_inexact(old.dtype)
    found = _exact(a, b, tolerance, row) if exact else _inexact(a, b, tolerance, row, _scale(old))
    at = np.unravel_index(places(old)[found.index], old.shape) if found.index else ()
    return replace(found, index=tuple(map(int, at)) if old.shape else (), spots=True)


def _scale(golden: Leaf) -> float:
    """The largest magnitude among the elements of a golden's leaf, as far as its row tells."""
    if golden.sketch is not None:
        return float(golden.sketch.scale)
    told = [golden.statistics.get(name) for name in ("min", "max", "constant", "value")]
    numbers = [abs(float(x)) for x in told if isinstance(x, int | float)]
    return max(filter(math.isfinite, numbers), default=0.0)


def _numbers(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers:
    assert old.read is not None
    assert new.read is not None
    if new.slabs is not None and new.slabs.nbytes > SLAB and not is_key(new.dtype):
        return _streamed(old.read(), new.slabs, tolerance, old)
    a, b = old.read(), new.read()
    if a.shape != b.shape:  # key data of another PRNG implementation
        return Numbers(differing=old.size, total=old.size)
    if not is_inexact(old.dtype):
        return _exact(a, b, tolerance, old)
    return _inexact(a, b, tolerance, old)


def _streamed(a: np.ndarray, slabs: Slabs, tolerance: Tolerance, leaf: Leaf) -> Numbers:
    """The same, slab by slab: most of the golden's elements stand for a constant."""
    one = _inexact if is_inexact(leaf.dtype) else _exact
    merged, flat, at = Numbers(0, 0), a.flat, 0
    for piece in slabs.pieces():
        part = leaf.but(shape=(piece.size,))
        golden = np.asarray(flat[at : at + piece.size])
        found = one(golden, piece, tolerance, part)
        show = merged
        if found.differing and _tells_more(found, merged):
            place = tuple(int(i) for i in np.unravel_index(at + found.index[0], leaf.shape))
            show = replace(found, index=place)
        scale = max(merged.scale, found.scale)
        merged = replace(
            show,
            differing=merged.differing + found.differing,
            total=merged.total + found.total,
            nonfinite=merged.nonfinite + found.nonfinite,
            scale=scale,
        )
        at += piece.size
    exact = tolerance.exact and merged.differing
    allowed = -1.0 if exact else tolerance.of(leaf.dtype) * merged.scale + tolerance.atol
    return replace(merged, allowed=allowed if is_inexact(leaf.dtype) else 0.0)


def _tells_more(found: Numbers, shown: Numbers) -> bool:
    if bool(found.nonfinite) != bool(shown.nonfinite):
        return bool(found.nonfinite)
    return not found.nonfinite and (shown.worst is None or (found.worst or 0.0) > shown.worst)


def _sketched(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers | None:
    theirs, ours = _sketch(old), _sketch(new)
    if theirs is None or ours is None or ours.size != theirs.size:
        return None
    scale = theirs.scale
    allowed = tolerance.of(old.dtype) * scale + tolerance.atol
    if not math.isfinite(allowed):
        return None
    verdict, told_by = judge(theirs, ours, allowed), difference(theirs, ours)
    told = f"root mean square of the difference {told_by.rms:.3g}"
    if told_by.factor is not None:
        told += f"; the values are {told_by.factor:.6g} times the golden's"
    if verdict.where and verdict.kind == "changed":
        told += "; it lies in elements " + ", ".join(f"{a}:{b}" for a, b in verdict.where[:3])
    return Numbers(
        differing=0,
        total=old.size,
        scale=scale,
        allowed=-1.0 if tolerance.exact else allowed,
        worst=told_by.rms,
        sketched=told,
        where=verdict.where if verdict.kind == "changed" else (),
        changed=verdict.kind == "changed",
    )


def _sketch(leaf: Leaf) -> Sketch | None:
    """The sketch of a leaf: the golden's own, where its values are not stored."""
    if leaf.sketch is not None or leaf.read is None:
        kept: Sketch | None = leaf.sketch
        return kept
    return sketch(leaf.contents())


def _exact(a: np.ndarray, b: np.ndarray, _: Tolerance, leaf: Leaf) -> Numbers:
    words = a.size // leaf.size if leaf.size else 1
    moved = (a != b).reshape(leaf.size, words).any(axis=1)
    differing = int(moved.sum())
    if not differing:
        return Numbers(0, leaf.size)
    if is_key(leaf.dtype):
        first = int(moved.argmax())
        pick = slice(first * words, (first + 1) * words)
        return Numbers(
            differing,
            leaf.size,
            index=_index(first, leaf),
            expected=str(a.reshape(-1)[pick]),
            obtained=str(b.reshape(-1)[pick]),
        )
    x, y = (_native(array.reshape(-1)) for array in (a, b))
    unsigned = f"u{x.dtype.itemsize}"
    # Unsigned, a difference of signed integers wraps to the true distance.
    gap = np.maximum(x, y).view(unsigned) - np.minimum(x, y).view(unsigned)
    at = int(gap.argmax())
    return Numbers(
        differing,
        leaf.size,
        worst=float(gap[at]),
        index=_index(at, leaf),
        expected=str(a.reshape(-1)[at].item()),
        obtained=str(b.reshape(-1)[at].item()),
    )


def _native(integers: np.ndarray) -> np.ndarray:
    if integers.dtype.kind == "b":
        return integers.view(np.uint8)
    return integers if integers.dtype.isbuiltin else integers.astype(np.int16)


def _index(at: int, leaf: Leaf) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(at, leaf.shape)) if leaf.shape else ()


# Signalling NaNs, and float64 near its end: neither is worth a warning.
@np.errstate(over="ignore", invalid="ignore")
def _inexact(
    a: np.ndarray, b: np.ndarray, tolerance: Tolerance, leaf: Leaf, least: float = 0.0
) -> Numbers:
    """``least``: what the golden's scale is at least."""
    parts = 2 if a.dtype.kind == "c" else 1
    real = a.real.dtype if parts == 2 else a.dtype
    x, y = a.reshape(-1).view(real), b.reshape(-1).view(real)
    unsigned = np.dtype(f"u{real.itemsize}")
    differing = nonfinite = 0
    scale, worst, at, odd, first = least, -1.0, 0, None, None
    for start in range(0, x.size, _BLOCK):
        p, q = x[start : start + _BLOCK], y[start : start + _BLOCK]
        moved = p.view(unsigned) != q.view(unsigned)
        p64 = p.astype(np.float64)
        finite = np.isfinite(p64)
        scale = max(scale, float(np.abs(p64, where=finite, out=np.zeros_like(p64)).max()))
        if not moved.any():
            continue
        differing += int(moved.sum())
        first = start + int(moved.argmax()) if first is None else first
        q64 = q.astype(np.float64)
        both = finite & np.isfinite(q64)
        alike = both | (np.isnan(p64) & np.isnan(q64)) | (p64 == q64)
        if not alike.all():
            nonfinite += int((~alike).sum())
            odd = start + int(alike.argmin()) if odd is None else odd
        gap = np.zeros_like(p64)
        np.subtract(p64, q64, out=gap, where=both & moved)
        block = float(np.abs(gap, out=gap).max())
        if block > worst and (both & moved).any():
            # Bits may differ with no distance between the numbers: 0.0 and -0.0.
            worst, at = block, start + int((gap if block else both & moved).argmax())
    if tolerance.exact and differing:
        allowed = -1.0
    else:
        allowed = tolerance.of(leaf.dtype) * scale + tolerance.atol
    show = odd if odd is not None else at if worst >= 0 else first or 0
    return Numbers(
        differing=differing,
        total=leaf.size * parts,
        scale=scale,
        allowed=allowed,
        # Bits may differ with no two numbers apart: NaN payloads.
        worst=max(worst, 0.0),
        index=_index(show // parts, leaf),
        expected=_show(x[show]),
        obtained=_show(y[show]),
        ulp=_ulp(x[show : show + 1], y[show : show + 1]),
        nonfinite=nonfinite,
    )


def _show(value: Any) -> str:
    number = float(value)
    digits = {2: 4, 4: 9, 8: 17}.get(value.dtype.itemsize, 3)
    return f"{number:.{digits}g}"


def _ulp(a: np.ndarray, b: np.ndarray) -> int | None:
    """Steps from one float to the other over all floats between; None beyond finite ones."""
    if not (np.isfinite(a.astype(np.float64)) & np.isfinite(b.astype(np.float64))).all():
        return None
    info = ml_dtypes.finfo(a.dtype)  # type: ignore[no-untyped-call]
    # A float4 lies in the low bits of its byte; a float8_e8m0fnu has no sign.
    sign = 1 << (info.bits - 1) if info.min < 0 else 0

    def ordered(x: np.ndarray) -> int:
        value = int(x.view(f"u{x.dtype.itemsize}")[0]) & ((1 << info.bits) - 1)
        return sign - value if value & sign else value

    return abs(ordered(a) - ordered(b))
