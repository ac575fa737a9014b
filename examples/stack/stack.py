"""A stack of equal blocks: built by `nnx.vmap`, applied by `nnx.scan`, compiled once."""

import jax
from flax import nnx


class Block(nnx.Module):
    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(dim, rngs=rngs)
        self.up = nnx.Linear(dim, 2 * dim, rngs=rngs)
        self.down = nnx.Linear(2 * dim, dim, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.dropout(self.down(nnx.gelu(self.up(self.norm(x)))))


class Stack(nnx.Module):
    def __init__(self, depth: int, dim: int, *, rngs: nnx.Rngs):
        # `split_rngs` gives each block keys of its own. The trap beside it, passing one `rngs` to
        # all by `nnx.vmap(in_axes=None, axis_size=depth)`, builds equal blocks without an error.
        @nnx.split_rngs(splits=depth)
        @nnx.vmap
        def build(rngs: nnx.Rngs) -> Block:
            return Block(dim, rngs=rngs)

        self.blocks = build(rngs)  # every leaf has a first axis of size `depth`

    def __call__(self, x: jax.Array) -> jax.Array:
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x: jax.Array, block: Block) -> jax.Array:
            return block(x)

        return forward(x, self.blocks)
