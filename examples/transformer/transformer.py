"""A small decoder-only transformer: pre-norm, causal attention, tied embeddings."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx


@dataclass(frozen=True)
class Config:
    vocab: int = 64
    length: int = 16
    dim: int = 32
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1


class Attention(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.heads = config.heads
        self.qkv = nnx.Linear(config.dim, 3 * config.dim, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(config.dim, config.dim, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        qkv = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, -3, 0)
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.reshape(x.shape))


class Block(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(config.dim, rngs=rngs)
        self.attention = Attention(config, rngs=rngs)
        self.norm2 = nnx.LayerNorm(config.dim, rngs=rngs)
        self.up = nnx.Linear(config.dim, 4 * config.dim, rngs=rngs)
        self.down = nnx.Linear(4 * config.dim, config.dim, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(nnx.gelu(self.up(self.norm2(x)))))


class Unembed(nnx.Module):
    """Hidden states to logits, by the table of the embedding: one Param used in two places."""

    def __init__(self, table: nnx.Param):
        self.table = table

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.table[...].T


class Transformer(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(config.vocab, config.dim, rngs=rngs)
        self.position = nnx.Embed(config.length, config.dim, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.blocks = nnx.Sequential(*[Block(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(config.dim, rngs=rngs)
        self.unembed = Unembed(self.embed.embedding)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens) + self.position(jnp.arange(tokens.shape[-1]))
        return self.unembed(self.norm(self.blocks(self.dropout(x))))
