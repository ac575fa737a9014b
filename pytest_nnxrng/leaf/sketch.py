"""A linear sketch of an array, which tells rounding from change without the array's values.

A golden does not store the values of a large leaf. It keeps a digest, which says whether any bit
moved, and a sketch (450 to 540 characters, 890 for float64), from which `judge` says how much.

What is summed. The array, flattened in C order (a complex number is two reals), is cut into blocks
of 128 rows by 1021 columns, or of 32 rows where that would leave less than 12 blocks. 1021 is a
prime, so that no axis of a usual shape falls into one column. Element
(row, column) of block b gets the sign ``T[o(b) + 641 row + column]``, T a fixed pseudo-random table
and o(b) a pseudo-random offset; the rows are added up, which leaves 1021 *cells* a block. Each cell
draws 16 bits: for each of three *sets* one of 16 buckets and a sign (a CountSketch: Charikar, Chen
and Farach-Colton 2002), and a sign for its *segment*, one of 12 contiguous runs of blocks, which
says where. A segment also keeps its least and greatest element, exactly. Of the sums of 16 rows (4
in blocks of 32), the *parts*, 768 bits are kept that tell how many of them changed (`Parities`).

What that tells. Let d = a - b, n its elements. Sums are linear: D = sums(a) - sums(b) is the sketch
of d. The squares of each set's D sum to an unbiased estimate of |d|^2 (Alon, Matias and Szegedy
1996; Thorup and Zhang 2004) with a variance of about 2 |d|^4 / 16 per set where d
is spread over many cells. So the norm from all 48 sums has a relative standard error of
1 / sqrt(2 * 48) = 10 %, which a simulation confirms. `judge.judge` derives its answers.

Precision. Sums are float64; each is rounded to 31 bits below the largest (55 for float64). Of a
leaf narrower than float32 the rows of a block are added up in float32, which
takes half the time and whose 2^-24 is nothing beside the leaf's own 2^-11 or 2^-8; in float64 where
elements are so large that float32 might overflow. Every addition has its place (a fixed grid of
blocks, elementwise trees, a counting loop), none is BLAS's or depends on memory layout, so equal
values give equal sketches anywhere. Non-finite elements count as zero; their positions and kinds
are digested. So are those that are set aside of the scale (`leaf.scale`), masks for the most part,
of which the extremes are kept, and a sketch of their own where these are not one. Where sums
overflow, all is a 2^-64th. Of floats of 8 bits and fewer it is not the numbers that are summed but
their places in their format, so that a step of it is 1 wherever it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from pytest_nnxrng.leaf import cells as drawn
from pytest_nnxrng.leaf import packing
from pytest_nnxrng.leaf.cells import BUCKETS, COLUMNS, PARTS, SEGMENTS, SETS, SUMS, Parities
from pytest_nnxrng.leaf.digest import blocks
from pytest_nnxrng.leaf.dtypes import is_small_float
from pytest_nnxrng.leaf.form import SHIFT, Aside, Form, Sketch
from pytest_nnxrng.leaf.grid import places
from pytest_nnxrng.leaf.scale import LEAST, starts
from pytest_nnxrng.leaf.slabs import Slabs
from pytest_nnxrng.leaf.statistics import Moments, extremes

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_LAST_ROWS, _MANY = 4, 64
_LARGE = 2.0**100  # above it, sums of rows in float32 come near its end


def sketch(
    array: Array | Slabs, moments: Moments | None = None, form: Form | None = None
) -> Sketch | None:
    """The sketch of a float or complex array; `moments` count in the same pass.

    One pass over it; two more for numbers so large that some may be set aside. None for other
    dtypes (integers, bools: their digest decides), and where an early form overflows. Needs 7 MB
    beside the array, and for all arrays together 24 MB more.
    """
    real = real_of(array.dtype)
    if real is None:
        return None
    if form is not None:
        return _formed(array, real, form, None)
    made = _formed(array, real, Form(), moments)
    if is_small_float(real.name) or (made is not None and made.scale < 2.0**LEAST):
        return made
    if found := starts(array):
        made = None
    for shift in (0, SHIFT):
        made = made or _formed(array, real, Form(starts=found, shift=shift), None)
    return made


def _formed(
    array: Array | Slabs, real: np.dtype[Any], form: Form, moments: Moments | None
) -> Sketch | None:
    made = _pass(array, real, form, moments, (0.0, form.starts[0] if form.starts else math.inf))
    if made is None or not form.starts:
        return made
    ends = (*form.starts[1:], math.inf)
    groups = [
        group
        if group.lowest == group.highest
        else replace(group, inner=_inner(array, real, (group.start, end)))
        for group, end in zip(made.aside, ends, strict=True)
    ]
    return replace(made, aside=tuple(groups))


def _inner(array: Array | Slabs, real: np.dtype[Any], band: tuple[float, float]) -> Sketch | None:
    for shift in (0, SHIFT):
        if made := _pass(array, real, Form(shift=shift), None, band):
            return made
    return None


def _pass(
    array: Array | Slabs,
    real: np.dtype[Any],
    form: Form,
    moments: Moments | None,
    band: tuple[float, float],
) -> Sketch | None:
    parts = max(1, array.dtype.itemsize // real.itemsize)
    cells = _Cells(array.size * parts, real, form, moments, band)
    # A block holds whole elements, two reals each of a complex array: rows are even.
    for number, run in enumerate(blocks(array, cells.run * cells.block // parts)):
        values = run.view(real)
        whole = values.size // cells.block * cells.block
        cells.add(number * cells.run, values[:whole])
        cells.add(number * cells.run + whole // cells.block, values[whole:])
    return cells.sketch()


class _Cells:
    """The running sums of `sketch`, and the memory it works in.

    Blocks are taken several at a time, and their last rows many at a time: threads on other
    leaves work beside this one as long as few, long calls are made.
    """

    def __init__(
        self,
        size: int,
        real: np.dtype[Any],
        form: Form,
        moments: Moments | None,
        band: tuple[float, float],
    ) -> None:
        self._form, self._moments = form, moments
        self._least, self._edge = (math.ldexp(end, -form.shift) for end in band)
        self._size, self.block = size, drawn.block_size(size)
        self._blocks = -(-size // self.block)
        dtype, self.run = (np.float32, 8) if real.itemsize < 4 else (np.float64, 4)
        rows = self.block // COLUMNS
        self._values = np.empty((min(self._blocks, self.run), rows, COLUMNS), dtype)
        self._last = np.empty((min(self._blocks, _MANY), _LAST_ROWS, COLUMNS), dtype)
        self._first, self._held = 0, 0  # the blocks of which `_last` has the last rows
        self._sums = np.zeros((SETS, 2 * BUCKETS))
        self._segments = np.zeros(SEGMENTS)
        self._low, self._high = np.empty(self._blocks), np.empty(self._blocks)
        self._nonfinite, self._kinds = 0, xxhash.xxh3_64()
        self._real, self._parities = real, None if form.early else Parities(self._blocks, dtype)
        self._places = None if form.early or not is_small_float(real.name) else places(real)
        self._aside = np.zeros((len(form.starts), 3))  # of each group: count, extremes
        self._aside[:, 1] = np.inf

    @np.errstate(all="ignore")
    def add(self, first: int, run: Array) -> None:
        """Count in the blocks from number `first` on: whole ones, or the part that is the last."""
        if not run.size:
            return
        count = -(-run.size // self.block)
        values, least, most = self._finite(first, run, count)
        if self._moments is not None:
            self._moments.add(values.reshape(-1, COLUMNS), least, most)
        if self._held + count > len(self._last):
            self._draw()
        if values.dtype == np.float32 and max(-least, most) > _LARGE:
            self._last = self._last.astype(np.float64)
            values = values.astype(np.float64)
        self._sum(first, values)

    def _finite(self, first: int, run: Array, count: int) -> tuple[Array, float, float]:
        """The values of `count` blocks, (count, rows, COLUMNS), zeros for what is not finite or
        not there, and their extremes."""
        values = self._values[:count]
        flat = values.reshape(-1)[: run.size]
        if self._places is not None:
            np.take(self._places, run.view(np.uint8), out=flat)
        else:
            np.copyto(flat, run, casting="unsafe")
        if self._form.shift:
            np.ldexp(flat, -self._form.shift, out=flat)
        values.reshape(-1)[run.size :] = 0
        # Those of fewer bits cost less than those of the copy; NaN and inf show in them.
        low, high = extremes((run if run.dtype.itemsize in (2, 4) else flat).reshape(count, -1))
        least, most = float(low.min()), float(high.max())
        # A NaN may be in one of them alone, and is never below.
        below = -least < self._edge and most < self._edge
        if self._least or not below:
            low, high = self._exclude(first, flat.reshape(count, -1))
            least, most = float(low.min()), float(high.max())
        self._low[first : first + count], self._high[first : first + count] = low, high
        return values, least, most

    def _exclude(self, first: int, values: Array) -> tuple[Floats, Floats]:
        """Zero the non-finite values and those set aside, digest them, and return the extremes of
        the others."""
        values[np.abs(values) < self._least] = 0
        finite = np.abs(values) < self._edge
        low = values.min(axis=1, where=finite, initial=np.inf)
        high = values.max(axis=1, where=finite, initial=-np.inf)
        flat = values.reshape(-1)
        places = np.flatnonzero(~finite)
        record = np.empty((places.size, 2), "<i8")
        record[:, 0] = places + first * self.block
        record[:, 1] = np.nan_to_num(np.sign(flat[places]), nan=0.0) * self._set_aside(flat[places])
        self._kinds.update(record)
        self._nonfinite += places.size
        flat[places] = 0
        return low, high

    def _set_aside(self, values: Floats) -> Array:
        """Count the values that are set aside; of each its group from 2 on, and 1 of all others."""
        sizes = np.abs(np.ldexp(values.astype(np.float64), self._form.shift))
        group = np.searchsorted(self._form.starts, sizes, side="right")
        group[~np.isfinite(sizes)] = 0
        for number, row in enumerate(self._aside, start=1):
            of = sizes[group == number]
            if of.size:
                row[:] = row[0] + of.size, min(row[1], of.min()), max(row[2], of.max())
        return group + 1

    def _sum(self, first: int, values: Array) -> None:
        """Add up the signed rows of the blocks from number `first` on, but for the last few."""
        table, word = drawn.SIGNS[values.dtype.itemsize]
        bits, rows = values.view(word), values.shape[1]
        for at, number in enumerate(range(first, first + len(values))):
            signs = table[drawn.offset(number), :rows]
            np.bitwise_xor(bits[at], signs, out=bits[at])
        # An explicit tree: numpy may choose another order for its own reductions.
        while rows > 2 * _LAST_ROWS:
            rows //= 2
            np.add(values[:, :rows], values[:, rows : 2 * rows], out=values[:, :rows])
            if rows == PARTS and self._parities is not None:
                for at in range(len(values)):
                    self._parities.add(first + at, values[at, :rows])
        rows //= 2
        held = self._last[self._held : self._held + len(values)]
        np.add(values[:, :rows], values[:, rows : 2 * rows], out=held)
        self._first = first - self._held
        self._held += len(values)

    def _draw(self) -> None:
        """Add up the last rows, and the cells to the buckets that they draw and their segments."""
        held, rows = self._held, _LAST_ROWS
        last = self._last[:held]
        while rows > 1:
            rows //= 2
            np.add(last[:, :rows], last[:, rows : 2 * rows], out=last[:, :rows])
        cells = last[:, 0].astype(np.float64).reshape(-1)
        *sets, signs = drawn.draws(self._first, held)
        for sums, keys in zip(self._sums, sets, strict=True):
            sums += np.bincount(keys, cells, 2 * BUCKETS)
        segments = [drawn.segment(self._first + at, self._blocks) for at in range(held)]
        for segment in dict.fromkeys(segments):
            start, count = segments.index(segment), segments.count(segment)
            part = slice(start * COLUMNS, (start + count) * COLUMNS)
            plus, minus = np.bincount(signs[part], cells[part], 2)
            self._segments[segment] += plus - minus
        self._held = 0

    @np.errstate(all="ignore")
    def sketch(self) -> Sketch | None:
        """The sketch, or None when a sum overflowed."""
        self._draw()
        low, high = np.full(SEGMENTS, np.inf), np.full(SEGMENTS, -np.inf)
        numbers = [drawn.segment(number, self._blocks) for number in range(self._blocks)]
        np.minimum.at(low, numbers, self._low)
        np.maximum.at(high, numbers, self._high)
        empty = low > high
        low[empty] = high[empty] = 0
        signed = self._sums[:, :BUCKETS] - self._sums[:, BUCKETS:]
        sums = np.concatenate([signed.reshape(-1), self._segments])
        if not all(np.isfinite(part).all() for part in (sums, low, high)):
            return None
        kind, wide = "" if self._form.early else self._real.name, self._real.itemsize == 8
        if kind:
            sums = packing.rounded(sums, kind)
        elif not wide:
            sums, low, high = map(packing.rounded_floats, (sums, low, high))
        # Adding 0 makes -0.0 and 0.0, among which a minimum chooses freely, one.
        found, lowest, highest = (tuple((part + 0.0).tolist()) for part in (sums, low, high))
        groups = zip(self._form.starts, self._aside.tolist(), strict=True)
        return Sketch(
            self._size,
            found[:SUMS],
            found[SUMS:],
            lowest,
            highest,
            kind=kind,
            wide=wide and not kind,
            nonfinite=self._nonfinite,
            nonfinite_digest=self._kinds.hexdigest() if self._nonfinite else "",
            parities=b"" if self._parities is None else self._parities.bits(),
            shift=self._form.shift,
            aside=tuple(
                Aside(start, int(count), least if count else 0.0, most)
                for start, (count, least, most) in groups
            ),
        )


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The little-endian dtype of the reals of a float or complex dtype, else None."""
    if dtype.char in "efdFD":
        return np.dtype(f"<f{dtype.itemsize // (1 + (dtype.kind == 'c'))}")
    return dtype if dtype.name.startswith(("bfloat", "float")) else None
