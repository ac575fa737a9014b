"""The passes over all elements of many leaves: digests, and what a golden keeps of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import is_key
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.spots import at_spots, encode
from pytest_nnxrng.leaf.statistics import Moments, plainly, statistics
from pytest_nnxrng.run.progress import Advance, silent

_FEW = 1 << 20  # elements in all; below, a pool of threads costs more than it gains
_THREADS = 8


def digested(leaves: Iterable[Leaf], advance: Advance = silent, **changes: Any) -> tuple[Leaf, ...]:
    """Every leaf with its digest, and with ``changes``."""

    def one(leaf: Leaf) -> Leaf:
        return leaf.but(digest=digest(leaf.contents()), **changes)

    return _each(one, tuple(leaves), advance)


def kept(leaves: Iterable[Leaf], limit: int, advance: Advance = silent) -> tuple[Leaf, ...]:
    """Every leaf as a golden holds it, whose values are stored up to ``limit`` bytes."""
    return _each(lambda leaf: _kept(leaf, limit), tuple(leaves), advance)


def _kept(leaf: Leaf, limit: int) -> Leaf:
    if leaf.read is None:
        return leaf
    array, leaf = leaf.contents(), leaf.but(spots=None)
    is_small = array.nbytes <= limit
    if is_small and leaf.slabs is not None:
        # Its values are read again when they are stored, which one process does alone.
        whole = leaf.slabs.whole()
        leaf, array = leaf.but(read=lambda: whole, slabs=None, fetched=False), whole
    if is_key(leaf.dtype):
        return leaf.but(statistics={}, stored=is_small)
    shown = statistics(array) if is_small else plainly(array)
    if shown is not None:
        made = leaf.but(statistics=shown, stored=is_small)
        if constant(made) is not None:
            return made.but(stored=False)  # the manifest holds it
        if is_small:
            return made
    moments = Moments()
    summed = sketch(array, moments)
    if shown is None and summed is not None and not summed.by_steps and not summed.aside:
        shown = moments.row(summed.size, summed.nonfinite)
    spots = encode(at_spots(leaf, array), leaf.dtype, leaf.shape)
    shown = shown or statistics(array)
    return leaf.but(statistics=shown, stored=False, sketch=summed, spots=spots)


def _each(
    one: Callable[[Leaf], Leaf], leaves: tuple[Leaf, ...], advance: Advance
) -> tuple[Leaf, ...]:
    """``one`` of each leaf; big ones side by side, since numpy and hashing release the GIL.

    Leaves that are fetched to host memory for it come one after another: there is never more
    than one of them there.
    """

    def told(leaf: Leaf) -> Leaf:
        made = one(leaf)
        advance(leaf.size)
        return made

    beside = [leaf for leaf in leaves if not leaf.fetched]
    threads = min(len(beside), _processors(), _THREADS)
    if threads < 2 or sum(leaf.size for leaf in beside) < _FEW:
        return tuple(map(told, leaves))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        done = iter(list(pool.map(told, beside)))
    return tuple(told(leaf) if leaf.fetched else next(done) for leaf in leaves)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
