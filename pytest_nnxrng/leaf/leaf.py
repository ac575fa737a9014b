"""A leaf: one array of a value, and what its dtype means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # a dependency of jax; gives numpy bfloat16, float8_*, int4, ...
import numpy as np

from pytest_nnxrng.leaf.placement import Placement
from pytest_nnxrng.leaf.slabs import Slabs

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
INTEGERS = frozenset(("int1", "int2", "int4", "uint1", "uint2", "uint4"))
NARROW = frozenset(_SMALLER)  # less than a byte an element
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
    that the golden does not store. Elements that lie on several devices also come as
    ``slabs``, which ``contents`` prefers: ``read`` then puts the whole leaf together.
    ``spots`` are a few elements as text (``spot_text``). ``kept`` values are those of an earlier
    golden, of another environment or initializer.
    """

    path: str
    type: str
    shape: tuple[int, ...]
    dtype: str
    rng: bool = False
    sharding: tuple[Any, ...] | None = None  # of the metadata; None: not looked at
    placed: Placement | None = None  # in fact; None: on one device, or not looked at
    digest: str | None = None
    statistics: Mapping[str, float | int | str] = field(default_factory=dict)
    sketch: Any = None  # a sketch.Sketch
    draws: tuple[str, ...] | None = None
    fixed_key: bool = False  # random, but from a key that is hard-coded in the model
    initializer: str | None = None
    spots: str | None = None
    stored: bool = True
    kept: bool = False
    devices: frozenset[Any] = field(default=frozenset(), compare=False, repr=False)
    read: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)
    fetched: bool = field(default=False, compare=False)  # read() takes memory for the elements
    slabs: Slabs | None = field(default=None, compare=False, repr=False)

    def contents(self) -> np.ndarray | Slabs:
        """The elements of a leaf that has some, for what reads them in C order alone."""
        if self.slabs is not None:
            return self.slabs
        assert self.read is not None
        return self.read()

    def but(self, **changes: Any) -> Leaf:
        """The leaf with other values of some fields: ``dataclasses.replace``, five times as fast.

        Every check makes each of its leaves a few times.
        """
        if not changes.keys() <= vars(self).keys():
            raise TypeError(f"{', '.join(changes)}: not all are fields of a Leaf")
        made = object.__new__(Leaf)
        vars(made).update(vars(self), **changes)
        return made

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
