"""The arguments of a build: the Rngs among them, copies of them, their keys and counts set."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.nnx import flatten

# Tied parameters are no tree; where NNX can be set to trees, this asks for graphs.
GRAPH = {"graph": True} if "graph" in inspect.signature(nnx.split).parameters else {}


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
