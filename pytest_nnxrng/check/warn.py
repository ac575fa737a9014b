"""What is worth a warning in a value that matches its golden all the same."""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from flax import nnx

from pytest_nnxrng.check.stages import Obtained
from pytest_nnxrng.check.state import TestChecks
from pytest_nnxrng.leaf.digest import blocks, octets
from pytest_nnxrng.leaf.dtypes import is_inexact
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.slabs import Slabs
from pytest_nnxrng.trace.build import Build, derived

PACKAGE = str(Path(__file__).parent.parent)

_BLOCK = 1 << 16  # elements
_NAMED = 4
_ENOUGH = 8  # elements that are alike by chance in no float dtype


class SnapshotWarning(UserWarning):
    """What pytest-nnxrng warns of; filter or escalate it as any pytest warning."""


class KeyReuseWarning(SnapshotWarning):
    """Two leaves, or the slices of a stacked one, were drawn from one key."""


class FixedSeedWarning(SnapshotWarning):
    """A weight does not depend on the given Rngs: a key is hard-coded in the model."""


class MutableDefaultWarning(SnapshotWarning):
    """A build drew from an ``nnx.Rngs`` that is a default argument: the next build differs."""


class ZeroKernelWarning(SnapshotWarning):
    """An output is checked of a model with kernels of zeros: what they lead to is not covered."""


class WrongDeviceWarning(SnapshotWarning):
    """A checked value lies on another device than the one under test."""


class UnusedLeafWarning(SnapshotWarning):
    """Nothing that a checked call gives depends on a parameter of its model."""


class UnusedOptionsWarning(SnapshotWarning):
    """``nnx_snapshot(...)`` was called, and nothing checked with what it gave."""


def warn_of_unused(test: TestChecks) -> None:
    """Warn, at the lines themselves, of options that no check was made with."""
    for form in test.forms:
        if not form.used:
            line = linecache.getline(form.file, form.line).strip() or "nnx_snapshot(...)"
            text = f"{line}: nothing is checked by this alone. It gives assertions: "
            text += "nnx_snapshot(...).check(value)"
            warnings.warn_explicit(text, UnusedOptionsWarning, form.file, form.line)


def warn(obtained: Obtained) -> None:
    """Warn of what matches and is still no good; the golden, or a trace, knows what is drawn."""
    asked, leaves = obtained.asked, obtained.flat.leaves
    found: list[tuple[str, type[SnapshotWarning]]] = []
    if text := elsewhere(leaves, asked.device):
        found.append((text, WrongDeviceWarning))
    if asked.build is not None:
        found += _of_draws(obtained)
    if isinstance(asked.value, nnx.Module):  # not a State, which may hold gradients
        asked.test.zero_kernels = zero_kernels(leaves)
    elif asked.test.zero_kernels and not asked.is_nnx:
        text = f"{', '.join(asked.test.zero_kernels[:4])}: all zeros, so this output does not show "
        found.append((text + "what they lead to", ZeroKernelWarning))
        asked.test.zero_kernels = []
    for text, category in found:
        warnings.warn(text, category, stacklevel=_depth())


def warn_of_idle(paths: Sequence[str]) -> None:
    """Warn of the parameters that a call, by its jaxpr, has no use for."""
    if paths:
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        text = f"{', '.join(paths[:_NAMED])}{more}: nothing that this call gives depends on "
        text += "it" if len(paths) == 1 else "them"
        warnings.warn(text, UnusedLeafWarning, stacklevel=_depth())


def warn_of_default(build: Build | None) -> None:
    """Warn of a model that the next build in this process would not give."""
    if build is not None and build.trap:
        warnings.warn(build.trap, MutableDefaultWarning, stacklevel=_depth())


def _of_draws(obtained: Obtained) -> Iterator[tuple[str, type[SnapshotWarning]]]:
    known = obtained.golden.leaves if obtained.golden is not None else ()
    if obtained.trace is not None:
        known = derived(obtained.flat, obtained.trace).leaves
    # A table of positions or an identity matrix may well stand in a model twice.
    drawn = {leaf.path for leaf in known if leaf.draws}
    for text in reused_keys(leaf for leaf in obtained.flat.leaves if leaf.path in drawn):
        yield text, KeyReuseWarning
    fixed = [leaf.path for leaf in known if leaf.fixed_key and leaf.path in obtained.flat.by_path()]
    if fixed:
        text = f"{', '.join(fixed[:4])}: drawn from a key that is hard-coded, not from the Rngs"
        yield text, FixedSeedWarning


def elsewhere(leaves: Iterable[Leaf], device: Any) -> str | None:
    """The leaves that lie on another device; parts of a leaf may lie on others of the platform."""
    found: dict[str, list[str]] = {}
    for leaf in leaves:
        others = {other.platform for other in leaf.devices} - {device.platform}
        if leaf.devices and device not in leaf.devices and (others or len(leaf.devices) == 1):
            names = sorted(f"{other.platform}:{other.id}" for other in leaf.devices)
            found.setdefault(", ".join(names), []).append(leaf.path or "the value")
    if not found:
        return None
    where, paths = next(iter(found.items()))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return (
        f"{', '.join(paths[:3])}{more}: on {where}, while {device.platform}:{device.id} is under "
        "test. What jax.device_put committed to a device is computed there: leave the device out, "
        "or put it on the fixture nnx_device"
    )


def reused_keys(leaves: Iterable[Leaf]) -> Iterator[str]:
    """Of leaves that were drawn: those of equal values, and those whose slices are all equal."""
    twins: dict[str, list[str]] = {}
    for leaf in leaves:
        if leaf.rng or not is_inexact(leaf.dtype) or leaf.size < _ENOUGH:
            continue
        if leaf.read is None:
            if leaf.draws:  # of one key by one computation: no values are needed to know
                made = f"{leaf.draws} {leaf.initializer} {leaf.dtype} {leaf.shape}"
                twins.setdefault(made, []).append(leaf.path)
            continue
        array = leaf.contents()
        if not _varies(array):
            continue
        twins.setdefault(f"{leaf.digest} {leaf.shape}", []).append(leaf.path)
        many = array.ndim > 1 and array.shape[0] > 1
        if many and leaf.size // leaf.shape[0] >= _ENOUGH and _same_slices(array):
            yield (
                f"the {leaf.shape[0]} slices of {leaf.path} are equal: a layer was vmapped over "
                "one key. Split it first: nnx.split_rngs(splits=n) around nnx.vmap"
            )
    for paths in twins.values():
        if len(paths) > 1:
            yield f"{' and '.join(paths[:3])} have equal random values: they share one key"


def zero_kernels(leaves: Iterable[Leaf]) -> list[str]:
    """The parameters of two and more axes that are all zeros; an attention's biases have two."""
    return [
        leaf.path
        for leaf in leaves
        if len(leaf.shape) > 1
        and leaf.size
        and leaf.type in ("Param", "LoRAParam")
        and not leaf.path.endswith("bias")
        and leaf.read is not None
        and not _any(leaf.contents())
    ]


def _any(array: np.ndarray | Slabs) -> bool:
    # The first elements settle it for all but zeros.
    return any(bool(block.any()) for block in blocks(array, _BLOCK))


def _varies(array: np.ndarray | Slabs) -> bool:
    first = next(blocks(array, 1)).copy()
    return any(bool((block != first).any()) for block in blocks(array, _BLOCK))


def _same_slices(array: np.ndarray | Slabs) -> bool:
    if isinstance(array, np.ndarray) and bool((array[0] != array[-1]).any()):
        return False  # as of nearly all
    first, size = next(blocks(array, 1)).copy(), array.size // array.shape[0]
    left, varies, hasher, one = size, False, xxhash.xxh3_128(), b""
    for block in blocks(array, _BLOCK):
        rest = block
        while rest.size:
            part, rest = rest[:left], rest[left:]
            varies = varies or bool((part != first).any())
            hasher.update(octets(part))
            left -= part.size
            if not left:
                # Constant slices are equal whatever their key.
                if not varies or (one and hasher.digest() != one):
                    return False
                one, hasher, left = hasher.digest(), xxhash.xxh3_128(), size
    return True


def _depth() -> int:
    """How many frames up the test's own line stands, as ``warnings.warn`` counts from ``warn``."""
    depth, frame = 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, depth = frame.f_back, depth + 1
    return depth + 1
