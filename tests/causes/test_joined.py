"""A list of blocks that became a stack, modules that were fused, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .test_mutations import seeded
from .test_owners import List

HOW = ["check_init", "check", "abstract"]
EITHER = "the forms are told apart by one function, whatever shows their leaves"


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)


def stack(rngs: nnx.Rngs) -> Block:
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs: nnx.Rngs) -> Block:
        return Block(rngs)

    return make(rngs)


def unstacked(stacked: Block) -> list[Block]:
    graph, state = nnx.split(stacked)
    return [nnx.merge(graph, jax.tree.map(lambda x, i=i: x[i], state)) for i in range(3)]


class Net(nnx.Module):
    """``form``: a list, a stack, or the blocks of the stack in a list."""

    def __init__(self, form: str, edit: bool = False, name: str = "blocks", *, rngs: nnx.Rngs):
        self.first = nnx.Linear(2, 4, rngs=rngs)
        if form == "list":
            blocks: Any = List([Block(rngs) for _ in range(3)])
        else:
            blocks = stack(rngs)
            if form == "slices":
                blocks = List(unstacked(blocks))
        if edit:
            blocks[1].up.kernel[...] = blocks[1].up.kernel[...].at[0, 0].add(1.0)
        setattr(self, name, blocks)


class Attention(nnx.Module):
    def __init__(self, form: str, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(2, 4, rngs=rngs)
        parts = [nnx.Linear(4, 4, use_bias=False, rngs=rngs) for _ in range(3)]
        if form == "split":
            self.q, self.k, self.v = parts
        else:
            self.qkv = nnx.Linear(4, 12, use_bias=False, rngs=rngs)
            if form == "fused":
                self.qkv.kernel[...] = jnp.concatenate([p.kernel[...] for p in parts], axis=1)


def causes(bench: Bench, how: str, make: Any, then: Any, now: Any) -> tuple[Any, ...]:
    def body(args: Any) -> Callable[[Any], None]:
        def check(snapshot: Any) -> None:
            if how == "check":
                snapshot.check(make(*args, rngs=seeded()))
            else:
                snapshot(abstract=how == "abstract").check_init(make, *args, rngs=seeded())

        return check

    bench.write(body(then))
    return bench.causes(body(now))[0]


@pytest.mark.product(EITHER)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("then", "now", "rule"),
    [
        ("list", "stack", "blocks.{i} -> blocks: stacked ("),
        ("stack", "list", "blocks -> blocks.{i}: unstacked ("),
    ],
)
def test_a_stack_and_a_list_draw_other_keys(
    bench: Bench, how: str, then: str, now: str, rule: str
) -> None:
    found = causes(bench, how, Net, (then,), (now,))
    assert words(found) == {"renamed", "draws"}, found
    by_word = {cause.word: cause for cause in found}
    assert by_word["renamed"].text.startswith(rule)
    drawn = by_word["draws"]
    assert "params#2, params#6, params#10" in drawn.text
    assert all(path.endswith("up.kernel") for path in drawn.leaves)


@pytest.mark.product(EITHER)
@pytest.mark.parametrize("how", ["check_init", "check"])
@pytest.mark.parametrize("name", ["blocks", "layers"])
def test_slices_of_a_stack_are_the_stack(bench: Bench, how: str, name: str) -> None:
    (cause,) = causes(bench, how, Net, ("slices",), ("stack", False, name))
    assert cause.word == "renamed"
    assert cause.text.startswith(f"blocks.{{i}} -> {name}: stacked, the same values (")


@pytest.mark.parametrize("how", ["check_init", "check"])
def test_of_slices_the_edited_one_is_named(bench: Bench, how: str) -> None:
    found = causes(bench, how, Net, ("stack",), ("slices", True))
    assert [cause.word for cause in found] == ["renamed", "values"], found
    assert found[1].leaves == ("blocks.1.up.kernel",)


@pytest.mark.product(EITHER)
@pytest.mark.parametrize("how", ["check_init", "check"])
@pytest.mark.parametrize(
    ("then", "now", "text"),
    [
        ("split", "fused", "q, k, v -> qkv: fused, the same values (qkv.kernel)"),
        ("fused", "split", "qkv -> q, k, v: split, the same values (3 leaves)"),
    ],
)
def test_what_is_fused_is_told_by_its_values(
    bench: Bench, how: str, then: str, now: str, text: str
) -> None:
    found = causes(bench, how, Attention, (then,), (now,))
    assert [cause.text for cause in found if cause.word == "renamed"] == [text], found
    assert not words(found) & {"added", "removed", "unknown"}, found


@pytest.mark.parametrize("how", HOW)
def test_what_nothing_shows_to_be_fused_is_not_claimed(bench: Bench, how: str) -> None:
    found = causes(bench, how, Attention, ("split",), ("drawn anew",))
    assert {"added", "removed"} <= words(found), found
    assert "renamed" not in words(found)


@pytest.mark.parametrize("how", HOW)
def test_a_stack_of_another_length_is_not_claimed(bench: Bench, how: str) -> None:
    def build(form: str, rngs: nnx.Rngs) -> nnx.Module:
        model = Net(form, rngs=rngs)
        if form == "list":
            model.blocks = List([*model.blocks, Block(rngs)])
        return model

    found = causes(bench, how, build, ("list",), ("stack",))
    assert "renamed" not in words(found), found


class Scaled(nnx.Module):
    def __init__(self, form: str, scale: float = 1.0, *, rngs: nnx.Rngs) -> None:
        def make(rngs: nnx.Rngs) -> nnx.Module:
            constant = nnx.initializers.constant(scale)
            return nnx.LayerNorm(4, scale_init=constant, rngs=rngs)

        if form == "list":
            self.norms: Any = List([make(rngs) for _ in range(3)])
        else:
            self.norms = nnx.split_rngs(splits=3)(nnx.vmap(make, in_axes=0, out_axes=0))(rngs)


@pytest.mark.product(EITHER)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("forms", [("list", "stack"), ("stack", "list")])
def test_a_stack_of_another_constant_is_another_initializer(
    bench: Bench, how: str, forms: tuple[str, str]
) -> None:
    found = causes(bench, how, Scaled, (forms[0],), (forms[1], 2.0))
    assert words(found) == {"renamed", "initializer"}, found
    (other,) = [cause for cause in found if cause.word == "initializer"]
    assert all(path.endswith("scale") for path in other.leaves)


def test_the_same_draws_alone_are_not_the_same_values(bench: Bench) -> None:
    def build(form: str, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        parts = [jax.random.normal(rngs.params(), (4, 4)) for _ in range(2)]
        if form == "split":
            model.q, model.k = nnx.Module(), nnx.Module()
            model.q.kernel, model.k.kernel = map(nnx.Param, parts)
        else:
            model.qk = nnx.Module()
            model.qk.kernel = nnx.Param(2 * jnp.concatenate(parts, axis=1))
        return model

    found = causes(bench, "abstract", build, ("split",), ("fused",))
    assert "content" not in {cause.evidence for cause in found}, found
    assert "unknown" in words(found), found


def test_constants_that_differ_among_the_slices_are_others(bench: Bench) -> None:
    def build(form: str, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        if form == "list":
            model.a = List([nnx.LayerNorm(4, rngs=rngs) for _ in range(2)])
            model.a[1].scale[...] = jnp.full(4, 3.0)
        else:
            model.a = nnx.LayerNorm(4, rngs=rngs)
            model.a.scale, model.a.bias = nnx.Param(jnp.ones((2, 4))), nnx.Param(jnp.zeros((2, 4)))
        return model

    found = causes(bench, "abstract", build, ("list",), ("stack",))
    assert words(found) == {"renamed", "unknown"}, found
