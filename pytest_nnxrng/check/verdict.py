"""A check is held against its golden, explained and decided upon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_nnxrng.check.lookup import Found, left_alone
from pytest_nnxrng.check.state import Options, Result, TestChecks
from pytest_nnxrng.compare.differences import Comparison, compare
from pytest_nnxrng.compare.tolerance import tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.evaluate.sampling import Sampled, followed, sampled_beside
from pytest_nnxrng.golden import policy
from pytest_nnxrng.golden.manifest import Golden, GoldenError
from pytest_nnxrng.golden.policy import Outcome, Status
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.nnx.flatten import Flat
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.why.cause import Cause, same_fingerprints
from pytest_nnxrng.why.explain import Build, derived, explain, rekeyed_streams, streams

Changes = tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True)
class Subject:
    """What is checked, and in which line of the test: a value, or a model and its ``build``.

    ``repeats``: a second build was not seen to give another model. ``also`` says how the model
    differs when it is built in other ways.
    """

    name: str
    kind: str
    where: str
    is_nnx: bool
    is_whole_model: bool
    build: Build | None = None
    repeats: bool = True
    also: str = ""


def beside(
    checks: TestChecks,
    options: Options,
    obtained: Flat,
    golden: Golden | None,
    build: Build | None,
    changes: Changes,
) -> Sampled:
    """The leaves with what the golden is to be held against where one side has no values."""
    if golden is None or build is None:
        return Sampled(obtained)
    told = any(leaf.digest is None and leaf.draws is not None for leaf in golden.leaves)
    if not (options.abstract or told) or not isinstance(build.trace, Trace):
        return Sampled(obtained)
    flat = derived(obtained, build.trace)
    if not options.abstract:
        return Sampled(flat)
    rekeyed = rekeyed_streams(golden, streams(build.trace))
    known = followed(golden, flat, build.trace, changes, rekeyed)
    return sampled_beside(known, flat, build.trace, all_spots=checks.settings.mode.refresh)


def judge(
    checks: TestChecks,
    options: Options,
    subject: Subject,
    sample: Sampled,
    found: Found,
    changes: Changes,
    now: Mapping[str, Any],
) -> Result:
    """Hold what was obtained against the golden, say why it differs, and decide.

    ``now`` is the environment, in which ``changes`` are not as the golden recorded them.
    """
    comparison, error, obtained, build = None, found.error, sample.flat, subject.build
    then = found.golden.environment if found.golden is not None else now
    allowed = tolerance(checks.settings, options, subject.kind, then, now)
    fingerprints = same_fingerprints(name for name, _, _ in changes)
    if found.golden is not None:
        trace = build.trace if build is not None and build.is_traced else None
        ours = streams(trace) if isinstance(trace, Trace) else {}
        try:
            comparison = compare(
                found.golden.leaves,
                obtained.leaves,
                allowed,
                (found.golden.aliases, obtained.aliases),
                sharding=options.sharding,
                rekeyed=rekeyed_streams(found.golden, ours),
                fingerprints=fingerprints,
                proven=sample.proven,
            )
        except GoldenError as found_now:
            error = found_now
    became = status(comparison, error)
    causes: tuple[Cause, ...] = ()
    mode, models = checks.settings.mode, [r for r in checks.results if r.whole_model]
    follows = tuple(c for r in models for c in r.causes) if subject.kind == "value" else ()
    if comparison is not None and became is Status.DIFFERENT and (mode.only or not mode.update):
        assert found.golden is not None
        try:
            with checks.progress.step(f"explaining {found.path.name}"):
                causes = explain(
                    found.golden,
                    obtained,
                    comparison,
                    changes,
                    allowed,
                    kind=subject.kind,
                    build=build,
                    repeats=subject.repeats,
                    model=follows if models and not subject.is_nnx else None,
                    nnx_value=subject.is_nnx,
                    given=checks.given(),
                )
        except GoldenError as found_now:
            became, error = status(None, found_now), found_now
        except environment.BadFlag:
            causes = ()  # the recorded environment is none that can be set
    decision = policy.decide(
        became,
        mode,
        Outcome.PENDING,
        same_environment=not gains(found.golden, obtained, changes, options),
        repeats=subject.repeats,
        agrees=not subject.also,
        left=bool(found.left),
        causes={cause.word for cause in causes or follows},
    )
    note = left_alone(found, now["platform"]) if decision.writes else ""
    if mode.refresh and changes and not decision.writes and found.golden is not None:
        note = held_back(found.path, found.golden, options)
    problem = "" if error is None else str(error)
    return Result(
        name=subject.name,
        kind=subject.kind,
        where=subject.where,
        path=found.target if decision.writes else found.path,
        status=became,
        decision=decision,
        comparison=comparison,
        problem=problem if subject.repeats else _does_not_repeat(build),
        changes=changes,
        causes=causes,
        whole_model=subject.is_whole_model,
        fingerprints=fingerprints,
        spread=any(leaf.slabs is not None for leaf in obtained.leaves),
        also=subject.also,
        note=note,
        left_out=sample.left_out,
        left=found.left if became.bad and not decision.fails else "",
    )


_DOES_NOT_REPEAT = (
    "the build does not repeat itself: two calls with the same rngs gave two different models. It "
    "depends on something else than its keys (time, random, os.urandom, numpy.random, a global "
    "counter)"
)


def _does_not_repeat(build: Build | None) -> str:
    trap = build.trap if build is not None else ""
    return f"{_DOES_NOT_REPEAT}. {trap[0].upper()}{trap[1:]}" if trap else _DOES_NOT_REPEAT


def changes(golden: Golden | None, now: Mapping[str, Any]) -> Changes:
    """What in the environment is not as the golden recorded it: name, then, now."""
    if golden is None:
        return ()
    then = golden.environment
    return tuple(
        (name, then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name != "device_count"  # which decides none
    )


def status(comparison: Comparison | None, error: GoldenError | None) -> Status:
    if error is not None:
        return Status.UNREADABLE if error.replaceable else Status.LOCKED
    if comparison is None:
        return Status.MISSING
    if not comparison.matches:
        return Status.DIFFERENT
    return Status.ROUNDED if comparison.rounded else Status.MATCHED


def gains(golden: Golden | None, obtained: Flat, changes: Changes, options: Options) -> bool:
    """Whether a golden that matches would be another one if it were written anew."""
    if golden is None:
        return False
    if changes:
        return not (options.abstract and _holds_values(golden))
    ours = {leaf.path: leaf for leaf in obtained.leaves}
    both = [(leaf, ours[leaf.path]) for leaf in golden.leaves if leaf.path in ours]
    return any(_gains_values(old, new) or _gains_placement(old, new) for old, new in both)


def held_back(path: Path, golden: Golden, options: Options) -> str:
    """Why a refresh leaves a golden of another environment as it is; "" if it does not."""
    if not options.abstract or not _holds_values(golden):
        return ""
    return (
        f"{path.name} holds values of the environment that it was made in, which an abstract check "
        "cannot make anew: it is left as it is. Refresh it from a check without abstract=True"
    )


def _holds_values(golden: Golden) -> bool:
    return any(leaf.digest is not None for leaf in golden.leaves)


def _gains_values(old: Leaf, new: Leaf) -> bool:
    if new.read is not None:
        return old.digest is None or old.kept
    return old.digest is None and old.spots is None and new.spots is not None


def _gains_placement(old: Leaf, new: Leaf) -> bool:
    """Whether this run knows where a leaf lies that the golden saw on one device."""
    return new.placed is not None and old.sharding is not None and old.placed is None
