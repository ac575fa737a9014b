"""Stacked layers: the golden holds them all, and they must differ."""

from itertools import combinations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from stack import Stack

DEPTH, DIM = 4, 16


@pytest.fixture
def model(rngs):
    return Stack(DEPTH, DIM, rngs=rngs)


def test_init(rngs, nnx_snapshot):
    nnx_snapshot.check_init(Stack, DEPTH, DIM, rngs=rngs)


def test_layers_differ(model):
    for kernel in (model.blocks.up.kernel[...], model.blocks.down.kernel[...]):
        assert kernel.shape[0] == DEPTH
        for one, other in combinations(kernel, 2):
            assert not jnp.array_equal(one, other)


def test_dropout_masks_differ_between_layers(model):
    keys = model.blocks.dropout.rngs.key[...]
    assert keys.shape == (DEPTH,)
    assert all(one != other for one, other in combinations(keys, 2))


def test_output(model, nnx_snapshot):
    x = jnp.linspace(-1, 1, 2 * DIM).reshape(2, DIM)
    model.train()
    nnx_snapshot.check(model(x), "train")
    model.eval()
    nnx_snapshot.check(model(x), "eval")


def test_scan_applies_the_layers_in_order(model):
    x = jnp.linspace(-1, 1, 2 * DIM).reshape(2, DIM)
    model.eval()
    graphdef, state = nnx.split(model.blocks)
    y = x
    for layer in range(DEPTH):
        block = nnx.merge(graphdef, jax.tree.map(lambda leaf, layer=layer: leaf[layer], state))
        y = block(y)
    assert jnp.allclose(model(x), y, atol=1e-6)
