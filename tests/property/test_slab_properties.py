"""What is read slab by slab is what the whole array holds, however it lies on devices."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_nnxrng.check.warn import _same_slices
from pytest_nnxrng.compare.gap import gap
from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.slabs import Slabs, boxes
from pytest_nnxrng.leaf.statistics import statistics

DTYPES = ["float32", "float64", "bfloat16", "float8_e4m3fn", "int4", "int8", "bool", "complex64"]


def in_pieces(array, most):
    """The array as slabs of ``most`` elements, in one buffer that each overwrites."""
    buffer = np.empty(array.shape, array.dtype)

    def pieces():
        for box in boxes(array.shape, most):
            run = buffer.reshape(-1)[: array[box].size]
            run[:] = array[box].reshape(-1)
            yield run

    return Slabs(array.shape, array.dtype, pieces)


shapes = st.lists(st.integers(0, 9), max_size=4).map(tuple)


@st.composite
def arrays(draw):
    shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    array = rng.normal(size=shape) * draw(st.sampled_from([0.0, 1.0, 3.0]))
    if draw(st.booleans()) and array.size:
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(
            st.sampled_from([np.nan, np.inf, 7.0]) if dtype[0] in "bfc" else st.just(7.0)
        )
    if dtype == "complex64":
        array = np.stack([array, np.flip(array)], axis=-1).view(complex)[..., 0]
    kind = getattr(ml_dtypes, dtype, None) or np.dtype(dtype)
    return np.asarray(array).astype(kind)


@given(shapes, st.integers(1, 40))
def test_boxes_cover_an_array_in_its_order(shape, most):
    array = np.arange(int(np.prod(shape))).reshape(shape)
    runs = [array[box].reshape(-1) for box in boxes(shape, most)]
    assert all(0 < run.size <= most for run in runs)
    assert np.concatenate([np.empty(0, int), *runs]).tolist() == list(range(array.size))


@given(arrays(), st.integers(1, 3000))
def test_slabs_say_what_the_array_says(array, most):
    slabs = in_pieces(array, most)
    assert digest(slabs) == digest(array)
    assert sketch(slabs) == sketch(array)
    assert statistics(slabs) == statistics(array)
    assert slabs.whole().tobytes() == array.tobytes()


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_equal_slices_are_found_in_slabs(slices, size, most, same):
    rows = np.random.default_rng(0).normal(size=(slices, size)).astype(np.float32)
    if same:
        rows[:] = rows[0]
    found = _same_slices(in_pieces(rows, most))
    assert found == _same_slices(rows)
    assert found == (size > 1 and (same or slices == 1))


@given(st.integers(0, 999_999), st.sampled_from(["float32", "int32"]))
def test_a_constant_is_compared_with_slabs(place, dtype):
    new = np.ones((1000, 1000, 2), dtype)
    new.reshape(-1)[place] = 3
    golden = np.broadcast_to(np.ones((), dtype), new.shape)
    old = Leaf("k", "Param", new.shape, dtype, read=lambda: golden)
    whole = Leaf("k", "Param", new.shape, dtype, read=lambda: new)
    split = Leaf("k", "Param", new.shape, dtype, slabs=in_pieces(new, 77_777), read=lambda: new)
    assert gap(old, split, Tolerance(WEIGHTS)) == gap(old, whole, Tolerance(WEIGHTS))


SHARDED = """
    import random, sys
    import jax, numpy as np, jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    from pytest_nnxrng.nnx import spread
    from pytest_nnxrng.leaf.digest import digest
    from pytest_nnxrng.leaf.statistics import statistics
    from pytest_nnxrng.nnx.flatten import flatten
    from pytest_nnxrng.leaf.sketch import sketch

    chance, devices = random.Random(0), np.array(jax.devices())
    assert len(devices) == 8
    if sys.argv[1] == "cuts":
        spread.is_packed = lambda name: True
    meshes = [
        Mesh(devices.reshape(2, 2, 2), ("a", "b", "c")),
        Mesh(devices.reshape(4, 2), ("a", "b")),
        Mesh(devices, ("a",)),
        Mesh(devices[:6].reshape(1, 6), ("a", "b")),
    ]
    tried = 0
    while tried < 60:
        mesh = chance.choice(meshes)
        shape = tuple(chance.choice([1, 3, 4, 8, 12, 24]) for _ in range(chance.randint(0, 3)))
        names = list(mesh.axis_names)
        chance.shuffle(names)
        spec = []
        for _ in shape:
            take = [names.pop() for _ in range(min(len(names), chance.choice([0, 1, 1, 2])))]
            spec.append(tuple(take) if len(take) > 1 else take[0] if take else None)
        sharding = NamedSharding(mesh, P(*spec))
        dtype = chance.choice(["float32", "bfloat16", "int4", "uint2", "bool", "complex64", "key"])
        if dtype == "key":
            x = jax.random.split(jax.random.key(tried), shape)
        else:
            drawn = np.random.default_rng(tried).normal(size=shape)
            x = jnp.asarray(drawn.astype(jnp.dtype(dtype)))
        try:
            y = jax.device_put(x, sharding)
        except ValueError:  # sizes that the mesh does not divide
            continue
        tried += 1
        spread.SLAB = chance.choice([8, 64, 1 << 22])
        (leaf,), (plain,) = flatten(y).leaves, flatten(x).leaves
        assert leaf.slabs is not None and plain.slabs is None
        whole = plain.read()
        assert digest(leaf.slabs) == digest(whole), (shape, spec, dtype)
        assert sketch(leaf.slabs) == sketch(whole), (shape, spec, dtype)
        assert statistics(leaf.slabs) == statistics(whole), (shape, spec, dtype)
        assert leaf.read().tobytes() == whole.tobytes()
    print("alike", tried)
"""


@pytest.mark.parametrize("way", ["views", "cuts"])
def test_arrays_on_eight_devices_say_what_they_say_on_one(way):
    """``cuts`` reads as from an accelerator, whose memory is not the host's."""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHARDED), way],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[-2:] == ["alike", "60"], done.stderr[-2000:]
