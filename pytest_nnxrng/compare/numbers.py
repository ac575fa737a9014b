"""The elements of two leaves of one shape and dtype -> how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.dtypes import is_key
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.scale import Scale

Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 1 << 16  # elements; two float64 copies of a block stay in the cache


@dataclass(frozen=True)
class Numbers:
    """How two arrays of one shape and dtype differ.

    ``worst`` is the largest absolute difference between finite elements (None for keys), found
    at ``index``, where the golden has ``expected`` and the run ``obtained``, ``ulp`` units in
    the last place apart (None for what are not floats). ``scale`` is S of that element,
    ``allowed`` its tolerance in absolute terms: where they are not the same for all, it is the
    worst in terms of its own. ``nonfinite`` counts the elements of which one is NaN or
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
    aside: bool = False  # masks and the like have a scale of their own (``leaf.scale``)
    less: bool = False  # it was told by less than the golden should hold
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


def exact(a: np.ndarray, b: np.ndarray, leaf: Leaf) -> Numbers:
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
    x, y = a.reshape(-1), b.reshape(-1)
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


def _index(at: int, leaf: Leaf) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(at, leaf.shape))


# Signalling NaNs, and float64 near its end: neither is worth a warning.
@np.errstate(over="ignore", invalid="ignore")
def inexact(
    a: np.ndarray, b: np.ndarray, tolerance: Tolerance, leaf: Leaf, sizes: Scale
) -> Numbers:
    """``sizes`` is the scale of the golden's elements, of which ``a`` may be a few."""
    parts = 2 if a.dtype.kind == "c" else 1
    real = a.real.dtype if parts == 2 else a.dtype
    x, y = a.reshape(-1).view(real), b.reshape(-1).view(real)
    unsigned = np.dtype(f"u{real.itemsize}")
    differing = nonfinite = 0
    worst, at, odd, first = (-1.0, -1.0), 0, None, None
    for start in range(0, x.size, _BLOCK):
        p, q = x[start : start + _BLOCK], y[start : start + _BLOCK]
        places = np.flatnonzero(p.view(unsigned) != q.view(unsigned))
        if not places.size:
            continue
        differing += places.size
        first = start + int(places[0]) if first is None else first
        p64, q64 = p[places].astype(np.float64), q[places].astype(np.float64)
        both = np.isfinite(p64) & np.isfinite(q64)
        alike = both | (np.isnan(p64) & np.isnan(q64)) | (p64 == q64)
        if not alike.all():
            nonfinite += int((~alike).sum())
            odd = start + int(places[alike.argmin()]) if odd is None else odd
        if both.any():
            p64, q64, places = p64[both], q64[both], places[both]
            found, place = _worst(p64, q64, tolerance.allowed(leaf.dtype, sizes, p64, q64))
            if found > worst:
                worst, at = found, start + int(places[place])
    show = odd if odd is not None else at if worst[0] >= 0 else first or 0
    near, far = x[show : show + 1].astype(np.float64), y[show : show + 1].astype(np.float64)
    allowed, own = tolerance.allowed(leaf.dtype, sizes, near, far), sizes.of(near)
    return Numbers(
        differing=differing,
        total=leaf.size * parts,
        scale=float(np.max(own)),
        allowed=-1.0 if tolerance.exact and differing else float(np.max(allowed)),
        # Bits may differ with no two numbers apart: NaN payloads.
        worst=max(worst[1], 0.0),
        index=_index(show // parts, leaf),
        expected=_show(x[show]),
        obtained=_show(y[show]),
        ulp=_ulp(x[show : show + 1], y[show : show + 1]),
        nonfinite=nonfinite,
        aside=bool(sizes.aside),
    )


def _worst(p: Floats, q: Floats, allowed: Floats | float) -> tuple[tuple[float, float], int]:
    """The largest difference: over what is allowed there, and as it is; and its place."""
    apart = np.abs(p - q)
    over, most = apart, apart
    if isinstance(allowed, np.ndarray):
        with np.errstate(divide="ignore"):
            over = np.divide(apart, allowed, out=np.zeros_like(apart), where=apart > 0)
        most = np.where(over == over.max(), apart, -1.0)
    at = int(most.argmax())
    return (float(over[at]), float(apart[at])), at


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
