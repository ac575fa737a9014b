"""A linear sketch of an array, which tells rounding from change without the array's values.

A golden does not store the values of a large leaf. It keeps a digest, which says whether any bit
moved, and a sketch of 84 numbers (about 560 characters), from which `judge` says how much moved.

What is summed. The array, flattened in C order (a complex number is two reals), is cut into blocks
of 128 rows by 1021 columns, or of 32 rows where that would leave less than 12 blocks. 1021 is a
prime, so that no axis of a usual shape falls into one column. Element
(row, column) of block b gets the sign ``T[o(b) + 641 row + column]``, T a fixed pseudo-random table
and o(b) a pseudo-random offset; the rows are added up, which leaves 1021 *cells* a block. Each cell
draws 16 bits: for each of three *sets* one of 16 buckets and a sign (a CountSketch: Charikar, Chen
and Farach-Colton 2002), and a sign for its *segment*, one of 12 contiguous runs of blocks, which
says where. The bits are SplitMix64's (Steele, Lea and Flood 2014). A segment also keeps its least
and greatest element, exactly.

What that tells. Let d = a - b, n its elements. Sums are linear: D = sums(a) - sums(b) is the sketch
of d. The squares of each set's D sum to an unbiased estimate of |d|^2 (Alon, Matias and Szegedy
1996; Thorup and Zhang 2004) with a variance of about 2 |d|^4 / 16 per set where d
is spread over many cells. So the norm from all 48 sums has a relative standard error of
1 / sqrt(2 * 48) = 10 %, which a simulation confirms. `judge.judge` derives its answers.

Precision. Sums are float64; each is rounded to 28 bits after the leading one (5 bytes) unless the
leaf is float64. Of a leaf narrower than float32 the rows of a block are added up in float32, which
takes half the time and whose 2^-24 is nothing beside the leaf's own 2^-11 or 2^-8; in float64 where
elements are so large that float32 might overflow. Every addition has its place (a fixed grid of
blocks, elementwise trees, a counting loop), none is BLAS's or depends on memory layout, so equal
values give equal sketches anywhere. Non-finite elements count as zero; their positions and kinds
are digested.
"""

from __future__ import annotations

import base64
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from pytest_nnxrng.leaf.digest import blocks
from pytest_nnxrng.leaf.slabs import Slabs
from pytest_nnxrng.leaf.statistics import Moments, extremes

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint64]

ROWS, COLUMNS = 128, 1021
FEW_ROWS = 32
SETS, BUCKETS, SEGMENTS = 3, 16, 12
SUMS = SETS * BUCKETS

_STRIDE, _OFFSETS = 641, 4096
_LAST_ROWS, _MANY = 4, 64
_LARGE = 2.0**100  # above it, sums of rows in float32 come near its end
_NUMBERS = SUMS + 3 * SEGMENTS


@dataclass(frozen=True)
class Sketch:
    """What is kept of an array of floats: see the module's text. Equal values, equal sketches."""

    size: int  # real numbers: twice the elements of a complex array
    sums: tuple[float, ...]  # 48: three sets of 16 buckets
    segments: tuple[float, ...]  # 12 signed sums, one a contiguous segment
    lowest: tuple[float, ...]  # 12, 0 where a segment has no finite element
    highest: tuple[float, ...]
    wide: bool = False  # float64: all bits of the numbers are kept
    nonfinite: int = 0
    nonfinite_digest: str = ""  # 16 hex digits over (position, kind); NaNs are all alike

    @property
    def scale(self) -> float:
        """The largest magnitude among the finite elements, exactly; of a complex one, a part's."""
        return max(map(abs, self.lowest + self.highest))

    def to_json(self) -> dict[str, object]:
        """A dict for `json.dumps`: about 560 characters (880 for float64)."""
        numbers = np.array(self.sums + self.segments + self.lowest + self.highest, "<f8")
        kept = numbers.view(np.uint8).reshape(-1, 8)[:, 0 if self.wide else 3 :]
        data = base64.b85encode(kept.tobytes()).decode("ascii")
        value: dict[str, object] = {"size": self.size, "data": data}
        if self.nonfinite:
            value["nonfinite"] = [self.nonfinite, self.nonfinite_digest]
        return value

    @classmethod
    def from_json(cls, value: object) -> Sketch:
        """The inverse of `to_json`. ValueError for anything that it does not write."""
        if not isinstance(value, Mapping) or not value.keys() <= {"size", "data", "nonfinite"}:
            raise ValueError("a sketch is an object of size, data and nonfinite")
        size = _count(value.get("size"), least=0)
        nonfinite = value.get("nonfinite", [0, ""])
        if not isinstance(nonfinite, list) or len(nonfinite) != 2:
            raise ValueError("a sketch's nonfinite is a count and a digest")
        count, kinds = _count(nonfinite[0], least=int("nonfinite" in value)), nonfinite[1]
        if not isinstance(kinds, str) or not re.fullmatch("[0-9a-f]{16}" if count else "", kinds):
            raise ValueError("a sketch's nonfinite is a count and 16 hex digits")
        if count > size:
            raise ValueError("a sketch has more non-finite elements than elements")
        numbers, wide = _decode(value.get("data"))
        low, high = numbers[-2 * SEGMENTS : -SEGMENTS], numbers[-SEGMENTS:]
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise ValueError("a sketch's minimum exceeds its maximum")
        signed = numbers[SUMS : SUMS + SEGMENTS]
        return cls(size, numbers[:SUMS], signed, low, high, wide, count, kinds)


def sketch(array: Array | Slabs, moments: Moments | None = None) -> Sketch | None:
    """The sketch of a float or complex array, in one pass over it; `moments` count in the same.

    None for other dtypes (integers, bools: their digest decides), and for a float64 array whose
    sums overflow. Needs 7 MB beside the array, and for all arrays together 16 MB more.
    """
    real = _real(array.dtype)
    if real is None:
        return None
    parts = max(1, array.dtype.itemsize // real.itemsize)
    cells = _Cells(array.size * parts, real, moments)
    # A block holds whole elements, two reals each of a complex array: rows are even.
    for number, run in enumerate(blocks(array, cells.run * cells.block // parts)):
        values = run.view(real)
        whole = values.size // cells.block * cells.block
        cells.add(number * cells.run, values[:whole])
        cells.add(number * cells.run + whole // cells.block, values[whole:])
    return cells.sketch(wide=real.itemsize == 8)


class _Cells:
    """The running sums of `sketch`, and the memory it works in.

    Blocks are taken several at a time, and their last rows many at a time: threads on other
    leaves work beside this one as long as few, long calls are made.
    """

    def __init__(self, size: int, real: np.dtype[Any], moments: Moments | None) -> None:
        self._moments = moments
        self._size, self.block = size, block_size(size)
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
        np.copyto(flat, run, casting="unsafe")
        values.reshape(-1)[run.size :] = 0
        # Those of fewer bits cost less than those of the copy; NaN and inf show in them.
        low, high = extremes((run if run.dtype.itemsize in (2, 4) else flat).reshape(count, -1))
        least, most = float(low.min()), float(high.max())
        if not (math.isfinite(least) and math.isfinite(most)):
            low, high = self._exclude(first, flat.reshape(count, -1))
            least, most = float(low.min()), float(high.max())
        self._low[first : first + count], self._high[first : first + count] = low, high
        return values, least, most

    def _exclude(self, first: int, values: Array) -> tuple[Floats, Floats]:
        """Zero the non-finite values, digest them, and return the extremes of the others."""
        finite = np.isfinite(values)
        low = values.min(axis=1, where=finite, initial=np.inf)
        high = values.max(axis=1, where=finite, initial=-np.inf)
        flat = values.reshape(-1)
        places = np.flatnonzero(~finite)
        record = np.empty((places.size, 2), "<i8")
        record[:, 0] = places + first * self.block
        record[:, 1] = np.nan_to_num(np.sign(flat[places]), nan=0.0)
        self._kinds.update(record)
        self._nonfinite += places.size
        flat[places] = 0
        return low, high

    def _sum(self, first: int, values: Array) -> None:
        """Add up the signed rows of the blocks from number `first` on, but for the last few."""
        table, word = _SIGNS[values.dtype.itemsize]
        bits, rows = values.view(word), values.shape[1]
        for at, number in enumerate(range(first, first + len(values))):
            signs = table[(number * 0x9E3779B1 & 0xFFFFFFFF) >> 20, :rows]
            np.bitwise_xor(bits[at], signs, out=bits[at])
        # An explicit tree: numpy may choose another order for its own reductions.
        while rows > 2 * _LAST_ROWS:
            rows //= 2
            np.add(values[:, :rows], values[:, rows : 2 * rows], out=values[:, :rows])
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
        *sets, signs = _draws(self._first, held)
        for sums, keys in zip(self._sums, sets, strict=True):
            sums += np.bincount(keys, cells, 2 * BUCKETS)
        segments = [_segment(self._first + at, self._blocks) for at in range(held)]
        for segment in dict.fromkeys(segments):
            start, count = segments.index(segment), segments.count(segment)
            part = slice(start * COLUMNS, (start + count) * COLUMNS)
            plus, minus = np.bincount(signs[part], cells[part], 2)
            self._segments[segment] += plus - minus
        self._held = 0

    @np.errstate(all="ignore")
    def sketch(self, wide: bool) -> Sketch | None:
        """The sketch, or None when a sum overflowed."""
        self._draw()
        low, high = np.full(SEGMENTS, np.inf), np.full(SEGMENTS, -np.inf)
        places = [_segment(number, self._blocks) for number in range(self._blocks)]
        np.minimum.at(low, places, self._low)
        np.maximum.at(high, places, self._high)
        empty = low > high
        low[empty] = high[empty] = 0
        signed = self._sums[:, :BUCKETS] - self._sums[:, BUCKETS:]
        parts = (signed.reshape(-1), self._segments, low, high)
        # Adding 0 makes -0.0 and 0.0, among which a minimum chooses freely, one.
        numbers = [(part if wide else _rounded(part)) + 0.0 for part in parts]
        if not all(np.isfinite(part).all() for part in numbers):
            return None
        sums, segments, lowest, highest = (tuple(map(float, part)) for part in numbers)
        kinds = self._kinds.hexdigest() if self._nonfinite else ""
        return Sketch(self._size, sums, segments, lowest, highest, wide, self._nonfinite, kinds)


def _mix(counter: Words) -> Words:
    """SplitMix64's output for the given counters: uint64, any shape."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@functools.lru_cache(maxsize=8)  # 2 MB each: leaves of one size draw the same
def _draws(first: int, count: int) -> tuple[Array, ...]:
    """What the cells of blocks draw: a bucket with a sign (32 keys) a set; the segment's sign."""
    numbers = np.arange(first, first + count, dtype=np.uint64)[:, None] << np.uint64(10)
    bits = _mix(_COLUMN + numbers).view(np.int64).reshape(-1)
    sets = (bits >> 5 * number & 31 for number in range(SETS))
    return (*sets, bits >> 5 * SETS + 4 & 1)


_COLUMN = np.arange(COLUMNS, dtype=np.uint64)
_TABLE = _mix(  # counters apart from those of cells
    np.arange((ROWS - 1) * _STRIDE + COLUMNS + _OFFSETS, dtype=np.uint64) + np.uint64(1 << 62)
) & np.uint64(1 << 63)


def _windows(table: Array) -> Array:
    """The signs of a block, (ROWS, COLUMNS), by its offset: views of one table."""
    size = table.itemsize
    return np.lib.stride_tricks.as_strided(
        table, (_OFFSETS, ROWS, COLUMNS), (size, size * _STRIDE, size), writeable=False
    )


_SIGNS = {  # by the bytes of the floats that they are given to
    4: (_windows((_TABLE >> np.uint64(32)).astype(np.uint32)), np.uint32),
    8: (_windows(_TABLE), np.uint64),
}


def block_size(size: int) -> int:
    """The real numbers in a block of an array of `size`."""
    return COLUMNS * (ROWS if size > (SEGMENTS - 1) * ROWS * COLUMNS else FEW_ROWS)


def _segment(block: int, blocks: int) -> int:
    return block * SEGMENTS // max(blocks, 1)


def _rounded(numbers: Floats) -> Floats:
    """To 5 bytes: sign, 11 bits of exponent, 28 of mantissa. Exact for anything up to float32."""
    bits = np.ascontiguousarray(numbers).view(np.uint64)
    return ((bits + np.uint64(1 << 23)) & np.uint64(0xFFFFFFFFFF000000)).view(np.float64)


def _decode(data: object) -> tuple[tuple[float, ...], bool]:
    """The numbers of a sketch's data, and whether they are wide. ValueError for anything else."""
    widths = {_NUMBERS * width * 5 // 4: width for width in (5, 8)}
    if not isinstance(data, str) or len(data) not in widths:
        raise ValueError(f"a sketch's data is a string of {' or '.join(map(str, widths))} digits")
    width = widths[len(data)]
    whole = np.zeros((_NUMBERS, 8), np.uint8)
    whole[:, 8 - width :] = np.frombuffer(base64.b85decode(data), np.uint8).reshape(-1, width)
    numbers = whole.view("<f8").reshape(-1)
    if not np.isfinite(numbers).all():
        raise ValueError("a sketch's numbers are finite")
    return tuple(numbers.tolist()), width == 8


def _count(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 53:
        raise ValueError(f"a sketch counts its elements: {value!r:.40}")
    return value


def _real(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The little-endian dtype of the reals of a float or complex dtype, else None."""
    if dtype.char in "efdFD":
        return np.dtype(f"<f{dtype.itemsize // (1 + (dtype.kind == 'c'))}")
    return dtype if dtype.name.startswith(("bfloat", "float")) else None
