"""A language model of Llama 3's shape: grouped-query attention, RoPE, SwiGLU."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx


@dataclass(frozen=True)
class Config:
    vocab: int = 128_256
    dim: int = 4096
    hidden: int = 14_336
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    dtype: type = jnp.bfloat16

    def linear(self, din: int, dout: int, *, rngs: nnx.Rngs) -> nnx.Linear:
        return nnx.Linear(
            din, dout, use_bias=False, dtype=self.dtype, param_dtype=self.dtype, rngs=rngs
        )

    def norm(self, *, rngs: nnx.Rngs) -> nnx.RMSNorm:
        return nnx.RMSNorm(self.dim, dtype=self.dtype, param_dtype=self.dtype, rngs=rngs)


def rotate(x: jax.Array, theta: float = 500_000.0) -> jax.Array:
    """Rotary position embedding of x[..., length, heads, dim]."""
    length, _, dim = x.shape[-3:]
    frequencies = theta ** (-jnp.arange(0, dim, 2) / dim)
    angles = (jnp.arange(length)[:, None] * frequencies)[:, None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


class Attention(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.dim // config.heads
        self.query = config.linear(config.dim, config.dim, rngs=rngs)
        self.key = config.linear(config.dim, config.kv_heads * self.head_dim, rngs=rngs)
        self.value = config.linear(config.dim, config.kv_heads * self.head_dim, rngs=rngs)
        self.out = config.linear(config.dim, config.dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (
            layer(x).reshape(*x.shape[:-1], -1, self.head_dim)
            for layer in (self.query, self.key, self.value)
        )
        y = jax.nn.dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        return self.out(y.reshape(x.shape))


class Block(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.attention_norm = config.norm(rngs=rngs)
        self.attention = Attention(config, rngs=rngs)
        self.mlp_norm = config.norm(rngs=rngs)
        self.gate = config.linear(config.dim, config.hidden, rngs=rngs)
        self.up = config.linear(config.dim, config.hidden, rngs=rngs)
        self.down = config.linear(config.hidden, config.dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.attention_norm(x))
        y = self.mlp_norm(x)
        return x + self.down(nnx.silu(self.gate(y)) * self.up(y))


class Llama(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(
            config.vocab, config.dim, dtype=config.dtype, param_dtype=config.dtype, rngs=rngs
        )
        self.blocks = nnx.Sequential(*[Block(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = config.norm(rngs=rngs)
        self.head = config.linear(config.dim, config.vocab, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.head(self.norm(self.blocks(self.embed(tokens))))
