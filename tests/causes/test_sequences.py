"""A model that a test trains and checks step by step: the first step that moved is told."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .test_mutations import seeded


class Net(nnx.Module):
    def __init__(self, extra: bool, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(4, 8, rngs=rngs)
        if extra:
            rngs.params()
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.first(x)))


def train(snapshot: Any, *, wrong_at: int = -1, rate: float = 0.1, extra: bool = False) -> None:
    model = Net(extra, rngs=seeded())
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    snapshot.check(model, "step0")
    for step in range(1, 4):
        grads = nnx.grad(lambda m: jnp.mean(m(x) ** 2))(model)
        factor = rate * (1.5 if step == wrong_at else 1.0)
        params = jax.tree.map(lambda p, g, f=factor: p - f * g, nnx.state(model, nnx.Param), grads)
        nnx.update(model, params)
        snapshot.check(model, f"step{step}")


def told(bench: Bench, **change: Any) -> list[list[str]]:
    bench.write(train)
    found = bench.causes(lambda snapshot: train(snapshot, **change))
    return [[f"{cause.word}: {cause.finding}" for cause in causes] for causes in found]


@pytest.mark.parametrize(("change", "first"), [({"wrong_at": 2}, 2), ({"rate": 0.2}, 1)])
def test_the_first_step_that_moved_is_told(bench: Bench, change: Any, first: int) -> None:
    found = told(bench, **change)
    moved = f"values: the model moved otherwise since `step{first - 1}`, which matches"
    after = [[f"follows: the model differed before this, in `step{n}`"] for n in range(first, 3)]
    assert found == [*[[]] * first, [moved], *after]


def test_what_was_drawn_otherwise_is_told_once_and_later_steps_follow(bench: Bench) -> None:
    found = told(bench, extra=True)
    draws = "draws: 1 more key from `params` before last.kernel"
    assert found[0] == [draws]
    for step, causes in enumerate(found[1:]):
        follows = f"follows: the model differed before this, in `step{step}`"
        assert follows in causes
        assert set(causes) <= {draws, follows}  # where training left enough of a draw to tell it


def test_another_model_of_the_test_is_no_earlier_step(bench: Bench) -> None:
    def check(snapshot: Any, factor: float) -> None:
        snapshot.check(Net(False, rngs=seeded()), "one")
        other = Net(False, rngs=seeded())
        other.first.kernel[...] = other.first.kernel[...] ** 2 * factor
        snapshot.check(other, "other")

    bench.write(lambda snapshot: check(snapshot, 1.0))
    found = bench.causes(lambda snapshot: check(snapshot, jnp.linspace(1, 2, 8)))
    assert found[0] == ()
    assert words(found[1]) == {"unknown"}, found


class Spectral(nnx.Module):
    """As spectral norm: each call divides the weight by a norm, which it keeps as its state."""

    def __init__(self, scale: float = 1.0, *, rngs: nnx.Rngs) -> None:
        def init(*args: Any, **kwargs: Any) -> Any:
            return nnx.initializers.lecun_normal()(*args, **kwargs) * scale

        self.sigma = nnx.BatchStat(jnp.ones(()))
        self.linear = nnx.Linear(4, 8, kernel_init=init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.linear.kernel[...]
        self.sigma[...] = jnp.abs(kernel).max() * 0.7 + 0.2
        self.linear.kernel[...] = kernel / self.sigma[...]
        return self.linear(x)


class Holder(nnx.Module):
    def __init__(self, scale: float, *, rngs: nnx.Rngs) -> None:
        self.norm = Spectral(scale, rngs=rngs)


@pytest.mark.parametrize(("calls", "scale", "word"), [(2, 1.0, "values"), (0, 0.5, "initializer")])
def test_a_weight_that_a_call_scales_is_no_initializer(
    bench: Bench, calls: int, scale: float, word: str
) -> None:
    def check(snapshot: Any, calls: int, scale: float) -> None:
        model = Holder(scale, rngs=seeded())
        for _ in range(calls):
            model.norm(jnp.ones((3, 4)))
        snapshot.check(model)

    bench.write(lambda snapshot: check(snapshot, int(calls > 0), 1.0))
    (found,) = bench.causes(lambda snapshot: check(snapshot, calls, scale))
    told = [cause.word for cause in found if "norm.linear.kernel" in cause.leaves]
    assert told == [word], found


def test_an_earlier_check_that_differed_elsewhere_is_not_said_to_match(bench: Bench) -> None:
    def check(snapshot: Any, extra: bool) -> None:
        model = Net(False, rngs=seeded())
        if extra:
            model.scale = nnx.Param(jnp.ones(2))
        snapshot.check(model, "made")
        model.first.kernel[...] = model.first.kernel[...] ** (3 if extra else 2)
        snapshot.check(model, "moved")

    bench.write(lambda snapshot: check(snapshot, False))
    made, moved = bench.causes(lambda snapshot: check(snapshot, True))
    assert words(made) == {"added"}
    (cause,) = [cause for cause in moved if cause.word == "values"]
    assert cause.finding == "the model moved otherwise since `made`, where what it kept matches"
