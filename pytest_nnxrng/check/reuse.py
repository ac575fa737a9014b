"""What earlier checks of this process found out, used again for what is equal: traces and causes.

A build is known by its callable, its arguments and the model that it gave, to the byte: a patched
constructor that gives another model is traced anew. No array is held, and little of all else.
"""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import jax
import numpy as np
import xxhash
from flax import nnx

from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.device import environment
from pytest_nnxrng.device.notation import Device
from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.nnx import arguments
from pytest_nnxrng.nnx.flatten import is_node
from pytest_nnxrng.trace.build import Build, Traced
from pytest_nnxrng.trace.derivation import Trace, Untraceable
from pytest_nnxrng.trace.source import caller
from pytest_nnxrng.why.cause import Cause, Evidence
from pytest_nnxrng.why.explain import Mismatch, explain

T = TypeVar("T")

_BUILDS, _MISMATCHES = 32, 32
_CONSTANTS = 1 << 20  # bytes that a trace may hold of the user's arrays
_DEEPEST = 6
_NOBODY = Owner("", "", None, "", "")


class Unlike(Exception):
    """Of this argument nothing tells whether it is equal to another."""


class _Recent(Generic[T]):
    """The last few of these."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: Hashable, value: T) -> None:
        self._found[key] = value
        self._found.move_to_end(key)
        while len(self._found) > self._most:
            self._found.popitem(last=False)


@dataclass(frozen=True)
class Explanation:
    """Causes, and what they were told from."""

    causes: tuple[Cause, ...]
    evidence: Evidence


@dataclass
class Reuse:
    """What is known of the builds and the mismatches on one device."""

    repeated: _Recent[bool] = field(default_factory=lambda: _Recent(_BUILDS))
    traces: _Recent[Traced] = field(default_factory=lambda: _Recent(_BUILDS))
    explanations: _Recent[Explanation] = field(default_factory=lambda: _Recent(_MISMATCHES))

    def repeats(self, build: Build, flat: Flat, device: Device, ask: Callable[[], bool]) -> bool:
        """Whether a second call gives the same model, as an equal call did, or as ``ask`` says."""
        key = _of_build(build, flat, device)
        if key is not None and self.repeated.get(key):
            build.repeated = True
            return True
        found = ask()
        if key is not None and build.repeated:
            self.repeated.put(key, True)
        return found

    def share(self, build: Build, flat: Flat, device: Device) -> None:
        """Let the build's trace be that of an equal build, if one was traced."""
        build.known = _Shared(self.traces, lambda: _of_build(build, flat, device))

    def explained(self, mismatch: Mismatch, device: Device) -> Explanation:
        """Why the two differ, as an equal mismatch was explained.

        Raises:
          GoldenError, BadFlag: as ``why.explain`` does.
        """
        key = _of_mismatch(mismatch, device)
        found = self.explanations.get(key) if key is not None else None
        if found is None:
            made = Explanation(*explain(mismatch))
            if key is not None:
                self.explanations.put(key, _without_elements(made))
            return made
        return replace(found, evidence=replace(found.evidence, comparison=mismatch.comparison))


class _Shared:
    """Gives the trace of an equal build, where one is known, in place of another."""

    def __init__(self, known: _Recent[Traced], key: Callable[[], Hashable | None]) -> None:
        self._known, self._key = known, key

    def __call__(self, trace: Callable[[], Traced]) -> Traced:
        key = self._key()
        found = self._known.get(key) if key is not None else None
        if found is not None:
            return _at(found, caller()) if isinstance(found, Trace) else found
        made = trace()
        if key is not None and _is_light(made):
            self._known.put(key, _kept(made))
        return made


def _kept(made: Traced) -> Traced:
    # A model holds what the user gave it, an error the frames that it came through.
    return replace(made, model=None) if isinstance(made, Trace) else Untraceable(str(made))


def _at(trace: Trace, place: str) -> Trace:
    """The trace of an equal build that the user asked for elsewhere."""
    draws = [replace(d, where=place) if d.where == trace.place else d for d in trace.draws]
    return replace(trace, draws=tuple(draws), place=place)


def _is_light(traced: Traced) -> bool:
    program = traced.program if isinstance(traced, Trace) else None
    if program is None:
        return True
    held = [*program.closed.consts, *program.constants.values()]
    return sum(getattr(value, "nbytes", 0) for value in held) <= _CONSTANTS


# -- when two are equal --------------------------------------------------------------------


def _of_build(build: Build, flat: Flat, device: Device) -> Hashable | None:
    """The same for builds of which one tells all of the other; None for what cannot be told."""
    model = _of_leaves(flat)
    if model is None or build.called is None:
        return None
    try:
        called, given = _of(build.build, 0), _of((build.args, dict(build.kwargs)), 0)
        after = _of(tuple(arguments.named_streams(*build.called).values()), 0)
        here = tuple(sorted(environment.read(device).items()))
        key = called, given, after, model, here, repr(build.only), build.trap
        hash(key)
    except Exception:  # Unlike, or what an argument of the user's raises when it is looked at
        return None
    return key


def _of_mismatch(mismatch: Mismatch, device: Device) -> Hashable | None:
    """The same for mismatches that are explained alike; None for what cannot be told."""
    running, build = _of_leaves(mismatch.obtained), None
    if running is None or mismatch.observed is not None:
        return None
    if mismatch.build is not None:
        build = _of_build(mismatch.build, mismatch.obtained, device)
        if build is None:
            return None
    held = [leaf.read is not None for leaf in mismatch.golden.leaves]
    recorded = manifest.dumps(replace(mismatch.golden, owner=_NOBODY, values=None))
    shown = mismatch.comparison
    seen = [(d.path, d.kinds, d.alias) for d in shown.differences], shown.static, shown.alone
    around = (
        *(mismatch.kind, mismatch.repeats, mismatch.is_nnx, mismatch.only, mismatch.given),
        *(mismatch.changes, mismatch.tolerance, mismatch.model, mismatch.earlier, seen, held),
    )
    return xxhash.xxh3_128_hexdigest(recorded.encode()), running, build, repr(around)


def _of_leaves(flat: Flat) -> str | None:
    """A digest of all leaves and ties; None where one has no elements."""
    if any(leaf.digest is None for leaf in flat.leaves):
        return None
    rows = [
        f"{leaf.path}\0{leaf.type}\0{leaf.shape}\0{leaf.dtype}\0{leaf.digest}\0{leaf.rng}\0"
        f"{leaf.sharding}\0{leaf.placed}\0{leaf.draws}\0{leaf.initializer}"
        for leaf in flat.leaves
    ]
    rows.append(repr(sorted(flat.aliases.items())))
    return xxhash.xxh3_128_hexdigest("\n".join(rows).encode())


def _of(value: Any, depth: int) -> Hashable:
    """The same for equal arguments. A class is itself, a function its code and what that holds.

    Raises:
      Unlike: for what can be changed from outside, or is of no known type.
    """
    if depth > _DEEPEST:
        raise Unlike
    plain = value is None or isinstance(value, bool | int | float | complex | str | bytes)
    if plain or isinstance(value, np.dtype | np.generic):
        return type(value), repr(value)
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
        return _itself(value)
    if isinstance(value, jax.Array | np.ndarray):
        return _of_array(value)
    if isinstance(value, nnx.Rngs | nnx.RngStream):
        return _of_streams(value)
    if is_node(value) or isinstance(value, nnx.Variable):
        raise Unlike
    return _of_parts(value, depth + 1)


def _of_parts(value: Any, depth: int) -> Hashable:
    if isinstance(value, types.FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = (value.__defaults__, value.__kwdefaults__)
        return _itself(value.__code__), _of(defaults, depth), _of(held, depth)
    if isinstance(value, types.MethodType):
        return _of(value.__func__, depth), _of(value.__self__, depth)
    if isinstance(value, Mapping):
        rows = [(_of(key, depth), _of(item, depth)) for key, item in value.items()]
        return type(value), tuple(rows)
    if isinstance(value, list | tuple):
        return type(value), tuple([_of(item, depth) for item in value])
    if is_dataclass(value):
        rows = [(f.name, _of(getattr(value, f.name), depth)) for f in fields(value)]
        return type(value), tuple(rows)
    raise Unlike


class _Held:
    """An object that nothing equals but itself, held as long as the key is."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other._value is self._value


def _itself(value: Any) -> Hashable:
    try:
        return weakref.ref(value) if isinstance(value, type) else _Held(value)
    except TypeError:
        return _Held(value)


def _of_array(value: Any) -> Hashable:
    if isinstance(value, jax.core.Tracer):
        raise Unlike
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise Unlike
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        impl = str(jax.random.key_impl(value))
        return impl, _of_array(np.asarray(jax.random.key_data(value)))
    if value.nbytes > _CONSTANTS or value.dtype.hasobject:
        raise Unlike
    host = np.ascontiguousarray(value)
    octets = xxhash.xxh3_128_hexdigest(host.reshape(-1).view(np.uint8))
    return type(value).__name__, str(host.dtype), np.shape(value), octets


def _of_streams(value: Any) -> Hashable:
    rows = [("", value)] if isinstance(value, nnx.RngStream) else value.items()
    found = [
        (name, s.tag, _of_array(s.key[...]), _of_array(s.count[...]))
        for name, s in rows
        if isinstance(s, nnx.RngStream)
    ]
    return type(value), tuple(found)


# -- what is kept --------------------------------------------------------------------------


def _without_elements(found: Explanation) -> Explanation:
    seen = found.evidence
    sides = [
        {path: _bare(leaf) for path, leaf in side.items()}
        for side in (seen.expected, seen.obtained)
    ]
    bare = replace(seen, comparison=Comparison(), expected=sides[0], obtained=sides[1])
    return replace(found, evidence=bare)


def _bare(leaf: Leaf) -> Leaf:
    return leaf.but(read=None, slabs=None)
