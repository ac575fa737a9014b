"""Where the elements of a sketch fall: their signs, cells, buckets and segments.

All of it is pseudo-random and fixed, made by SplitMix64 (Steele, Lea and Flood 2014): goldens on
disk depend on it. See the text of `sketch`.
"""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Words: TypeAlias = NDArray[np.uint64]

ROWS, COLUMNS = 128, 1021
FEW_ROWS = 32
SETS, BUCKETS, SEGMENTS = 3, 16, 12
SUMS = SETS * BUCKETS
PARTS = 8  # rows of a block, each the sum of some, that are looked at for what changed
LEVELS, BITS = 3, 256  # of `Parities`

_STRIDE, _OFFSETS = 641, 4096


def mix(counter: Words) -> Words:
    """SplitMix64's output for the given counters: uint64, any shape."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@functools.lru_cache(maxsize=8)  # 2 MB each: leaves of one size draw the same
def draws(first: int, count: int) -> tuple[Array, ...]:
    """What the cells of blocks draw: a bucket with a sign (32 keys) a set; the segment's sign."""
    numbers = np.arange(first, first + count, dtype=np.uint64)[:, None] << np.uint64(10)
    bits = mix(_COLUMN + numbers).view(np.int64).reshape(-1)
    sets = (bits >> 5 * number & 31 for number in range(SETS))
    return (*sets, bits >> 5 * SETS + 4 & 1)


_COLUMN = np.arange(COLUMNS, dtype=np.uint64)
_TABLE = mix(  # counters apart from those of cells
    np.arange((ROWS - 1) * _STRIDE + COLUMNS + _OFFSETS, dtype=np.uint64) + np.uint64(1 << 62)
) & np.uint64(1 << 63)


def _windows(table: Array, rows: int) -> Array:
    """What the cells of a block draw, (rows, COLUMNS), by its offset: views of one table."""
    size = table.itemsize
    return np.lib.stride_tricks.as_strided(
        table, (_OFFSETS, rows, COLUMNS), (size, size * _STRIDE, size), writeable=False
    )


SIGNS: dict[
    int, tuple[Array, type[np.unsignedinteger[Any]]]
] = {  # by the bytes of the floats that they are given to
    4: (_windows((_TABLE >> np.uint64(32)).astype(np.uint32), ROWS), np.uint32),
    8: (_windows(_TABLE, ROWS), np.uint64),
}


def offset(block: int) -> int:
    """Which window of the signs a block has."""
    return (block * 0x9E3779B1 & 0xFFFFFFFF) >> 20


def block_size(size: int) -> int:
    """The real numbers in a block of an array of `size`."""
    return COLUMNS * (ROWS if size > (SEGMENTS - 1) * ROWS * COLUMNS else FEW_ROWS)


def segment(block: int, blocks: int) -> int:
    return block * SEGMENTS // max(blocks, 1)


# -- what changed ----------------------------------------------------------------------


class Parities:
    """Bits from which the number of parts that changed between two arrays can be told.

    A part is the sum of a few elements of one column. Its bits times an odd factor, pseudo-random
    by its place, leave a highest bit that flips in half of the cases when the part changes. The
    bits at a position, one of `positions` that a part draws, are added up modulo 2; so are those
    of the positions of a group, and what differs between two arrays is the groups in which an odd
    number flipped. A level has 256 groups; levels have ever fewer positions (`sizes`), so that
    one of them tells whatever the number is.
    """

    def __init__(self, blocks: int, dtype: Any) -> None:
        self._width = _width(blocks)
        self._size = np.dtype(dtype).itemsize
        self._sums = np.zeros((PARTS, self._width), np.uint32)
        self._plain = np.empty((PARTS, COLUMNS), dtype)
        self._work = self._plain.view(f"u{self._size}")
        # Of the little-endian products the last half, with the highest bit, is enough.
        self._flips = self._work.view(np.uint32)[:, self._size // 4 - 1 :: self._size // 4]

    def add(self, block: int, parts: Array) -> None:
        """Count in the parts of a block, (PARTS, COLUMNS)."""
        if parts.itemsize == self._size:
            np.add(parts, 0, out=self._plain)  # which makes -0.0 and 0.0 one
        else:  # of numbers so large that float32 overflows
            words = (parts + 0).view(np.uint64)
            self._work[:] = words ^ words >> np.uint64(32)
        drawn = _draw(block)
        factors = _FACTORS[self._size][drawn >> 32 & _OFFSETS - 1]
        np.multiply(self._work, factors, out=self._work)
        at = drawn % self._width
        first = min(COLUMNS, self._width - at)
        for part, start in ((slice(0, first), at), (slice(first, COLUMNS), 0)):
            to = self._sums[:, start : start + part.stop - part.start]
            np.bitwise_xor(to, self._flips[:, part], out=to)

    def bits(self) -> bytes:
        """LEVELS * BITS bits, the levels one after the other."""
        count = PARTS * self._width
        flips = self._sums.reshape(-1)[_order(count)]
        ends = np.cumsum([BITS * size for size in sizes(count)])[:-1]
        odd = [
            np.bitwise_xor.reduce(level.reshape(-1, BITS), axis=0)
            for level in np.split(flips, ends)
        ]
        return np.packbits(np.concatenate(odd) >= np.uint32(1 << 31)).tobytes()


def positions(size: int) -> int:
    """How many positions the parts of an array of `size` real numbers draw."""
    return PARTS * _width(-(-size // block_size(size)))


def sizes(positions: int) -> tuple[int, ...]:
    """The positions of a group, by level."""
    few, some = 1, positions // BITS // 16
    return positions // BITS - few - some, some, few


def part_size(size: int) -> int:
    """How many elements make a part of an array of `size`."""
    return block_size(size) // COLUMNS // PARTS


def _width(blocks: int) -> int:
    return 1 << 12 if blocks < 64 else 1 << 13


def _draw(block: int) -> int:
    """64 bits: what `mix` gives, of one number."""
    z = (block + (1 << 61)) * 0x9E3779B97F4A7C15 & _ALL
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _ALL
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _ALL
    return z ^ z >> 31


_ALL = (1 << 64) - 1


@functools.cache
def _order(count: int) -> Array:
    """A pseudo-random order of the positions: which of them make a group."""
    return np.argsort(mix(np.arange(count, dtype=np.uint64) + np.uint64(3 << 61)), kind="stable")


_ODD = mix(
    np.arange((PARTS - 1) * _STRIDE + COLUMNS + _OFFSETS, dtype=np.uint64) + np.uint64(5 << 61)
)
_FACTORS = {
    4: _windows((_ODD >> np.uint64(32)).astype(np.uint32) | np.uint32(1), PARTS),
    8: _windows(_ODD | np.uint64(1), PARTS),
}
