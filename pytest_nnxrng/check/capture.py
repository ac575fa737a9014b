"""What a check looks at: the leaves of a value, and the golden that they are held against.

A golden that is missing is looked for among those whose tests are gone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_nnxrng.check import agreement
from pytest_nnxrng.check.lookup import Found, find
from pytest_nnxrng.check.stages import Asked, Obtained
from pytest_nnxrng.check.state import CheckOptions, SnapshotError
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.naming import platform_of, platform_place
from pytest_nnxrng.golden.provenance import changes, rekeyed_streams
from pytest_nnxrng.leaf.forward import Modules
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx import static
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.build import derived, streams
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.trace.sampling import Sampled, followed, sampled_beside
from pytest_nnxrng.why.explain import Changes


def adopt(asked: Asked, found: Found, flat: Flat) -> Found:
    """The golden of a test that was moved or renamed, if the check's own is missing."""
    if found.golden is not None or found.error is not None:
        return found
    who, lost = asked.test.identity, asked.test.lost()
    if lost is None:
        return found
    owner = Owner(who.cls, who.function, who.parameters, asked.name, asked.kind)
    platform = asked.device.platform
    candidate = lost.equal(found.target, owner, flat.leaves, flat.aliases, platform)
    exact = candidate is not None
    candidate = candidate or lost.related(found.target, owner, platform)
    if candidate is None:
        return found
    try:
        golden = manifest.read(candidate.path)
        lacks = manifest.lacking(candidate.path, golden)
    except (GoldenError, FileNotFoundError):
        return found
    if not exact and not _alike(golden, flat):
        return found
    place = os.path.relpath(candidate.path, asked.test.rootdir).replace(os.sep, "/")
    return replace(
        found,
        path=candidate.path,
        target=platform_place(found.target, platform)
        if platform_of(candidate.path)
        else found.target,
        golden=golden if lacks is None else golden.without_values(),
        whole=golden,
        lacks=lacks,
        astray=True,
        keeps=candidate.lives and not asked.test.settings.mode.move,
        gone=f"{place}, {candidate.fate}",
    )


def _alike(golden: Golden, flat: Flat) -> bool:
    """Whether most leaves of both are the same in name and shape."""
    old = {(leaf.path, leaf.shape) for leaf in golden.leaves}
    new = {(leaf.path, leaf.shape) for leaf in flat.leaves}
    return 2 * len(old & new) > max(len(old), len(new))


def obtain(asked: Asked) -> Obtained:
    """Take the leaves of the value, and find the golden that they are to be held against.

    Raises:
      SnapshotError: when there is nothing to check, or other processes check something else.
      UnsupportedValue: for a value that no golden can hold.
    """
    __tracebackhide__ = True
    found = find(asked.test, asked.options, asked.name, asked.device.platform)
    flat = flatten(asked.value, asked.options.only)
    refuse_nothing(asked.value, flat, asked.options)
    if not asked.options.abstract:
        agreement.before(asked.test, asked.name, found, flat)
    flat = _digested(asked, flat)
    agreement.after(asked.test, asked.name, flat.leaves)
    found = adopt(asked, found, flat)
    if asked.build is not None and not asked.options.abstract:
        asked.test.memory.reuse.share(asked.build, flat, asked.device)
    trace = _trace(asked, found.golden)
    if trace is not None and asked.options.abstract:
        flat = derived(flat, trace)
    found = found.named_as(flat)
    now = environment.read(asked.device)
    changes = changed(found.golden, now)
    sample = _sample(asked, flat, found.golden, trace, changes)
    return Obtained(asked, found, sample, trace, now, changes, _modules(asked, flat))


def _modules(asked: Asked, flat: Flat) -> Modules | None:
    if not asked.options.static:
        return None
    return static.modules(asked.value, flat, narrowed=asked.options.only is not None)


def refuse_nothing(value: Any, flat: Flat, options: CheckOptions) -> None:
    """Raise a SnapshotError where there is nothing to check in ``value``."""
    __tracebackhide__ = True
    only = options.only
    if not flat.leaves:
        text = f"there is nothing to check: {type(value).__name__} holds no arrays or numbers"
        text += " that nnx_snapshot(only=...) lets through" if only is not None else ""
        if isinstance(only, str):
            text += (
                f". {only!r} is a text, which nnx takes for the tag of an RNG stream; a type of "
            )
            text += "Variable is the class itself: only=nnx.Param"
        raise SnapshotError(text)
    bare = next((leaf.path for leaf in flat.leaves if leaf.read is None), None)
    if bare is not None and not options.abstract:
        raise SnapshotError(
            f"{bare or 'the value'} is abstract (a jax.ShapeDtypeStruct) and has no values; "
            "check it with nnx_snapshot(abstract=True)"
        )


def _digested(asked: Asked, flat: Flat) -> Flat:
    """The leaves with their digests; those of an abstract check without their values."""
    kept = _left_out(asked.options)
    if asked.options.abstract:
        return flat.each(lambda leaf: leaf.but(read=None, slabs=None, **kept))
    size = sum(leaf.size for leaf in flat.leaves)
    with asked.test.progress.step(f"hashing {type(asked.value).__name__}", size) as advance:
        return flat.but(digested(flat.leaves, advance, **kept))


def _left_out(options: CheckOptions) -> dict[str, Any]:
    return {} if options.sharding else {"sharding": None, "placed": None}


def _trace(asked: Asked, golden: Golden | None) -> Trace | None:
    """The trace of the build, where more than a failing check's explanation needs it.

    An abstract model comes from it, a golden that is written records it, and of leaves that the
    golden keeps no values of it is what there is to compare.
    """
    if asked.build is None:
        return None
    told = golden is not None and any(
        leaf.digest is None and leaf.draws is not None for leaf in golden.leaves
    )
    wanted = asked.options.abstract or asked.test.settings.mode.update or told
    return asked.build.trace if wanted else None


def _sample(
    asked: Asked, flat: Flat, golden: Golden | None, trace: Trace | None, changes: Changes
) -> Sampled:
    """The leaves with what the golden is to be held against where one side has no values."""
    if golden is None or trace is None:
        return Sampled(flat)
    if not asked.options.abstract:
        told = any(leaf.digest is None and leaf.draws is not None for leaf in golden.leaves)
        return Sampled(derived(flat, trace) if told else flat)
    rekeyed = rekeyed_streams(golden.streams, streams(trace))
    known = followed(golden, flat, trace, changes, rekeyed)
    return sampled_beside(known, flat, trace, all_spots=asked.test.settings.mode.refresh)


def changed(golden: Golden | None, now: Mapping[str, Any]) -> Changes:
    """What in the environment is not as the golden recorded it: name, then, now."""
    return () if golden is None else changes(golden.environment, now)
