"""A test as pytest holds it -> plain values, and what is kept with it while it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import pytest

if TYPE_CHECKING:
    from flax import nnx

    from pytest_nnxrng.check.memory import Memory
    from pytest_nnxrng.check.state import TestChecks
    from pytest_nnxrng.device.notation import Place
    from pytest_nnxrng.golden.inventory import Folders
    from pytest_nnxrng.golden.naming import Identity
    from pytest_nnxrng.run.progress import Progress
    from pytest_nnxrng.run.settings import Settings

PARAMETER = "nnx_device"
_REPEAT = "__pytest_repeat_step_number"  # a fixture of pytest-repeat
GIVEN: pytest.StashKey[nnx.Rngs] = pytest.StashKey()
CHECKS: pytest.StashKey[TestChecks] = pytest.StashKey()
PROGRESS: pytest.StashKey[Progress] = pytest.StashKey()
FOLDERS: pytest.StashKey[Folders] = pytest.StashKey()
MEMORIES: pytest.StashKey[dict[str, Memory]] = pytest.StashKey()  # by the device under test


def is_place(value: object) -> TypeGuard[Place]:
    """Whether a parameter is a device that this plugin chose."""
    if value is None:  # most tests name no device, and need not load what knows them
        return False
    from pytest_nnxrng.device.notation import Place

    return isinstance(value, Place)


def our_place(item: pytest.Item) -> Place | None:
    """The device that this plugin made a parameter of the test."""
    value = getattr(getattr(item, "callspec", None), "params", {}).get(PARAMETER)
    return value if is_place(value) else None


def identity(item: pytest.Item) -> Identity:
    """What names a test's goldens: classes, function and parameters, as plain text.

    The device under test is no part of it: one golden serves all.
    """
    from pytest_nnxrng.golden.naming import Identity

    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    function = getattr(item, "originalname", None) or item.name
    rest = item.name.removeprefix(function)
    parameters = rest[1:-1] if rest.startswith("[") and rest.endswith("]") else None
    place, step = our_place(item), repetition(item)
    added = [*([place.name] if place is not None else []), *([step] if step is not None else [])]
    return Identity(".".join(classes), function, own_parameters(parameters, added))


def repetition(item: pytest.Item) -> str | None:
    """The id of the parameter by which pytest-repeat runs a test again and again: ``1-2``."""
    step = getattr(getattr(item, "callspec", None), "params", {}).get(_REPEAT)
    if not isinstance(step, int):
        return None
    marker = item.get_closest_marker("repeat")
    count = marker.args[0] if marker and marker.args else item.config.getoption("count", None)
    return f"{step + 1}-{count}"


def own_parameters(parameters: str | None, added: Sequence[str]) -> str | None:
    """The ids of a test's own parameters: others were ``added`` after these, in any order."""
    for last in added:
        rest = [other for other in added if other is not last]
        if parameters == last:
            return None
        if parameters is not None and parameters.endswith(f"-{last}"):
            return own_parameters(parameters.removesuffix(f"-{last}"), rest)
    return parameters


def writes() -> bool:
    """Whether this process writes for all: of several under jax.distributed the first does."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return True
    return bool(jax.process_index() == 0)


def relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def golden_name(path: Path, root: Path, made: Settings) -> str:
    """A golden's path as users see it: where it stands, or would if it were in the repository."""
    return relative(path, made.golden_root or root)


def holds_goldens(directory: Path) -> bool:
    """Whether a directory that is called as folders of goldens are holds no code."""
    try:
        return not any(name.endswith(".py") for name in os.listdir(directory))
    except OSError:
        return False
