"""What a jaxpr's equations are: calls of other jaxprs, identities, sources of keys, impure ones.

The integer equations that the counts of streams go through are evaluated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
LARGEST = 4096  # elements of an array that is followed


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


def fold(equation: Any, consts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The value of an integer equation on known inputs; None when it is not known."""
    aval = equation.outvars[0].aval
    operation = _FOLDS.get(equation.primitive.name)
    if operation is None or any(const is None for const in consts):
        return None
    dtype = getattr(aval, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iub" or aval.size > LARGEST:
        return None
    with np.errstate(all="ignore"):
        folded = np.asarray(operation(equation.params, *consts)).astype(dtype)
    return folded if folded.shape == aval.shape else None


def _broadcast(params: Any, x: np.ndarray) -> np.ndarray:
    shape = [1] * len(params["shape"])
    for size, dimension in zip(x.shape, params["broadcast_dimensions"], strict=True):
        shape[dimension] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _dynamic_slice(params: Any, x: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    sizes = params["slice_sizes"]
    places = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple([slice(p, p + k) for p, k in zip(places, sizes, strict=True)])]


def _strided(params: Any, x: np.ndarray) -> np.ndarray:
    steps = params["strides"] or [1] * x.ndim
    limits = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return x[tuple([slice(*limit) for limit in limits])]


_FOLDS: dict[str, Callable[..., Any]] = {
    "add": lambda p, x, y: x + y,
    "sub": lambda p, x, y: x - y,
    "mul": lambda p, x, y: x * y,
    "max": lambda p, x, y: np.maximum(x, y),
    "min": lambda p, x, y: np.minimum(x, y),
    "eq": lambda p, x, y: x == y,
    "ne": lambda p, x, y: x != y,
    "lt": lambda p, x, y: x < y,
    "le": lambda p, x, y: x <= y,
    "gt": lambda p, x, y: x > y,
    "ge": lambda p, x, y: x >= y,
    "select_n": lambda p, which, *cases: np.choose(which.astype(int), cases),
    "convert_element_type": lambda p, x: x,
    "reshape": lambda p, x: x.reshape(p["new_sizes"]),
    "squeeze": lambda p, x: x.squeeze(tuple(p["dimensions"])),
    "transpose": lambda p, x: x.transpose(p["permutation"]),
    "broadcast_in_dim": _broadcast,
    "slice": _strided,
    "dynamic_slice": _dynamic_slice,
    "concatenate": lambda p, *xs: np.concatenate(xs, p["dimension"]),
    "iota": lambda p: np.indices(p["shape"])[p["dimension"]],
}
