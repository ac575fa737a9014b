"""A build, traced and rebuilt: the evidence from which ``diagnose`` names causes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from pytest_nnxrng.compare.differences import Comparison, compare
from pytest_nnxrng.compare.numbers import WEIGHTS, Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.evaluate.sampling import followed, sampled
from pytest_nnxrng.golden.manifest import Golden, GoldenError
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx import arguments
from pytest_nnxrng.nnx.flatten import Flat, flatten
from pytest_nnxrng.trace import derivation
from pytest_nnxrng.why.cause import Cause, Drawing, Evidence, same_fingerprints
from pytest_nnxrng.why.diagnose import diagnose
from pytest_nnxrng.why.origins import recall, translated

Streams = Mapping[str, Mapping[str, Any]]


@dataclass
class Build:
    """A constructor with its arguments as they were before it was called."""

    build: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    only: Any = None
    repeated: bool = False  # a second call was seen to give the same model
    trap: str = ""  # the default argument of a call in it that keys were drawn from

    @cached_property
    def trace(self) -> derivation.Trace | derivation.Untraceable:
        """The trace of the constructor, or why there is none; made when it is first asked for."""
        try:
            return derivation.trace(self.build, self.args, self.kwargs)
        except derivation.Untraceable as error:
            return error

    @property
    def is_traced(self) -> bool:
        return "trace" in vars(self)

    def traces_alike(self) -> bool:
        """Whether a second trace of the constructor shows the same."""
        first, second = self.trace, replace(self).trace
        if not isinstance(first, derivation.Trace) or not isinstance(second, derivation.Trace):
            return True  # a constructor that runs once in a process, say
        return first.leaves == second.leaves and _shapes(first) == _shapes(second)

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
        return replace(self, args=args, kwargs=kwargs)


def _shapes(trace: derivation.Trace) -> list[tuple[str, Any, str]]:
    return [(leaf.path, leaf.shape, leaf.dtype) for leaf in flatten(trace.model).leaves]


def streams(trace: derivation.Trace) -> dict[str, dict[str, Any]]:
    """The streams of a trace as a golden keeps them."""
    return {
        name: {
            "impl": stream.impl,
            "key": list(stream.key),
            "count": stream.count,
            "end": stream.end,
        }
        for name, stream in trace.streams.items()
    }


def derived(flat: Flat, trace: derivation.Trace) -> Flat:
    """The leaves with their draws and the fingerprints of their initializers."""

    def one(leaf: Leaf) -> Leaf:
        found = trace.leaves.get(leaf.path)
        if found is None:
            return leaf
        fixed = found.raw_key and not found.draws
        made = found.initializer
        return leaf.but(draws=found.draws, initializer=made, fixed_key=fixed)

    return Flat(tuple(map(one, flat.leaves)), flat.aliases)


def rekeyed_streams(golden: Golden, ours: Streams) -> frozenset[str]:
    """The streams whose base key is not the one that the golden recorded."""
    return frozenset(
        name
        for name, stream in ours.items()
        if isinstance(golden.streams.get(name), dict)
        and _base(golden.streams[name]) != _base(stream)
    )


def _base(stream: Mapping[str, Any]) -> tuple[Any, Any]:
    return stream.get("impl"), stream.get("key")


def explain(
    golden: Golden,
    obtained: Flat,
    comparison: Comparison,
    changes: tuple[tuple[str, Any, Any], ...],
    tolerance: Tolerance,
    *,
    kind: str,
    build: Build | None = None,
    repeats: bool = True,
    model: tuple[Cause, ...] | None = None,
    nnx_value: bool = True,
    given: Streams | None = None,
) -> tuple[Cause, ...]:
    """Why ``obtained`` is not what ``golden`` holds. Traces and rebuilds where that helps."""
    evidence = Evidence(
        kind=kind,
        comparison=comparison,
        expected={leaf.path: leaf for leaf in golden.leaves},
        obtained={leaf.path: leaf for leaf in obtained.leaves},
        changes=changes,
        repeats=repeats,
        model=model,
        trap=build.trap if build is not None else "",
    )
    if not repeats:
        return diagnose(evidence)
    # Such a build cannot be traced: its keys are drawn from what lies outside of it.
    if build is not None and build.trap and not _repeats(build, obtained):
        return diagnose(replace(evidence, repeats=False))
    trace = build.trace if build is not None else None
    if build is None or not isinstance(trace, derivation.Trace):
        evidence = replace(evidence, untraceable=str(trace or ""))
        return diagnose(_recalled(evidence, golden, given, changes) if nnx_value else evidence)
    now, ours = derived(obtained, trace), streams(trace)
    abstract = all(leaf.read is None for leaf in obtained.leaves)
    alike = build.traces_alike() if abstract else build.repeated or _repeats(build, obtained)
    if not alike:
        return diagnose(replace(evidence, repeats=False))
    # A flag that the golden's JAX did not have has no recorded value, but for those whose
    # value can be "unset".
    flags = {
        name: old
        for name, old, _ in changes
        if name in environment.SETTABLE
        and (old is not None or name == "jax_default_matmul_precision")
    }
    evidence = replace(
        evidence, draws=tuple(Drawing(d.label, d.where, d.module) for d in trace.draws)
    )
    if flags:
        ours = translated(ours, golden.streams, changes)
        rebuild = _Rebuild(golden, tolerance, frozenset(name for name, _, _ in changes), abstract)
        again = rebuild.under(flags, build, ours)
        evidence = replace(
            evidence,
            reverted=dict.fromkeys(again.equal, again.flags),
            touched=dict.fromkeys(_touched(obtained, again), again.flags),
            redtyped=_redtyped(comparison, again.flat),
            rebuilt=True,
        )
        made = {leaf.path: leaf for leaf in again.flat.leaves}
        now = Flat(tuple(_with_derivation(leaf, made) for leaf in now.leaves), now.aliases)
    return diagnose(
        replace(
            evidence,
            obtained={leaf.path: leaf for leaf in now.leaves},
            streams=(golden.streams, ours),
        )
    )


def _recalled(
    evidence: Evidence,
    golden: Golden,
    given: Streams | None,
    changes: tuple[tuple[str, Any, Any], ...],
) -> Evidence:
    """With the draws that the values tell, where they do on both sides."""
    running = {**golden.environment, **{name: new for name, _, new in changes}}
    evidence = replace(evidence, implied=_implied(evidence.comparison, changes))
    both = golden.streams, given or {}
    found = recall(evidence.comparison, golden.environment, running, both, changes)
    if found is None:
        return evidence
    then, now = found.streams
    return replace(
        evidence,
        expected={**evidence.expected, **found.expected},
        obtained={**evidence.obtained, **found.obtained},
        streams=(then, translated(now, then, changes)),
        reverted=found.reverted,
        touched=found.touched,
        proof="recovered from the values",
    )


def _with_derivation(leaf: Leaf, made: Mapping[str, Leaf]) -> Leaf:
    other = made.get(leaf.path, leaf)
    return leaf.but(draws=other.draws, initializer=other.initializer)


def _repeats(build: Build, obtained: Flat) -> bool:
    try:
        again = flatten(build.again(), build.only)
    except Exception:  # a constructor that runs once in a process, say
        return True
    made = digested(leaf for leaf in again.leaves if leaf.read is not None)
    digests = {leaf.path: leaf.digest for leaf in made}
    return all(digests.get(leaf.path) == leaf.digest for leaf in obtained.leaves)


_KEYS = {"threefry2x32": "key<fry>", "rbg": "key<rbg>", "unsafe_rbg": "key<urbg>"}
_WIDE = {"float32": "float64", "int32": "int64", "uint32": "uint64", "complex64": "complex128"}


def _implied(
    comparison: Comparison, changes: tuple[tuple[str, Any, Any], ...]
) -> dict[str, tuple[str, ...]]:
    """The leaves whose dtype follows from flags: without x64 there is no float64, say."""
    by_flag: dict[tuple[str, str], str] = {}
    for name, old, new in changes:
        if name == "jax_default_prng_impl" and old in _KEYS and new in _KEYS:
            by_flag[_KEYS[old], _KEYS[new]] = name
        elif name == "jax_enable_x64":
            by_flag.update({(a, b) if new else (b, a): name for a, b in _WIDE.items()})
    return {
        d.path: (by_flag[d.expected.dtype, d.obtained.dtype],)
        for d in comparison.differences
        if "dtype" in d.kinds
        and d.expected
        and d.obtained
        and (d.expected.dtype, d.obtained.dtype) in by_flag
    }


@dataclass(frozen=True)
class _Rebuilt:
    """A build under recorded flags: its leaves, derived, and those that equal the golden's."""

    flat: Flat
    equal: frozenset[str]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class _Rebuild:
    """Builds under recorded flags, held against the golden; an abstract one's spots are.

    ``changed`` names what in the environment is not as it was recorded.
    """

    golden: Golden
    tolerance: Tolerance
    changed: frozenset[str]
    abstract: bool

    def under(self, flags: Mapping[str, Any], build: Build, ours: Streams) -> _Rebuilt:
        with environment.under(flags):
            there = build.rekeyed(ours)
            flat = self._flat(there)
        equal, names = self._equal(flat, there, flags), tuple(sorted(flags))
        for name in names if len(names) > 1 else ():
            if name in ("jax_default_prng_impl", "jax_random_seed_offset"):
                continue  # the base keys follow from both at once
            with environment.under({name: flags[name]}):
                there = replace(build)
                alone = self._flat(there)
            if equal and self._equal(alone, there, [name]) == equal:
                return _Rebuilt(flat, equal, (name,))
        return _Rebuilt(flat, equal, names)

    def _flat(self, build: Build) -> Flat:
        trace = build.trace
        if not self.abstract:
            flat = flatten(build.again(), build.only)
            return derived(flat, trace) if isinstance(trace, derivation.Trace) else flat
        if not isinstance(trace, derivation.Trace):
            return Flat((), {})
        return sampled(derived(flatten(trace.model, build.only), trace), trace).flat

    def _equal(self, flat: Flat, build: Build, flags: Iterable[str]) -> frozenset[str]:
        """The leaves that are the golden's: by their values, or by a derivation that proves it."""
        rest, trace = self.changed.difference(flags), build.trace
        rekeyed, follow = frozenset[str](), set[str]()
        if isinstance(trace, derivation.Trace):
            rekeyed = rekeyed_streams(self.golden, streams(trace))
            follow = set(followed(self.golden, flat, trace, rest, rekeyed))
        try:
            same = compare(
                self.golden.leaves,
                flat.leaves,
                self.tolerance,
                rekeyed=rekeyed,
                fingerprints=same_fingerprints(rest),
            )
        except GoldenError:
            return frozenset()
        return frozenset((*same.matched, *same.rounded, *follow.intersection(same.unread)))


def _touched(obtained: Flat, rebuilt: _Rebuilt) -> frozenset[str]:
    """The leaves whose values the flags change, by more than rounding."""
    tolerance = Tolerance(WEIGHTS)
    moved = compare(obtained.leaves, rebuilt.flat.leaves, tolerance, fingerprints=False).differences
    return frozenset(d.path for d in moved) - rebuilt.equal


def _redtyped(comparison: Comparison, rebuilt: Flat) -> frozenset[str]:
    """The leaves whose dtype is not the golden's, but is under the recorded flags."""
    there = {leaf.path: leaf.dtype for leaf in rebuilt.leaves}
    return frozenset(
        d.path
        for d in comparison.differences
        if "dtype" in d.kinds and d.expected and there.get(d.path) == d.expected.dtype
    )
