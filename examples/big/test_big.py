"""The initialisation of a model of 8 billion parameters, checked on a laptop."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from llama import Config, Llama

TINY = Config(vocab=32, dim=16, hidden=32, layers=2, heads=4, kv_heads=2, dtype=jnp.float32)


def test_8b_init(rngs, nnx_snapshot):
    """Nothing is allocated: shapes, dtypes, and which keys and initialiser make each leaf.

    The same derivation in the same environment gives the same weights, so they need not exist.
    """
    model = nnx_snapshot(abstract=True).check_init(Llama, Config(), rngs=rngs)
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    assert sum(math.prod(leaf.shape) for leaf in leaves) == 8_030_261_248


def test_tiny(rngs, nnx_snapshot):
    """What the big model computes is checked on a small one of the same code."""
    model = nnx_snapshot.check_init(Llama, TINY, rngs=rngs)
    tokens = jnp.arange(2 * 8).reshape(2, 8)
    nnx_snapshot.check(nnx.jit(Llama.__call__)(model, tokens), "logits")
