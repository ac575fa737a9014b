"""What a type checker knows of the public API: ``mypy tests/typed.py``, which runs nothing."""

from __future__ import annotations

from typing import Any, assert_type

import jax
from flax import nnx

from pytest_nnxrng import Reference, Same, Snapshot, assert_same, compare, reference


class MLP(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.layer = nnx.Linear(width, width, rngs=rngs)


def build(width: int, rngs: nnx.Rngs) -> MLP:
    return MLP(width, rngs=rngs)


def snapshot(nnx_snapshot: Snapshot, rngs: nnx.Rngs, array: jax.Array) -> None:
    model = nnx_snapshot.check_init(MLP, 2, rngs=rngs)
    assert_type(model, MLP)
    assert_type(nnx_snapshot.check_init(build, 2, rngs), MLP)
    assert_type(nnx_snapshot("one", tol={"bfloat16": 0.05}), Snapshot)
    assert_type(nnx_snapshot.check(model, "model"), MLP)
    assert_type(nnx_snapshot.check(array), jax.Array)
    assert_type(nnx_snapshot.check(model, against=reference("w.npz")), MLP)
    assert_type(nnx_snapshot.check_same(model, model), MLP)
    assert_type(nnx_snapshot.check_steps(print, model, [1]), list[Any])


def values(model: MLP) -> None:
    assert_type(compare(model, model, tol=1e-3), Same)
    assert_type(bool(compare(model, model)), bool)
    assert_type(reference({"a": 1.0}, names={"a": "b"}), Reference)
    assert_same(model, model, only=nnx.Param)


def refused(nnx_snapshot: Snapshot, model: MLP) -> None:
    # Strict mypy complains of an ignore that is not needed: these must be errors.
    nnx_snapshot.check_init(3)  # type: ignore[arg-type]
    nnx_snapshot(tol="0.1")  # type: ignore[arg-type]
    nnx_snapshot(tolerance=0.1)  # type: ignore[call-arg]
    nnx_snapshot.check(model, 3)  # type: ignore[arg-type]
