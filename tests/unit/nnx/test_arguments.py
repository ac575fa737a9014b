"""The arguments of a call, told after it as they were before."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from pytest_nnxrng.nnx.arguments import Before, named_streams


def state(args: Any, kwargs: Any) -> dict[str, Any]:
    return {
        name: (np.asarray(jax.random.key_data(s.key[...])).tolist(), np.asarray(s.count[...]))
        for name, s in named_streams(args, kwargs).items()
    }


class Holder(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rngs = rngs


@pytest.mark.parametrize(
    "given",
    [
        lambda rngs: ((), {"rngs": rngs}),
        lambda rngs: ((rngs.params, {"a": [rngs, 3]}), {"width": 4}),
        lambda rngs: ((Holder(rngs),), {}),
        lambda rngs: ((rngs, nnx.Rngs(params=9)), {}),
    ],
    ids=["a keyword", "nested", "in a module", "two of them"],
)
def test_draws_after_it_do_not_show(given: Any) -> None:
    rngs = nnx.Rngs(params=1, dropout=2)
    rngs.params()
    args, kwargs = given(rngs)
    before, told = state(args, kwargs), Before(args, kwargs)
    for stream in named_streams(args, kwargs).values():
        stream()
    assert told.known
    assert state(*told.copies()) == before
    assert state(args, kwargs) != before


def test_copies_are_others_than_what_was_given_and_always_the_same() -> None:
    rngs = nnx.Rngs(0)
    told = Before((), {"rngs": rngs})
    copy = told.copies()[1]["rngs"]
    assert copy is not rngs
    assert told.copies()[1]["rngs"] is copy
    copy.params()
    assert int(rngs.default.count[...]) == 0


def test_an_rngs_given_twice_is_one_in_the_copies() -> None:
    rngs = nnx.Rngs(0)
    (one, other), _ = Before((rngs, rngs), {}).copies()
    assert one is other


def test_a_module_that_a_call_changes_is_told_as_it_was() -> None:
    layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    told, kernel = Before((layer,), {}), np.asarray(layer.kernel[...])
    layer.kernel[...] = layer.kernel[...] + 1
    (copy,), _ = told.copies()
    np.testing.assert_array_equal(copy.kernel[...], kernel)


def test_streams_that_were_exchanged_cannot_be_told() -> None:
    rngs = nnx.Rngs(params=0)
    told = Before((), {"rngs": rngs})
    assert told.known
    rngs.params = nnx.Rngs(params=1).params
    assert not told.known


def test_a_transformation_sorts_streams_and_the_copy_has_them_as_they_were() -> None:
    rngs = nnx.Rngs(params=0, dropout=1)

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def layers(rngs: nnx.Rngs) -> nnx.Linear:
        return nnx.Linear(2, 2, rngs=rngs)

    order, told = list(vars(rngs)), Before((), {"rngs": rngs})
    layers(rngs)
    assert told.known
    copy = told.copies()[1]["rngs"]
    assert list(vars(copy)) == order
    assert int(copy.params.count[...]) == 0
    assert copy.params.key[...].shape == ()
