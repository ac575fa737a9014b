"""What is known of a dtype, in one row each: its bits, how it is stored, whether it rounds.

A new dtype is a new row. Names are those of numpy, ml_dtypes and JAX, ``key<...>`` for typed PRNG
keys and ``python float`` and the like for Python numbers.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import ml_dtypes  # a dependency of jax; gives numpy bfloat16, float8_*, int4, ...
import numpy as np


class _Row(NamedTuple):
    """``bits`` are those that mean something, of the bytes that an element takes in memory."""

    bits: int
    kind: str  # bool, int, float or complex


_ROWS: dict[str, _Row] = {"bool": _Row(8, "bool")}
for _bits in (1, 2, 4, 8, 16, 32, 64):
    _ROWS |= {f"int{_bits}": _Row(_bits, "int"), f"uint{_bits}": _Row(_bits, "int")}
_ROWS |= {
    "float4_e2m1fn": _Row(4, "float"),
    "float6_e2m3fn": _Row(6, "float"),
    "float6_e3m2fn": _Row(6, "float"),
    "float8_e3m4": _Row(8, "float"),
    "float8_e4m3": _Row(8, "float"),
    "float8_e4m3b11fnuz": _Row(8, "float"),
    "float8_e4m3fn": _Row(8, "float"),
    "float8_e4m3fnuz": _Row(8, "float"),
    "float8_e5m2": _Row(8, "float"),
    "float8_e5m2fnuz": _Row(8, "float"),
    "float8_e8m0fnu": _Row(8, "float"),
    "bfloat16": _Row(16, "float"),
    "float16": _Row(16, "float"),
    "float32": _Row(32, "float"),
    "float64": _Row(64, "float"),
    "complex64": _Row(64, "complex"),
    "complex128": _Row(128, "complex"),
}
_PYTHON = {
    "python bool": "bool",
    "python int": "int64",
    "python float": "float64",
    "python complex": "complex128",
}
# The floats that two of make a complex number.
PARTS = {"complex64": "float32", "complex128": "float64"}
_KEY = "key<"


class UnsupportedDtype(TypeError):
    """A dtype that no golden can hold."""


def names() -> tuple[str, ...]:
    """Every dtype that a golden can hold, but those of keys."""
    return (*_ROWS, *_PYTHON)


def rounding() -> tuple[str, ...]:
    """The dtypes that round by themselves, those of 8 bits and fewer last."""
    floats = [name for name, row in _ROWS.items() if row.kind == "float"]
    return tuple(sorted(floats, key=lambda name: (is_small_float(name), name)))


def is_key(name: str) -> bool:
    """Whether a leaf of this dtype holds typed PRNG keys."""
    return name.startswith(_KEY)


@functools.lru_cache(maxsize=128)
def dtype_of(name: str) -> np.dtype:
    """The numpy dtype of a leaf's elements in host memory; uint32 for typed PRNG keys.

    Raises:
      UnsupportedDtype: when no golden holds that dtype.
    """
    if is_key(name):
        return np.dtype(np.uint32)
    name = _PYTHON.get(name, name)
    if name not in _ROWS:
        raise UnsupportedDtype(name)
    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:  # a dtype of a newer ml_dtypes than is installed
        raise UnsupportedDtype(name) from None


def storage(name: str) -> str:
    """The dtype under which safetensors keeps a leaf's elements.

    8-bit and smaller floats, int4 and the like are kept as their bits, one uint8 an element;
    complex numbers as pairs of floats in a last axis of two; keys as key data.

    Raises:
      UnsupportedDtype: when no golden holds that dtype.
    """
    dtype = dtype_of(name)
    name = "uint32" if is_key(name) else _PYTHON.get(name, name)
    if dtype.itemsize == 1 and hasattr(ml_dtypes, name):
        return "uint8"
    return PARTS.get(name, name)


def is_inexact(name: str) -> bool:
    """Whether a leaf of this dtype holds floats or complex numbers, so that it may round."""
    row = _ROWS.get(_PYTHON.get(name, name))
    return row is not None and row.kind in ("float", "complex")


def is_small_float(name: str) -> bool:
    """Whether it is a float of 8 bits or fewer, which are cast from wider ones and never drawn."""
    row = _ROWS.get(name)
    return row is not None and row.kind == "float" and row.bits <= 8


def is_packed(name: str) -> bool:
    """Whether an element takes less than a byte on a device."""
    row = _ROWS.get(name)
    return row is not None and row.bits < 8


def is_integer(name: str) -> bool:
    """Whether it is a bool or an integer of any width."""
    row = _ROWS.get(name)
    return row is not None and row.kind in ("bool", "int")


def spare_mask(name: str) -> int | None:
    """Of a dtype narrower than its byte, the bits that mean something; None of others."""
    row = _ROWS.get(name)
    return (1 << row.bits) - 1 if row is not None and row.bits < 8 else None
