"""A leaf: one array of a value, and what its dtype means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # a dependency of jax; gives numpy bfloat16, float8_*, int4, ...
import numpy as np

_FLOAT8 = [
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]
_SMALLER = [
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
    *("int1", "int2", "int4", "uint1", "uint2", "uint4"),
]
_INTEGERS = frozenset(("int1", "int2", "int4", "uint1", "uint2", "uint4"))
_ONE_BYTE = [*_FLOAT8, *_SMALLER]
_NATIVE = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
]
_COMPLEX = {"complex64": "float32", "complex128": "float64"}
_PYTHON = {
    "python bool": "bool",
    "python int": "int64",
    "python float": "float64",
    "python complex": "complex128",
}


class UnsupportedDtype(TypeError):
    """A dtype that no golden can hold."""


@dataclass(frozen=True)
class Leaf:
    """One array of a value, as a model holds it or as a golden keeps it.

    ``dtype`` is the numpy, ml_dtypes or JAX name (``key<fry>`` for typed PRNG keys), or
    ``python float`` and the like for Python numbers. ``read`` gives the elements in host
    memory: shape and dtype as named, but for keys, whose uint32 key data comes (shape +
    (words,)). It is None when there are no elements to read: an abstract leaf, or values
    that the golden does not store. ``spots`` are a few elements as text (``spot_text``).
    ``kept`` values are those of an earlier golden, of another environment or initializer.
    """

    path: str
    type: str
    shape: tuple[int, ...]
    dtype: str
    rng: bool = False
    sharding: tuple[Any, ...] | None = None
    digest: str | None = None
    statistics: Mapping[str, float | int | str] = field(default_factory=dict)
    sketch: Any = None  # a sketch.Sketch
    draws: tuple[str, ...] | None = None
    initializer: str | None = None
    spots: str | None = None
    stored: bool = True
    kept: bool = False
    read: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def dtype_of(name: str) -> np.dtype:
    """The numpy dtype of a leaf's elements in host memory; uint32 for typed PRNG keys.

    Raises:
      UnsupportedDtype: when no golden holds that dtype.
    """
    if name.startswith("key<"):
        return np.dtype(np.uint32)
    name = _PYTHON.get(name, name)
    if name in _ONE_BYTE or name == "bfloat16":
        kind: np.dtype = np.dtype(getattr(ml_dtypes, name))
        return kind
    if name in _NATIVE or name in _COMPLEX:
        return np.dtype(name)
    raise UnsupportedDtype(name)


def storage(name: str) -> str:
    """The dtype under which safetensors keeps a leaf's elements.

    Sub-byte and 8-bit floats, int4 and the like are kept as their bits, one uint8 an
    element; complex numbers as pairs of floats in a last axis of two; keys as key data.

    Raises:
      UnsupportedDtype: when no golden holds that dtype.
    """
    dtype_of(name)
    name = _PYTHON.get(name, name)
    if name.startswith("key<"):
        return "uint32"
    return "uint8" if name in _ONE_BYTE else _COMPLEX.get(name, name)


def is_inexact(name: str) -> bool:
    """Whether a leaf of this dtype holds floats or complex numbers, so that it may round."""
    if name.startswith("key<"):
        return False
    return bool(
        name in ("python float", "python complex")
        or name.startswith(("float", "bfloat", "complex"))
    )


# Signalling NaNs and float64 near its end: neither is worth a warning.
@np.errstate(over="ignore", invalid="ignore")
def statistics(array: np.ndarray) -> dict[str, float | int | str]:
    """What a reader sees of a leaf: mean, std, min and max, in float64, six digits.

    Of a leaf with one distinct bit pattern only ``constant``, exactly; of a scalar its ``value``;
    elements that are not finite are counted apart.
    """
    if array.size == 0:
        return {}
    if array.dtype.kind == "c":
        array = array.reshape(-1).view(array.real.dtype)
    flat = array.reshape(-1)
    if array.ndim == 0:
        return {"value": _number(flat[0])}
    bits = flat.view(f"u{flat.dtype.itemsize}")
    if (bits == bits[0]).all():
        return {"constant": _exact(flat[0])}
    total = square = 0.0
    low, high, finite = math.inf, -math.inf, 0
    shift = None
    for start in range(0, flat.size, 1 << 16):
        block = flat[start : start + (1 << 16)].astype(np.float64)
        block = block[np.isfinite(block)]
        if not block.size:
            continue
        # Shifted by an element, so that the variance of a narrow distribution survives.
        shift = float(block[0]) if shift is None else shift
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        block -= shift
        total += float(block.sum())
        square += float(np.square(block).sum())
        finite += block.size
    row: dict[str, float | int | str] = {}
    if finite and shift is not None:
        mean = total / finite
        deviation = math.sqrt(max(square / finite - mean * mean, 0.0))
        row = {
            "mean": _number(mean + shift),
            "std": _number(deviation),
            "min": _number(low),
            "max": _number(high),
        }
    if finite != flat.size:
        row["nonfinite"] = flat.size - finite
    return row


def constant(leaf: Leaf) -> np.ndarray | None:
    """The elements of a leaf that has a ``constant``, without allocating them; else None.

    Also None for NaN, whose sign and payload a ``constant`` does not tell.
    """
    value = leaf.statistics.get("constant")
    if value in (None, "nan") or dtype_of(leaf.dtype).kind == "c" or leaf.dtype.startswith("key<"):
        return None
    try:
        with np.errstate(over="raise", invalid="raise"):
            one = np.asarray(float(value) if isinstance(value, str) else value)
            return np.broadcast_to(one.astype(dtype_of(leaf.dtype)), leaf.shape)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _exact(value: Any) -> float | int | str:
    if value.dtype.kind in "biu" or value.dtype.name in _INTEGERS:
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    plain = number == int(number) and abs(number) < 1e6 and math.copysign(1, number) > 0
    return int(number) if plain else number


def _number(value: Any) -> float | int | str:
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    rounded = float(f"{number:.6g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e6 else rounded
