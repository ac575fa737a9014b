"""pytest-nnxrng: deterministic tests for Flax NNX models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_nnxrng.snapshot import Snapshot, SnapshotError

__all__ = ["Snapshot", "SnapshotError"]


def __getattr__(name: str) -> Any:
    # pytest imports this package at every start: JAX must not come with it.
    if name in __all__:
        return getattr(import_module("pytest_nnxrng.snapshot"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
