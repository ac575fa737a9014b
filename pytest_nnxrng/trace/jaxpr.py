"""What a jaxpr's equations are: calls of other jaxprs, identities, sources of keys, impure ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

CALLS = frozenset(
    [
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "call",
        "remat2",
        "remat",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "custom_jvp_call_jaxpr",
        "custom_vmap_call",
        "custom_lin",
        "run_scoped",
    ]
)
MAPPED = frozenset({"shard_map", "xla_pmap"})
# They say where a value lies or how it is compiled; the value stays what it is.
IDENTITIES = frozenset(
    [
        "sharding_constraint",
        "reshard",
        "mesh_cast",
        "device_put",
        "copy",
        "copy_p",
        "stop_gradient",
        "optimization_barrier",
        "layout_constraint",
        "name",
    ]
)
# Equations whose outputs have atoms that none of their inputs has, or that must be logged.
KEY_SOURCES = frozenset({"random_fold_in", "random_seed", "random_wrap", "random_unwrap"})


class Purity:
    """Whether jaxprs hold nothing but functions of their inputs, and how long they are."""

    def __init__(self) -> None:
        self._pure: dict[int, bool] = {}
        self._sizes: dict[int, int] = {}

    def is_pure(self, closed: Any) -> bool:
        jaxpr = opened(closed)
        if id(jaxpr) not in self._pure:
            self._pure[id(jaxpr)] = (
                not len(getattr(closed, "consts", ()))
                and not any(map(is_impure, jaxpr.effects))
                and all(map(self._is_pure_equation, jaxpr.eqns))
            )
        return self._pure[id(jaxpr)]

    def _is_pure_equation(self, equation: Any) -> bool:
        return (
            equation.primitive.name not in KEY_SOURCES
            and "callback" not in equation.primitive.name
            and not any(isinstance(a, Literal) and np.size(a.val) > 1 for a in equation.invars)
            and all(map(self.is_pure, inner_jaxprs(equation.params.values())))
        )

    def size(self, closed: Any) -> int:
        jaxpr = opened(closed)
        if id(jaxpr) not in self._sizes:
            nested = [self.size(j) for e in jaxpr.eqns for j in inner_jaxprs(e.params.values())]
            self._sizes[id(jaxpr)] = len(jaxpr.eqns) + sum(nested)
        return self._sizes[id(jaxpr)]


def is_impure(effect: Any) -> bool:
    # Reading a mesh axis's index is an effect too.
    return type(effect).__name__ != "NamedAxisEffect"


def opened(closed: Any) -> Any:
    return getattr(closed, "jaxpr", closed)


def inner_jaxprs(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from inner_jaxprs(value)


def called(equation: Any) -> Any:
    found = [equation.params.get(name) for name in ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")]
    known = [value for value in found if isinstance(value, ClosedJaxpr | Jaxpr)]
    return known[0] if known else next(inner_jaxprs(equation.params.values()))


def holds_keys(array: Any) -> bool:
    dtype = getattr(array, "dtype", None)
    return dtype is not None and bool(jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key))
