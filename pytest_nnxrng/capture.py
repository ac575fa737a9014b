"""What a check looks at: the leaves of a value with their digests, and what to warn of in them."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from pytest_nnxrng import derivation
from pytest_nnxrng.cautions import (
    FixedSeedWarning,
    KeyReuseWarning,
    SnapshotWarning,
    WrongDeviceWarning,
    ZeroKernelWarning,
    elsewhere,
    reused_keys,
    zero_kernels,
)
from pytest_nnxrng.checks import Options, SnapshotError, TestChecks
from pytest_nnxrng.compare import compare
from pytest_nnxrng.explain import Build
from pytest_nnxrng.leaf import Leaf
from pytest_nnxrng.leaves import Flat, flatten, is_node
from pytest_nnxrng.numbers import Tolerance
from pytest_nnxrng.sketch import digest

PACKAGE = str(Path(__file__).parent)


def capture(value: Any, options: Options) -> Flat:
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
    leaves = tuple(flat.leaves) if options.abstract else _digested(flat.leaves)
    if options.abstract:
        leaves = tuple(replace(leaf, read=None) for leaf in leaves)
    if not options.sharding:
        leaves = tuple(replace(leaf, sharding=None) for leaf in leaves)
    return Flat(leaves, flat.aliases)


def _digested(leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """Every leaf with its digest; big ones side by side, since hashing releases the GIL."""

    def one(leaf: Leaf) -> Leaf:
        assert leaf.read is not None
        return replace(leaf, digest=digest(leaf.read()))

    if sum(leaf.size for leaf in leaves) < 1 << 20:
        return tuple(map(one, leaves))
    with ThreadPoolExecutor(max_workers=4) as pool:
        return tuple(pool.map(one, leaves))


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
    return (
        a.aliases == b.aliases
        and compare(_digested(a.leaves), _digested(b.leaves), Tolerance({}, exact=True)).matches
    )


def warn(checks: TestChecks, obtained: Flat, value: Any, kind: str, build: Build | None) -> None:
    found: list[tuple[str, type[SnapshotWarning]]] = []
    if text := elsewhere(obtained.leaves, checks.platform_device()):
        found.append((text, WrongDeviceWarning))
    if kind == "init":
        found += [(text, KeyReuseWarning) for text in reused_keys(obtained.leaves)]
    traced = build is not None and "trace" in vars(build)
    if build is not None and traced and isinstance(build.trace, derivation.Trace):
        fixed = [path for path, d in build.trace.leaves.items() if d.raw_key and not d.draws]
        if fixed:
            text = f"{', '.join(fixed[:4])}: drawn from a key that is hard-coded, not from the Rngs"
            found.append((text, FixedSeedWarning))
    if holds_nnx(value):
        checks.zero_kernels = zero_kernels(obtained.leaves)
    elif checks.zero_kernels:
        text = f"{', '.join(checks.zero_kernels[:4])}: all zeros, so this output does not show "
        found.append((text + "what they lead to", ZeroKernelWarning))
        checks.zero_kernels = []
    for text, category in found:
        warnings.warn(text, category, stacklevel=_depth())


def _depth() -> int:
    """How many frames up the test's own line stands, as ``warnings.warn`` counts from ``warn``."""
    depth, frame = 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, depth = frame.f_back, depth + 1
    return depth + 1
