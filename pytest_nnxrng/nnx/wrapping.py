"""Calls of modules, seen from outside: methods of their classes are wrapped for the length of one.

``around`` is asked for each call that enters a module; what the module calls of itself is a part of
that. Classes get back what they had.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flax import nnx

from pytest_nnxrng.leaf.forward import CALL
from pytest_nnxrng.nnx.flatten import NODES, is_node

# A module, the name of its method, the method, and what it is called with.
Around = Callable[[Any, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_CONTAINERS = tuple(getattr(nnx, name) for name in ("List", "Dict") if hasattr(nnx, name))
_STREAMS = (nnx.Rngs, nnx.RngStream)
_BASES = frozenset({c for base in (nnx.Module, *NODES, *_CONTAINERS) for c in base.__mro__})
_FOREIGN = frozenset({"builtins", "typing", "abc", "collections"})


def is_seen(value: Any) -> bool:
    """Whether calls of this are recorded: of a node that is neither a container nor a stream."""
    return is_node(value) and not isinstance(value, (*_CONTAINERS, *_STREAMS))


@contextmanager
def wrapped(nodes: Iterable[Any], around: Around) -> Iterator[None]:
    """Let ``around`` make each call that enters one of the classes of ``nodes``."""
    undo: list[tuple[type, str, Any]] = []
    stack: list[Any] = []
    thread = threading.get_ident()
    kinds = dict.fromkeys(type(node) for node in nodes if is_seen(node))
    try:
        for cls in dict.fromkeys(c for kind in kinds for c in kind.__mro__):
            for name, method in _methods(cls):
                setattr(cls, name, _seen(name, method, around, stack, thread))
                undo.append((cls, name, method))
        yield
    finally:
        for cls, name, method in reversed(undo):
            setattr(cls, name, method)


def _methods(cls: type) -> list[tuple[str, Any]]:
    """What a class itself defines that computes: its ``__call__``, and what has a public name."""
    if cls in _BASES or cls.__module__.partition(".")[0] in _FOREIGN:
        return []
    return [
        (name, value)
        for name, value in vars(cls).items()
        if (name == CALL or not name.startswith("_")) and _is_method(value)
    ]


def _is_method(value: Any) -> bool:
    if isinstance(value, staticmethod | classmethod | property | type) or is_node(value):
        return False
    # A method under nnx.jit is an object that binds.
    return inspect.isfunction(value) or (callable(value) and hasattr(type(value), "__get__"))


def _seen(name: str, method: Any, around: Around, stack: list[Any], thread: int) -> Any:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = method.__get__(self, type(self))
        if threading.get_ident() != thread or (stack and stack[-1] is self):
            return bound(*args, **kwargs)
        stack.append(self)
        try:
            return around(self, name, bound, args, kwargs)
        finally:
            stack.pop()

    return call
