"""What a check looks at: the leaves of a value with their digests, and what to warn of in them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import nnx

import pytest_nnxrng
from pytest_nnxrng.check.cautions import (
    FixedSeedWarning,
    KeyReuseWarning,
    MutableDefaultWarning,
    SnapshotWarning,
    WrongDeviceWarning,
    ZeroKernelWarning,
    elsewhere,
    reused_keys,
    zero_kernels,
)
from pytest_nnxrng.check.state import Options, SnapshotError, TestChecks
from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.numbers import Tolerance
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import Flat, flatten, is_node
from pytest_nnxrng.run.progress import Progress
from pytest_nnxrng.trace import derivation
from pytest_nnxrng.why.explain import Build, derived

PACKAGE = str(Path(pytest_nnxrng.__file__).parent)


def capture(
    value: Any, options: Options, progress: Progress, agree: Callable[[Flat], None]
) -> Flat:
    """The leaves of ``value`` with their digests; ``agree`` is called before any is read."""
    __tracebackhide__ = True
    flat = flatten(value, options.only)
    if not flat.leaves:
        filtered = " that nnx_snapshot(only=...) lets through" if options.only is not None else ""
        raise SnapshotError(
            f"there is nothing to check: {type(value).__name__} holds no arrays or numbers"
            f"{filtered}"
        )
    if not options.abstract:
        bare = next((leaf.path for leaf in flat.leaves if leaf.read is None), None)
        if bare is not None:
            raise SnapshotError(
                f"{bare or 'the value'} is abstract (a jax.ShapeDtypeStruct) and has no values; "
                "check it with nnx_snapshot(abstract=True)"
            )
    kept: dict[str, Any] = {} if options.sharding else {"sharding": None, "placed": None}
    if options.abstract:
        bare_ones = (leaf.but(read=None, slabs=None, **kept) for leaf in flat.leaves)
        return Flat(tuple(bare_ones), flat.aliases)
    agree(flat)
    size = sum(leaf.size for leaf in flat.leaves)
    with progress.step(f"hashing {type(value).__name__}", size) as advance:
        return Flat(digested(flat.leaves, advance, **kept), flat.aliases)


def holds_nnx(value: Any) -> bool:
    def known(x: Any) -> bool:
        return isinstance(x, nnx.Variable | nnx.State) or is_node(x)

    return any(map(known, jax.tree_util.tree_leaves(value, is_leaf=known)))


def repeats(model: Any, build: Build) -> bool:
    """Whether a second call gives the same model; True if there can be no second call."""
    try:
        again = build.again()
    except Exception:  # a constructor that runs once in a process, say
        return True
    a, b = flatten(model), flatten(again)
    build.repeated = (
        a.aliases == b.aliases
        and compare(digested(a.leaves), digested(b.leaves), Tolerance({}, exact=True)).matches
    )
    return build.repeated


def warn(
    checks: TestChecks, obtained: Flat, value: Any, build: Build | None, golden: Golden | None
) -> None:
    """Warn of what matches and is still no good; ``golden``, or a trace, knows what is drawn."""
    found: list[tuple[str, type[SnapshotWarning]]] = []
    if text := elsewhere(obtained.leaves, checks.platform_device()):
        found.append((text, WrongDeviceWarning))
    if build is not None:
        known = golden.leaves if golden is not None else ()
        if isinstance(trace := vars(build).get("trace"), derivation.Trace):  # if it has been made
            known = derived(obtained, trace).leaves
        # A table of positions or an identity matrix may well stand in a model twice.
        drawn = {leaf.path for leaf in known if leaf.draws}
        leaves = [leaf for leaf in obtained.leaves if leaf.path in drawn]
        found += [(text, KeyReuseWarning) for text in reused_keys(leaves)]
        here = {leaf.path for leaf in obtained.leaves}
        fixed = [leaf.path for leaf in known if leaf.fixed_key and leaf.path in here]
        if fixed:
            text = f"{', '.join(fixed[:4])}: drawn from a key that is hard-coded, not from the Rngs"
            found.append((text, FixedSeedWarning))
    if isinstance(value, nnx.Module):  # not a State, which may hold gradients
        checks.zero_kernels = zero_kernels(obtained.leaves)
    elif checks.zero_kernels and not holds_nnx(value):
        text = f"{', '.join(checks.zero_kernels[:4])}: all zeros, so this output does not show "
        found.append((text + "what they lead to", ZeroKernelWarning))
        checks.zero_kernels = []
    for text, category in found:
        warnings.warn(text, category, stacklevel=_depth())


def warn_of_default(build: Build | None) -> None:
    """Warn of a model that matches, and that the next build in this process would not give."""
    if build is not None and build.trap:
        warnings.warn(build.trap, MutableDefaultWarning, stacklevel=_depth())


def _depth() -> int:
    """How many frames up the test's own line stands, as ``warnings.warn`` counts from ``warn``."""
    depth, frame = 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, depth = frame.f_back, depth + 1
    return depth + 1
