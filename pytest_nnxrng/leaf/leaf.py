"""A leaf: one array of a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_nnxrng.leaf.dtypes import dtype_of, is_key
from pytest_nnxrng.leaf.placement import Placement
from pytest_nnxrng.leaf.slabs import Slabs


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
    fixed_at: str = field(default="", compare=False)  # the line of this run that does so
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


def constant(leaf: Leaf) -> np.ndarray | None:
    """The elements of a leaf that has a ``constant``, without allocating them; else None.

    Also None for NaN, whose sign and payload a ``constant`` does not tell.
    """
    value = leaf.statistics.get("constant")
    if value in (None, "nan") or dtype_of(leaf.dtype).kind == "c" or is_key(leaf.dtype):
        return None
    try:
        with np.errstate(over="raise", invalid="raise"):
            one = np.asarray(float(value) if isinstance(value, str) else value)
            return np.broadcast_to(one.astype(dtype_of(leaf.dtype)), leaf.shape)
    except (ValueError, TypeError, ArithmeticError):
        return None
