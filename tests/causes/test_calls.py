"""Edits of forward passes: the first module that did something else is named, and how."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .forwards import convnet, transformer

TOKENS = jnp.arange(6).reshape(1, 6) % 11
IMAGE = jnp.linspace(-1.0, 1.0, 2 * 6 * 6).reshape(2, 6, 6, 1) ** 3


def seeded(seed: int = 0) -> nnx.Rngs:
    return nnx.Rngs(params=seed, dropout=seed + 10_000, default=seed + 20_000)


def told(bench: Bench, before: Any, after: Any) -> list[tuple[str, str]]:
    """What is said of ``after`` against a golden of ``before``: calls of a snapshot."""
    bench.write(before)
    (causes,) = bench.causes(after)
    return [(cause.word, cause.text) for cause in causes]


def lm(**edits: Any) -> Any:
    return lambda snapshot: snapshot.check_call(transformer(seeded(), **edits), TOKENS)


def net(**edits: Any) -> Any:
    return lambda snapshot: snapshot.check_call(convnet(seeded(), **edits), IMAGE)


EDITS: list[tuple[str, Any, dict[str, Any], list[tuple[str, ...]]]] = [
    ("activation", lm, {"act": nnx.silu}, [("computation", "mlp", "gelu", "silu")]),
    (
        "exact gelu",
        lm,
        {"act": lambda x: nnx.gelu(x, approximate=False)},
        [("computation", "mlp", "gelu(approximate=True) -> gelu(approximate=False)")],
    ),
    ("epsilon", lm, {"epsilon": 1e-3}, [("computation", "norm1", "epsilon 1e-06 -> 0.001")]),
    ("rate", lm, {"rate": 0.4}, [("computation", "blocks.0.mlp.drop", "rate 0.1 -> 0.4")]),
    ("rate of 1", lm, {"rate": 0.4, "block": 1}, [("computation", "blocks.1.mlp.drop", "0.4")]),
    ("mask", lm, {"mask": -1}, [("computation", "attn", "tril")]),
    ("scale", lm, {"scale": 0.5}, [("computation", "attn", "-> mul _ 0.5")]),
    ("axis", lm, {"axis": -2}, [("computation", "attn", "softmax", "axes=(2) -> ", "axes=(1)")]),
    ("precision", lm, {"precision": "highest"}, []),  # the same bits on a CPU
    ("cast", lm, {"cast": jnp.bfloat16}, [("computation", "mlp", "convert_element_type")]),
    ("no residual", lm, {"no_residual": True}, [("computation", "blocks.0", "add -> nothing")]),
    ("post norm", lm, {"post": True}, [("calls", "another order")]),
    ("skipped", lm, {"skip": True}, [("calls", "blocks.0 is no longer called")]),
    ("twice", lm, {"twice": True}, [("calls", "mlp (call 2)", "is called, too")]),
    ("no dropout", lm, {"no_drop": True}, [("calls", "drop", "no longer called")]),
    ("swapped", lm, {"swap": True}, [("computation", "attn", "on other operands")]),
    ("embedding", lm, {"embed_scale": 2.0}, [("computation", "LM computes", "mul _ 2.0")]),
    ("pool", net, {"pool": "max"}, [("computation", "Net computes", "mean -> max")]),
    ("strides", net, {"strides": 2}, [("computation", "stem.conv", "strides 1 -> 2")]),
    ("momentum", net, {"momentum": 0.5}, [("computation", "norm", "momentum 0.9 -> 0.5")]),
    ("relu", net, {"act": nnx.leaky_relu}, [("computation", "relu", "leaky_relu")]),
    (
        "two at once",
        lm,
        {"epsilon": 1e-3, "act": nnx.silu},
        [("computation", "norm1", "epsilon"), ("computation", "mlp", "silu")],
    ),
    (
        "skipped and scaled",
        lm,
        {"skip": True, "scale": 0.5},
        [("calls", "blocks.0"), ("computation", "blocks.1.attn", "mul _ 0.5")],
    ),
]


@pytest.mark.parametrize(
    ("call", "edits", "expected"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS]
)
def test_an_edit_of_the_code(
    bench: Bench, call: Any, edits: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    found = told(bench, call(), call(**edits))
    assert [word for word, _ in found] == [first for first, *_ in expected], found
    for (_, text), (_, *parts) in zip(found, expected, strict=True):
        assert all(part in text for part in parts), text
        assert "computes" not in text or ".py:" in text
