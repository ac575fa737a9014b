"""How each leaf of a model follows from the keys its constructor drew.

``trace`` runs the constructor under ``jax.make_jaxpr``, with the base keys and counts of the
given ``nnx.Rngs`` as inputs, so nothing is allocated and nobody's Rngs move. What a leaf
depends on, and through which computation, is then read off the jaxpr (``fingerprint``).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import jaxpr_as_fun

from pytest_nnxrng.nnx import flatten
from pytest_nnxrng.nnx.arguments import GRAPH, copy_arguments, named_streams, set_value, states
from pytest_nnxrng.trace.expression import (
    IMPURE,
    RAW,
    UNKNOWN,
    Atom,
    Value,
    digest,
    is_key,
    stream_count,
    stream_key,
)
from pytest_nnxrng.trace.fingerprint import Walk
from pytest_nnxrng.trace.loops import Drawn
from pytest_nnxrng.trace.owners import Calls, Site, owner, reached, watched
from pytest_nnxrng.trace.source import caller, is_draw, origin, where


class Untraceable(Exception):
    """A constructor that JAX cannot trace; the message says why, in one line."""


@dataclass(frozen=True)
class Draw:
    """One key taken from a stream while building.

    ``label`` is ``params#3``, or a chain such as ``params#3/0``: draw 0 of the stream that was
    forked or split from ``params#3``. ``*`` stands for a count that cannot be known, as in a
    ``while_loop``. ``where`` is the user's line, ``model.py:14: self.norm = ...``. ``owner`` is
    the path of the Variable that the key reaches, or of the module under construction; these
    are the ``sites``, innermost first.
    """

    stream: str
    count: int | None
    label: str
    where: str
    module: str
    owner: str = ""
    sites: tuple[Site, ...] = ()


@dataclass(frozen=True)
class Derivation:
    """How one leaf follows from draws.

    ``draws`` are the labels of the keys that its value depends on, in the order drawn; a name
    without a count (``params``) is the stream's base key itself. ``initializer`` is a hash (16
    hex digits) of the computation without keys and counts. ``raw_at`` is the user's line that makes
    the one key which is no stream's.
    """

    draws: tuple[str, ...]
    initializer: str
    proven: bool = True
    note: str = ""
    raw_key: bool = False
    raw_at: str = ""


@dataclass(frozen=True)
class Stream:
    """A stream of the given Rngs: base key data, and its count before and after the build.

    Counts are tuples, in C order, for a stream that holds an array of keys. ``owners`` are those
    of all draws between these counts, in order; () where one of them is not known. ``forks``
    are those of the streams that were forked or split from a draw, by its count: ``3``, ``3/0``.
    """

    impl: str
    key: tuple[int, ...]
    count: int | tuple[int, ...]
    end: int | tuple[int, ...]
    owners: tuple[str, ...] = ()
    forks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """The constructor as a jaxpr, and what it was called with: the streams' keys and counts.

    ``outputs``: the number of each leaf's output. ``constants``: the leaves that are numpy
    arrays and Python numbers, whatever the inputs.
    """

    closed: Any
    inputs: tuple[Any, ...]
    outputs: dict[str, int]
    constants: dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """What one trace of a constructor shows. ``model`` holds shapes in place of arrays.

    ``place`` is the user's line that asked for it.
    """

    model: Any
    leaves: dict[str, Derivation]
    draws: tuple[Draw, ...]
    streams: dict[str, Stream]
    program: Program | None = field(default=None, compare=False, repr=False)
    place: str = field(default="", compare=False)


@dataclass
class _Staged:
    """What the traced function leaves beside its arrays."""

    graphdef: Any = None
    treedef: Any = None
    state: list[Any] = field(default_factory=list)


def trace(build: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    """Trace ``build(*args, **kwargs)`` on a copy of the arguments.

    Raises:
      Untraceable: if ``build`` cannot run on abstract values. What it raises for reasons of
        its own comes out so too; an ordinary call shows that exception itself.
    """
    streams = named_streams(args, kwargs)
    keys = [stream.key[...] for stream in streams.values()]
    counts = [stream.count[...] for stream in streams.values()]
    if any(isinstance(value, jax.core.Tracer) for value in (*keys, *counts)):
        raise Untraceable("the Rngs belong to a JAX transformation (jit, grad, vmap, ...)")
    place, staged, calls = caller(), _Staged(), Calls()

    def function(keys: list[Any], counts: list[Any]) -> Any:
        copied, copied_kwargs = copy_arguments(args, kwargs)
        inner = list(named_streams(copied, copied_kwargs).values())
        for stream, key, count in zip(inner, keys, counts, strict=True):
            set_value(stream.key, key)
            set_value(stream.count, count)
        # In a list, since a split of a bare array or None is not defined.
        model = build(*copied, **copied_kwargs)
        calls.locate(model)
        staged.graphdef, state = nnx.split([model], **GRAPH)
        staged.state, staged.treedef = jax.tree_util.tree_flatten(state)
        arrays = [leaf for leaf in staged.state if isinstance(leaf, jax.Array)]
        return arrays, [stream.count[...] for stream in inner]

    try:
        with watched(calls, function.__code__), keeping_tracers():
            closed, (shapes, _) = jax.make_jaxpr(function, return_shape=True)(keys, counts)
    except Exception as error:
        raise Untraceable(one_line(error)) from error

    arguments = {id(leaf) for leaf in jax.tree_util.tree_leaves(states(args, kwargs))}
    walk = Walk(where, lambda value: id(value) in arguments, own_keys=not streams)
    inputs = [stream_key(name) for name in streams]
    inputs += [
        stream_count(name, np.asarray(count)) for name, count in zip(streams, counts, strict=True)
    ]
    try:
        outputs = walk.closed(closed, inputs)
    except Exception as error:
        raise Untraceable(f"its jaxpr could not be read ({one_line(error)})") from error
    # A loop's body gives the same key under one label each turn; that is one draw.
    once = {(entry.atoms, id(entry.equation)): entry for entry in reversed(walk.drawn)}
    drawn = [entry for entry in reversed(once.values()) if is_draw(entry.equation)]
    ends = _ends(closed, outputs[len(shapes) :], keys, counts)
    indices = _indices(staged)
    leaves = _derivations(staged, indices, outputs, _order(drawn), walk.raw)
    draws = _draws(drawn, leaves, calls, place)
    return Trace(
        model=_model(staged, shapes),
        leaves=leaves,
        draws=draws,
        streams={
            name: Stream(
                impl=str(jax.random.key_impl(key)),
                key=tuple(np.asarray(jax.random.key_data(key)).ravel().tolist()),
                count=_count(count),
                end=_count(end),
                owners=_owners(name, _count(count), _count(end), draws),
                forks=_forks(name, draws),
            )
            for name, key, count, end in zip(streams, keys, counts, ends, strict=True)
        },
        program=_program(staged, indices, closed, (*keys, *counts)),
        place=place,
    )


@contextlib.contextmanager
def keeping_tracers() -> Iterator[None]:
    """Trace without JAX's search for leaks: the model outlives its trace here, to be looked at."""
    before = jax.config.jax_check_tracer_leaks
    jax.config.update("jax_check_tracer_leaks", False)
    try:
        yield
    finally:
        jax.config.update("jax_check_tracer_leaks", before)


def advance(args: tuple[Any, ...], kwargs: Mapping[str, Any], traced: Trace) -> None:
    """Set the counts of the caller's Rngs to what they are after one ordinary build."""
    for name, stream in named_streams(args, kwargs).items():
        count = stream.count[...]
        end = jnp.asarray(traced.streams[name].end, count.dtype).reshape(count.shape)
        set_value(stream.count, end)


def _model(staged: _Staged, shapes: list[Any]) -> Any:
    stand_ins = iter(shapes)
    state = [_stand_in(x, stand_ins) for x in staged.state]
    return nnx.merge(staged.graphdef, staged.treedef.unflatten(state))[0]


def _stand_in(leaf: Any, shapes: Iterator[Any]) -> Any:
    if isinstance(leaf, jax.Array):
        return next(shapes)
    # numpy arrays and Python numbers keep the type that an ordinary build gives them.
    return _shape(leaf.shape, leaf.dtype) if isinstance(leaf, np.ndarray) else leaf


def _derivations(
    staged: _Staged,
    indices: Mapping[str, int],
    outputs: list[Value],
    order: Mapping[Atom, int],
    raw: Mapping[Atom, set[str]],
) -> dict[str, Derivation]:
    values = iter(outputs)
    derivations = [
        _derivation(next(values), order, raw) if isinstance(leaf, jax.Array) else _constant(leaf)
        for leaf in staged.state
    ]
    return {path: derivations[i] for path, i in indices.items()}


def _program(
    staged: _Staged, indices: Mapping[str, int], closed: Any, inputs: tuple[Any, ...]
) -> Program:
    numbers = itertools.count()
    outputs = [next(numbers) if isinstance(leaf, jax.Array) else None for leaf in staged.state]
    return Program(
        closed,
        inputs,
        {path: n for path, i in indices.items() if (n := outputs[i]) is not None},
        {path: staged.state[i] for path, i in indices.items() if outputs[i] is None},
    )


def _indices(staged: _Staged) -> dict[str, int]:
    """For the path of each leaf its place in the state."""
    # Each leaf of this model has its own index for a shape, so that a path leads back to it.
    shapes = [_shape((i,), np.uint8) for i in range(len(staged.state))]
    model = nnx.merge(staged.graphdef, staged.treedef.unflatten(shapes))[0]
    return {
        leaf.path: leaf.shape[0]
        for leaf in flatten.flatten(model).leaves
        if leaf.dtype == "uint8" and len(leaf.shape) == 1
    }


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def _constant(leaf: Any) -> Derivation:
    array = np.asarray(leaf)
    if array.dtype.hasobject:
        return Derivation((), digest(b"object").hex()[:16], False, "is not an array")
    code = digest(str(array.dtype).encode(), str(array.shape).encode(), array.tobytes())
    proven = array.ndim == 0
    return Derivation((), code.hex()[:16], proven, "" if proven else "is a numpy array")


def _derivation(
    value: Value, order: Mapping[Atom, int], raw: Mapping[Atom, set[str]]
) -> Derivation:
    keys = [(i, atom) for i, atom in enumerate(value.atoms) if is_key(atom)]
    keys.sort(key=lambda pair: _rank(pair[1], order))
    lines = {line for atom in value.atoms for line in raw.get(atom, ())}
    notes = list(dict.fromkeys([atom[1] for atom in value.atoms if not is_key(atom)]))
    # Sorting loses which key is used in which place, so the hash holds the permutation.
    places = ",".join([str(i) for i, _ in keys])
    return Derivation(
        draws=tuple(dict.fromkeys([_label(atom) for _, atom in keys])),
        initializer=digest(value.hash, places.encode()).hex()[:16],
        proven=all(atom[0] != IMPURE and UNKNOWN not in atom for atom in value.atoms),
        note="; ".join(notes) or _unknown_count([atom for _, atom in keys]),
        raw_key=any(atom[0] == RAW for atom in value.atoms),
        raw_at=next(iter(lines)) if len(lines) == 1 else "",
    )


def _unknown_count(atoms: list[Atom]) -> str:
    unknown = [_label(atom) for atom in atoms if UNKNOWN in atom]
    return f"the count of {unknown[0]} is computed while building" if unknown else ""


def _label(atom: Atom) -> str:
    name, *chain = atom
    return "#".join([name, "/".join(map(str, chain))]) if chain else str(name)


def _order(drawn: list[Drawn]) -> dict[Atom, int]:
    order: dict[Atom, int] = {}
    for entry in drawn:
        for atom in entry.atoms:
            order.setdefault(atom, len(order))
    return order


def _rank(atom: Atom, order: Mapping[Atom, int]) -> tuple[int, str]:
    """Where ``atom`` or the nearest draw that it comes from stands among the draws."""
    for length in range(len(atom), 0, -1):
        if atom[:length] in order:
            return order[atom[:length]], "/".join([str(link).zfill(10) for link in atom[length:]])
    return -1, _label(atom)


def _draws(
    drawn: list[Drawn], leaves: Mapping[str, Derivation], calls: Calls, place: str
) -> tuple[Draw, ...]:
    known = reached({path: leaf.draws for path, leaf in leaves.items()})
    every = [(atom, entry.equation) for entry in drawn for atom in entry.atoms]
    for atom, equation in every:
        reaches = known.get(_label(atom), [])
        if len(reaches) == 1:
            calls.learn(equation, reaches[0])
    return tuple([_draw(a, e, known.get(_label(a), []), calls, place) for a, e in every])


def _draw(atom: Atom, equation: Any, reaches: list[str], calls: Calls, place: str) -> Draw:
    count = atom[-1] if isinstance(atom[-1], int) else None
    (line, module), sites = origin(equation), calls.sites(equation)
    drawer = owner(sites, reaches) or (f"({module})" if module and not sites else "")
    return Draw(str(atom[0]), count, _label(atom), line or place, module, drawer, sites)


def _owners(name: str, count: Any, end: Any, draws: tuple[Draw, ...]) -> tuple[str, ...]:
    if not (isinstance(count, int) and isinstance(end, int)):
        return ()
    own = {d.count: d.owner for d in draws if d.stream == name and "/" not in d.label}
    every = len(own) == end - count and all(i in own for i in range(count, count + len(own)))
    return tuple([own[i] for i in range(count, end)]) if every else ()


def _forks(name: str, draws: tuple[Draw, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[int | None, str]] = {}
    for draw in draws:
        parent, slash, _ = draw.label.rpartition("/")
        if draw.stream == name and slash:
            found.setdefault(parent.partition("#")[2], {})[draw.count] = draw.owner
    return {
        parent: tuple(own[i] for i in range(len(own)))
        for parent, own in found.items()
        if set(own) == set(range(len(own))) and UNKNOWN not in parent
    }


def _ends(closed: Any, outputs: list[Value], keys: list[Any], counts: list[Any]) -> list[Any]:
    ends = [value.const for value in outputs]
    if any(end is None for end in ends):
        # Draws in a while_loop, say. Compiled, so that XLA drops all but the counts.
        evaluate = jax.jit(lambda *flat: jaxpr_as_fun(closed)(*flat)[-len(counts) :])
        ends = [np.asarray(end) for end in evaluate(*keys, *counts)]
    return ends


def _count(array: Any) -> int | tuple[int, ...]:
    array = np.asarray(array)
    return tuple(array.ravel().tolist()) if array.ndim else int(array)


def one_line(error: Exception) -> str:
    """The first line of what an error says, after its name."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
