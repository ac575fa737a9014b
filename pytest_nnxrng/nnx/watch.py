"""The one real call of a model -> the calls of its modules, in the order in which they end.

Nothing is copied: outputs are summarised as they come, and let go; the modules' classes are wrapped
for the length of the call alone. What runs inside of a JAX transformation has no values here.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.forward import CALL, Summary
from pytest_nnxrng.leaf.gist import summary
from pytest_nnxrng.leaf.paths import path_string
from pytest_nnxrng.nnx.flatten import NODES, is_node, objects, plain_key

# A module, the name of its method, the method, and what it is called with.
Around = Callable[[Any, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_CONTAINERS = tuple(getattr(nnx, name) for name in ("List", "Dict") if hasattr(nnx, name))
_STREAMS = (nnx.Rngs, nnx.RngStream)
_BASES = frozenset({c for base in (nnx.Module, *NODES, *_CONTAINERS) for c in base.__mro__})
_FOREIGN = frozenset({"builtins", "typing", "abc", "collections"})
Raw = Mapping[str, tuple[Any, Any]]  # path -> a Variable and what it held
Objects = Sequence[tuple[str, Any]]


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
        __tracebackhide__ = True
        bound = method.__get__(self, type(self))
        if threading.get_ident() != thread or (stack and stack[-1] is self):
            return bound(*args, **kwargs)
        stack.append(self)
        try:
            return around(self, name, bound, args, kwargs)
        finally:
            stack.pop()

    return call


@dataclass(frozen=True)
class Seen:
    """One call of a module that was seen: its outputs, and the number of the call around it."""

    path: str
    cls: str
    method: str
    outputs: tuple[Summary, ...]
    depth: int


@dataclass
class Recorder:
    """The modules of a call by their places, and the calls of these while they were recorded."""

    nodes: list[Any]
    places: dict[int, str]
    full: bool = True
    calls: list[Seen] = field(default_factory=list)
    _open: int = 0

    def run(self, call: Callable[[], Any]) -> Any:
        """What ``call`` gives, with its modules' calls recorded."""
        __tracebackhide__ = True
        with wrapped(self.nodes, self._around):
            return call()

    def _around(
        self, module: Any, method: str, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        __tracebackhide__ = True
        place = self.places.get(id(module))
        if place is None:
            return call(*args, **kwargs)
        self._open += 1
        try:
            given = call(*args, **kwargs)
        finally:
            self._open -= 1
        outputs = summaries(given, full=self.full)
        if outputs:
            name = type(module).__name__
            self.calls.append(Seen(place, name, method, outputs, self._open))
        return given


def recorder(objects: Objects, *, full: bool) -> Recorder:
    """A recorder of the calls of these objects, which have paths."""
    found = [(path, node) for path, node in objects if is_seen(node)]
    return Recorder([node for _, node in found], {id(node): path for path, node in found}, full)


def nodes_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes among the arguments, each by what its paths begin with.

    A model that is the only one gives its paths as they are; an Rngs stands in parentheses.
    """
    found: dict[str, Any] = {}
    for name, value in leaves_of(args, kwargs):
        if is_node(value):
            found[f"({name})" if _is_streams(value) else name] = value
    models = [name for name, value in found.items() if not _is_streams(value)]
    if len(models) == 1:
        found = {"" if name == models[0] else name: value for name, value in found.items()}
    return found


def leaves_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The arguments by name, down to arrays and nodes: ``0``, ``batch.image``."""
    found = []
    for name, value in {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}.items():
        try:
            leaves = jax.tree_util.tree_flatten_with_path(value, is_leaf=_ends)[0]
        except (TypeError, ValueError):  # a dictionary whose keys do not sort, say
            leaves = [((), value)]
        for path, leaf in leaves:
            found.append((joined(name, path_string(plain_key(key) for key in path)), leaf))
    return found


def _ends(value: Any) -> bool:
    return value is None or is_state(value)


def _is_streams(value: Any) -> bool:
    return isinstance(value, nnx.Rngs | nnx.RngStream)


def held(models: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """All nodes and Variables of the models with their paths, each once."""
    found: dict[int, tuple[str, Any]] = {}
    for name, model in models.items():
        for path, value in objects(model):
            found.setdefault(id(value), (joined(name, path), value))
    return list(found.values())


def joined(name: str, path: str) -> str:
    """A path in a model that has a name of its own."""
    return f"{name}{path}" if path.startswith("[") else ".".join(filter(None, [name, path]))


def variables(objects: Objects) -> Raw:
    """The Variables among these, and what they hold now; arrays are referred to, not copied."""
    return {p: (v, raw_value(v)) for p, v in objects if isinstance(v, nnx.Variable)}


def raw_value(variable: Any) -> Any:
    """What a Variable holds, past its hooks."""
    if hasattr(variable, "get_raw_value"):
        return variable.get_raw_value()
    return variable.raw_value


def changed(before: Raw) -> dict[str, Any]:
    """The Variables that hold something else now, RNG state aside; a flag alone shows as equal."""
    found = {}
    for path, (variable, old) in before.items():
        if isinstance(variable, nnx.RngState):
            continue
        new = raw_value(variable)
        if new is not old and not _same(old, new):
            found[path] = variable
    return found


def _same(old: Any, new: Any) -> bool:
    """Whether both are arrays of the same bits: nnx.jit gives back all that it was given."""
    if not (isinstance(old, jax.Array) and isinstance(new, jax.Array)):
        return False
    if old.is_deleted() or new.is_deleted():
        return old.is_deleted() and old.shape == new.shape
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        return False
    if jax.numpy.issubdtype(old.dtype, jax.dtypes.prng_key):
        old, new = jax.random.key_data(old), jax.random.key_data(new)
    return digest(np.asarray(old)) == digest(np.asarray(new))


def summaries(given: Any, *, full: bool) -> tuple[Summary, ...]:
    """What is kept of the arrays of an output; () if there are none that have values."""
    found = arrays(given)
    if any(isinstance(x, jax.core.Tracer) for x in found):
        return ()
    return tuple([_summary(x, full) for x in found])


def arrays(value: Any) -> list[Any]:
    """The arrays of a pytree, those that belong to NNX aside."""
    if isinstance(value, jax.Array):
        return [value]
    try:
        leaves = jax.tree_util.tree_leaves(value, is_leaf=is_state)
    except (TypeError, ValueError):  # a dictionary whose keys do not sort, say
        return []
    return [x for x in leaves if is_array(x)]


def is_array(value: Any) -> bool:
    """Whether this is an array of numbers or keys."""
    if isinstance(value, np.ndarray | np.generic):
        return not value.dtype.hasobject
    return isinstance(value, jax.Array)


def is_state(value: Any) -> bool:
    """Whether this is a node or a Variable of NNX."""
    return is_node(value) or isinstance(value, nnx.Variable)


def _summary(array: Any, full: bool) -> Summary:
    if jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        return summary(np.asarray(jax.random.key_data(array)), str(array.dtype), full=full)
    return summary(np.asarray(array), array.dtype.name, full=full)
