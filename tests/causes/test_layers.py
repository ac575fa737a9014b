"""Edits of what Flax's own layers do: those that hold others, set weights, or are called again."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench
from .forwards import List
from .test_calls import IMAGE, check, seeded, told


class Library(nnx.Module):
    """Layers of Flax that hold others, set their weights, or are called several times."""

    def __init__(self, **edits: Any) -> None:
        self.first = nnx.Linear(8, 8, rngs=seeded())
        weight = {"epsilon": edits.get("weight", 1e-12)}
        self.weight = nnx.WeightNorm(nnx.Linear(8, 8, rngs=seeded()), rngs=seeded(), **weight)
        steps = {"n_steps": edits.get("steps", 1)}
        self.spectral = nnx.SpectralNorm(nnx.Linear(8, 8, rngs=seeded()), rngs=seeded(), **steps)
        self.layers = List([nnx.Linear(8, 8, rngs=seeded(i)) for i in range(3)])
        self.drops = List([nnx.Dropout(edits.get("rate", 0.2), rngs=seeded()) for _ in range(2)])
        strides = edits.get("strides", 2)
        self.pool = lambda x: nnx.max_pool(x, (2,), strides=(strides,))
        self.norm = nnx.BatchNorm(8, use_running_average=edits.get("eval", False), rngs=seeded())
        self.conv = nnx.Conv(8, 8, (3,), padding=edits.get("padding", "SAME"), rngs=seeded())
        self.skip = edits.get("skip", 0)

    def __call__(self, x: Any) -> Any:
        x = self.spectral(self.weight(self.drops[1](self.first(x))), update_stats=True)
        for layer in self.layers[self.skip :]:
            x = x + layer(nnx.gelu(self.drops[0](x)))
        return self.conv(self.norm(self.pool(x)))


LIBRARY: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"weight": 0.5}, [("computation", "weight computes otherwise: epsilon 1e-12 -> 0.5: add _")]),
    ({"steps": 3}, [("computation", "spectral computes otherwise: n_steps 1 -> 3: nothing -> ")]),
    ({"strides": 1}, [("computation", "Library computes otherwise: reduce_window_max window_str")]),
    ({"eval": True}, [("computation", "norm computes otherwise: use_running_average false -> tr")]),
    (
        {"rate": 0.4},
        [("computation", "drops.1, drops.0, drops.0 (call 2), ... compute otherwise: rate 0.2 ->")],
    ),
    ({"skip": 1}, [("calls", "layers.0, drops.0 (call 3) are no longer called")]),
    (
        {"padding": "CIRCULAR"},
        [
            (
                "computation",
                "conv computes otherwise: padding SAME -> CIRCULAR: conv_general_dilated",
            )
        ],
    ),
    (
        {"weight": 0.5, "skip": 1, "eval": True},
        [
            ("computation", "weight computes otherwise: epsilon 1e-12 -> 0.5"),
            ("calls", "layers.0, drops.0 (call 3) are no longer called"),
            ("computation", "norm computes otherwise: use_running_average false -> true"),
        ],
    ),
]


@pytest.mark.skipif(not hasattr(nnx, "SpectralNorm"), reason="this flax does not have it")
@pytest.mark.skipif(not hasattr(nnx, "WeightNorm"), reason="this flax does not have it")
@pytest.mark.parametrize(("edits", "expected"), LIBRARY)
def test_layers_of_flax(
    bench: Bench, edits: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    def call(**edits: Any) -> Any:
        x = jnp.linspace(-1.0, 1.0, 2 * 6 * 8).reshape(2, 6, 8) ** 3
        return lambda snapshot: snapshot.check_call(Library(**edits), x)

    found = told(bench, call(), call(**edits))
    assert [word for word, _ in found] == [word for word, _ in expected], found
    assert all(
        text.startswith(start) for (_, text), (_, start) in zip(found, expected, strict=True)
    ), found


def test_a_stream_more_is_not_another_seed(bench: Bench) -> None:
    class Two(nnx.Module):
        def __init__(self, rate: float, more: bool) -> None:
            rngs = nnx.Rngs(0)
            self.first = nnx.Dropout(rate, rngs=rngs)
            self.second = nnx.Dropout(0.5, rngs=nnx.Rngs(dropout=2)) if more else (lambda x: x)

        def __call__(self, x: Any) -> Any:
            return self.second(self.first(x))

    found = told(bench, check(Two(0.5, False), IMAGE), check(Two(0.25, True), IMAGE))
    assert {word for word, _ in found} == {"calls", "computation"}, found


@pytest.mark.parametrize(("off", "at"), [(0.5, 2), (2e-7, 1)])
def test_a_later_step_that_computes_otherwise(bench: Bench, off: float, at: int) -> None:
    """The first step alone is traced, so that no more than the step is named."""

    def train(off: float) -> Any:
        def learn(model: Any, batch: tuple[int, Any]) -> Any:
            number, x = batch
            rate = 0.1 * (1.0 + off) if number >= at else 0.1
            value, grads = nnx.value_and_grad(lambda m, x: jnp.mean((m(x) - 1.0) ** 2))(model, x)
            new = jax.tree.map(lambda p, g: p - rate * g, nnx.state(model, nnx.Param), grads)
            nnx.update(model, new)
            return value

        xs = [(i, jnp.full((3, 4), i + 1.0) / 4) for i in range(4)]
        model = nnx.Linear(4, 2, rngs=seeded())
        return lambda snapshot: snapshot(tol=1e-8).check_steps(learn, model, xs)

    ((word, text),) = told(bench, train(0.0), train(off))
    assert word == "unknown"
    assert text.startswith("the first step computes what it did, from the same inputs, weights and")
    assert f"step {at + 1} of 4 is the first that moved: bias, kernel" in text
