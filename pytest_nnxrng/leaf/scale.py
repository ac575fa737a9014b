"""The scale S of a leaf's elements, a share of which a tolerance allows.

S is the largest finite magnitude, but for elements that are *set aside*: masks (-1e9, the least
number of the format, its half) and single elements far above all others. They are compared on a
scale of their own, and what is left on its own, which no mask widens.

Magnitudes are counted by octaves, powers of two. From the top down, a group of octaves is set aside

* that begins at 2**9 = 512 or above: numbers of usual size have one scale, as elements near
  zero of a sum or a softmax are rounded on the scale of the large ones;
* below which six octaves or more are empty, so that it is at least 64 times what is left; three,
  and so eight times, where it lies in the two highest octaves of the format;
* that is narrow, of two octaves, or few, one in eight of the elements that are not zero.

Where nothing but zeros is left, these have the scale 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.digest import blocks
from pytest_nnxrng.leaf.slabs import Slabs

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 1 << 16  # elements; a float64 copy of them stays in the cache
LEAST = 9  # 2**9: nothing smaller is set aside
_GAP, _GAP_AT_EDGE = 6, 3  # empty octaves
_CLOSE = 2  # octaves
_FEW = 8  # one in so many
_OCTAVES, _BIAS = 2048, 1023  # of float64: octave e + _BIAS holds 2**e to 2**(e + 1)


@dataclass(frozen=True)
class Scale:
    """``rest``, and of what is set aside (from which magnitude on, its scale), the least first."""

    rest: float
    aside: tuple[tuple[float, float], ...] = ()

    def of(self, values: Floats) -> Floats | float:
        """The scale of each of the values, or of all."""
        if not self.aside:
            return self.rest
        found, sizes = np.full(values.shape, self.rest), np.abs(values)
        for least, scale in self.aside:
            found[sizes >= least] = scale
        return found

    @property
    def largest(self) -> float:
        return self.aside[-1][1] if self.aside else self.rest


@np.errstate(over="ignore", invalid="ignore")
def scale(array: Array | Slabs) -> Scale:
    """The scale of the elements of a float or complex array."""
    if not isinstance(array, Slabs) and array.size and not any(array.strides):
        array = array[(0,) * array.ndim].reshape(1)
    largest = max((float(np.abs(run).max()) for run in _runs(array)), default=0.0)
    found = starts(array) if largest >= 2.0**LEAST else ()
    return banded(array, found) if found else Scale(largest)


def starts(array: Array | Slabs) -> tuple[float, ...]:
    """The magnitudes at which groups begin that are set aside, the least first."""
    counts = np.zeros(_OCTAVES, np.int64)
    for run in _runs(array):
        counts += octaves(run)
    return cuts(counts, array.dtype)


def banded(array: Array | Slabs, starts: tuple[float, ...]) -> Scale:
    """The scale where elements from each of these magnitudes on, the least first, are set aside."""
    edges = (0.0, *starts, math.inf)
    most = np.zeros(len(starts) + 1)
    for run in _runs(array):
        sizes = np.abs(run)
        for at in range(len(most)):
            within = (sizes >= edges[at]) & (sizes < edges[at + 1])
            most[at] = max(most[at], sizes.max(where=within, initial=0.0))
    rest = float(most[0]) or float(bool(starts))
    return Scale(rest, tuple(zip(starts, map(float, most[1:]), strict=True)))


def octaves(values: Floats) -> NDArray[np.int64]:
    """How many of the values lie in each octave; zeros lie in the first, NaN and inf in none."""
    exponents = (values.view(np.int64) >> 52) & (_OCTAVES - 1)
    counts = np.bincount(exponents, minlength=_OCTAVES)
    counts[-1] = 0
    return counts


def cuts(counts: NDArray[np.int64], dtype: np.dtype[Any]) -> tuple[float, ...]:
    """The magnitudes at which groups begin that are set aside, the least first."""
    used = np.flatnonzero(counts[1:]) + 1
    total, edge = int(counts[used].sum()), _edge(dtype)
    found: list[float] = []
    while used.size:
        gaps = np.diff(used, prepend=0) - 1
        wanted = np.where(used >= edge, _GAP_AT_EDGE, _GAP)
        at = int(np.flatnonzero((gaps >= wanted) | (used == used[0]))[-1])
        group, alone = used[at:], at == 0
        narrow = int(group[-1] - group[0]) < _CLOSE
        few = _FEW * int(counts[group].sum()) <= total
        zeros = bool(counts[0])
        if group[0] < LEAST + _BIAS or not (narrow or few) or (alone and not zeros):
            break
        found.insert(0, 2.0 ** float(group[0] - _BIAS))
        used = used[:at]
    return tuple(found)


def _edge(dtype: np.dtype[Any]) -> int:
    """The lower of the two highest octaves of a dtype."""
    real = dtype if dtype.kind != "c" else np.dtype(f"f{dtype.itemsize // 2}")
    most = float(ml_dtypes.finfo(real).max)  # type: ignore[no-untyped-call]
    return math.frexp(most)[1] - 2 + _BIAS


def _runs(array: Array | Slabs) -> Any:
    """The finite numbers of an array in float64, others as zeros; two of a complex one."""
    for run in blocks(array, _BLOCK):
        values = (run.view(run.real.dtype) if run.dtype.kind == "c" else run).astype(np.float64)
        yield np.where(np.isfinite(values), values, 0.0)
