"""Traces and explanations are used again for what is equal, and for nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from pytest_nnxrng.check.reuse import Reuse
from pytest_nnxrng.compare import differences
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.nnx import arguments
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.build import Build, derived, streams
from pytest_nnxrng.why.explain import Mismatch

CALLS: list[str] = []
INIT = nnx.initializers.normal(1.0)


@dataclass
class Config:
    width: int = 3
    scale: float = 1.0


class Model(nnx.Module):
    def __init__(self, config: Any, *, rngs: nnx.Rngs) -> None:
        CALLS.append("built")
        self.w = nnx.Param(INIT(rngs.params(), (config.width,)) * getattr(config, "scale", 1.0))


class Opaque:
    width = 3


def built(reuse: Reuse, build: Callable[..., Any], *args: Any, seed: int = 0) -> Build:
    """A build that was called, and may use what is known."""
    rngs = nnx.Rngs(params=seed)
    given = arguments.Before(args, {"rngs": rngs})
    model = build(*args, rngs=rngs)
    made = Build(build, given, called=(args, {"rngs": rngs}))
    flat = flatten(model)
    reuse.share(made, flat.but(digested(flat.leaves)), jax.devices()[0])
    return made


def traces(made: Build) -> bool:
    """Whether it was traced itself."""
    CALLS.clear()
    assert made.trace is not None
    return bool(CALLS)


@pytest.mark.parametrize(
    "of",
    [
        lambda: (Model, (Config(),)),
        lambda: (Model, (Config(width=4, scale=2.0),)),
        lambda: (lambda *a, rngs: Model(*a, rngs=rngs), (Config(),)),
    ],
)
def test_an_equal_build_is_traced_once(of: Any) -> None:
    reuse = Reuse()
    assert traces(built(reuse, *_flat(of())))
    assert not traces(built(reuse, *_flat(of())))


def _flat(call: Any) -> tuple[Any, ...]:
    return call[0], *call[1]


def test_the_trace_is_the_same() -> None:
    reuse = Reuse()
    first, second = built(reuse, Model, Config()), built(reuse, Model, Config())
    one, other = first.trace, second.trace
    alone = second.alone().trace
    assert one is not None
    assert other is not None
    assert alone is not None
    assert other.leaves == alone.leaves
    assert other.streams == alone.streams
    assert [d.label for d in other.draws] == [d.label for d in alone.draws]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((Model, Config()), (Model, Config(scale=2.0))),
        ((Model, Config()), (Model, Config(width=4))),
        ((Model, Config()), (functools.partial(Model), Config())),
        ((Model, Opaque()), (Model, Opaque())),
    ],
    ids=["another number", "another shape", "a partial", "an object of no known type"],
)
def test_another_build_is_traced_anew(one: Any, other: Any) -> None:
    reuse = Reuse()
    assert traces(built(reuse, *one))
    assert traces(built(reuse, *other))


def test_other_keys_are_traced_anew() -> None:
    reuse = Reuse()
    assert traces(built(reuse, Model, Config()))
    assert traces(built(reuse, Model, Config(), seed=1))
    assert not traces(built(reuse, Model, Config(), seed=1))


def test_closures_are_told_apart_by_what_they_hold() -> None:
    def builder(scale: float) -> Any:
        return lambda *, rngs: Model(Config(scale=scale), rngs=rngs)

    reuse = Reuse()
    assert traces(built(reuse, builder(1.0)))
    assert traces(built(reuse, builder(2.0)))
    assert not traces(built(reuse, builder(2.0)))


def test_a_patched_constructor_is_traced_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse = Reuse()
    first = built(reuse, Model, Config())
    assert traces(first)
    monkeypatch.setitem(globals(), "INIT", nnx.initializers.uniform(1.0))
    patched = built(reuse, Model, Config())
    assert traces(patched)
    assert first.trace is not None
    assert patched.trace is not None
    assert first.trace.leaves["w"].initializer != patched.trace.leaves["w"].initializer


def test_an_extra_draw_that_no_leaf_shows_is_traced_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse = Reuse()
    assert traces(built(reuse, Model, Config()))
    init = INIT

    def greedy(self: Any, config: Any, *, rngs: nnx.Rngs) -> None:
        CALLS.append("built")
        self.w = nnx.Param(init(rngs.params(), (config.width,)))
        rngs.params()

    monkeypatch.setattr(Model, "__init__", greedy)
    changed = built(reuse, Model, Config())
    assert traces(changed)
    assert changed.trace is not None
    assert changed.trace.streams["params"].end == 2


def test_a_draw_outside_of_the_users_code_is_at_the_line_that_asks() -> None:
    reuse = Reuse()
    first = built(reuse, nnx.Linear, 2, 3)
    assert first.trace is not None
    second = built(reuse, nnx.Linear, 2, 3)
    assert second.trace is not None
    lines = [traced.draws[0].where.partition(": ")[0] for traced in (first.trace, second.trace)]
    assert lines[0] != lines[1]


def test_other_flags_are_traced_anew() -> None:
    reuse = Reuse()
    assert traces(built(reuse, Model, Config()))
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        assert traces(built(reuse, Model, Config()))


def test_a_large_array_of_the_user_is_not_held() -> None:
    table = jnp.ones(1 << 20)

    def build(*, rngs: nnx.Rngs) -> Model:
        model = Model(Config(), rngs=rngs)
        model.w[...] = model.w[...] + table[:3]
        return model

    reuse = Reuse()
    assert traces(built(reuse, build))
    assert traces(built(reuse, build))


def test_what_is_kept_of_a_trace_holds_no_model() -> None:
    reuse = Reuse()
    assert traces(built(reuse, Model, Config()))
    (known,) = reuse.traces._found.values()
    assert known.model is None


def test_a_closure_that_holds_nothing_yet_is_traced_anew() -> None:
    def builder() -> Any:
        def build(*, rngs: nnx.Rngs) -> Model:
            return Model(Config() if rngs else unset, rngs=rngs)

        if not callable(build):
            unset = Config()
        return build

    reuse = Reuse()
    assert traces(built(reuse, builder()))
    assert traces(built(reuse, builder()))


class Awkward(dict):  # type: ignore[type-arg]
    width = 3

    def items(self) -> Any:
        raise RuntimeError("not now")


def test_an_argument_that_cannot_be_looked_at_is_traced_anew() -> None:
    reuse = Reuse()
    assert traces(built(reuse, Model, Awkward()))
    assert traces(built(reuse, Model, Awkward()))


# -- that a build repeats itself -----------------------------------------------------------


def test_a_build_that_gave_the_same_before_is_not_built_again() -> None:
    reuse, asked = Reuse(), []

    def ask(build: Build) -> bool:
        asked.append(build)
        build.repeated = True
        return True

    for _ in range(2):
        made, flat = _made(Config())
        assert reuse.repeats(made, flat, jax.devices()[0], lambda made=made: ask(made))
        assert made.repeated
    assert len(asked) == 1


def test_one_that_did_not_repeat_is_asked_again() -> None:
    reuse, asked = Reuse(), []
    for _ in range(2):
        made, flat = _made(Config())
        assert not reuse.repeats(made, flat, jax.devices()[0], lambda: bool(asked.append(1)))
    assert len(asked) == 2


def _made(config: Config) -> tuple[Build, Any]:
    rngs = nnx.Rngs(params=0)
    given = arguments.Before((config,), {"rngs": rngs})
    flat = flatten(Model(config, rngs=rngs))
    build = Build(Model, given, called=((config,), {"rngs": rngs}))
    return build, flat.but(digested(flat.leaves))


# -- mismatches ----------------------------------------------------------------------------


def mismatch(golden: Golden, config: Config, function: str = "test_one") -> Mismatch:
    made, flat = _made(config)
    allowed = Tolerance({"float32": 0.0})
    owner = replace(golden.owner, function=function)
    compared = differences.compare(golden.leaves, flat.leaves, allowed)
    return Mismatch(
        replace(golden, owner=owner), flat, compared, (), allowed, kind="init", build=made
    )


@pytest.fixture
def golden() -> Golden:
    made, flat = _made(Config())
    assert made.trace is not None
    flat = derived(flat, made.trace)
    here = environment.read(jax.devices()[0])
    owner = Owner("", "test_one", None, "1", "init")
    return Golden(owner, here, kept(flat.leaves, 1 << 18), {}, streams(made.trace))


def test_an_equal_mismatch_of_another_test_is_explained_once(golden: Golden) -> None:
    reuse, device = Reuse(), jax.devices()[0]
    first = reuse.explained(mismatch(golden, Config(scale=2.0)), device)
    CALLS.clear()
    again = mismatch(golden, Config(scale=2.0), "test_two")
    CALLS.clear()
    second = reuse.explained(again, device)
    assert not CALLS
    assert [cause.word for cause in first.causes] == ["initializer"]
    assert second.causes == first.causes
    assert second.evidence.comparison is again.comparison
    assert second.evidence.streams == first.evidence.streams


def test_another_golden_or_another_model_is_explained_by_itself(golden: Golden) -> None:
    reuse, device = Reuse(), jax.devices()[0]
    reuse.explained(mismatch(golden, Config(scale=2.0)), device)
    other = reuse.explained(mismatch(golden, Config(width=4)), device)
    assert "shape" in {kind for d in other.evidence.comparison.differences for kind in d.kinds}
    assert other.evidence.obtained["w"].shape == (4,)
    moved = replace(golden, streams={"params": {**golden.streams["params"], "key": [0, 9]}})
    third = reuse.explained(mismatch(moved, Config(scale=2.0)), device)
    assert third.causes != reuse.explained(mismatch(golden, Config(scale=2.0)), device).causes


def test_what_is_kept_of_a_mismatch_holds_no_elements(golden: Golden) -> None:
    reuse = Reuse()
    reuse.explained(mismatch(golden, Config(scale=2.0)), jax.devices()[0])
    (known,) = reuse.explanations._found.values()
    every = [*known.evidence.expected.values(), *known.evidence.obtained.values()]
    assert every
    assert all(leaf.read is None and leaf.slabs is None for leaf in every)


def test_only_the_last_few_are_kept(golden: Golden) -> None:
    reuse = Reuse()
    assert reuse.traces._most == 32
    reuse.traces._most = 4
    for width in range(1, 8):
        assert traces(built(reuse, Model, Config(width=width)))
    assert len(reuse.traces._found) == 4
    assert not traces(built(reuse, Model, Config(width=7)))
    assert traces(built(reuse, Model, Config(width=1)))
