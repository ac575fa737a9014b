"""The models that are checked: many parameters or few, built, or never built at all."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

LEAVES = 20
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Weights(nnx.Module):
    """``size`` parameters in ``leaves`` leaves; ``changed`` adds 8 to one element of one leaf."""

    def __init__(self, size: int, dtype: str, leaves: int = LEAVES, *, changed: bool = False):
        columns = min(1000, size // leaves)
        rows = size // leaves // columns
        base = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
        for number in range(leaves):
            values = base * np.float32(1 + number / 100)
            if changed and number == leaves // 2:
                values[rows // 2, columns // 2] += 8
            setattr(self, f"w{number:05}", nnx.Param(jnp.asarray(values, DTYPES[dtype])))


def arrays(model: nnx.Module) -> dict[str, np.ndarray]:
    """The leaves in host memory, as the peers take them; JAX's own buffers, not copied."""
    params = {name: value for name, value in vars(model).items() if isinstance(value, nnx.Param)}
    return {name: np.asarray(param[...]) for name, param in params.items()}


class Residual(nnx.Module):
    """A residual block, whose call is what `check_call` watches."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


class Blocks(nnx.Module):
    """Eight of them."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.Sequential(*(Residual(256, rngs=rngs) for _ in range(8)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.blocks(x)


class Tiny(nnx.Module):
    """20 leaves of a few numbers each: what most tests check."""

    def __init__(self, *, rngs: nnx.Rngs):
        for number in range(LEAVES // 2):
            setattr(self, f"layer{number}", nnx.Linear(8, 8, rngs=rngs))


@dataclass(frozen=True)
class Config:
    """Llama 3's shape; by default that of 70 billion parameters."""

    vocab: int = 128_256
    dim: int = 8192
    hidden: int = 28_672
    layers: int = 80
    heads: int = 64
    kv_heads: int = 8


ONE_BILLION = Config(vocab=32_000, dim=2048, hidden=8192, layers=16, heads=32)


class Block(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        kv = config.dim // config.heads * config.kv_heads
        for name, din, dout in (
            ("query", config.dim, config.dim),
            ("key", config.dim, kv),
            ("value", config.dim, kv),
            ("out", config.dim, config.dim),
            ("gate", config.dim, config.hidden),
            ("up", config.dim, config.hidden),
            ("down", config.hidden, config.dim),
        ):
            layer = nnx.Linear(din, dout, use_bias=False, param_dtype=jnp.bfloat16, rngs=rngs)
            setattr(self, name, layer)
        self.norm1 = nnx.RMSNorm(config.dim, param_dtype=jnp.bfloat16, rngs=rngs)
        self.norm2 = nnx.RMSNorm(config.dim, param_dtype=jnp.bfloat16, rngs=rngs)


class LM(nnx.Module):
    """The weights of a language model; nothing here is ever called."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(config.vocab, config.dim, param_dtype=jnp.bfloat16, rngs=rngs)
        for number in range(config.layers):
            setattr(self, f"block{number:02}", Block(config, rngs=rngs))
        self.norm = nnx.RMSNorm(config.dim, param_dtype=jnp.bfloat16, rngs=rngs)
        self.head = nnx.Linear(
            config.dim, config.vocab, use_bias=False, param_dtype=jnp.bfloat16, rngs=rngs
        )


def filled(config: Config) -> LM:
    """An LM of ``config`` with numbers in it, without the minutes that drawing them takes."""
    model = nnx.eval_shape(lambda: LM(config, rngs=nnx.Rngs(0)))
    noise = np.random.default_rng(0).standard_normal(1 << 20).astype(jnp.bfloat16)

    def fill(number: int, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        values = np.resize(np.roll(noise, number), leaf.shape)
        return jnp.asarray(values).astype(leaf.dtype)

    leaves, tree = jax.tree.flatten(nnx.state(model, nnx.Param))
    nnx.update(model, jax.tree.unflatten(tree, [fill(n, leaf) for n, leaf in enumerate(leaves)]))
    return model
