"""How far apart two leaves may be: tables, and what settings and platforms make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.dtypes import PARTS, dtype_of, is_inexact, is_small_float
from pytest_nnxrng.leaf.grid import step
from pytest_nnxrng.leaf.scale import Scale
from pytest_nnxrng.run.settings import Settings

Floats: TypeAlias = NDArray[np.float64]

# Largest |a - b| that counts as rounding, as a share of the leaf's largest element. They
# are about twice the worst case measured over JAX 0.5.3 to 0.12, instruction sets, eager
# against jit, and shardings. A Python float usually is a float32 result read out.
WEIGHTS = {
    "float64": 1e-12,
    "float32": 1e-5,
    "bfloat16": 1.6e-2,
    "float16": 5e-3,
}
OUTPUTS = {
    "float64": 1e-10,
    "float32": 1e-5,
    "bfloat16": 3e-2,
    "float16": 1e-2,
}
# Of outputs, where the golden is another platform's: with matmuls in float32 on both, and where
# a platform multiplies float32 in fewer bits by default (TF32 on GPUs, bfloat16 on TPUs).
ACROSS = {"float32": 1e-4}
REDUCED = {"gpu": {"float32": 5e-3}, "tpu": {"float32": 2e-2}}
STRICT = {"float64": 1e-14, "float32": 2e-6, "bfloat16": 1e-2, "float16": 3e-3}
_SAME_AS = PARTS | {"python float": "float32", "python complex": "float32"}
PRECISION = "jax_default_matmul_precision"
_FULL = ("highest", "float32", "F32_F32_F32", "F64_F64_F64")


@dataclass(frozen=True)
class Tolerance:
    """How far apart two leaves may be and still differ by rounding alone.

    An element may differ by ``relative[dtype] * S + atol``, S being the scale of the golden's
    leaf (``leaf.scale``). One of a float of 8 bits or fewer for which ``relative`` says nothing
    may differ by one step of its format, or by ``atol``. ``exact`` accepts equal bits alone.
    """

    relative: Mapping[str, float]
    atol: float = 0.0
    exact: bool = False

    def of(self, dtype: str) -> float:
        """The share of S allowed for ``dtype``; 0 for what does not round, or by steps."""
        if self.exact or not is_inexact(dtype):
            return 0.0
        name = _SAME_AS.get(dtype, dtype)
        return self.relative.get(name, self.relative.get("*", 0.0))

    def by_steps(self, dtype: str) -> bool:
        """Whether an element may move by a step of its own format, whatever the others are."""
        if self.exact or not is_small_float(dtype):
            return False
        return self.relative.keys().isdisjoint((dtype, "*"))

    def allowed(self, dtype: str, scale: Scale, golden: Floats, obtained: Floats) -> Floats | float:
        """How far each element of the golden may be from the one obtained, all being finite."""
        if self.by_steps(dtype):
            return np.maximum(step(dtype_of(dtype), golden, obtained), self.atol)
        return self.of(dtype) * scale.of(golden) + self.atol


def tolerance(
    settings: Settings,
    kind: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    tol: float | Mapping[str, float] | None = None,
    atol: float = 0.0,
    exact: bool = False,
) -> Tolerance:
    """The tolerance of a check of this kind: ``tol``, ``atol`` and ``exact`` are its own options.

    ``then`` and ``now`` are the golden's and the run's environment.
    """
    table = dict(WEIGHTS if kind == "init" else OUTPUTS)
    if settings.strict:
        table.update(STRICT)
    table.update(settings.weights_tol if kind == "init" else settings.outputs_tol)
    if kind != "init" and then.get("platform") != now.get("platform"):
        for dtype, least in across(then, now).items():
            table[dtype] = max(least, table[dtype])
        table.update(settings.across_tol)
    if isinstance(tol, Mapping):
        table.update(tol)
    elif tol is not None:
        table = {"*": float(tol)}
    return Tolerance(table, float(atol), exact)


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
