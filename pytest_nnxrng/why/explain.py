"""A mismatch -> its causes: what is known of it is gathered here, `diagnose` names the causes.

A build is traced, and made again under recorded flags; of a finished model the values tell which
draws made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.provenance import translated
from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.nnx.shared import shared_rngs
from pytest_nnxrng.trace.build import Build, Streams, derived, streams
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.trace.observed import Observed
from pytest_nnxrng.why.cause import Cause, Drawing, Evidence, ModelCheck
from pytest_nnxrng.why.diagnose import diagnose
from pytest_nnxrng.why.origins import recall
from pytest_nnxrng.why.rebuild import Rebuild
from pytest_nnxrng.why.retrace import retrace

Changes = tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True)
class Mismatch:
    """A golden, what was obtained in its place, and what the check knows of both.

    ``changes`` are those of the environment: name, then, now. ``build`` made the value, if the
    check called it; ``repeats`` is False if two calls gave two models. ``model`` is the check of
    the model that an output comes from, ``earlier`` the check before this one of the same model in
    the same test. ``given`` are the streams that the test was given.
    ``observed`` is the call that gave the value, if the check made it, ``only`` the check's filter.
    """

    golden: Golden
    obtained: Flat
    comparison: Comparison
    changes: Changes
    tolerance: Tolerance
    kind: str
    build: Build | None = None
    repeats: bool = True
    model: ModelCheck = field(default_factory=ModelCheck)
    earlier: ModelCheck = field(default_factory=ModelCheck)
    is_nnx: bool = True
    given: Streams = field(default_factory=dict)
    observed: Observed | None = None
    only: Any = None


def explain(mismatch: Mismatch) -> tuple[tuple[Cause, ...], Evidence]:
    """Why ``obtained`` is not what the golden holds, and what that is told from.

    Raises:
      GoldenError: when the golden's values are needed and cannot be read.
      BadFlag: when the golden records a flag that cannot be set.
    """
    if mismatch.observed is None:
        seen = _gather(mismatch)
        return diagnose(seen), seen
    causes = retrace(
        mismatch.golden,
        mismatch.obtained,
        mismatch.comparison,
        mismatch.changes,
        mismatch.tolerance,
        mismatch.observed,
        mismatch.model,
        mismatch.only,
    )
    return causes, _compared(mismatch)


def _gather(mismatch: Mismatch) -> Evidence:
    """All that can be known of a mismatch."""
    build = mismatch.build
    if not mismatch.repeats:
        return _compared(mismatch)
    if build is not None and build.trace is not None:
        return _from_trace(mismatch, build, build.trace)
    seen = _compared(mismatch)
    if build is not None:
        moved, why = _unlike(build, mismatch.obtained, abstract=False)
        if moved:
            return replace(seen, repeats=False, unrepeated=moved, shared=why)
        seen = replace(seen, untraceable=build.untraceable)
    return _from_values(mismatch, seen) if mismatch.is_nnx else seen


def _compared(mismatch: Mismatch) -> Evidence:
    """What the comparison alone shows."""
    return Evidence(
        kind=mismatch.kind,
        comparison=mismatch.comparison,
        expected={leaf.path: leaf for leaf in mismatch.golden.leaves},
        obtained=mismatch.obtained.by_path(),
        changes=mismatch.changes,
        repeats=mismatch.repeats,
        model=mismatch.model,
        earlier=mismatch.earlier,
    )


# -- a build ---------------------------------------------------------------------------


def _from_trace(mismatch: Mismatch, build: Build, trace: Trace) -> Evidence:
    """With the draws and initializers that the trace shows, here and under recorded flags."""
    seen, obtained = _compared(mismatch), mismatch.obtained
    abstract = obtained.is_abstract
    moved, why = _unlike(build, obtained, abstract=abstract)
    if moved:
        return replace(seen, repeats=False, unrepeated=moved, shared=why)
    now, keys = derived(obtained, trace), streams(trace)
    seen = replace(
        seen, draws=tuple(Drawing(d.label, d.where, d.module, d.sites) for d in trace.draws)
    )
    flags = environment.settable(mismatch.changes)
    if flags:
        keys = translated(keys, mismatch.golden.streams, mismatch.changes)
        changed = frozenset(name for name, _, _ in mismatch.changes)
        rebuild = Rebuild(mismatch.golden, mismatch.tolerance, changed, abstract)
        rebuilt = rebuild.under(flags, build, keys)
        seen = replace(
            seen,
            reverted=dict.fromkeys(rebuilt.equal, rebuilt.flags),
            touched=dict.fromkeys(rebuilt.touched(obtained), rebuilt.flags),
            redtyped=rebuilt.redtyped(mismatch.comparison),
            rebuilt=True,
        )
        made = rebuilt.flat.by_path()
        now = now.each(lambda leaf: _with_derivation(leaf, made))
    return replace(seen, obtained=now.by_path(), streams=(mismatch.golden.streams, keys))


def _with_derivation(leaf: Leaf, made: Mapping[str, Leaf]) -> Leaf:
    other = made.get(leaf.path, leaf)
    return leaf.but(draws=other.draws, initializer=other.initializer)


def _unlike(
    build: Build, obtained: Flat, *, abstract: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The leaves that a second build does not repeat, and what all builds share."""
    if build.repeated and not abstract:
        return (), ()
    if abstract:
        paths = build.traced_unlike()
        model = build.trace.model if build.trace is not None else None
        return paths, _shared(build, model) if paths else ()
    try:
        model = build.again()
        again = flatten(model, build.only)
    except Exception:  # a constructor that runs once in a process, say
        return (), ()
    made = digested(leaf for leaf in again.leaves if leaf.read is not None)
    digests = {leaf.path: leaf.digest for leaf in made}
    paths = tuple(leaf.path for leaf in obtained.leaves if digests.get(leaf.path) != leaf.digest)
    return paths, _shared(build, model) if paths else ()


def _shared(build: Build, model: Any) -> tuple[str, ...]:
    """Why two calls differ, as far as the Rngs tell that outlive a call."""
    return (build.trap,) if build.trap else tuple(shared_rngs(build.build, model))


def _with_counts(streams: tuple[Any, Any], known: tuple[Streams, Streams]) -> tuple[Any, Any]:
    """The counts of streams where they are known; recovered ones have none."""
    filled = [
        {name: {**dict(of.get(name, {})), **row} for name, row in side.items()}
        for side, of in zip(streams, known, strict=True)
    ]
    return filled[0], filled[1]


# -- a finished model ------------------------------------------------------------------


def _from_values(mismatch: Mismatch, seen: Evidence) -> Evidence:
    """With the draws that the values tell, where they do on both sides."""
    golden, changes = mismatch.golden, mismatch.changes
    seen = replace(seen, implied=implied(mismatch.comparison, changes))
    running = {**golden.environment, **{name: new for name, _, new in changes}}
    build = mismatch.build
    both = golden.streams, build.streams if build is not None else mismatch.given
    found = recall(
        mismatch.comparison, golden.environment, running, both, changes, _matching(mismatch)
    )
    if found is None:
        # Of a build the Rngs themselves tell, whatever its leaves do not.
        return replace(seen, streams=both) if build is not None else seen
    then, now = found.streams
    return replace(
        seen,
        expected={**seen.expected, **found.expected},
        obtained={**seen.obtained, **found.obtained},
        streams=_with_counts((then, translated(now, then, changes)), both),
        reverted=found.reverted,
        touched=found.touched,
        proof="recovered from the values",
    )


def _matching(mismatch: Mismatch) -> list[Leaf]:
    differing = {d.path for d in mismatch.comparison.differences}
    return [leaf for leaf in mismatch.golden.leaves if leaf.path not in differing]


_KEYS = {"threefry2x32": "key<fry>", "rbg": "key<rbg>", "unsafe_rbg": "key<urbg>"}
_WIDE = {"float32": "float64", "int32": "int64", "uint32": "uint64", "complex64": "complex128"}


def implied(comparison: Comparison, changes: Changes) -> dict[str, tuple[str, ...]]:
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
