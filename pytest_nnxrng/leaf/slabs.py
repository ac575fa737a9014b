"""An array that is read a slab at a time, since the whole of it is not for one host's memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Box: TypeAlias = tuple[slice, ...]

SLAB = 4 << 20  # bytes


@dataclass(frozen=True)
class Slabs:
    """What ``digest``, ``sketch`` and ``statistics`` need of an array, and no more.

    ``pieces`` gives the elements in C order in flat contiguous runs. A run may be a view of
    what is read next: use it before the next one is asked for.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: Callable[[], Iterator[Array]]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def whole(self) -> Array:
        """The array in host memory."""
        found, at = np.empty(self.size, self.dtype), 0
        for piece in self.pieces():
            found[at : at + piece.size] = piece
            at += piece.size
        return found.reshape(self.shape)


def boxes(shape: tuple[int, ...], most: int) -> Iterator[Box]:
    """Boxes of at most ``most`` elements that cover ``shape`` in C order, each contiguous in it."""
    size = math.prod(shape)
    if size == 0:
        return
    if size <= most or not shape:
        yield tuple(slice(0, n) for n in shape)
        return
    rest = size // shape[0]
    below = tuple(slice(0, n) for n in shape[1:])
    if rest <= most:
        step = most // rest
        for at in range(0, shape[0], step):
            yield (slice(at, min(at + step, shape[0])), *below)
        return
    for at in range(shape[0]):
        for box in boxes(shape[1:], most):
            yield (slice(at, at + 1), *box)
