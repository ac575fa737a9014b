"""Which tolerance a check has: what kind, which platforms, how matmuls are computed there."""

import pytest

from pytest_nnxrng.compare.tolerance import across, reduced, tolerance
from pytest_nnxrng.run.settings import Settings

CPU = {"platform": "cpu"}
GPU = {"platform": "gpu"}
TPU = {"platform": "tpu"}
FULL = {"jax_default_matmul_precision": "float32"}


def allowed(then, now, kind="value", dtype="float32", options=None, **settings):
    made = tolerance(Settings(**settings), kind, then, now, **(options or {}))
    return made.of(dtype)


@pytest.mark.parametrize(
    ("then", "now", "share"),
    [
        (CPU, CPU, 1e-5),
        (GPU, GPU, 1e-5),
        (CPU, GPU | FULL, 1e-4),
        (GPU | FULL, CPU, 1e-4),
        (CPU | FULL, GPU | FULL, 1e-4),
        (CPU, GPU, 5e-3),
        (CPU | FULL, GPU, 5e-3),
        (GPU, CPU, 5e-3),
        (CPU, TPU, 2e-2),
        (GPU, TPU, 2e-2),
        (GPU, TPU | FULL, 5e-3),
        (CPU, TPU | {"jax_default_matmul_precision": "highest"}, 1e-4),
        (CPU, TPU | {"jax_default_matmul_precision": "high"}, 2e-2),
        ({}, GPU | FULL, 1e-4),
        (CPU, {"platform": "METAL"}, 1e-4),
    ],
)
def test_outputs_of_float32(then, now, share):
    assert allowed(then, now) == share
    assert allowed(then, now, "init") == 1e-5, "weights come from the same random bits"
    assert allowed(then, now, options={"tol": 1e-7}) == 1e-7
    assert allowed(then, now, options={"exact": True}) == 0


def test_other_dtypes_are_as_on_one_platform():
    for dtype in ("float64", "bfloat16", "float16"):
        assert allowed(CPU, GPU, dtype=dtype) == allowed(CPU, CPU, dtype=dtype)
    assert allowed(CPU, GPU, dtype="int32") == 0


def test_what_the_user_sets():
    assert allowed(CPU, GPU, outputs_tol={"float32": 1e-7}) == 5e-3
    assert allowed(CPU, GPU, outputs_tol={"float32": 0.1}) == 0.1
    assert allowed(CPU, GPU, across_tol={"float32": 1e-7}) == 1e-7
    assert allowed(CPU, CPU, across_tol={"float32": 1e-7}) == 1e-5
    assert allowed(CPU, GPU, across_tol={"bfloat16": 0.5}, dtype="bfloat16") == 0.5
    assert allowed(CPU, GPU, strict=True) == 5e-3
    assert allowed(CPU, CPU, strict=True) == 2e-6


def test_a_build_has_the_tolerance_of_weights_and_all_else_that_of_outputs():
    assert allowed(CPU, CPU, "init", "bfloat16") == 1.6e-2
    assert allowed(CPU, CPU, "value", "bfloat16") == 3e-2
    assert allowed(CPU, CPU, "call", "bfloat16") == 3e-2
    mine = {"weights_tol": {"bfloat16": 0.1}, "outputs_tol": {"bfloat16": 0.2}}
    assert allowed(CPU, CPU, "init", "bfloat16", **mine) == 0.1
    assert allowed(CPU, CPU, "value", "bfloat16", **mine) == 0.2
    assert allowed(CPU, GPU, "init") == allowed(CPU, CPU, "init"), (
        "weights are drawn, not multiplied"
    )


def test_the_options_of_a_check_come_last():
    assert allowed(CPU, GPU, options={"tol": {"float32": 1e-9}}, strict=True) == 1e-9
    assert allowed(CPU, CPU, options={"tol": {"float32": 1e-9}}, dtype="float64") == 1e-10
    assert allowed(CPU, CPU, options={"tol": 1e-9}, dtype="float64") == 1e-9
    made = tolerance(Settings(), "value", CPU, CPU)
    assert (made.atol, made.exact) == (0.0, False)
    made = tolerance(Settings(), "value", CPU, CPU, atol=1, exact=True)
    assert (made.atol, made.exact) == (1.0, True)
    assert isinstance(made.atol, float)


@pytest.mark.parametrize("precision", [None, "default", "high", "bfloat16", "tensorfloat32"])
def test_a_gpu_multiplies_in_fewer_bits_unless_told_otherwise(precision):
    assert reduced(GPU | {"jax_default_matmul_precision": precision})
    assert not reduced(CPU | {"jax_default_matmul_precision": precision})
    assert across(CPU, GPU) == {"float32": 5e-3}
