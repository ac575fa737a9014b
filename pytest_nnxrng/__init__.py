"""pytest-nnxrng: deterministic tests for Flax NNX models."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_nnxrng.check.same import Same, assert_same, compare
    from pytest_nnxrng.check.snapshot import Snapshot
    from pytest_nnxrng.check.state import SnapshotError
    from pytest_nnxrng.check.warn import (
        FixedSeedWarning,
        KeyReuseWarning,
        MutableDefaultWarning,
        SnapshotWarning,
        UnusedLeafWarning,
        UnusedOptionsWarning,
        WrongDeviceWarning,
        ZeroKernelWarning,
    )
    from pytest_nnxrng.golden.reference import BadReference, Reference, reference

_HOMES = {
    "BadReference": "golden.reference",
    "FixedSeedWarning": "check.warn",
    "KeyReuseWarning": "check.warn",
    "MutableDefaultWarning": "check.warn",
    "Reference": "golden.reference",
    "Same": "check.same",
    "Snapshot": "check.snapshot",
    "SnapshotError": "check.state",
    "SnapshotWarning": "check.warn",
    "UnusedLeafWarning": "check.warn",
    "UnusedOptionsWarning": "check.warn",
    "WrongDeviceWarning": "check.warn",
    "ZeroKernelWarning": "check.warn",
    "assert_same": "check.same",
    "compare": "check.same",
    "reference": "golden.reference",
}
__all__ = [
    "BadReference",
    "FixedSeedWarning",
    "KeyReuseWarning",
    "MutableDefaultWarning",
    "Reference",
    "Same",
    "Snapshot",
    "SnapshotError",
    "SnapshotWarning",
    "UnusedLeafWarning",
    "UnusedOptionsWarning",
    "WrongDeviceWarning",
    "ZeroKernelWarning",
    "assert_same",
    "compare",
    "reference",
]


class _Package(ModuleType):
    """The package, whose name ``compare`` is the function, not the wing that it is built on.

    An import of a module sets it on its package, where it would hide what `__getattr__` finds.
    """

    @property
    def compare(self) -> Any:
        return __getattr__("compare")

    @compare.setter
    def compare(self, _: ModuleType) -> None: ...


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    # pytest imports this package at every start: JAX must not come with it.
    if name in _HOMES:
        return getattr(import_module(f"pytest_nnxrng.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
