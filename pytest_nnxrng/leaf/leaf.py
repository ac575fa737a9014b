"""A leaf: one array of a value; and the leaves of a value with what is tied among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_nnxrng.leaf.dtypes import dtype_of, is_key
from pytest_nnxrng.leaf.paths import is_below, prefixes
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
    ``type`` is the name of its Variable's class, without bases: what is a Param is known in
    `nnx.flatten` alone. ``spots`` are a few elements as text (`leaf.spots`). ``kept`` values are
    those of an earlier golden, of another environment or initializer.
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


@dataclass(frozen=True)
class Flat:
    """The leaves of a value, in the order of their paths.

    ``aliases`` maps the path of a Variable or node that is met again to the path where it was
    met first, as tied parameters are.
    """

    leaves: tuple[Leaf, ...]
    aliases: Mapping[str, str]

    def but(self, leaves: Iterable[Leaf]) -> Flat:
        """The same ties among these leaves, which take the place of its own."""
        return Flat(tuple(leaves), self.aliases)

    def each(self, changed: Callable[[Leaf], Leaf]) -> Flat:
        """The same ties among leaves of which each is ``changed``."""
        return self.but(map(changed, self.leaves))

    def by_path(self) -> dict[str, Leaf]:
        """The leaves, by their paths."""
        return {leaf.path: leaf for leaf in self.leaves}

    @property
    def is_abstract(self) -> bool:
        """Whether no leaf has values."""
        return all(leaf.read is None for leaf in self.leaves)


def aligned(
    leaves: tuple[Leaf, ...],
    aliases: Mapping[str, str],
    paths: Collection[str],
    now: Mapping[str, str],
) -> tuple[tuple[Leaf, ...], Mapping[str, str]]:
    """The golden's leaves and aliases, with what is tied called as the run calls it.

    What is tied has the name under which a walk meets it first: a renamed attribute, or one
    that is gone, may leave another first. ``paths`` and ``now`` are the run's leaves and
    aliases. What is no longer tied keeps its name.
    """
    held = {above for path in paths for above in prefixes(path)}
    groups: dict[str, list[str]] = {}
    for path, first in aliases.items():
        groups.setdefault(first, [first]).append(path)
    for first in sorted(groups):
        tied = groups[first]
        names = {now.get(path, path) for path in tied if path in now or path in held}
        name = names.pop() if len(names) == 1 else first
        if name != first and name in tied:
            leaves = tuple([leaf.but(path=_moved(leaf.path, first, name)) for leaf in leaves])
            others = {p: _moved(t, first, name) for p, t in aliases.items() if t != first}
            aliases = {_moved(p, first, name): t for p, t in others.items()}
            aliases |= {path: name for path in tied if path != name}
    return leaves, aliases


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if is_below(path, old) else path
