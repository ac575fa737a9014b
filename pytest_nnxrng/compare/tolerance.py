"""How far a check's leaves may be from its golden's: settings, options, and two environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_nnxrng.check.state import Options
from pytest_nnxrng.compare.numbers import ACROSS, OUTPUTS, REDUCED, STRICT, WEIGHTS, Tolerance
from pytest_nnxrng.run.settings import Settings

PRECISION = "jax_default_matmul_precision"
_FULL = ("highest", "float32", "F32_F32_F32", "F64_F64_F64")


def tolerance(
    settings: Settings,
    options: Options,
    kind: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
) -> Tolerance:
    """The tolerance of a check; ``then`` and ``now`` are the golden's and the run's environment."""
    table = dict(WEIGHTS if kind == "init" else OUTPUTS)
    if settings.strict:
        table.update(STRICT)
    table.update(settings.weights_tol if kind == "init" else settings.outputs_tol)
    if kind != "init" and then.get("platform") != now.get("platform"):
        for dtype, least in across(then, now).items():
            table[dtype] = max(least, table[dtype])
        table.update(settings.across_tol)
    if isinstance(options.tol, Mapping):
        table.update(options.tol)
    elif options.tol is not None:
        table = {"*": float(options.tol)}
    return Tolerance(table, float(options.atol), options.exact)


def across(*environments: Mapping[str, Any]) -> Mapping[str, float]:
    """What outputs need between these platforms: as the less precise of them multiplies."""
    found = dict(ACROSS)
    for environment in environments:
        if reduced(environment):
            for dtype, least in REDUCED[environment["platform"]].items():
                found[dtype] = max(least, found[dtype])
    return found


def reduced(environment: Mapping[str, Any]) -> bool:
    """Whether float32 is multiplied in fewer bits there, unless a layer says otherwise."""
    return environment.get("platform") in REDUCED and environment.get(PRECISION) not in _FULL
