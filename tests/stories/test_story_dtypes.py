"""One leaf of each dtype JAX has, and every kind of key, through update and check elsewhere."""

from __future__ import annotations

import pytest
from projects import Project

DEAR = "Both ways at once, of what other stories here show."

EVERY = """
import jax
import jax.experimental
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

NARROW = [
    name
    for name in (
        "bool int2 uint2 int4 uint4 int8 uint8 int16 uint16 int32 uint32 float16 bfloat16 "
        "float32 complex64 float4_e2m1fn float8_e3m4 float8_e4m3 float8_e4m3b11fnuz "
        "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
    ).split()
    if hasattr(jnp, name) or name == "bool"
]
WIDE = "int64 uint64 float64 complex128".split()
IMPLS = ["threefry2x32", "rbg", "unsafe_rbg"]
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

@pytest.mark.parametrize("dtype", NARROW)
def test_jax(nnx_snapshot, dtype):
    values = jnp.asarray(np.array([0, 1, 1, 0, 1, 1])).astype(dtype)
    assert values.dtype.name == dtype
    nnx_snapshot.check({"vector": values, "matrix": values.reshape(2, 3), "one": values[1]})
    nnx_snapshot.check({"none": values[:0], "variable": nnx.Param(values)}, "more")

@pytest.mark.parametrize("dtype", WIDE)
def test_wide(nnx_snapshot, dtype):
    with enable_x64(True):
        values = jnp.asarray([0, 1, 2, 3], dtype)
        assert values.dtype.name == dtype
        nnx_snapshot.check({"vector": values, "one": values[1]})

@pytest.mark.parametrize("dtype", ["bool", "int64", "float64", "complex128", ">f4", "bfloat16"])
def test_numpy(nnx_snapshot, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    nnx_snapshot.check({"vector": np.arange(4).astype(kind), "one": kind.type(1)})

@pytest.mark.parametrize("impl", IMPLS)
def test_keys(nnx_snapshot, impl, seed):
    key = jax.random.key(seed, impl=impl)
    nnx_snapshot.check({
        "one": key,
        "many": jax.random.split(key, 5),
        "square": jax.random.split(key, (2, 3)),
        "raw": jax.random.PRNGKey(seed, impl=impl),
        "rngs": nnx.Rngs(key),
    })

def test_python(nnx_snapshot):
    nnx_snapshot.check({"bool": True, "int": -(2**63), "float": 0.1, "complex": 1 + 2j})

def test_special(nnx_snapshot):
    nan = np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-45], np.float32)
    nnx_snapshot.check({"": nan, "a.b": jnp.asarray(nan), "a": {"b": nan[:1]}})
    nnx_snapshot.check({7: nan[1:2], -1: [nan, (nan,)]}, "numbers")

@pytest.fixture
def seed():
    return 0
"""


@pytest.mark.dear(DEAR)
def test_every_dtype_round_trips_through_another_process_and_workers(project: Project):
    project.test(EVERY)
    alone = project.update()
    assert alone.ret == 0
    goldens = project.goldens()
    count = alone.outcomes["passed"]
    assert count > 35

    apart = project.run_apart().came_to(passed=count)
    workers = project.run_workers("--nnx-update-snapshots").came_to(passed=count)
    assert (
        apart.figures
        == workers.figures
        == alone.figures.replace("0 matched, ", "").replace("written", "matched")
    )
    assert project.goldens() == goldens

    project.change("tests/test_model.py", "    return 0\n", "    return 1\n")
    run = project.run().came_to(passed=count - 3, failed=3)
    run.says("many", "square", "raw")


def test_another_dtype_of_equal_numbers_is_a_difference(project: Project):
    project.test("""
        import jax.numpy as jnp, numpy as np

        def test_it(nnx_snapshot):
            nnx_snapshot.check({"a": jnp.ones(3, DTYPE), "b": CONVERT(1)})

        DTYPE, CONVERT = "float32", int
    """).made()
    for change in ("bfloat16", "float16", "int32", "float8_e4m3fn"):
        project.change("tests/test_model.py", '"float32"', f'"{change}"')
        project.run().came_to(failed=1).says(f"dtype: float32 -> {change}")
        project.change("tests/test_model.py", f'"{change}"', '"float32"')
    for change in ("bool", "float", "np.int64", "jnp.int32"):
        project.change("tests/test_model.py", ", int", f", {change}")
        project.run().came_to(failed=1).says("b ")
        project.change("tests/test_model.py", f", {change}", ", int")
    project.run().came_to(passed=1)


def test_the_sign_of_zero_and_nan_count_as_bits_do(project: Project):
    project.test("""
        import numpy as np

        def test_it(nnx_snapshot):
            nnx_snapshot(exact=True).check(np.float32([ZERO, np.nan, 1]), "exact")
            nnx_snapshot.check(np.float32([ZERO, np.nan, 1]), "near")

        ZERO = 0.0
    """).made()
    project.run().came_to(passed=1)
    project.change("tests/test_model.py", "ZERO = 0.0", "ZERO = -0.0")
    run = project.run().came_to(failed=1)
    run.says("test_it.exact.json").does_not_say("test_it.near.json: ")
    assert run.figures == "0 matched, 1 matched by rounding, 1 changed."
    project.change("tests/test_model.py", "ZERO = -0.0", "ZERO = np.nan")
    assert project.run().came_to(failed=1).figures == "0 matched, 2 changed."
