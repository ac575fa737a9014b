"""What a check is judged by: its tolerance, the environment, what a comparison comes to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from pytest_nnxrng import environment
from pytest_nnxrng.checks import Options
from pytest_nnxrng.compare import Comparison
from pytest_nnxrng.golden import Golden, GoldenError
from pytest_nnxrng.leaf import Leaf
from pytest_nnxrng.leaves import Flat
from pytest_nnxrng.numbers import OUTPUTS, STRICT, WEIGHTS, Tolerance
from pytest_nnxrng.policy import Status
from pytest_nnxrng.settings import Settings

Changes = tuple[tuple[str, Any, Any], ...]


def changes(golden: Golden, device: jax.Device) -> Changes:
    then, now = golden.environment, environment.read(device)
    return tuple(
        (name, then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def tolerance(settings: Settings, options: Options, kind: str) -> Tolerance:
    table = dict(WEIGHTS if kind == "init" else OUTPUTS)
    if settings.strict:
        table.update(STRICT)
    table.update(settings.weights_tol if kind == "init" else settings.outputs_tol)
    if isinstance(options.tol, Mapping):
        table.update(options.tol)
    elif options.tol is not None:
        table = {"*": float(options.tol)}
    return Tolerance(table, float(options.atol), options.exact)


def status(comparison: Comparison | None, error: GoldenError | None) -> Status:
    if error is not None:
        return Status.UNREADABLE if error.replaceable else Status.LOCKED
    if comparison is None:
        return Status.MISSING
    if not comparison.matches:
        return Status.DIFFERENT
    return Status.ROUNDED if comparison.rounded else Status.MATCHED


def gains(golden: Golden | None, obtained: Flat, changes: Changes, options: Options) -> bool:
    """Whether a golden that matches would be another one if it were written anew."""
    if golden is None:
        return False
    if changes:
        return not (options.abstract and _holds_values(golden))
    ours = {leaf.path: leaf for leaf in obtained.leaves}
    return any(_gains_values(leaf, ours[leaf.path]) for leaf in golden.leaves if leaf.path in ours)


def held_back(path: Path, golden: Golden, options: Options) -> str:
    """Why a refresh leaves a golden of another environment as it is; "" if it does not."""
    if not options.abstract or not _holds_values(golden):
        return ""
    return (
        f"{path.name} holds values of the environment that it was made in, which an abstract check "
        "cannot make anew: it is left as it is. Refresh it from a check without abstract=True"
    )


def _holds_values(golden: Golden) -> bool:
    return any(leaf.digest is not None for leaf in golden.leaves)


def _gains_values(old: Leaf, new: Leaf) -> bool:
    if new.read is not None:
        return old.digest is None or old.kept
    return old.digest is None and old.spots is None and new.spots is not None
