"""What is worth a warning in a model that matches its golden all the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pytest_nnxrng.leaf import Leaf, is_inexact

_ENOUGH = 8  # elements that are alike by chance in no float dtype


class SnapshotWarning(UserWarning):
    """What pytest-nnxrng warns of; filter or escalate it as any pytest warning."""


class KeyReuseWarning(SnapshotWarning):
    """Two leaves, or the slices of a stacked one, were drawn from one key."""


class FixedSeedWarning(SnapshotWarning):
    """A weight does not depend on the given Rngs: a key is hard-coded in the model."""


class ZeroKernelWarning(SnapshotWarning):
    """An output is checked of a model with kernels of zeros: what they lead to is not covered."""


def reused_keys(leaves: Iterable[Leaf]) -> Iterator[str]:
    """Leaves of equal random values, and stacked leaves whose slices are all equal."""
    twins: dict[str, list[str]] = {}
    for leaf in leaves:
        if leaf.rng or not is_inexact(leaf.dtype) or leaf.size < _ENOUGH:
            continue
        if leaf.read is None:
            if leaf.draws:  # of one key by one computation: no values are needed to know
                made = f"{leaf.draws} {leaf.initializer} {leaf.dtype} {leaf.shape}"
                twins.setdefault(made, []).append(leaf.path)
            continue
        array = leaf.read()
        if not _varies(array):
            continue
        twins.setdefault(f"{leaf.digest} {leaf.shape}", []).append(leaf.path)
        if array.ndim > 1 and len(array) > 1 and array[0].size >= _ENOUGH and _same_slices(array):
            yield (
                f"the {len(array)} slices of {leaf.path} are equal: a layer was vmapped over one "
                "key. Split it first: nnx.split_rngs(splits=n) around nnx.vmap"
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
        and leaf.type == "Param"
        and not leaf.path.endswith("bias")
        and leaf.read is not None
        and not _any(leaf.read())
    ]


def _any(array: np.ndarray) -> bool:
    # The first row settles it for all but zeros.
    return bool(array[0].any() or array.any())


def _varies(array: np.ndarray) -> bool:
    flat = array.reshape(-1)
    return bool((flat[:_ENOUGH] != flat[0]).any() or (flat != flat[0]).any())


def _same_slices(array: np.ndarray) -> bool:
    rows = array.reshape(len(array), -1)
    # Constant slices are equal whatever their key.
    first = _varies(rows[0]) and np.array_equal(rows[0], rows[1])
    return bool(first and (rows == rows[0]).all())
