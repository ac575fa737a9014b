"""A golden made from what a check obtained; what an abstract one keeps of the golden before it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import jax

from pytest_nnxrng.check.state import Result, TestChecks
from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.device import environment, processes
from pytest_nnxrng.evaluate.sampling import sampled
from pytest_nnxrng.golden import store
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, GoldenError
from pytest_nnxrng.golden.policy import Decision
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import kept
from pytest_nnxrng.nnx.flatten import Flat
from pytest_nnxrng.report.machine import OBTAINED
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.why.explain import Build, derived, streams

_SHOWN = 3


def make_ready(
    checks: TestChecks,
    result: Result,
    obtained: Flat,
    build: Build | None,
    nnx_value: bool,
    device: jax.Device,
    before: Golden | None,
) -> None:
    """Write the golden's values beside its place, or what was obtained to the report's folder.

    ``before`` is the golden that it takes the place of, whose values an abstract check keeps.
    """
    identity = checks.identity
    owner = Owner(identity.cls, identity.function, identity.parameters, result.name, result.kind)
    drawn: dict[str, Any] = {}
    if before is not None and result.comparison is not None:
        obtained = _keeping(before, obtained, result.comparison, bool(result.changes))
        obtained = _with_placements(before, obtained)
    if build is not None and isinstance(build.trace, Trace):
        obtained, drawn = derived(obtained, build.trace), streams(build.trace)
        valued = [leaf.path for leaf in obtained.leaves if leaf.digest is not None]
        sample = sampled(obtained, build.trace, valued)
        obtained, result.left_out = sample.flat, sample.left_out
    elif result.kind == "value" and nnx_value:
        drawn = checks.given()
    try:
        size = sum(leaf.size for leaf in obtained.leaves if leaf.read is not None)
        with checks.progress.step(f"summing up {result.path.name}", size) as advance:
            leaves = kept(obtained.leaves, checks.settings.store_limit, advance)
        if processes.index():
            return  # the first of several processes writes
        made = Golden(owner, environment.read(device), leaves, obtained.aliases, drawn)
        if result.decision.writes:
            result.staged = store.stage(result.path, made, checks.folders)
            result.note = "; ".join(filter(None, [result.note, _left_out(checks, result)]))
        else:
            assert checks.settings.report is not None
            root = checks.settings.golden_root or checks.rootdir
            place = os.path.relpath(result.path, root)
            store.stage(checks.settings.report / OBTAINED / place, made, checks.folders).commit()
    except GoldenError as error:  # values to be kept that cannot be read
        result.decision, result.problem = Decision(fails=True, writes=False), str(error)
    except OSError as error:
        result.decision = Decision(fails=True, writes=False)
        result.problem = f"{result.path} cannot be written: {error.strerror or error}"


def _keeping(before: Golden, obtained: Flat, comparison: Comparison, changed: bool) -> Flat:
    """Abstract leaves with the values that the golden holds, where nothing speaks against them."""
    old = {leaf.path: leaf for leaf in before.leaves if leaf.digest is not None}
    # What differs by these alone has the same values.
    differing = {d.path: d for d in comparison.differences if set(d.kinds) - {"type", "sharding"}}
    # Another computation that agrees at its spots: perhaps the same values, and no proof of it.
    open_ = {p for p, d in differing.items() if d.kinds == ("derivation",) and d.numbers}

    def one(leaf: Leaf) -> Leaf:
        path = leaf.path
        if leaf.read is not None or path not in old or (path in differing and path not in open_):
            return leaf
        held = old[path]
        return replace(
            leaf,
            digest=held.digest,
            statistics=held.statistics,
            sketch=held.sketch,
            spots=held.spots,
            stored=held.stored,
            read=held.read,
            kept=changed or held.kept or path in open_,
        )

    return Flat(tuple(map(one, obtained.leaves)), obtained.aliases)


def _with_placements(before: Golden, obtained: Flat) -> Flat:
    """On one device: the placements of the golden, which this run cannot see, are kept."""
    old = {leaf.path: leaf for leaf in before.leaves if leaf.placed is not None}

    def one(leaf: Leaf) -> Leaf:
        was = old.get(leaf.path)
        unseen = leaf.sharding is not None and leaf.placed is None
        if was is None or not unseen or (was.shape, was.sharding) != (leaf.shape, leaf.sharding):
            return leaf
        return leaf.but(placed=was.placed)

    return Flat(tuple(map(one, obtained.leaves)), obtained.aliases)


def _left_out(checks: TestChecks, result: Result) -> str:
    """For the reader of an update: the leaves without values and spots, and why."""
    left_out = result.left_out
    if not left_out:
        return ""
    shown = ", ".join(f"{path} ({why})" for path, why in list(left_out.items())[:_SHOWN])
    more = f", and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    count = f"{len(left_out)} {'leaves' if len(left_out) > 1 else 'leaf'}"
    golden = os.path.relpath(result.path, checks.rootdir).replace(os.sep, "/")
    return f"{golden} keeps no values of {count}: {shown}{more}"
