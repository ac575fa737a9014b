"""Attention, which a GPU computes otherwise than a CPU, to rounding."""

import jax
from flax import nnx


class Attention(nnx.Module):
    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.attend(self.norm(x))
