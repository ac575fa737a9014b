"""Builders as people have them -> a call with its Rngs among the arguments.

Rngs that a builder reaches otherwise (a partial, a default, a closure, a config) are put behind its
arguments, so that a copy of them can be drawn from in a second call. A global is left alone: other
tests draw from it, too, and a second build shows that.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from flax import nnx

from pytest_nnxrng.nnx.arguments import find_rngs
from pytest_nnxrng.nnx.flatten import is_node

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_STREAMS = (nnx.Rngs, nnx.RngStream)
# Streams are named in the order of sorted names: those of the arguments keep the names they had.
_REACHED = "\uffff Rngs that the builder reaches by itself"
_DEEPEST = 4
_FOREIGN = frozenset({"jax", "jaxlib", "flax", "numpy", "builtins", "optax"})


def unfolded(build: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """The same call, with every Rngs that it draws from among its arguments."""
    named = dict(kwargs)
    while type(build) is functools.partial:
        args, named = (*build.args, *args), {**build.keywords, **named}
        build = build.func
    known = {id(found) for found in find_rngs(args, named)}
    seen: set[int] = set()
    called = build.__init__ if isinstance(build, type) else build  # type: ignore[misc]
    every = [*_reached(called, seen, 0), *_reached((args, named), seen, 0)]
    hidden = {id(found): found for found in every if id(found) not in known}
    if not hidden:
        return build, args, named
    given = tuple(hidden.values())
    return _Through(build, given), args, {**named, _REACHED: given}


class _Through:
    """Calls a builder that reaches Rngs by itself, with others in their place."""

    def __init__(self, build: Callable[..., Any], reached: tuple[Any, ...]) -> None:
        self._build, self._reached = build, reached
        self.__wrapped__ = build
        self.__qualname__ = getattr(build, "__qualname__", type(build).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = kwargs.pop(_REACHED)
        # What a closure or a config holds is the object itself: its streams are exchanged.
        own = [dict(vars(rngs)) for rngs in self._reached]
        try:
            for rngs, other in zip(self._reached, given, strict=True):
                _set(rngs, vars(other))
            return self._build(*args, **kwargs)
        finally:
            for rngs, attributes in zip(self._reached, own, strict=True):
                _set(rngs, attributes)


def _set(rngs: Any, attributes: Mapping[str, Any]) -> None:
    attributes = dict(attributes)
    vars(rngs).clear()
    vars(rngs).update(attributes)


def _reached(value: Any, seen: set[int], depth: int) -> Iterator[Any]:
    """Each Rngs that a value leads to, through closures, defaults and attributes."""
    if id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if isinstance(value, _STREAMS):
        yield value
        return
    for child in _held(value):
        yield from _reached(child, seen, depth + 1)


def _held(value: Any) -> list[Any]:
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*_cells(value), *defaults]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    foreign = type(value).__module__.partition(".")[0] in _FOREIGN
    if isinstance(value, type) or is_node(value) or isinstance(value, jax.Array) or foreign:
        return []
    return list(getattr(value, "__dict__", {}).values())


def _cells(function: types.FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    return found
