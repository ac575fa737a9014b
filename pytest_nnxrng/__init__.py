"""pytest-nnxrng: deterministic tests for Flax NNX models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_nnxrng.check.snapshot import Snapshot
    from pytest_nnxrng.check.state import SnapshotError
    from pytest_nnxrng.check.warn import (
        FixedSeedWarning,
        KeyReuseWarning,
        SnapshotWarning,
        UnusedOptionsWarning,
        WrongDeviceWarning,
        ZeroKernelWarning,
    )

_HOMES = {
    "FixedSeedWarning": "check.warn",
    "KeyReuseWarning": "check.warn",
    "Snapshot": "check.snapshot",
    "SnapshotError": "check.state",
    "SnapshotWarning": "check.warn",
    "UnusedOptionsWarning": "check.warn",
    "WrongDeviceWarning": "check.warn",
    "ZeroKernelWarning": "check.warn",
}
__all__ = [
    "FixedSeedWarning",
    "KeyReuseWarning",
    "Snapshot",
    "SnapshotError",
    "SnapshotWarning",
    "UnusedOptionsWarning",
    "WrongDeviceWarning",
    "ZeroKernelWarning",
]


def __getattr__(name: str) -> Any:
    # pytest imports this package at every start: JAX must not come with it.
    if name in _HOMES:
        return getattr(import_module(f"pytest_nnxrng.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
