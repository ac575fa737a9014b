"""A constructor with its arguments: called once by the check, here traced, and called again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.leaf.paths import compact
from pytest_nnxrng.nnx import arguments
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.derivation import Trace, Untraceable, trace

Streams = Mapping[str, Mapping[str, Any]]
Traced = Trace | Untraceable


@dataclass
class Build:
    """A constructor with its arguments as they were before it was called.

    ``called`` are those that it was called with: once it was, their streams stand at their ends.
    """

    build: Callable[..., Any]
    given: arguments.Before
    only: Any = None
    repeated: bool = False  # a second call was seen to give the same model
    called: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
    trap: str = ""  # the default argument of a call in it that keys were drawn from
    known: Callable[[Callable[[], Traced]], Traced] | None = None  # the trace of an equal build

    @property
    def args(self) -> tuple[Any, ...]:
        return self.given.copies()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.given.copies()[1]

    @cached_property
    def traced(self) -> Traced:
        """The trace of the constructor, or why there is none; made when it is first asked for."""
        return self._traced() if self.known is None else self.known(self._traced)

    def _traced(self) -> Traced:
        try:
            return trace(self.build, self.args, self.kwargs)
        except Untraceable as error:
            return error

    @property
    def trace(self) -> Trace | None:
        """The trace of the constructor; None if there can be none."""
        return self.traced if isinstance(self.traced, Trace) else None

    @property
    def untraceable(self) -> str:
        """Why there is no trace; "" if there is one."""
        return "" if isinstance(self.traced, Trace) else str(self.traced)

    @property
    def streams(self) -> dict[str, dict[str, Any]]:
        """The streams as a golden keeps them; of what cannot be traced, what the Rngs tell."""
        if self.trace is not None:
            return streams(self.trace)
        before = arguments.named_streams(self.args, self.kwargs)
        after = arguments.named_streams(*self.called) if self.called is not None else {}
        rows = {name: arguments.row(stream, after.get(name)) for name, stream in before.items()}
        return {name: row for name, row in rows.items() if row is not None}

    def traces_alike(self) -> bool:
        """Whether a second trace of the constructor shows the same."""
        return not self.traced_unlike()

    def traced_unlike(self) -> tuple[str, ...]:
        """The leaves that a second trace does not show as the first did."""
        first, second = self.trace, self.alone().trace
        if first is None or second is None:
            return ()  # a constructor that runs once in a process, say
        one, other = _shown(first), _shown(second)
        return tuple([p for p in sorted(one.keys() | other.keys()) if one.get(p) != other.get(p)])

    def alone(self) -> Build:
        """The same, to be traced by itself."""
        return replace(self, known=None)

    def again(self) -> Any:
        """What a second call gives, on a copy of the arguments."""
        args, kwargs = arguments.copy_arguments(self.args, self.kwargs)
        return self.build(*args, **kwargs)

    def rekeyed(self, streams: Streams) -> Build:
        """The same with these base keys in its streams, under the running PRNG implementation."""
        args, kwargs = arguments.copy_arguments(self.args, self.kwargs)
        keys = {
            name: jax.random.wrap_key_data(
                jnp.asarray(stream["key"], jnp.uint32), impl=stream["impl"]
            )
            for name, stream in streams.items()
        }
        arguments.rekey(args, kwargs, keys)
        return replace(self, given=arguments.Before(args, kwargs), known=None)


def _shown(traced: Trace) -> dict[str, Any]:
    shapes = {leaf.path: (leaf.shape, leaf.dtype) for leaf in flatten(traced.model).leaves}
    every = shapes.keys() | traced.leaves.keys()
    return {path: (shapes.get(path), traced.leaves.get(path)) for path in sorted(every)}


def streams(traced: Trace | None) -> dict[str, dict[str, Any]]:
    """The streams of a trace as a golden keeps them; none without a trace."""
    return {
        name: {
            "impl": stream.impl,
            "key": list(stream.key),
            "count": stream.count,
            "end": stream.end,
            **({"draws": compact(stream.owners)} if stream.owners else {}),
            **({"forks": {k: compact(v) for k, v in stream.forks.items()}} if stream.forks else {}),
        }
        for name, stream in (traced.streams.items() if traced is not None else ())
    }


def derived(flat: Flat, traced: Trace) -> Flat:
    """The leaves with their draws and the fingerprints of their initializers."""

    def one(leaf: Leaf) -> Leaf:
        found = traced.leaves.get(leaf.path)
        if found is None:
            return leaf
        fixed = found.raw_key and not found.draws
        at = found.raw_at if fixed else ""
        made = found.initializer
        return leaf.but(draws=found.draws, initializer=made, fixed_key=fixed, fixed_at=at)

    return flat.each(one)
