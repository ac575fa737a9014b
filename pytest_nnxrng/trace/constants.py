"""Constant propagation: the integer equations that the counts of streams go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LARGEST = 4096  # elements of an array that is followed


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
