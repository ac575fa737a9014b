"""The digest of an array: whether any bit of it moved, at memory speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from pytest_nnxrng.leaf.dtypes import spare_mask
from pytest_nnxrng.leaf.slabs import Slabs

Array: TypeAlias = NDArray[Any]


def digest(array: Array | Slabs) -> str:
    """32 hex digits: the xxh3_128 of the array's little-endian bytes in C order.

    Any shape and layout; any numpy or ml_dtypes dtype but objects, structures and long doubles,
    whose bytes do not travel (TypeError). Narrow types (int4, ...) count their own bits alone.
    Shape and dtype are not in it. A contiguous array is not copied; the GIL is released.
    """
    hasher = xxhash.xxh3_128()
    for block in blocks(array, 1 << 18):
        hasher.update(octets(block))
    return hasher.hexdigest()


def octets(block: Array) -> NDArray[np.uint8]:
    """The bytes of a contiguous run. A narrow dtype's spare bits, which mean nothing, are 0."""
    raw: NDArray[np.uint8] = block.view(np.uint8)
    if block.dtype.itemsize > 1:
        return raw
    mask = spare_mask(block.dtype.name)
    return raw if mask is None else raw & np.uint8(mask)


def blocks(array: Array | Slabs, size: int) -> Iterator[Array]:
    """The elements in C order, little-endian, in contiguous runs of `size` and a last rest.

    Runs of a contiguous array are views; of another one, and of slabs, copies that the next run
    overwrites.
    """
    dtype = array.dtype
    long = dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)
    if dtype.hasobject or dtype.fields is not None or long:
        raise TypeError(f"an array of {dtype} has no portable bytes to digest")
    native = dtype.newbyteorder("<") if dtype.str[0] == ">" else dtype
    if not isinstance(array, Slabs) and array.flags.c_contiguous and native == dtype:
        flat = array.reshape(-1)
        yield from (flat[at : at + size] for at in range(0, flat.size, size))
        return
    buffer, filled = np.empty(size, native), 0
    for piece in array.pieces() if isinstance(array, Slabs) else _pieces(array, size):
        while piece.size:
            taken, piece = piece[: size - filled], piece[size - filled :]
            buffer[filled : filled + taken.size] = taken
            filled += taken.size
            if filled == size:
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


def _pieces(array: Array, size: int) -> Iterator[Array]:
    """The elements in C order in flat runs of about `size` or less."""
    if array.size <= size:
        yield array.reshape(-1)
    elif (step := size * len(array) // array.size) > 1:
        yield from (array[at : at + step].reshape(-1) for at in range(0, len(array), step))
    else:
        for part in array:
            yield from _pieces(part, size)
