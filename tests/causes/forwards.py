"""Models whose forward pass can be edited: ``edits`` says how, and no attribute keeps it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

List: Any = getattr(nnx, "List", list)


def transformer(rngs: nnx.Rngs, *, layers: int = 2, width: int = 8, **edits: Any) -> Any:
    """A small language model; ``edits`` change its code, as an edit of the file would."""
    act = edits.get("act", nnx.gelu)
    at = edits.get("block", 0)  # the block that an edit of one block alone is made in

    class MLP(nnx.Module):
        def __init__(self, number: int) -> None:
            self.up = nnx.Linear(width, 2 * width, rngs=rngs)
            self.down = nnx.Linear(2 * width, width, rngs=rngs)
            rate = edits.get("rate", 0.1) if number == at else 0.1
            self.drop = nnx.Dropout(rate, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = act(self.up(x))
            if "cast" in edits:
                x = x.astype(edits["cast"])
            x = self.down(x)
            return x if edits.get("no_drop") else self.drop(x)

    class Attention(nnx.Module):
        def __init__(self) -> None:
            self.qkv = nnx.Linear(width, 3 * width, use_bias=False, rngs=rngs)
            self.out = nnx.Linear(width, width, rngs=rngs, precision=edits.get("precision"))

        def __call__(self, x: Any) -> Any:
            q, k, v = jnp.split(self.qkv(x), 3, axis=-1)
            if edits.get("swap"):
                q, k = k, q
            scores = jnp.einsum("bqd,bkd->bqk", q, k) * edits.get("scale", width**-0.5)
            mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool), edits.get("mask", 0))
            scores = jnp.where(mask, scores, -1e9)
            return self.out(jax.nn.softmax(scores, axis=edits.get("axis", -1)) @ v)

    class Block(nnx.Module):
        def __init__(self, number: int) -> None:
            self.norm1 = nnx.LayerNorm(width, epsilon=edits.get("epsilon", 1e-6), rngs=rngs)
            self.attn = Attention()
            self.norm2 = nnx.LayerNorm(width, rngs=rngs)
            self.mlp = MLP(number)

        def __call__(self, x: Any) -> Any:
            if edits.get("post"):
                x = self.norm1(x + self.attn(x))
                return self.norm2(x + self.mlp(x))
            x = x + self.attn(self.norm1(x))
            made = self.mlp(self.norm2(x))
            if edits.get("twice"):
                made = self.mlp(made)
            return made if edits.get("no_residual") else x + made

    class LM(nnx.Module):
        def __init__(self) -> None:
            self.embed = nnx.Embed(11, width, rngs=rngs)
            self.blocks = List([Block(i) for i in range(layers)])
            self.norm = nnx.LayerNorm(width, rngs=rngs)

        def __call__(self, tokens: Any) -> Any:
            x = self.embed(tokens) * edits.get("embed_scale", 1.0)
            for i, block in enumerate(self.blocks):
                if not (edits.get("skip") and i == at):
                    x = block(x)
            return self.embed.attend(self.norm(x))

    return LM()


def convnet(rngs: nnx.Rngs, **edits: Any) -> Any:
    """A conv net with BatchNorm and Dropout."""

    class Stage(nnx.Module):
        def __init__(self, din: int, dout: int) -> None:
            strides = edits.get("strides", 1)
            self.conv = nnx.Conv(din, dout, (3, 3), strides=strides, rngs=rngs)
            self.norm = nnx.BatchNorm(dout, momentum=edits.get("momentum", 0.9), rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return edits.get("act", nnx.relu)(self.norm(self.conv(x)))

    class Net(nnx.Module):
        def __init__(self) -> None:
            self.stem = Stage(1, 4)
            self.body = Stage(4, 4)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.head = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.body(self.stem(x))
            x = getattr(jnp, edits.get("pool", "mean"))(x, axis=(1, 2))
            return self.head(self.drop(x))

    return Net()
