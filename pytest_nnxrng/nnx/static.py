"""What modules are beside their leaves: classes, and static attributes that a text can hold.

Numbers, texts, bools, dtypes, members of enums, functions by their qualified name, and lists,
dicts and dataclasses of these. Any other object is passed over: a ``repr`` or an id of it would
be another in each process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from enum import Enum
from types import FunctionType
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.leaf.forward import CLASS, Modules
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.leaf.paths import prefixes
from pytest_nnxrng.leaf.paths import step as steps
from pytest_nnxrng.nnx.flatten import NODES, is_node, plain_key

# Flax keeps what it likes in these; what lies in them belongs to the module that holds them.
_CONTAINERS = tuple(getattr(nnx, name) for name in ("List", "Dict") if hasattr(nnx, name))
_SEQUENCES = tuple(getattr(nnx, name) for name in ("List",) if hasattr(nnx, name))
_STREAMS = (nnx.Rngs, nnx.RngStream)
_DATA = (nnx.Variable, nnx.State, jax.Array, jax.core.Tracer, np.ndarray, jax.ShapeDtypeStruct)
_BASES = frozenset(nnx.Module.__mro__)
_SIMPLE = frozenset({bool, int, float, str, type(None)})
# Labels say nothing of what is computed, and libraries count them up in each process.
_LABELS = frozenset({"name", "_name", "path", "_path"})
_ABSOLUTE = re.compile(r"([A-Za-z]:)?[\\/][^\\/]+[\\/]")
_LONG = 200  # characters
_MANY = 32  # entries of a dict
_FUNCTIONS = frozenset({FunctionType, type(jax.jit(abs))})
_AS_IT_IS = frozenset({bool, type(None)})
_LENGTHY = frozenset({str, list})
_UNKNOWN: Any = object()

step: Callable[[Any], str] = functools.lru_cache(maxsize=1024, typed=True)(
    steps
)  # a model has few names


def modules(value: Any, flat: Flat, *, narrowed: bool = False) -> Modules:
    """The modules of ``value``, whose leaves are ``flat``.

    ``narrowed``: a filter rejected leaves; modules that hold none of the others are left out.
    """
    reader = _Reader(flat)
    if is_node(value):
        reader.module("", value)
    elif not _has_sort(value, _Sort.DATA):
        for place, node in _nodes(value):
            reader.module(place, node)
    rows = reader.rows
    if narrowed:
        held = {"", *(above for leaf in flat.leaves for above in prefixes(leaf.path))}
        rows = {path: row for path, row in rows.items() if path in held}
    return Modules(rows, frozenset(reader.library))


def _nodes(value: Any) -> Iterator[tuple[str, Any]]:
    def ends(x: Any) -> bool:
        return is_node(x) or _has_sort(x, _Sort.DATA)

    for path, found in jax.tree_util.tree_flatten_with_path(value, is_leaf=ends)[0]:
        if is_node(found):
            yield "".join(step(plain_key(key)) for key in path), found


class _Sort(Enum):
    """What is to be done with an attribute of a type."""

    DATA = "is leaves, or nothing that is known"
    SIMPLE = "is what JSON holds"
    MODULE = "has a row of its own"
    OTHER = "is to be looked at"


@functools.lru_cache(maxsize=256)  # asking JAX and NNX is what a walk costs
def _sort(kind: Any) -> _Sort:
    if kind in _SIMPLE:
        return _Sort.SIMPLE
    if issubclass(kind, _DATA):
        return _Sort.DATA
    if issubclass(kind, NODES):
        return _Sort.OTHER if issubclass(kind, _CONTAINERS) else _Sort.MODULE
    calls = any("__call__" in vars(c) for c in kind.__mro__)
    opaque = _is_flax(kind) and not calls and not issubclass(kind, Enum)
    return _Sort.DATA if opaque else _Sort.OTHER


def _has_sort(value: Any, *sorts: _Sort) -> bool:
    kind: Any = type(value)
    return _sort(kind) in sorts


_Row = dict[str, Any]


class _Reader:
    def __init__(self, flat: Flat) -> None:
        # Numbers and arrays outside of Variables: attributes that are data, and no static ones.
        bare = [leaf.path for leaf in flat.leaves if leaf.type in ("array", "scalar")]
        self.bare = {above for path in bare for above in prefixes(path)}
        self.aliases = flat.aliases
        self.rows: dict[str, _Row] = {}
        self.library: set[str] = set()
        self.kinds: dict[type, tuple[bool, _Row]] = {}
        # The objects themselves are kept, so that no id is reused during the walk.
        self.seen: dict[int, Any] = {}

    def module(self, place: str, module: Any) -> None:
        path = place.removeprefix(".")
        if id(module) in self.seen or path in self.aliases or isinstance(module, _STREAMS):
            return
        self.seen[id(module)] = module
        kind = type(module)
        library, constants = self.kinds.get(kind) or self._kind(kind)
        row = dict(constants)
        self._each(place, "", module, row, library)
        if row or not isinstance(module, _CONTAINERS):
            self.rows[path] = {CLASS: kind.__name__, **{name: row[name] for name in sorted(row)}}
            if library:
                self.library.add(path)

    def _kind(self, kind: type) -> tuple[bool, _Row]:
        classes = [c for c in kind.__mro__ if c not in _BASES]
        constants: _Row = {}
        for c in reversed(classes):
            if not _is_flax(c):
                constants.update(_constants(c))
        self.kinds[kind] = any(map(_is_flax, classes)), constants
        return self.kinds[kind]

    def _each(self, place: str, label: str, holder: Any, row: _Row, library: bool) -> None:
        quick = not self.bare and not label and library
        for key, value in _members(holder):
            kind: Any = type(value)
            sort = _sort(kind)
            if sort is _Sort.DATA:
                continue
            if quick and kind in _AS_IT_IS:  # what most attributes of Flax's layers are
                row[key] = value
                continue
            name = step(key)
            if sort is _Sort.MODULE:
                self.module(place + name, value)
            else:
                self._attribute(place + name, (label + name).removeprefix("."), value, row, library)

    def _attribute(self, place: str, label: str, value: Any, row: _Row, library: bool) -> None:
        known = plain(value)
        if known is _UNKNOWN:
            self._within(place, label, value, row, library)
        elif known is None and not library:
            row.pop(label, None)  # a constant of the class that this instance unsets
        elif self.bare and place.removeprefix(".") in self.bare:
            return
        elif not _is_noise(label, value, known, library):
            row[label] = known

    def _within(self, place: str, label: str, value: Any, row: _Row, library: bool) -> None:
        if id(value) not in self.seen:
            self.seen[id(value)] = value
            self._each(place, label, value, row, library)
            # What is met again, a shared config say, is told of each module that holds it.
            del self.seen[id(value)]


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    """What an object that no text can hold consists of; of one that is not known, nothing."""
    if is_node(value):
        yield from enumerate(value) if isinstance(value, _SEQUENCES) else vars(value).items()
    elif isinstance(value, dict):
        # A dict that files objects under their own id has other keys in each process.
        yield from ((k, v) for k, v in value.items() if k != id(v) and isinstance(k, str | int))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        # The functions of a gradient transformation are closures, named as its library likes.
        yield from ((k, v) for k, v in zip(value._fields, value, strict=True) if not callable(v))
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not _is_flax(type(value)):
        found = ((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value))
        yield from found


def plain(value: Any) -> Any:
    """``value`` as JSON holds it, or an object of its own if it is none of the simple ones."""
    many = type(value) is dict and len(value) > _MANY  # a vocabulary, say
    found = _listed(value.items()) if many else _plain(value)
    if type(found) in _LENGTHY:
        text = found if isinstance(found, str) else json.dumps(found)
        if len(text) > _LONG:
            code = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            return f"{text[:40]}... ({len(text)} characters, sha256 {code})"
    return found


def _plain(value: Any) -> Any:
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind is int:
        return value if value.bit_length() <= 64 else _UNKNOWN
    if kind in _FUNCTIONS:
        return _function(value)
    if isinstance(value, Enum):
        return f"{kind.__name__}.{value.name}"
    if isinstance(value, str):
        return _UNKNOWN if _ABSOLUTE.match(value) else str.__str__(value)
    if kind is list or kind is tuple:
        return _listed(value)
    if isinstance(value, np.dtype | type):
        return _named(value)
    if isinstance(value, np.generic | int | float | complex):
        return _number(value)
    return _function(value) if callable(value) and not is_node(value) else _UNKNOWN


def _listed(values: Any) -> Any:
    found = []
    for value in values:
        found.append(_UNKNOWN if _has_sort(value, _Sort.DATA) else _plain(value))
        if found[-1] is _UNKNOWN:
            return _UNKNOWN
    return found


@functools.lru_cache(maxsize=256)
def _named(value: Any) -> str:
    """The name of a dtype, in whatever form, or of a class."""
    dtype = getattr(value, "dtype", value)  # jnp.float32 is no subclass of numpy's
    if isinstance(dtype, np.dtype):
        return dtype.name
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        return np.dtype(dtype).name
    return str(value.__name__)


def _number(value: Any) -> Any:
    found = value.item() if isinstance(value, np.generic) else value
    if isinstance(found, complex):
        return str(complex(found))
    for kind in (bool, int, float):
        if isinstance(found, kind):
            return _plain(kind(found))
    return _UNKNOWN


def _function(value: Any) -> Any:
    if isinstance(value, functools.partial):
        given = [(f"{k}=" if k else "", _plain(v)) for k, v in _given(value)]
        shown = [k + ("..." if v is _UNKNOWN else _text(v)) for k, v in given]
        name = _function(value.func)
        return _UNKNOWN if name is _UNKNOWN else f"partial({', '.join([name, *shown])})"
    if isinstance(value, type):
        return _named(value)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else _UNKNOWN


def _given(value: functools.partial[Any]) -> list[tuple[str, Any]]:
    return [*(("", arg) for arg in value.args), *sorted(value.keywords.items())]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _constants(kind: type) -> dict[str, Any]:
    """What a user's class holds for all its instances, methods and private names aside."""
    found = {}
    for name, value in vars(kind).items():
        if isinstance(value, staticmethod):
            value = value.__func__
            if getattr(value, "__qualname__", "").startswith(f"{kind.__qualname__}."):
                continue
        elif callable(value) and not hasattr(value, "dtype"):
            continue
        if name.startswith("_") or _has_sort(value, _Sort.DATA, _Sort.MODULE):
            continue
        known = plain(value)
        if known is not _UNKNOWN and known is not None:
            found[name] = known
    return found


def _is_noise(label: str, value: Any, known: Any, library: bool) -> bool:
    if isinstance(value, str):
        return label in _LABELS
    # Flax keeps the initializers of its layers in some releases, and not in others, and takes
    # functions that were its own before as attributes, each under the function's name.
    named = library and isinstance(known, str) and label.endswith(("_init", known))
    return named and callable(value)


def _is_flax(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "flax"
