"""A small decoder in NNX, and how it takes the weights of its PyTorch original."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file


@dataclass(frozen=True)
class Config:
    vocab: int = 16
    length: int = 8
    dim: int = 8
    heads: int = 2
    hidden: int = 16
    layers: int = 2


class Attention(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (
            nnx.Linear(config.dim, config.dim, rngs=rngs) for _ in range(4)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (
            project(x).reshape(*x.shape[:-1], self.heads, -1)
            for project in (self.query, self.key, self.value)
        )
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.reshape(x.shape))


class Block(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        # PyTorch's epsilon; that of NNX is 1e-6.
        self.norm1 = nnx.LayerNorm(config.dim, epsilon=1e-5, rngs=rngs)
        self.attention = Attention(config, rngs=rngs)
        self.norm2 = nnx.LayerNorm(config.dim, epsilon=1e-5, rngs=rngs)
        self.up = nnx.Linear(config.dim, config.hidden, rngs=rngs)
        self.down = nnx.Linear(config.hidden, config.dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x))
        return x + self.down(nnx.relu(self.up(self.norm2(x))))


class Decoder(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(config.vocab, config.dim, rngs=rngs)
        self.position = nnx.Embed(config.length, config.dim, rngs=rngs)
        self.blocks = nnx.Sequential(*[Block(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(config.dim, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens) + self.position(jnp.arange(tokens.shape[-1]))
        return self.embed.attend(self.norm(self.blocks(x)))


def from_torch(folder: Path, config: Config) -> Decoder:
    """The model with the weights of a folder of safetensors shards."""
    weights: dict[str, np.ndarray] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        weights |= load_file(shard)
    model = Decoder(config, rngs=nnx.Rngs(0))
    blocks = {i: _block(weights, f"model.layers.{i}") for i in range(config.layers)}
    pure = {
        "embed": {"embedding": weights["model.embed_tokens.weight"]},
        "position": {"embedding": weights["model.embed_positions.weight"]},
        "blocks": {"layers": blocks},
        "norm": _norm(weights, "model.final_layer_norm"),
    }
    nnx.update(model, jax.tree.map(jnp.asarray, pure))
    return model


def _block(weights: Mapping[str, np.ndarray], at: str) -> dict:
    attention = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    return {
        "norm1": _norm(weights, f"{at}.self_attn_layer_norm"),
        "attention": {
            ours: _linear(weights, f"{at}.self_attn.{theirs}") for ours, theirs in attention.items()
        },
        "norm2": _norm(weights, f"{at}.final_layer_norm"),
        "up": _linear(weights, f"{at}.fc1"),
        "down": _linear(weights, f"{at}.fc2"),
    }


def _linear(weights: Mapping[str, np.ndarray], at: str) -> dict[str, np.ndarray]:
    # A torch Linear holds [out, in].
    return {"kernel": weights[f"{at}.weight"].T, "bias": weights[f"{at}.bias"]}


def _norm(weights: Mapping[str, np.ndarray], at: str) -> dict[str, np.ndarray]:
    return {"scale": weights[f"{at}.weight"], "bias": weights[f"{at}.bias"]}
