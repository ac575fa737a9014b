"""Models whose constructors can be changed in one place each, for labelled mutations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


@dataclass(frozen=True)
class Change:
    """One change of a constructor; the default builds the model as its golden has it."""

    extra_key: bool = False
    swap: bool = False
    stream: str = "params"
    scale: float = 1.0
    dtype: Any = jnp.float32
    width: int = 12
    name: str = "head"
    extra_layer: bool = False
    drop_layer: bool = False
    tied: bool = True
    variable: type[nnx.Variable[Any]] = nnx.Param
    edit: bool = False
    same_key: bool = False


def scaled(change: Change) -> Callable[..., Any]:
    init = nnx.initializers.lecun_normal()

    def kernel_init(key: Any, shape: Any, dtype: Any, **kwargs: Any) -> Any:
        return init(key, shape, dtype, **kwargs) * change.scale

    return kernel_init if change.scale != 1.0 else init


class Custom(nnx.Module):
    """A weight whose stream and Variable type can be chosen."""

    def __init__(self, change: Change, rngs: nnx.Rngs) -> None:
        key = getattr(rngs, change.stream)()
        self.weight = change.variable(jax.random.normal(key, (4, 5)))


class MLP(nnx.Module):
    def __init__(self, change: Change, *, rngs: nnx.Rngs) -> None:
        width = change.width
        if change.extra_key:
            rngs.params()
        if change.swap:
            self.second = nnx.Linear(width, 6, rngs=rngs)
            self.first = nnx.Linear(4, width, rngs=rngs)
        else:
            self.first = nnx.Linear(4, width, rngs=rngs)
            if change.extra_layer:
                self.norm = nnx.LayerNorm(width, rngs=rngs)
            self.second = nnx.Linear(width, 6, rngs=rngs)
        self.custom = Custom(change, rngs)
        last = nnx.Linear(6, 3, kernel_init=scaled(change), param_dtype=change.dtype, rngs=rngs)
        setattr(self, change.name, last)
        if change.edit:
            self.second.kernel[...] = self.second.kernel[...].at[1, 2].add(0.5)


class Conv(nnx.Module):
    def __init__(self, change: Change, *, rngs: nnx.Rngs) -> None:
        if change.extra_key:
            rngs.params()
        features = change.width
        self.conv = nnx.Conv(3, features, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(features, rngs=rngs)
        if change.extra_layer:
            self.more = nnx.Conv(features, features, (1, 1), rngs=rngs)
        self.custom = Custom(change, rngs)
        last = nnx.Linear(
            features, 5, kernel_init=scaled(change), param_dtype=change.dtype, rngs=rngs
        )
        setattr(self, change.name, last)


class Attention(nnx.Module):
    """A tied embedding, attention with dropout, and an LSTM cell."""

    def __init__(self, change: Change, *, rngs: nnx.Rngs) -> None:
        if change.extra_key:
            rngs.params()
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs)
        if change.extra_layer:
            self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.cell = nnx.LSTMCell(8, 8, rngs=rngs)
        self.custom = Custom(change, rngs)
        last = nnx.Linear(8, 6, kernel_init=scaled(change), param_dtype=change.dtype, rngs=rngs)
        setattr(self, change.name, last)
        self.output = self.embed if change.tied else nnx.Embed(11, 8, rngs=rngs)


class Stack(nnx.Module):
    """Layers built by vmap over split keys."""

    def __init__(self, change: Change, *, rngs: nnx.Rngs) -> None:
        if change.extra_key:
            rngs.params()

        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def layers(rngs: nnx.Rngs) -> nnx.Linear:
            return nnx.Linear(6, 6, rngs=rngs)

        self.layers = layers(rngs)
        if change.extra_layer:
            self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.custom = Custom(change, rngs)
        last = nnx.Linear(6, 3, kernel_init=scaled(change), param_dtype=change.dtype, rngs=rngs)
        setattr(self, change.name, last)


MODELS = (MLP, Conv, Attention, Stack)
