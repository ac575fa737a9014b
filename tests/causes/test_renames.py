"""Renames are rules over trees: told once, whatever else became of what they map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .test_mutations import seeded
from .test_owners import List, told

NAMES = {"q": "q", "norm1": "norm1", "norm2": "norm2", "out": "out"}


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, init: Any, dtype: Any, **names: str) -> None:
        name = NAMES | names
        setattr(self, name["norm1"], nnx.LayerNorm(4, rngs=rngs))
        q = nnx.Linear(4, 4, kernel_init=init, param_dtype=dtype, rngs=rngs)
        setattr(self, name["q"], q)
        setattr(self, name["norm2"], nnx.LayerNorm(4, rngs=rngs))
        setattr(self, name["out"], nnx.Linear(4, 4, rngs=rngs))


class Net(nnx.Module):
    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        extra: bool = False,
        normal: bool = False,
        dtype: Any = jnp.float32,
        nested: bool = False,
        **names: str,
    ) -> None:
        if extra:
            rngs.params()
        init = nnx.initializers.normal() if normal else nnx.initializers.lecun_normal()
        layers = List([Block(rngs, init, dtype, **names) for _ in range(3)])
        if nested:
            self.layers = nnx.Module()
            self.layers.layers = layers
        else:
            self.layers = layers
        self.head = nnx.Linear(4, 2, rngs=rngs)


def through(bench: Bench, how: str, then: Any, now: Any, seed: int = 0) -> Any:
    """The causes of ``now`` against a golden of ``then``."""

    def body(change: Any, seed: int) -> Callable[[Any], None]:
        def check(snapshot: Any) -> None:
            if how == "check":
                snapshot.check(Net(rngs=seeded(seed), **change))
            else:
                snapshot(abstract=how == "abstract").check_init(Net, rngs=seeded(seed), **change)

        return check

    bench.write(body(then, 0))
    return bench.causes(body(now, seed))[0]


QP = {"q": "q_proj"}
RULES: list[tuple[str, Any, Any, int, set[str], str]] = [
    ("a layer", {}, QP, 0, {"renamed"}, "layers.{i}.q -> layers.{i}.q_proj: "),
    ("the nest", {"nested": True}, {}, 0, {"renamed"}, "layers.layers -> layers: "),
    ("its initializer", {}, QP | {"normal": True}, 0, {"renamed", "initializer"}, "layers.{i}.q"),
    ("its dtype", {}, QP | {"dtype": jnp.bfloat16}, 0, {"renamed", "dtype"}, "layers.{i}.q -> "),
    ("and a key", {}, QP | {"extra": True}, 0, {"renamed", "draws"}, "layers.{i}.q -> "),
    ("and a seed", {}, QP, 3, {"renamed", "seed"}, "layers.{i}.q -> layers.{i}.q_proj"),
]


@pytest.mark.product("the same rules are found, from whatever tells the leaves")
@pytest.mark.parametrize("how", ["check_init", "check", "abstract"])
@pytest.mark.parametrize(("name", "then", "now", "seed", "expected", "text"), RULES)
def test_a_rule_is_one_cause(
    bench: Bench, how: str, name: str, then: Any, now: Any, seed: int, expected: Any, text: str
) -> None:
    found = through(bench, how, then, now, seed)
    if how == "check" and name == "its dtype":
        return  # values of another dtype are no proof
    assert words(found) == expected, found
    renamed = [cause for cause in found if cause.word == "renamed"]
    assert len(renamed) == 1
    assert renamed[0].text.startswith(text)


def test_norms_that_are_equal_everywhere_are_told_by_where_they_are_made(bench: Bench) -> None:
    found = through(bench, "check_init", {}, {"norm1": "ln_a", "norm2": "ln_b"})
    assert words(found) == {"renamed"}, found
    assert "layers.{i}.norm1 -> layers.{i}.ln_a" in found[0].text
    assert "layers.{i}.norm2 -> layers.{i}.ln_b" in found[0].text


def test_norms_that_nothing_tells_apart_are_not_claimed(bench: Bench) -> None:
    found = through(bench, "check", {}, {"norm1": "ln_a", "norm2": "ln_b"})
    assert words(found) == {"added", "removed"}, found


def test_another_layer_of_the_same_form_is_no_rename(bench: Bench) -> None:
    def build(change: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        if not change:
            model.att = nnx.Linear(4, 4, rngs=rngs)
        model.mid = nnx.Linear(4, 5, rngs=rngs)
        if change:
            model.ff = nnx.Linear(4, 4, rngs=rngs)
        model.out = nnx.Linear(5, 2, rngs=rngs)
        return model

    bench.write(lambda snapshot: snapshot.check_init(build, False, seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(build, True, seeded()))[0]
    assert "renamed" not in words(found), found


@pytest.mark.parametrize("how", ["check", "check_init"])
@pytest.mark.parametrize("back", [False, True])
def test_a_head_of_its_own_is_untied(bench: Bench, how: str, back: bool) -> None:
    def build(tied: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        model.embed = nnx.Embed(6, 4, rngs=rngs)
        model.head = model.embed if tied else nnx.Linear(4, 6, use_bias=False, rngs=rngs)
        return model

    def check(snapshot: Any, tied: bool) -> None:
        if how == "check":
            snapshot.check(build(tied, seeded()))
        else:
            snapshot.check_init(build, tied, seeded())

    bench.write(lambda snapshot: check(snapshot, not back))
    found = bench.causes(lambda snapshot: check(snapshot, back))[0]
    assert words(found) == {"aliasing"}, found
    assert "head was tied to embed" in found[0].text or "now to embed" in found[0].text


def test_a_rename_of_old_goldens_is_told_by_draws(bench: Bench) -> None:
    assert told(bench, (_flat, "a"), (_flat, "b"))[0].startswith("renamed: a -> b: ")


def _flat(name: str, *, rngs: nnx.Rngs) -> nnx.Module:
    model = nnx.Module()
    setattr(model, name, nnx.Linear(3, 4, rngs=rngs))
    return model
