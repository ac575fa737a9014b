"""The spots of an abstract model: evaluated, or known to be the golden's without evaluating.

The elements asked for are pushed backwards through the leaf's jaxpr: an elementwise equation wants
the same elements of its operands, a transpose others, and ``random_bits`` gives each element's
bits from the key and its flat index alone (``jax.random`` on Threefry: Salmon, Moraes, Dror and
Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011). They equal the built ones to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype
from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.leaf.spots import COUNT, chosen, encode, unravel
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.trace.lazy import Evaluation, constant
from pytest_nnxrng.trace.program import Program, Unselectable, is_key


@dataclass(frozen=True)
class Spots:
    """Elements of a leaf: flat indices, and the elements in the leaf's dtype.

    Of an array of typed keys, the uint32 key data: (count, words).
    """

    indices: tuple[int, ...]
    values: np.ndarray


def evaluate(
    trace: Trace, paths: Iterable[str] | None = None, count: int = 32
) -> tuple[dict[str, Spots], dict[str, str]]:
    """``count`` elements (``chosen``) of each leaf; and for leaves left out, the reason.

    Time and memory go with ``count``, whatever the size of the leaves. ``paths``: the leaves
    asked for; all by default.
    """
    program = trace.program
    assert program is not None
    top = Evaluation(Program(), program.closed, map(constant, program.inputs), eager=True)
    spots, reasons, values = dict[str, Spots](), dict[str, str](), dict[int, Any]()
    for path in [*program.outputs, *program.constants] if paths is None else paths:
        if path in program.constants:
            spots[path] = _taken(np.asarray(program.constants[path]), count)
            continue
        atom = program.closed.jaxpr.outvars[program.outputs[path]]
        try:
            spots[path] = _evaluated(top, atom, count, values)
        except Unselectable as error:
            reasons[path] = str(error)
        except RecursionError:
            reasons[path] = "passes through too many equations"
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            reasons[path] = f"could not be evaluated ({type(error).__name__}: {line})"
    return spots, reasons


def _taken(array: np.ndarray, count: int) -> Spots:
    indices = chosen(array.size, count)
    places = unravel(indices, array.shape)
    return Spots(tuple(indices.tolist()), array[places] if places else array.reshape(1))


def _evaluated(top: Evaluation, atom: Any, count: int, values: dict[int, Any]) -> Spots:
    indices = chosen(math.prod(atom.aval.shape), count)
    if not len(indices):
        none = np.zeros((0, 0), np.uint32) if is_key(atom.aval) else np.zeros(0, atom.aval.dtype)
        return Spots((), none)
    found = top.program.run(top.read(atom, indices), values)
    found = jax.random.key_data(found) if is_key(found) else found
    return Spots(tuple(indices.tolist()), np.array(found))


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
    found, left_out = evaluate(trace, paths, COUNT)

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
