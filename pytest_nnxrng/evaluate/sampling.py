"""The spots of an abstract model: evaluated, or known to be the golden's without evaluating."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pytest_nnxrng.evaluate import spots
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype
from pytest_nnxrng.leaf.flat import Flat
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.spots import COUNT, encode
from pytest_nnxrng.trace.derivation import Trace


@dataclass(frozen=True)
class Sampled:
    """Leaves with their spots; ``left_out`` says of the others why there are none.

    Of ``proven`` leaves the values are the golden's, and need not be known.
    """

    flat: Flat
    left_out: Mapping[str, str] = field(default_factory=dict)
    proven: Collection[str] = ()


def sampled(flat: Flat, trace: Trace, known: Collection[str] = ()) -> Sampled:
    """Evaluate the spots of all leaves but those ``known``, and those that have spots."""
    paths = [
        leaf.path
        for leaf in flat.leaves
        if leaf.path in trace.leaves and leaf.path not in known and leaf.spots is None
    ]
    if not paths:
        return Sampled(flat)
    found, left_out = spots.evaluate(trace, paths, COUNT)

    def one(leaf: Leaf) -> Leaf:
        if leaf.path not in found:
            return leaf
        try:
            return leaf.but(spots=encode(found[leaf.path].values, leaf.dtype, leaf.shape))
        except UnsupportedDtype:
            left_out[leaf.path] = f"has the dtype {leaf.dtype}, which no golden holds"
            return leaf

    return Sampled(flat.each(one), left_out)


def sampled_beside(
    golden: Mapping[str, Leaf], flat: Flat, trace: Trace, *, all_spots: bool
) -> Sampled:
    """The same beside the golden's leaves whose values follow, which are not evaluated.

    Under ``all_spots`` they are where the golden has none.
    """

    def one(leaf: Leaf) -> Leaf:
        return leaf.but(spots=golden[leaf.path].spots) if leaf.path in golden else leaf

    flat = flat.each(one)
    known = [p for p, old in golden.items() if old.digest is not None or not all_spots]
    return replace(sampled(flat, trace, known), proven=golden.keys())


def followed(
    golden: Golden,
    flat: Flat,
    trace: Trace,
    changes: Collection[Any],
    rekeyed: Collection[str],
) -> dict[str, Leaf]:
    """The golden's leaves whose values follow: from the same keys, by the same computation.

    Only in the environment that the golden recorded, with streams at the counts that it recorded
    (which no fingerprint holds), and only of what depends on nothing else. ``changes`` are those
    of the environment, ``rekeyed`` the streams with other base keys.
    """
    if changes or not _counts_alike(golden, trace):
        return {}
    old = {leaf.path: leaf for leaf in golden.leaves}
    return {
        leaf.path: old[leaf.path]
        for leaf in flat.leaves
        if leaf.path in old
        and leaf.path in trace.leaves
        and trace.leaves[leaf.path].proven
        and _follows(old[leaf.path], leaf, golden, rekeyed)
    }


def _counts_alike(golden: Golden, trace: Trace) -> bool:
    recorded = {name: stream.get("count") for name, stream in golden.streams.items()}
    return all(
        name in recorded and np.array_equal(recorded[name], stream.count)
        for name, stream in trace.streams.items()
    )


def _follows(old: Leaf, new: Leaf, golden: Golden, rekeyed: Collection[str]) -> bool:
    if old.kept or new.draws is None or new.initializer is None:
        return False
    names = {draw.partition("#")[0] for draw in new.draws}
    return (
        (old.shape, old.dtype, old.draws, old.initializer)
        == (new.shape, new.dtype, new.draws, new.initializer)
        and names <= golden.streams.keys()
        and names.isdisjoint(rekeyed)
    )
