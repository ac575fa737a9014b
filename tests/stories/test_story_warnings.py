"""Models that match and are still worth a word: which, and in which category."""

from __future__ import annotations

import pytest
from projects import Project

MODELS = """
import jax
import jax.numpy as jnp
from flax import nnx


class Shared(nnx.Module):
    def __init__(self, rngs):
        key = rngs.params()
        self.a = nnx.Param(jax.random.normal(key, (4, 4)))
        self.b = nnx.Param(jax.random.normal(key, (4, 4)))


class Tables(nnx.Module):
    # What is computed, not drawn, may be equal: positions for each head, identity matrices.
    def __init__(self, rngs):
        self.knots = nnx.Param(jnp.tile(jnp.linspace(-1, 1, 12), (3, 1)))
        self.mean = nnx.Variable(jnp.eye(5))
        self.scale = nnx.Param(jnp.eye(5))
        self.head = nnx.Linear(4, 4, rngs=rngs)


def stack(rngs):
    return nnx.vmap(lambda rngs: nnx.Linear(4, 4, rngs=rngs), in_axes=None, axis_size=3)(rngs)


class Fixed(nnx.Module):
    def __init__(self, rngs):
        self.frequencies = nnx.Param(jax.random.normal(jax.random.key(0), (16,)))
        self.head = nnx.Linear(4, 4, rngs=rngs)


class Gated(nnx.Module):
    def __init__(self, rngs):
        zeros = nnx.initializers.zeros
        self.gate = nnx.Linear(4, 4, kernel_init=zeros, rngs=rngs)
        self.head = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(x) + self.gate(x)
"""
TESTS = """
import jax.numpy as jnp
import pytest
from flax import nnx
import models

@pytest.mark.parametrize("name", ["Shared", "stack", "Tables", "Fixed", "Gated"])
def test_it(name, rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(getattr(models, name), rngs)
    if name == "Gated":
        nnx_snapshot.check(model(jnp.ones(4)), "output")

def test_gradients_of_zero_are_no_kernels(rngs, nnx_snapshot):
    model = nnx.Linear(4, 4, rngs=rngs)
    nnx_snapshot.check(nnx.grad(lambda model: 0.0 * model(jnp.ones(4)).sum())(model), "gradients")
    nnx_snapshot.check(model(jnp.ones(4)), "output")
"""
SHARED = "KeyReuseWarning: a and b have equal random values"
STACK = "KeyReuseWarning: the 3 slices of kernel are equal"
FIXED = "FixedSeedWarning: frequencies: drawn from a key that is hard-coded"
GATED = "ZeroKernelWarning: gate.kernel: all zeros"


@pytest.fixture
def models(project: Project) -> Project:
    return project.write({"models.py": MODELS}).test(TESTS)


def test_what_is_warned_of_when_goldens_are_written_and_when_they_match(models: Project):
    written = models.update().came_to(passed=6).says(SHARED, STACK, FIXED, GATED)
    matched = models.run_apart().came_to(passed=6).says(SHARED, STACK, FIXED, GATED)
    for run in (written, matched):
        assert run.text.count("ZeroKernelWarning: ") == 1
        run.does_not_say("knots", "mean and scale", "scale and mean")


def test_warnings_are_filtered_and_escalated_as_any(models: Project):
    models.update()
    escalated = models.run("-W", "error::pytest_nnxrng.KeyReuseWarning")
    assert escalated.failed_tests == {
        "FAILED tests/test_model.py::test_it[Shared]",
        "FAILED tests/test_model.py::test_it[stack]",
    }
    models.run("-W", "ignore::pytest_nnxrng.SnapshotWarning").came_to(passed=6)
