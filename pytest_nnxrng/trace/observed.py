"""A call of a model, or of training steps, as it was made once; its trace, when asked for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
import xxhash
from flax import nnx

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.forward import CLASS, FUNCTION, Call, Computation, Forward, numbered
from pytest_nnxrng.leaf.gist import form, told
from pytest_nnxrng.leaf.paths import parent
from pytest_nnxrng.nnx import static
from pytest_nnxrng.nnx.arguments import copy_arguments
from pytest_nnxrng.nnx.flatten import UnsupportedValue, flatten
from pytest_nnxrng.nnx.watch import (
    Raw,
    Seen,
    changed,
    held,
    is_array,
    is_state,
    joined,
    leaves_of,
    nodes_of,
    raw_value,
    recorder,
    summaries,
    variables,
)
from pytest_nnxrng.trace.derivation import Untraceable
from pytest_nnxrng.trace.expression import Atom
from pytest_nnxrng.trace.flow import fingerprints, flow, unused
from pytest_nnxrng.trace.marks import Marked, Marks, marked, reset
from pytest_nnxrng.trace.operations import operations

_BLOCK = 1 << 16
_KEYS = 4_000  # characters that the keys of single streams may take in a golden
_PLAIN = (str, int, float, list, type(None))


@dataclass
class Steps:
    """A training run as one function of its state and batches; the first call of it is recorded."""

    step: Callable[..., Any]
    rows: list[dict[str, str]] = field(default_factory=list)
    _recorded: bool = False

    def __call__(self, *args: Any) -> list[Any]:
        __tracebackhide__ = True
        *state, batches = args
        found, records, self._recorded = [], not self._recorded, True
        for batch in batches:
            found.append(self.step(*state, batch))
            if records:
                self.rows.append(_row(found[-1], tuple(state)))
        return found

    def first(self, *args: Any) -> Any:
        """The first step alone."""
        *state, batches = args
        return self.step(*state, batches[0])


def _row(out: Any, state: tuple[Any, ...]) -> dict[str, str]:
    given = summaries(out, full=True)
    names = ["output"] if len(given) == 1 else [f"output.{i}" for i in range(len(given))]
    row = {name: told(one) for name, one in zip(names, given, strict=True)}
    for path, found in held(nodes_of(state, {})):
        if isinstance(found, nnx.Variable) and not isinstance(found, nnx.RngState):
            value = raw_value(found)
            if isinstance(value, jax.Array) and not value.is_deleted():
                row[path] = weight(value)
    return row


def weight(value: Any) -> str:
    """What is kept of a leaf: eight digits of its digest, and its norm."""
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{digest(array)[:8]} {_norm(array):.5g}"


def _norm(array: Any) -> float:
    flat = array.reshape(-1)
    parts = (flat[at : at + _BLOCK] for at in range(0, flat.size, _BLOCK))
    with np.errstate(all="ignore"):
        found = [float(np.square(np.abs(part).astype(np.float64)).sum()) for part in parts]
        return float(np.sqrt(sum(found)))


@dataclass
class Observed:
    """A call that was made: its arguments, what its Variables held before, what was seen of it.

    ``name`` is that of a function of the user's; "" of a model's own method.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str
    before: Raw
    seen: list[Seen] = field(default_factory=list)
    out: Any = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    streams: Mapping[str, tuple[Any, Any, str]] = field(default_factory=dict)
    loss: Callable[..., Any] | None = None  # where the call gives its value and gradients
    run: Steps | None = None  # where it is a training run
    unused: tuple[str, ...] = ()  # parameters that nothing which it gave depends on, once traced

    @cached_property
    def changed(self) -> dict[str, Any]:
        """The Variables that the call changed, RNG state aside."""
        return changed(self.before)

    @property
    def value(self) -> dict[str, Any]:
        """What is checked: the output, and the state that the call changed."""
        return self._value(self.out, self.changed)

    def _value(self, out: Any, state: Mapping[str, Any]) -> dict[str, Any]:
        found = {"output": out}
        if self.loss is not None:
            found = {"output": out[0], "gradients": out[1]}
        return {**found, "state": _tree(state)} if state else found

    def again(self) -> dict[str, Any]:
        """What a second call gives, on a copy of the arguments as they were before the first.

        Raises whatever the call does, or NNX where it cannot copy.
        """
        args, kwargs = copy_arguments(self.args, self.kwargs)
        objects = held(nodes_of(args, kwargs))
        reset(objects, {path: value for path, (_, value) in self.before.items()})
        out = self.function(*args, **kwargs)
        found = dict(objects)
        return self._value(out, {path: found[path] for path in self.changed if path in found})

    def retraced(self) -> Observed:
        """The same, to be traced once more: under other flags, say."""
        return replace(self)

    @cached_property
    def forward(self) -> Forward:
        """All that a golden keeps of the call."""
        try:
            marks = self._marks()
            calls = self._traced(marks)
            untraced = ""
        except Untraceable as error:
            calls, untraced = self._untraced(), str(error)
        weights, keys = self._weights(), self._keys()
        steps = () if self.run is None else tuple(self.run.rows)
        return Forward(calls, self.inputs, weights, keys, None, untraced, steps)

    # -- a trace -----------------------------------------------------------------------

    def _marks(self) -> Marks:
        values = {path: value for path, (_, value) in self.before.items()}
        if any(isinstance(v, jax.Array) and v.is_deleted() for v in values.values()):
            raise Untraceable("the call donated what the model held")
        if not self.before:
            raise Untraceable("no model is among the arguments: give it as one")
        function = self.run.first if self.run is not None else self.loss or self.function
        return marked(function, self.args, self.kwargs, nodes_of, values, self.name)

    def _traced(self, marks: Marks) -> tuple[Call, ...]:
        counts = {f"{path}.count": count for path, (_, count, _) in self.streams.items()}
        tags = {path: tag for path, (_, _, tag) in self.streams.items()}
        try:
            found = flow(marks, {p: np.asarray(c) for p, c in counts.items()})
            codes, texts = fingerprints(marks, found, tags), operations(marks)
            idle = [path for path in unused(marks, found) if path in self.before]
            self.unused = tuple(p for p in idle if isinstance(self.before[p][0], nnx.Param))
        except Exception as error:
            raise Untraceable(f"its jaxpr could not be read ({type(error).__name__})") from error
        attributes, holds = self._attributes(), self._holds()
        kept = [n for n in marks.ended if _computes(marks.calls[n]) or n in texts]
        at = {number: i for i, number in enumerate(kept)}
        calls = []
        for number in kept:
            made = marks.calls[number]
            texts_of = texts.get(number, [])
            computation = Computation(
                made.cls,
                made.method,
                codes[number],
                made.takes,
                made.gives,
                {} if made.cls == FUNCTION else holds.get(made.path, {}),
                {} if made.cls == FUNCTION else attributes.get(made.path, {}),
                tuple(operation.text for operation in texts_of),
                tuple(operation.place for operation in texts_of),
            )
            draws = tuple(dict.fromkeys(_label(a, tags) for a in found.drawn.get(number, [])))
            above = None if made.parent is None else at.get(made.parent)
            calls.append(
                Call(made.path, computation, 0, draws, None, made.depth, above, made.where)
            )
        return self._with_outputs(calls, [marks.calls[number].inside for number in kept])

    def _with_outputs(self, calls: list[Call], inside: list[bool]) -> tuple[Call, ...]:
        """The outputs of the real call's modules go to the calls of the same name, in order."""
        seen: dict[tuple[str, str], list[Seen]] = {}
        for one in self.seen if self.loss is None else self._seen_again():
            seen.setdefault((one.path, one.method), []).append(one)
        if self.name and self.run is None:
            given = summaries(self.out if self.loss is None else self.out[0], full=True)
            seen[("", self.name)] = [Seen("", FUNCTION, self.name, given, 1)]
        found = []
        for call, hidden in zip(calls, inside, strict=True):
            own = seen.get((call.path, call.computation.method), [])
            outputs = own.pop(0).outputs if own and not hidden else None
            found.append(replace(call, outputs=outputs))
        return numbered(found)

    def _seen_again(self) -> list[Seen]:
        """Under a gradient outputs have no values: those of the function itself, on a copy."""
        args, kwargs = copy_arguments(self.args, self.kwargs)
        objects = held(nodes_of(args, kwargs))
        reset(objects, {path: value for path, (_, value) in self.before.items()})
        watch = recorder(objects, full=True)
        try:
            watch.run(lambda: self.loss(*args, **kwargs))  # type: ignore[misc]
        except Exception:  # what runs once in a process, say
            return []
        return watch.calls

    def _untraced(self) -> tuple[Call, ...]:
        """What the real call alone shows."""
        attributes, holds = self._attributes(), self._holds()
        return numbered(
            Call(
                one.path,
                Computation(
                    one.cls,
                    one.method,
                    gives=tuple(output.form for output in one.outputs),
                    holds=holds.get(one.path, {}),
                    attributes=attributes.get(one.path, {}),
                ),
                outputs=one.outputs,
                depth=one.depth,
            )
            for one in self.seen
        )

    # -- the model ---------------------------------------------------------------------

    def _attributes(self) -> Mapping[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for name, model in nodes_of(self.args, self.kwargs).items():
            try:
                rows = static.modules(model, flatten(model)).rows
            except UnsupportedValue:
                continue
            for path, row in rows.items():
                found[joined(name, path)] = {k: v for k, v in row.items() if k != CLASS}
        return found

    def _holds(self) -> Mapping[str, Mapping[str, str]]:
        """The forms of what each module holds itself."""
        found: dict[str, dict[str, str]] = {}
        for path, (variable, value) in self.before.items():
            if isinstance(value, jax.Array) and not isinstance(variable, nnx.RngState):
                name = path.removeprefix(parent(path)).removeprefix(".")
                found.setdefault(parent(path), {})[name] = form(value.dtype, value.shape)
        return found

    def _weights(self) -> dict[str, str]:
        return {
            path: weight(value)
            for path, (variable, value) in self.before.items()
            if isinstance(value, jax.Array)
            and not isinstance(variable, nnx.RngState)
            and not value.is_deleted()
            and not jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
        }

    def _keys(self) -> dict[str, str]:
        """For each tag a digest of the base keys of its streams; of each stream, as far as fits."""
        found: dict[str, xxhash.xxh3_64] = {}
        each: dict[str, str] = {}
        for path, (key, _, tag) in sorted(self.streams.items()):
            words = np.asarray(jax.random.key_data(key)).tobytes()
            found.setdefault(tag, xxhash.xxh3_64()).update(words)
            each[f"{tag} {path}"] = xxhash.xxh3_64_hexdigest(words)
        tags = {tag: code.hexdigest() for tag, code in sorted(found.items())}
        return {**tags, **each} if len(json.dumps(each)) <= _KEYS else tags


def _computes(call: Marked) -> bool:
    return bool(call.gives or call.takes)


def _label(atom: Atom, tags: Mapping[str, str]) -> str:
    root, *chain = atom
    path = str(root).partition(" ")[2]
    return "#".join([tags.get(path, path), "/".join(map(str, chain))])


def _tree(state: Mapping[str, Any]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for path, variable in state.items():
        *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        inner = tree
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = variable
    return tree


def observe(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    name: str = "",
    *,
    full: bool = True,
    forward: Callable[..., Any] | None = None,
    run: Steps | None = None,
) -> Observed:
    """Call ``function(*args, **kwargs)`` once, on the caller's own objects, and watch.

    ``name`` is that of a function of the user's. Statistics are kept of outputs if ``full``.
    ``forward`` is the function itself, where ``function`` gives its value and gradients.
    """
    __tracebackhide__ = True
    objects = held(nodes_of(args, kwargs))
    before = variables(objects)
    streams = {
        path: (raw_value(node.key), raw_value(node.count), node.tag)
        for path, node in objects
        if isinstance(node, nnx.RngStream)
    }
    inputs = dict(filter(None, (_input(*leaf, full) for leaf in leaves_of(args, kwargs))))
    watch = recorder(objects, full=full)
    out = watch.run(functools.partial(function, *args, **kwargs))
    found = (before, watch.calls, out, inputs, streams)
    return Observed(function, args, kwargs, name, *found, forward, run)


def _input(name: str, value: Any, full: bool) -> tuple[str, str] | None:
    """An argument as a golden keeps it: the summary of an array, a plain value."""
    if is_state(value) or isinstance(value, jax.core.Tracer):
        return None
    if is_array(value):
        (found,) = summaries(value, full=full)
        return name, told(found)
    known = static.plain(value)
    return name, json.dumps(known) if isinstance(known, _PLAIN) else type(value).__name__
