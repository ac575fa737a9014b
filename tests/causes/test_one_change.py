"""Changes as projects make them, in many blocks at once: each is one cause, nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .test_mutations import seeded
from .test_owners import List

BOTH = ["check_init", "check"]


class Attention(nnx.Module):
    def __init__(self, bias: bool, *, rngs: nnx.Rngs) -> None:
        self.use_bias = bias
        self.q = nnx.Linear(4, 4, use_bias=bias, rngs=rngs)
        self.k = nnx.Linear(4, 4, use_bias=bias, rngs=rngs)
        self.out = nnx.Linear(4, 4, use_bias=bias, rngs=rngs)


class Block(nnx.Module):
    def __init__(self, change: str, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.attention = Attention(change != "no bias", rngs=rngs)
        if change == "norm":
            self.post = nnx.RMSNorm(4, rngs=rngs)
        if change == "dropout":
            self.early = nnx.Dropout(0.1, rngs=rngs)
        setattr(self, "fc" if change == "renamed" else "up", nnx.Linear(4, 8, rngs=rngs))
        self.drop = nnx.Dropout(0.1, rngs=rngs)


class Net(nnx.Module):
    """Blocks under names, one elsewhere, and a head."""

    def __init__(self, change: str = "", *, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(8, 4, rngs=rngs)
        if change == "renamed":
            self.norm = nnx.LayerNorm(4, rngs=rngs)
        for number in range(2):
            setattr(self, f"block_{number}", Block(change, rngs=rngs))
        self.middle = Block(change, rngs=rngs)
        self.head = nnx.Linear(4, 6, rngs=rngs)


def causes(bench: Bench, how: str, then: Callable[..., Any], now: Callable[..., Any]) -> Any:
    """What is told of ``now(rngs)`` against a golden of ``then(rngs)``."""

    def body(build: Callable[..., Any]) -> Callable[[Any], None]:
        if how == "check":
            return lambda snapshot: snapshot.check(build(seeded()))
        return lambda snapshot: snapshot.check_init(build, seeded())

    bench.write(body(then))
    return bench.causes(body(now))[0]


def net(change: str = "") -> Callable[[nnx.Rngs], nnx.Module]:
    return lambda rngs: Net(change, rngs=rngs)


def line(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(i for i, found in enumerate(lines) if text in found)


CHANGES = [
    (
        "no bias",
        {"removed", "draws"},
        "by each of block_{i}.attention.q, block_{i}.attention.k, ",
    ),
    ("norm", {"added", "draws"}, "`params` by each of block_0.post, block_1.post, middle.post"),
    ("dropout", {"added", "draws"}, "`dropout` by each of block_0.early, block_1.early, middle"),
]


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize(("change", "expected", "told"), CHANGES)
def test_a_change_of_every_block_is_one_cause(
    bench: Bench, how: str, change: str, expected: set[str], told: str
) -> None:
    found = causes(bench, how, net(), net(change))
    assert words(found) == expected, found
    assert len(found) == len(expected), found
    (draws,) = [cause for cause in found if cause.word == "draws"]
    assert how == "check" or told in draws.text
    places = {"norm": "self.post = nnx", "dropout": "self.early = nnx"}
    if how == "check_init" and change in places:
        assert draws.place.endswith(f"test_one_change.py:{line(places[change])}")


@pytest.mark.parametrize("how", BOTH)
def test_a_rename_behind_new_draws_is_told_by_where_it_is_drawn(bench: Bench, how: str) -> None:
    found = causes(bench, how, net(), net("renamed"))
    assert words(found) == {"renamed", "added", "draws"}, found
    (added,) = [cause for cause in found if cause.word == "added"]
    assert added.leaves == ("norm.bias", "norm.scale")


@pytest.mark.filterwarnings("ignore::pytest_nnxrng.KeyReuseWarning")
def test_keys_of_two_streams_that_one_line_fixed_are_one_cause(bench: Bench) -> None:
    def build(fixed: bool, rngs: nnx.Rngs) -> nnx.Module:
        rngs = nnx.Rngs(0) if fixed else rngs
        return List([Block("", rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])

    bench.write(lambda snapshot: snapshot.check_init(build, False, seeded()))
    (cause,) = bench.causes(lambda snapshot: snapshot.check_init(build, True, seeded()))[0]
    assert cause.word == "stream"
    assert "in the golden from `dropout` and `params`" in cause.text
    assert cause.place.endswith(f":{line('nnx.Rngs(0) if fixed')}")


@pytest.mark.parametrize("how", BOTH)
def test_modules_that_are_fused_in_each_block_are_one_cause(bench: Bench, how: str) -> None:
    def build(fused: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        for number in range(2):
            block = nnx.Module()
            gate, up = (nnx.Linear(4, 6, use_bias=False, rngs=rngs) for _ in range(2))
            if fused:
                block.gate_up = nnx.Linear(4, 12, use_bias=False, rngs=nnx.Rngs(0))
                both = [gate.kernel[...], up.kernel[...]]
                block.gate_up.kernel[...] = jnp.concatenate(both, axis=1)
            else:
                block.gate, block.up = gate, up
            setattr(model, f"block_{number}", block)
        return model

    (cause,) = causes(bench, how, lambda r: build(False, r), lambda r: build(True, r))
    assert cause.text.startswith("block_{i}.gate, block_{i}.up -> block_{i}.gate_up: fused, the ")


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("head", ["linear", "embed"])
def test_what_is_tied_moves_no_other_leaf(bench: Bench, how: str, back: bool, head: str) -> None:
    def build(tied: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        model.wte = nnx.Embed(8, 4, rngs=rngs)
        if tied:
            model.lm_head = model.wte  # whose leaf is now told under the first of its names
        elif head == "embed":
            model.lm_head = nnx.Embed(8, 4, rngs=rngs)
        else:
            model.lm_head = nnx.Linear(4, 8, use_bias=False, rngs=rngs)
        return model

    (cause,) = causes(bench, how, lambda r: build(not back, r), lambda r: build(back, r))
    assert cause.word == "aliasing"
    leaf = "kernel" if head == "linear" else "embedding"
    how_tied = "was not tied, now to wte" if back else "was tied to wte, now it is not"
    assert cause.text == f"lm_head {how_tied}: lm_head.{leaf}"


@pytest.mark.parametrize("how", BOTH)
def test_another_type_says_nothing_of_other_values(bench: Bench, how: str) -> None:
    def build(changed: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Linear(4, 4, rngs=rngs)
        ramp = jnp.arange(40.0).reshape(5, 8)
        model.table = nnx.BatchStat(3 * ramp**2) if changed else nnx.Param(ramp)
        return model

    found = causes(bench, how, lambda r: build(False, r), lambda r: build(True, r))
    of_values = "unknown" if how == "check" else "initializer"
    assert words(found) == {"variable_type", of_values}, found


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize(("std", "told"), [(1.0, {"dtype"}), (3.0, {"dtype", "initializer"})])
def test_another_dtype_says_nothing_of_another_spread(
    bench: Bench, how: str, std: float, told: set[str]
) -> None:
    def build(dtype: Any, std: float, rngs: nnx.Rngs) -> nnx.Module:
        init = nnx.initializers.normal(std)
        return nnx.Embed(40, 8, embedding_init=init, param_dtype=dtype, rngs=rngs)

    found = causes(
        bench, how, lambda r: build(jnp.float32, 1.0, r), lambda r: build(jnp.bfloat16, std, r)
    )
    assert words(found) == told, found
    assert all("2.9" in c.text or "3" in c.text for c in found if c.word == "initializer"), found


def test_a_seed_is_told_by_what_matches_and_what_was_constant_is_random(bench: Bench) -> None:
    def build(changed: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        model.embed = nnx.Embed(8, 6, rngs=rngs)
        init = nnx.initializers.normal() if changed else nnx.initializers.zeros_init()
        model.place = nnx.Param(init(rngs.params(), (8, 4)))
        return model

    (cause,) = causes(bench, "check", lambda r: build(False, r), lambda r: build(True, r))
    assert (cause.word, cause.text) == (
        "initializer",
        "random now, constant in the golden: place",
    )


def test_a_norm_in_a_stack_is_told_by_what_matches(bench: Bench) -> None:
    def build(extra: bool, rngs: nnx.Rngs) -> nnx.Module:
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def stack(rngs: nnx.Rngs) -> nnx.Module:
            block = nnx.Module()
            if extra:
                block.norm = nnx.RMSNorm(6, rngs=rngs)
            block.up = nnx.Linear(6, 6, rngs=rngs)
            return block

        model = nnx.Module()
        model.embed = nnx.Embed(8, 6, rngs=rngs)
        model.layers = stack(rngs)
        return model

    found = causes(bench, "check", lambda r: build(False, r), lambda r: build(True, r))
    assert words(found) == {"added", "draws"}, found


@pytest.mark.parametrize("how", BOTH)
def test_a_size_that_makes_up_for_another_is_no_change(bench: Bench, how: str) -> None:
    def build(groups: int, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        model.one = nnx.GroupNorm(8, num_groups=groups, rngs=rngs)
        model.two = nnx.GroupNorm(16, num_groups=groups, rngs=rngs)
        return model

    (cause,) = causes(bench, how, lambda r: build(2, r), lambda r: build(4, r))
    assert cause.text == "num_groups 2 -> 4: one, two"


@pytest.mark.parametrize("how", BOTH)
def test_a_size_that_is_handed_on_is_no_change_of_its_own(bench: Bench, how: str) -> None:
    def build(width: int, rngs: nnx.Rngs) -> nnx.Module:
        return nnx.LSTMCell(4, width, rngs=rngs)

    found = causes(bench, how, lambda r: build(4, r), lambda r: build(6, r))
    assert words(found) == {"shape"}, found


def test_keys_of_a_golden_that_differ_are_draws(bench: Bench) -> None:
    def build(extra: int, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        model.key = nnx.Param(jax.random.normal(rngs.params(), (4, 6)))
        for _ in range(extra):
            rngs.dropout()
        model.drop = nnx.Dropout(0.5, rngs=rngs)
        return model

    (cause,) = causes(bench, "check", lambda r: build(0, r), lambda r: build(2, r))
    assert cause.text.startswith("2 more keys are drawn from `dropout` before drop.rngs.key")


@pytest.mark.parametrize("how", BOTH)
def test_a_stride_is_no_kernel_size(bench: Bench, how: str) -> None:
    def build(size: int, stride: int, rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Conv(2, 4, (size, size), strides=stride, rngs=rngs)

    found = causes(bench, how, lambda r: build(3, 1, r), lambda r: build(5, 2, r))
    assert [(c.word, c.text) for c in found] == [
        ("shape", "[3, 3, 2, 4] -> [5, 5, 2, 4]: kernel"),
        ("static", "strides 1 -> 2: the value"),
    ]


class Layer(nnx.Module):
    def __init__(self, name: str, epsilon: float, *, rngs: nnx.Rngs) -> None:
        setattr(self, name, nnx.RMSNorm(4, epsilon=epsilon, rngs=rngs))
        self.up = nnx.Linear(4, 4, rngs=rngs)


@pytest.mark.parametrize("how", BOTH)
def test_a_norm_of_a_stack_is_renamed(bench: Bench, how: str) -> None:
    def build(name: str, epsilon: float, rngs: nnx.Rngs) -> nnx.Module:
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def stack(rngs: nnx.Rngs) -> nnx.Module:
            return Layer(name, epsilon, rngs=rngs)

        model = nnx.Module()
        model.layers = stack(rngs)
        return model

    found = causes(bench, how, lambda r: build("one", 1e-6, r), lambda r: build("two", 1e-5, r))
    assert words(found) == {"renamed", "static"}, found
