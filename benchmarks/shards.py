"""A digest computed where the shards are: what it would be, that it is sound, what it costs.

``python -m benchmarks.shards`` proves on virtual devices that it tells the same of every mesh, and
times it beside today's digest. Goldens do not hold it: see docs/explanation/many-hosts.md.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

# Odd numbers: the golden ratio's, two of MurmurHash3's, one of xxHash's.
LANES = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)
_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


@jax.jit
def digest(array: jax.Array) -> jax.Array:
    """Four uint32 of a leaf of up to 2**32 elements of at most 4 bytes, wherever its shards are.

    Each element's bits are mixed with its place in C order; the lanes are sums modulo 2**32, which
    have no order. So each device sums what it holds, and 16 bytes of each cross the network.
    """
    words = jax.lax.bitcast_convert_type(array, _WORDS[array.dtype.itemsize]).astype(jnp.uint32)
    place, stride = jnp.zeros(array.shape, jnp.uint32), 1
    for axis in reversed(range(array.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        place += along * jnp.uint32(stride % 2**32)
        stride *= array.shape[axis]
    mixed = [_mixed(_mixed(words ^ np.uint32(lane)) + place * np.uint32(lane)) for lane in LANES]
    return jnp.stack([jnp.sum(lane, dtype=jnp.uint32) for lane in mixed])


def _mixed(x: Any) -> Any:
    """The finalizer of MurmurHash3 (Appleby, public domain): each bit moves half of the others."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def same_on_every_mesh(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether all ways to lay the devices out, and to split a leaf among them, tell the same."""
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    array = jax.random.normal(jax.random.key(0), shape).astype(dtype)
    devices, found = np.array(jax.devices()), {tuple(np.asarray(digest(array)).tolist())}
    for order in (devices, devices[::-1]):
        for grid in ((len(order), 1), (len(order) // 2, 2), (1, len(order))):
            mesh = Mesh(order.reshape(grid), ("x", "y"))
            for spec in (("x", "y"), ("y", "x"), ("x", None), (None, ("x", "y")), (None, None)):
                placed = jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec)))
                found.add(tuple(np.asarray(digest(placed)).tolist()))
    return len(found) == 1


def missed(flips: int) -> int:
    """How many of so many single flipped bits, and swaps of two elements, it does not see."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal((64, 64), np.float32)
    whole, count = np.asarray(digest(array)), 0
    for _ in range(flips):
        changed = array.copy().ravel()
        one, other = rng.choice(changed.size, 2, replace=False)
        if rng.random() < 0.5:
            changed[[one, other]] = changed[[other, one]]
        else:
            changed.view(np.uint32)[one] ^= np.uint32(1 << rng.integers(32))
        same = np.array_equal(np.asarray(digest(changed.reshape(64, 64))), whole)
        count += same and not np.array_equal(changed, array.ravel())
    return count


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    from pytest_nnxrng.leaf.digest import digest as today

    for shape, dtype in (((64, 48), "float32"), ((128, 16), "bfloat16"), ((8, 8), "int8")):
        print(f"{shape} {dtype}: the same on every mesh: {same_on_every_mesh(shape, dtype)}")
    print(f"not seen, of 2,000 changed bits and swaps: {missed(2000)}")
    array = jax.block_until_ready(jax.random.normal(jax.random.key(2), (64_000_000,)))
    host = np.asarray(array)
    jax.block_until_ready(digest(array))
    ratios = [
        _seconds(lambda: jax.block_until_ready(digest(array))) / _seconds(lambda: today(host))
        for _ in range(9)
    ]
    print(f"64 M float32, on the CPU: {statistics.median(ratios):.2f} times today's digest")


if __name__ == "__main__":
    main()
