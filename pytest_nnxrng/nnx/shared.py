"""An ``nnx.Rngs`` that outlives a build: a default argument, or a global of a module.

Python evaluates ``def __init__(self, *, rngs=nnx.Rngs(0))`` once. Each build draws on from where
the last one in the process ended.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from flax import nnx

from pytest_nnxrng.nnx.arguments import find_rngs, named_streams
from pytest_nnxrng.nnx.flatten import UnsupportedValue, is_node, node_types


def shared_rngs(build: Any, model: Any) -> list[str]:
    """Where constructors of the model, or ``build`` itself, draw from such an Rngs."""
    try:
        classes = node_types(model)
    except UnsupportedValue:
        classes = []
    functions = [build, *[vars(cls).get("__init__") for cls in classes]]
    if inspect.isclass(build):
        functions.append(vars(build).get("__init__"))
    return list(dict.fromkeys(told for function in functions for told in _drawn_by(function)))


def _drawn_by(function: Any) -> Iterator[str]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.default, nnx.Rngs):
            yield f"{name}=nnx.Rngs(...) is a default argument, made once ({place})"
    for name in code.co_names:
        found = getattr(function, "__globals__", {}).get(name)
        if isinstance(found, nnx.Rngs) or (is_node(found) and isinstance(found, nnx.RngStream)):
            yield f"{name} is a global nnx.Rngs, made once (used in {place})"


class Default(NamedTuple):
    """A default argument that keys can be drawn from."""

    argument: str
    function: str
    where: str
    value: Any

    @property
    def text(self) -> str:
        return (
            f"the default of the argument {self.argument} of {self.function} ({self.where}) is one "
            "nnx.Rngs for all calls: each build draws on from where the last one in the process "
            f"ended. Make {self.argument} None by default and the nnx.Rngs inside, or have it given"
        )


Counts = list[tuple[Default, tuple[int, ...]]]

# Classes do not change their defaults: most have none, and there are hundreds.
_KNOWN: weakref.WeakKeyDictionary[type, tuple[Default, ...]] = weakref.WeakKeyDictionary()


def counts(build: Any) -> Counts:
    """How many keys were drawn from each default that a build with ``build`` may draw from."""
    return [(found, _drawn(found.value)) for found in _defaults(build)]


def trap(before: Counts) -> str:
    """What is to be said of the first default that was drawn from since ``before``; or ""."""
    return next((found.text for found, then in before if _drawn(found.value) != then), "")


def _defaults(build: Any) -> Iterator[Default]:
    if not isinstance(build, type):
        yield from _defaults_of(build)
    for cls in _classes(nnx.Module):
        if cls not in _KNOWN:
            _KNOWN[cls] = tuple(_defaults_of(vars(cls).get("__init__")))
        yield from _KNOWN[cls]


def _classes(cls: type) -> set[type]:
    found: set[type] = set()
    open_ = [cls]
    while open_:
        below: list[type] = type.__subclasses__(open_.pop())
        for inner in below:
            if inner not in found:
                found.add(inner)
                open_.append(inner)
    return found


def _defaults_of(function: Any) -> Iterator[Default]:
    function = inspect.unwrap(function) if callable(function) else function
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    values = function.__defaults__ or ()
    given = dict(zip(names[len(names) - len(values) :], values, strict=True))
    for argument, value in {**given, **(function.__kwdefaults__ or {})}.items():
        if isinstance(value, nnx.Rngs | nnx.RngStream):
            code = function.__code__
            where = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
            yield Default(argument, function.__qualname__, where, value)


def _drawn(value: Any) -> tuple[int, ...]:
    streams = named_streams(tuple(find_rngs((value,), {})), {}).values()
    return tuple(int(stream.count[...]) for stream in streams)
