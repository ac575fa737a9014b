"""What a reader sees of a leaf: mean, std, min and max, in float64, six digits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.digest import blocks, octets
from pytest_nnxrng.leaf.dtypes import is_integer, is_small_float
from pytest_nnxrng.leaf.slabs import Slabs

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Row: TypeAlias = dict[str, float | int | str]

_BLOCK = 1 << 16  # elements; a float64 copy of them stays in the cache
_SMALL, _LARGE = 2.0**-40, 2.0**50  # between them, float32 holds the squares that count
# Below this share of the mean square a variance is not told by sums of squares: in float32, or not.
_SHARE_IN_FLOAT32, _SHARE = 0.1, 1e-6


# Signalling NaNs and float64 near its end: neither is worth a warning.
@np.errstate(over="ignore", invalid="ignore")
def statistics(array: Array | Slabs) -> Row:
    """Mean, std, min and max of an array; of a leaf with one distinct bit pattern only
    ``constant``, exactly; of a scalar its ``value``; elements that are not finite are counted
    apart.
    """
    if (plain := plainly(array)) is not None:
        return plain
    if is_small_float(array.dtype.name):
        return _counted(array)
    total = square = 0.0
    size = _parts(array) * array.size
    low, high, finite = math.inf, -math.inf, 0
    shift = None
    work = np.empty(min(size, _BLOCK))
    for run in _runs(array):
        block = work[: run.size]
        np.copyto(block, run, casting="unsafe")
        least, most = float(block.min()), float(block.max())
        if not (math.isfinite(least) and math.isfinite(most)):
            block = block[np.isfinite(block)]
            if not block.size:
                continue
            least, most = float(block.min()), float(block.max())
        # Shifted by an element, so that the variance of a narrow distribution survives.
        shift = float(block[0]) if shift is None else shift
        low, high = min(low, least), max(high, most)
        block -= shift
        total += float(block.sum())
        square += float(np.square(block, out=block).sum())
        finite += block.size
    if shift is None:
        return {"nonfinite": size}
    mean = total / finite
    deviation = math.sqrt(max(square / finite - mean * mean, 0.0))
    return _row(mean + shift, deviation, low, high, size - finite)


def _counted(array: Array | Slabs) -> Row:
    """The same of floats of 8 bits and fewer, by how many there are of each."""
    counts = np.zeros(256, np.int64)
    for run in _runs(array):
        counts += np.bincount(octets(run), minlength=256)
    values = np.arange(256, dtype=np.uint8).view(array.dtype).astype(np.float64)
    there = np.isfinite(values) & (counts > 0)
    values, counts = values[there], counts[there]
    finite = int(counts.sum())
    if not finite:
        return {"nonfinite": array.size}
    mean = float(values @ counts) / finite
    deviation = math.sqrt(float(np.square(values - mean) @ counts) / finite)
    low, high = float(values.min()), float(values.max())
    return _row(mean, deviation, low, high, array.size - finite)


def plainly(array: Array | Slabs) -> Row | None:
    """The statistics of an empty array, a scalar, or equal bits throughout; None of others."""
    if array.size == 0:
        return {}
    first = _real(next(blocks(array, 1)).copy())[:1]
    if array.ndim == 0 and array.dtype.kind != "c":
        return {"value": _number(first[0])}
    unsigned = f"u{first.dtype.itemsize}"
    bits = first.view(unsigned)
    if all(bool((run.view(unsigned) == bits).all()) for run in _runs(array)):
        return {"constant": _exact(first[0])}
    return None


def extremes(floats: Array) -> tuple[Floats, Floats]:
    """The least and the greatest of each row of (rows, floats); not finite if any of it is not."""
    if floats.dtype.itemsize != 2:
        return floats.min(axis=1).astype(np.float64), floats.max(axis=1).astype(np.float64)
    # Numpy has no fast minimum of these; bits of one sign are ordered by magnitude.
    signed, unsigned = floats.view(np.int16), floats.view(np.uint16)
    greatest, least = signed.max(axis=1), unsigned.max(axis=1)
    if (greatest < 0).any():  # all are negative: the greatest has the least magnitude
        greatest = np.where(greatest < 0, signed.min(axis=1), greatest)
    if (least < 1 << 15).any():  # none is
        least = np.where(least < 1 << 15, unsigned.min(axis=1), least)
    low, high = least.view(floats.dtype), greatest.view(floats.dtype)
    return low.astype(np.float64), high.astype(np.float64)


class Moments:
    """Sums of what `sketch` passes over, from which its statistics follow without another pass."""

    def __init__(self) -> None:
        self._totals: list[Array] = []  # of rows, as are the squares
        self._squares: list[Array] = []
        self._is_rough = False  # some of them were added up in float32
        self._low, self._high = math.inf, -math.inf

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, rows: Floats, low: float, high: float) -> None:
        """Count in finite numbers from low to high: (rows, columns), zeros where there are none.

        Those of a row are added up in their own precision, rows in float64.
        """
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._is_rough |= rows.dtype == np.float32
        if rows.dtype == np.float32 and not _SMALL < max(-low, high) < _LARGE:
            rows = rows.astype(np.float64)  # squares would leave float32
        ones = _ones(rows.shape[1], rows.dtype)
        # Row by row: BLAS starts no threads of its own for so little.
        self._totals.append(np.matmul(rows[:, None, :], ones))
        self._squares.append(np.matmul(rows[:, None, :], rows[:, :, None]))

    @np.errstate(over="ignore", invalid="ignore")
    def row(self, size: int, nonfinite: int) -> Row | None:
        """The statistics; None where these sums cannot tell them to six digits."""
        finite = size - nonfinite
        if not finite:
            return None
        mean, square = (
            float(np.concatenate(sums).sum(dtype=np.float64)) / finite
            for sums in (self._totals, self._squares)
        )
        variance = square - mean * mean
        if not (_SHARE_IN_FLOAT32 if self._is_rough else _SHARE) * square < variance < math.inf:
            return None
        return _row(mean, math.sqrt(variance), self._low, self._high, nonfinite)


@functools.cache
def _ones(rows: int, dtype: Any) -> Array:
    return np.ones((rows, 1), dtype)


def _runs(array: Array | Slabs) -> Iterator[Array]:
    """The numbers of an array, two of a complex one, in C order and in flat runs of a block."""
    return map(_real, blocks(array, _BLOCK // _parts(array)))


def _real(run: Array) -> Array:
    return run.view(run.real.dtype) if run.dtype.kind == "c" else run


def _parts(array: Array | Slabs) -> int:
    return 2 if array.dtype.kind == "c" else 1


def _row(mean: float, deviation: float, low: float, high: float, nonfinite: int) -> Row:
    numbers = {"mean": mean, "std": deviation, "min": low, "max": high}
    row: Row = {name: _number(number) for name, number in numbers.items()}
    return row | {"nonfinite": nonfinite} if nonfinite else row


def _exact(value: Any) -> float | int | str:
    if is_integer(value.dtype.name):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    plain = number == int(number) and abs(number) < 1e6 and math.copysign(1, number) > 0
    return int(number) if plain else number


def _number(value: Any) -> float | int | str:
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    rounded = float(f"{number:.6g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e6 else rounded
