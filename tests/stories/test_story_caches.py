"""What JAX compiled for one test is there for the next: no check empties or misses its caches."""

from __future__ import annotations

import pytest
from projects import Project

TEST = """
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from models import MLP

compiled, traced = [], []


def listen(event, seconds, **kwargs):
    if event.endswith("backend_compile_duration"):
        compiled.append(event)


@pytest.fixture(scope="module", autouse=True)
def listening():
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield
    jax.monitoring.clear_event_listeners()


@nnx.jit
def forward(model, x):
    traced.append(x)
    return model(x)


@pytest.mark.parametrize("n", range(4))
def test_model(rngs, nnx_snapshot, n):
    model = nnx_snapshot.check_init(MLP, 2, 3, 4, rngs=rngs)
    nnx_snapshot.check(forward(model, jnp.ones((1, 2))), "output")
    if n == 0:
        compiled.clear()
    assert (len(compiled), len(traced)) == (0, 1)
"""


@pytest.mark.parametrize(
    "arguments", [(), ("--nnx-device=cpu",), ("--nnx-seed=7",)], ids=["plain", "device", "seed"]
)
def test_the_second_test_of_a_model_compiles_nothing(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.test(TEST)
    project.update(*arguments).came_to(passed=4)
    project.run(*arguments).came_to(passed=4)
