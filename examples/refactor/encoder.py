"""An encoder, before somebody tidies it up."""

import jax
from flax import nnx


class Encoder(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.norm(x)
        h = self.up(h)
        h = nnx.gelu(h)
        h = self.down(h)
        return x + h
