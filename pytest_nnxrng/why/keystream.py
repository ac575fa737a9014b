"""The keys that follow from a key, and the random words that a key gives to the elements of a leaf.

Threefry (2 x 32 bits, 20 rounds: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy
as 1, 2, 3, SC 2011) is computed here, laid out as jax.random lays it out. So one word of a huge
leaf costs one word, nothing is compiled, and either setting of jax_threefry_partitionable is at
hand without a touch of jax.config; the tests hold it against jax.random. Other generators run in
JAX, over the leaf's whole shape, on the default device.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Words: TypeAlias = NDArray[np.uint32]

THREEFRY = "threefry2x32"
# How jax.random.uniform draws a dtype: bits an element, and how many of them, from the top, count.
# (Of the 52 that count in float64, the 32 of the first word.)
DRAWN = {"float64": (64, 32), "float32": (32, 23), "float16": (16, 10), "bfloat16": (8, 7)}

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_BLOCK = 1 << 14  # elements: the temporaries stay in the cache


@dataclass(frozen=True)
class Keys:
    """Labelled keys of one implementation; ``data``: uint32 key data (keys, words).

    ``partitionable``: whether threefry is to be; of no meaning to other generators.
    """

    impl: str
    partitionable: bool
    labels: list[str]
    data: Words

    @property
    def shapeless(self) -> bool:
        """Whether an element's word depends on its position in the flattened leaf alone."""
        return self.impl == THREEFRY and self.partitionable

    def take(self, index: Array) -> Keys:
        """The keys at ``index``."""
        return replace(self, labels=[self.labels[i] for i in index], data=self.data[index])


def seed_key(seed: int, impl: str) -> tuple[int, ...]:
    """The key data of ``jax.random.key(seed)``, under the running ``jax_random_seed_offset``."""
    offset = getattr(jax.config, "jax_random_seed_offset", 0)
    return _seed_key(seed, impl, offset, getattr(jax.config, "jax_enable_x64", False))


@functools.lru_cache(maxsize=1024)  # each call of jax.random.key takes 0.2 ms
def _seed_key(seed: int, impl: str, _offset: int, _x64: bool) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(jax.random.key(seed, impl=impl))).tolist())


def join(*parts: Keys) -> Keys:
    """All keys, in order."""
    labels = [label for part in parts for label in part.labels]
    return replace(parts[0], labels=labels, data=np.concatenate([part.data for part in parts]))


def fold(keys: Keys, number: int, sign: str) -> Keys:
    """``fold_in`` of 0, 1, ... to each key: ``params`` becomes ``params#0``, ``params#1``, ..."""
    if keys.impl == THREEFRY:
        count = np.arange(number, dtype=np.uint32)
        data = np.stack(_threefry(keys.data, np.zeros_like(count), count), axis=-1)
    else:
        data = np.asarray(_fold_in(keys.data, impl=keys.impl, number=number))
    labels = [f"{label}{sign}{i}" for label in keys.labels for i in range(number)]
    return replace(keys, labels=labels, data=data.reshape(len(labels), keys.data.shape[1]))


def split(keys: Keys, number: int, taken: int) -> Keys:
    """The first ``taken`` of ``split(key, number)``, for each threefry key: ``params#0/0``, ..."""
    if keys.partitionable:
        return fold(keys, taken, "/")
    labels = [f"{label}/{i}" for label in keys.labels for i in range(taken)]
    data = _unpartitionable(keys.data, np.arange(2 * taken), 2 * number)
    return replace(keys, labels=labels, data=data.reshape(len(labels), 2))


def words(keys: Keys, shape: tuple[int, ...], positions: Array, dtype: str) -> Words:
    """The bits that count of some elements, had each key drawn the leaf: (keys, positions).

    ``positions`` are int64 and index the flattened leaf; ``dtype`` is a key of ``DRAWN``.
    """
    width, kept = DRAWN[dtype]
    if keys.impl != THREEFRY:
        sample = _uniform(keys.data, positions, impl=keys.impl, shape=shape, dtype=dtype)
        return (np.asarray(sample).astype(np.float64) * 2.0**kept).astype(np.uint32)
    if keys.partitionable:
        high, low = np.divmod(positions, 1 << 32)
        first, second = _threefry(keys.data, high.astype(np.uint32), low.astype(np.uint32))
        found = first if width == 64 else first ^ second
    elif width == 64:
        size = int(np.prod(shape, dtype=np.int64))
        found = _unpartitionable(keys.data, positions, 2 * size)
    else:
        packed = 32 // width
        size = int(np.prod(shape, dtype=np.int64))
        found = _unpartitionable(keys.data, positions // packed, -(-size // packed))
        found >>= (positions % packed * width).astype(np.uint32)
    width = min(width, 32)
    return (found & np.uint32(2**width - 1)) >> np.uint32(width - kept)


def _threefry(keys: Words, high: Words, low: Words) -> tuple[Words, Words]:
    """Both words of the counters (n,) under each key (keys, 2): (keys, n) twice."""
    outs = (np.empty((len(keys), len(low)), np.uint32), np.empty((len(keys), len(low)), np.uint32))
    rows = max(1, _BLOCK // max(1, len(low)))
    for start in range(0, len(keys), rows):
        block = slice(start, start + rows)
        k0, k1 = keys[block, :1], keys[block, 1:]
        schedule = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
        x0, x1 = high + k0, low + k1
        for i in range(5):
            for bits in _ROTATIONS[i % 2]:
                x0 += x1
                x1 = (x1 << np.uint32(bits)) | (x1 >> np.uint32(32 - bits))
                x1 ^= x0
            x0 += schedule[(i + 1) % 3]
            x1 += schedule[(i + 2) % 3] + np.uint32(i + 1)
        outs[0][block], outs[1][block] = x0, x1
    return outs


def _unpartitionable(keys: Words, index: Array, total: int) -> Words:
    """Words ``index`` of the ``total`` that a key gives where threefry is not partitionable."""
    half = (total + 1) // 2
    low = index % half
    high = np.where(low + half < total, low + half, 0)
    first, second = _threefry(keys, low.astype(np.uint32), high.astype(np.uint32))
    return np.where(index < half, first, second)


# One key at a time: under vmap other generators than threefry give other words.
@functools.partial(jax.jit, static_argnames=("impl", "number"))
def _fold_in(data: Any, *, impl: str, number: int) -> Any:
    def fold_in(words: Any, count: Any) -> Any:
        key = jax.random.wrap_key_data(words, impl=impl)
        return jax.random.key_data(jax.random.fold_in(key, count))

    counts = jax.numpy.arange(number, dtype="uint32")
    return jax.lax.map(lambda words: jax.lax.map(lambda c: fold_in(words, c), counts), data)


@functools.partial(jax.jit, static_argnames=("impl", "shape", "dtype"))
def _uniform(
    data: Any, positions: Any, *, impl: str, shape: tuple[int, ...], dtype: str
) -> jax.Array:
    def draw(words: Any) -> jax.Array:
        key = jax.random.wrap_key_data(words, impl=impl)
        return jax.random.uniform(key, shape, dtype).reshape(-1)[positions]

    sample: jax.Array = jax.lax.map(draw, data)
    return sample
