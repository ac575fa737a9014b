"""A check's golden, made ready to be written when its test has passed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import jax

from pytest_nnxrng import derivation, environment, processes, store
from pytest_nnxrng.checks import Result, TestChecks
from pytest_nnxrng.explain import Build, derived, streams
from pytest_nnxrng.golden import Golden
from pytest_nnxrng.inventory import Owner
from pytest_nnxrng.leaf import Leaf
from pytest_nnxrng.leaves import Flat
from pytest_nnxrng.passes import kept
from pytest_nnxrng.policy import Decision
from pytest_nnxrng.report.machine import OBTAINED


def make_ready(
    checks: TestChecks,
    result: Result,
    obtained: Flat,
    golden: Golden | None,
    build: Build | None,
    nnx_value: bool,
    device: jax.Device,
) -> None:
    """Write what is to become the golden to a file beside it, or to the report's folder."""
    identity = checks.identity
    owner = Owner(identity.cls, identity.function, identity.parameters, result.name, result.kind)
    drawn: dict[str, Any] = {}
    if build is not None and isinstance(build.trace, derivation.Trace):
        obtained, drawn = derived(obtained, build.trace), streams(build.trace)
    elif result.kind == "value" and nnx_value:
        drawn = checks.given()
    if golden is not None:
        obtained = _with_placements(obtained, golden)
    size = sum(leaf.size for leaf in obtained.leaves)
    with checks.progress.step(f"summing up {result.path.name}", size) as advance:
        leaves = kept(obtained.leaves, checks.settings.store_limit, advance)
    if processes.index():
        return  # the first of several processes writes
    made = Golden(owner, environment.read(device), leaves, obtained.aliases, drawn)
    try:
        if result.decision.writes:
            result.staged = store.stage(result.path, made)
        else:
            assert checks.settings.report is not None
            place = os.path.relpath(result.path, checks.rootdir)
            store.stage(checks.settings.report / OBTAINED / place, made).commit()
    except OSError as error:
        result.decision = Decision(fails=True, writes=False)
        result.problem = f"{result.path} cannot be written: {error.strerror or error}"


def gains_placements(golden: Golden, obtained: Flat) -> bool:
    """Whether this run knows where leaves are placed that the golden saw on one device."""
    lacking = {x.path for x in golden.leaves if x.sharding is not None and x.placed is None}
    return any(leaf.placed is not None and leaf.path in lacking for leaf in obtained.leaves)


def _with_placements(obtained: Flat, golden: Golden) -> Flat:
    """On one device: the placements of the golden, which this run cannot see, are kept."""
    old = {leaf.path: leaf for leaf in golden.leaves if leaf.placed is not None}

    def one(leaf: Leaf) -> Leaf:
        was = old.get(leaf.path)
        unseen = leaf.sharding is not None and leaf.placed is None
        if was is None or not unseen or (was.shape, was.sharding) != (leaf.shape, leaf.sharding):
            return leaf
        return replace(leaf, placed=was.placed)

    return Flat(tuple(map(one, obtained.leaves)), obtained.aliases)
