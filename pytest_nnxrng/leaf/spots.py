"""Spots: a few elements of a leaf, at places that its size decides, as a manifest keeps them.

The text is base 85 of the elements' little-endian bytes and a checksum of four bytes; of elements
that are all alike, one stands for all. Equal elements have equal texts.
"""

from __future__ import annotations

import base64
import functools
import math
from typing import TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from pytest_nnxrng.leaf.digest import octets
from pytest_nnxrng.leaf.dtypes import dtype_of, is_key
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.slabs import Slabs

Shape: TypeAlias = tuple[int, ...]
Selection: TypeAlias = NDArray[np.int64]  # flat indices, in C order
Coordinates: TypeAlias = tuple[Selection, ...]

COUNT = 32  # elements of a leaf, at most
_CHECKSUM = 4
_MOST_WORDS = 8  # of a key
_MASK = (1 << 64) - 1


@functools.cache
def chosen(size: int, count: int) -> Selection:
    """Flat indices of ``count`` elements of an array of ``size``, in order, all distinct.

    All of them when there are no more than ``count``; else the first, the last, and one from
    each of ``count - 2`` stretches of equal length in between. Where in its stretch is
    pseudo-random: SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014) seeded with the size.
    """
    if size <= count:
        return np.arange(size, dtype=np.int64)
    stretches = max(count - 2, 0)
    bounds = [1 + (size - 2) * i // max(stretches, 1) for i in range(stretches + 1)]
    inner = [
        bounds[i] + (_splitmix(size, i) * (bounds[i + 1] - bounds[i]) >> 64)
        for i in range(stretches)
    ]
    return np.array([0, *inner, size - 1][:count], np.int64)


def unravel(selection: Selection, shape: Shape) -> Coordinates:
    """Coordinates of flat indices; none for a scalar."""
    return np.unravel_index(selection, shape) if shape else ()


def _splitmix(seed: int, step: int) -> int:
    z = (seed + (step + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
    return z ^ z >> 31


def places(leaf: Leaf) -> Selection:
    """The flat indices of a leaf's spots."""
    return chosen(leaf.size, COUNT)


def at_spots(leaf: Leaf, contents: np.ndarray | Slabs) -> np.ndarray:
    """Of all elements of a leaf those at its spots: (count,), or (count, words)."""
    wanted = places(leaf)
    if isinstance(contents, Slabs):
        found, at = [np.empty(0, contents.dtype)], 0
        for piece in contents.pieces():
            found.append(piece[wanted[(wanted >= at) & (wanted < at + piece.size)] - at])
            at += piece.size
        return np.concatenate(found)
    if not leaf.shape:
        return contents.reshape(1, *contents.shape)
    return np.asarray(contents[unravel(wanted, leaf.shape)])


def elements(leaf: Leaf) -> np.ndarray | None:
    """The elements at a leaf's spots, from whatever it holds; None if it holds no elements.

    Raises:
      GoldenError: when the golden's values are needed and cannot be read.
    """
    if leaf.spots is not None:
        return decode(leaf.spots, leaf.dtype, leaf.shape)
    array = constant(leaf)
    if array is not None:
        return at_spots(leaf, array)
    return None if leaf.read is None else at_spots(leaf, leaf.contents())


def encode(spots: np.ndarray, dtype: str, shape: tuple[int, ...]) -> str:
    """The text of elements (count,), or key data (count, words), of a leaf.

    Raises:
      ValueError: when they are not those of such a leaf.
      UnsupportedDtype: when no golden holds that dtype.
    """
    count = min(math.prod(shape), COUNT)
    if spots.dtype != dtype_of(dtype) or spots.ndim != 1 + is_key(dtype) or len(spots) != count:
        raise ValueError(f"{spots.dtype}{list(spots.shape)} are no spots of {dtype}{list(shape)}")
    data = octets(np.ascontiguousarray(spots).reshape(-1)).tobytes()
    size = len(data) // max(count, 1)
    if count > 1 and not is_key(dtype) and data == data[:size] * count:
        data = data[:size]
    return base64.b85encode(data + _checksum(data, dtype, shape)).decode("ascii")


def decode(text: object, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of ``encode``. ValueError for anything that it does not write."""
    if not isinstance(text, str):
        raise ValueError('"spots" is not text')
    try:
        raw = base64.b85decode(text)
    except ValueError:
        raise ValueError('"spots" is not base 85') from None
    data, count = raw[:-_CHECKSUM], min(math.prod(shape), COUNT)
    wanted = dtype_of(dtype)
    if is_key(dtype):
        words, rest = divmod(len(data), max(count, 1) * wanted.itemsize)
        fits = not rest and words <= _MOST_WORDS and bool(words) == bool(count)
        form: tuple[int, ...] = (count, words)
    else:
        fits = len(data) in (count * wanted.itemsize, min(count, 1) * wanted.itemsize)
        form = (count,)
    if not fits or len(raw) < _CHECKSUM:
        raise ValueError(f'"spots" are not {count} elements of {dtype}')
    if raw[-_CHECKSUM:] != _checksum(data, dtype, shape):
        raise ValueError('"spots" are not those that were written: their checksum is another')
    one = count > 1 and not is_key(dtype) and len(data) == wanted.itemsize
    spots = np.frombuffer(data * count if one else data, wanted).reshape(form)
    if encode(spots, dtype, shape) != text:
        raise ValueError('"spots" are not written as they would be')
    return spots


def _checksum(data: bytes, dtype: str, shape: tuple[int, ...]) -> bytes:
    kind = f"{dtype}{list(shape)}".encode()
    return xxhash.xxh32_digest(data + kind)
