"""A jax.Array that lies on several devices -> its elements in C order, a slab at a time.

No device's shards are gathered: a slab is put together from the parts of it that lie on the
devices of this process. Where other processes hold the rest, a slab is the sum over all of them,
each of which adds what it holds and zeros; all must then read the same array at the same time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.device import processes
from pytest_nnxrng.leaf.dtypes import is_packed
from pytest_nnxrng.leaf.slabs import SLAB, Array, Box, Slabs, boxes


def is_spread(array: jax.Array) -> bool:
    """Whether the elements lie on more than one device."""
    return len(array.sharding.device_set) > 1


def slabs(array: jax.Array) -> Slabs:
    """The elements of an array of numbers (not of typed keys) on several devices."""
    dtype = np.dtype(array.dtype)
    most = max(1, SLAB // dtype.itemsize)
    return Slabs(array.shape, dtype, lambda: _pieces(array, most))


def _pieces(array: jax.Array, most: int) -> Iterator[Array]:
    # Of the copies of a part the one with number 0 counts: it lies in one process alone.
    parts = [_Part(shard) for shard in array.addressable_shards if shard.replica_id == 0]
    here = array.is_fully_addressable
    for box in boxes(array.shape, most):
        shape = tuple(s.stop - s.start for s in box)
        inside = [part for part in parts if part.overlap(box) is not None]
        if here and len(inside) == 1 and inside[0].overlap(box) == box:
            yield np.ascontiguousarray(inside[0].read(box)).reshape(-1)
            continue
        slab = np.empty(shape, array.dtype) if here else np.zeros(shape, array.dtype)
        for part in inside:
            common = part.overlap(box)
            assert common is not None
            slab[_within(common, box)] = part.read(common)
        yield slab.reshape(-1) if here else _summed(slab)


class _Part:
    """One shard: where it lies in the array, and its elements there."""

    def __init__(self, shard: Any) -> None:
        self.data = shard.data
        self.box: Box = tuple(
            slice(s.start or 0, (s.start or 0) + n)
            for s, n in zip(shard.index, shard.data.shape, strict=True)
        )
        # A CPU device's memory is the host's, but for what takes less than a byte.
        shared = all(d.platform == "cpu" for d in self.data.devices())
        shared &= not is_packed(np.dtype(self.data.dtype).name)
        small = self.data.nbytes <= SLAB
        self.host = np.asarray(self.data) if shared or small else None

    def overlap(self, box: Box) -> Box | None:
        common = tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(self.box, box, strict=True)
        )
        return None if any(s.start >= s.stop for s in common) else common

    def read(self, box: Box) -> Array:
        mine = _within(box, self.box)
        if self.host is not None:
            return self.host[mine]
        starts = np.array([s.start for s in mine], np.int32)
        return np.asarray(_cut(self.data, starts, tuple(s.stop - s.start for s in mine)))


@functools.partial(jax.jit, static_argnums=2)
def _cut(data: jax.Array, starts: Any, sizes: tuple[int, ...]) -> jax.Array:
    return jax.lax.dynamic_slice(data, tuple(starts), sizes)


def _within(box: Box, outer: Box) -> Box:
    """``box`` counted from the corner of ``outer``."""
    return tuple(
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True)
    )


def _summed(slab: Array) -> Array:
    raw = np.zeros(-(-slab.nbytes // 4) * 4, np.uint8)
    raw[: slab.nbytes] = slab.reshape(-1).view(np.uint8)
    total = processes.total(raw.view(np.uint32))
    return total.view(np.uint8)[: slab.nbytes].view(slab.dtype)
