"""The arguments of a build: the Rngs among them, copies of them, their keys and counts set.

Builders as people have them (a partial, a closure, a method) become a call with its Rngs among the
arguments.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.nnx import flatten
from pytest_nnxrng.nnx.flatten import is_node

# Tied parameters are no tree; where NNX can be set to trees, this asks for graphs.
GRAPH = {"graph": True} if "graph" in inspect.signature(nnx.split).parameters else {}
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_STREAMS = (nnx.Rngs, nnx.RngStream)
# Streams are named in the order of sorted names: those of the arguments keep the names they had.
_REACHED = "\uffff Rngs that the builder reaches by itself"
_DEEPEST = 4
_FOREIGN = frozenset({"jax", "jaxlib", "flax", "numpy", "builtins", "optax"})


def find_rngs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Each ``nnx.Rngs``, and each ``nnx.RngStream`` outside of one, among the arguments."""
    return list(_rngs((args, dict(kwargs)), set()))


def copy_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments for a second build: NNX nodes copied by value, aliases kept.

    All else is passed through, and so is a pytree without NNX nodes.
    """
    values = [*args, *kwargs.values()]
    flattened = [_flatten(value) for value in values]
    nodes = list({id(x): x for flat, _ in flattened for x in flat if _is_state(x)}.values())
    if nodes:
        copies = nnx.clone(nodes, **GRAPH)
        for old, new in zip(nodes, copies, strict=True):
            _order_attributes(old, new, set())
        copy = {id(old): new for old, new in zip(nodes, copies, strict=True)}
        values = [
            treedef.unflatten([copy.get(id(x), x) for x in flat])
            if any(map(_is_state, flat))
            else value
            for value, (flat, treedef) in zip(values, flattened, strict=True)
        ]
    return tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :], strict=True))


class Before:
    """Arguments as they are before a call, to be copied after it, and only if somebody asks.

    Of an Rngs a call moves keys and counts alone, which are noted. All else of NNX is copied at
    once, and so is an Rngs whose streams belong to a transformation.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._given = args, kwargs
        streams = named_streams(args, kwargs).values()
        self._noted = {id(s): (s, s.key[...], s.count[...]) for s in streams}
        # A transformation sorts the streams of an Rngs; a loop over it draws in their order.
        self._order = [list(vars(rngs)) for rngs in find_rngs(args, kwargs)]
        self._copied = None if self._is_light() else copy_arguments(args, kwargs)

    def _is_light(self) -> bool:
        args, kwargs = self._given
        flat = [leaf for value in (*args, *kwargs.values()) for leaf in _flatten(value)[0]]
        nodes = [leaf for leaf in flat if _is_state(leaf)]
        values = [x for _, *noted in self._noted.values() for x in noted]
        traced = any(isinstance(x, jax.core.Tracer) for x in values)
        return not traced and all(type(node) in (nnx.Rngs, nnx.RngStream) for node in nodes)

    @property
    def known(self) -> bool:
        """Whether they can still be told: the streams are the same objects."""
        now = map(id, named_streams(*self._given).values())
        names = [set(vars(rngs)) for rngs in find_rngs(*self._given)]
        same = set(now) == self._noted.keys() and names == list(map(set, self._order))
        return self._copied is not None or same

    def copies(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as they were: copies, the same ones each time."""
        if self._copied is None:
            args, kwargs = copy_arguments(*self._given)
            pairs = named_streams(*self._given).values(), named_streams(args, kwargs).values()
            for given, copy in zip(*pairs, strict=True):
                _, key, count = self._noted[id(given)]
                set_value(copy.key, key)
                set_value(copy.count, count)
            for rngs, names in zip(find_rngs(args, kwargs), self._order, strict=True):
                attributes = vars(rngs)
                attributes.update({name: attributes.pop(name) for name in names})
            self._copied = args, kwargs
        return self._copied


def rekey(args: tuple[Any, ...], kwargs: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """Set the base keys of the streams among the arguments; ``keys`` go by stream name."""
    for name, stream in named_streams(args, kwargs).items():
        if name in keys and keys[name].shape == stream.key[...].shape:
            set_value(stream.key, keys[name])


def set_value(variable: Any, value: Any) -> None:
    # variable[...] = value is a scatter in newer versions of Flax, and .value is deprecated.
    if hasattr(variable, "set_value"):
        variable.set_value(value)
    else:
        variable.value = value


def _is_state(value: Any) -> bool:
    return flatten.is_node(value) or isinstance(value, nnx.Variable)


def _flatten(value: Any) -> tuple[list[Any], Any]:
    try:
        return jax.tree_util.tree_flatten(value, is_leaf=_is_state)
    except (TypeError, ValueError):
        # A dictionary whose keys do not sort, say: it goes through as it is.
        return [], None


def states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arrays that are among the arguments, those inside of NNX nodes too."""
    flat = [leaf for value in (*args, *kwargs.values()) for leaf in _flatten(value)[0]]
    return [nnx.split([leaf], **GRAPH)[1] if _is_state(leaf) else leaf for leaf in flat]


def _rngs(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nnx.Rngs | nnx.RngStream):
        seen.update(id(stream) for stream in vars(value).values())
        yield value
    elif flatten.is_node(value):
        for child in vars(value).values():
            yield from _rngs(child, seen)
    elif not isinstance(value, nnx.Variable):
        try:
            children = jax.tree_util.tree_leaves(value, is_leaf=lambda x: x is not value)
        except (TypeError, ValueError):
            return
        for child in children:
            if child is not value:
                yield from _rngs(child, seen)


def named_streams(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The streams of the arguments, by tag; a second of the same tag is ``params@2``."""
    named: dict[str, Any] = {}
    for found in find_rngs(args, kwargs):
        streams = [found] if isinstance(found, nnx.RngStream) else vars(found).values()
        for stream in streams:
            if not isinstance(stream, nnx.RngStream) or any(stream is s for s in named.values()):
                continue
            name, n = stream.tag, 1
            while name in named:
                n += 1
                name = f"{stream.tag}@{n}"
            named[name] = stream
    return named


def row(stream: Any, after: Any) -> dict[str, Any] | None:
    """A stream as goldens keep it, its ``end`` read off the same one ``after`` the build."""
    key, count = stream.key[...], stream.count[...]
    end = after.count[...] if after is not None else None
    if any(isinstance(x, jax.core.Tracer) for x in (key, count, end)):
        return None
    found = {
        "impl": str(jax.random.key_impl(key)),
        "key": np.asarray(jax.random.key_data(key)).ravel().tolist(),
        "count": np.asarray(count).tolist() if not count.shape else None,
        "end": np.asarray(end).tolist() if end is not None and not end.shape else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _order_attributes(old: Any, new: Any, seen: set[int]) -> None:
    # NNX sorts attributes when it clones, and a loop over an Rngs would draw in that order.
    if not flatten.is_node(old) or id(old) in seen:
        return
    seen.add(id(old))
    attributes = vars(new)
    for name, child in vars(old).items():
        if name in attributes:
            attributes[name] = attributes.pop(name)
            _order_attributes(child, attributes[name], seen)


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
