"""Leaves whose values the golden does not store: what their sketches and spots prove, counts."""

import numpy as np
import pytest

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.leaf.spots import at_spots, encode, places

TOLERANCE = Tolerance(OUTPUTS)
BASE = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
STEP = TOLERANCE.of("float32") * float(np.abs(BASE).max())


def leaves(array):
    return digested([Leaf("x", "Param", array.shape, array.dtype.name, read=lambda: array)])


def moved(at, by):
    array = BASE.copy()
    array[at] += np.float32(by)
    return array


def compared(array, golden=BASE):
    """A golden that holds no values of the leaf, and the array."""
    held = kept(leaves(golden), 0)
    return compare(tuple(leaf.but(read=None) for leaf in held), leaves(array), TOLERANCE)


@pytest.mark.parametrize(
    ("at", "by"),
    [
        (slice(4321, 4322), 30),  # one element, far beyond the tolerance: a peak
        (slice(0, None, 97), 3),  # a thousand, beyond it by little: a few that changed
        (slice(None), 3),  # all: energy
    ],
)
def test_elements_beyond_the_tolerance_are_no_rounding_however_small_their_mean(at, by):
    found = compared(moved(at, by * STEP))
    (difference,) = found.differences
    assert difference.kinds == ("values",)
    assert difference.numbers.changed
    assert not difference.numbers.is_rounding


def test_rounding_matches():
    found = compared(np.nextafter(BASE, np.float32(9)))
    assert found.matches
    assert found.rounded["x"].worst < STEP


def test_an_extreme_that_moved_is_found():
    array = BASE.copy()
    array[array.argmax()] += np.float32(2 * STEP)
    assert not compared(array).matches


@pytest.mark.parametrize("other", [np.inf, -np.inf])
def test_a_nan_that_became_something_else_or_moved_is_found(other):
    golden = BASE.copy()
    golden[77] = np.nan
    for place, value in ((77, other), (78, np.nan)):
        array = BASE.copy()
        array[place] = value
        assert not compared(array, golden).matches


@pytest.mark.parametrize("golden", ["values", "sketch"])
def test_a_mask_is_not_the_scale_of_what_it_leaves(golden):
    base = np.where(BASE > 1, np.float32(-1e9), BASE)
    array = np.where(BASE > 1, np.float32(-1e9), BASE + np.float32(0.01))
    if golden == "sketch":
        assert not compared(array, base).matches
    else:
        assert not compare(leaves(base), leaves(array), TOLERANCE).matches


def abstract(array, **more):
    """What an abstract check's golden holds of a leaf: its spots, no digest."""
    leaf = Leaf("x", "Param", array.shape, array.dtype.name, **more)
    return leaf.but(spots=encode(at_spots(leaf, array), leaf.dtype, leaf.shape))


def test_spots_that_moved_are_values_that_moved():
    golden = (abstract(BASE),)
    assert compare(golden, leaves(BASE), TOLERANCE).spotted == ("x",)
    (difference,) = compare(golden, leaves(BASE + np.float32(0.01)), TOLERANCE).differences
    assert difference.kinds == ("values",)
    assert difference.numbers.spots


def test_the_same_draw_of_a_stream_with_another_key_is_another_derivation():
    draws = {"draws": ("params#0",), "initializer": "ab"}
    golden, ours = (Leaf("x", "Param", (40_000,), "float32", **draws) for _ in range(2))
    assert compare((golden,), (ours,), TOLERANCE).unread == ("x",)
    (difference,) = compare((golden,), (ours,), TOLERANCE, rekeyed={"params"}).differences
    assert difference.kinds == ("derivation",)


@pytest.mark.parametrize("where", ["at a spot", "elsewhere"])
def test_of_sketch_and_spots_either_finds_what_the_other_does_not(where):
    (held,) = kept(leaves(BASE), 0)
    golden, spots = held.but(read=None), places(held)
    if where == "at a spot":  # no sketch tells it from so much rounding
        array = BASE + np.float32(0.3 * STEP) * np.sign(BASE[::-1])
        array[spots[3]] = BASE[spots[3]] + np.float32(1.5 * STEP)
        assert compare((golden.but(spots=None),), leaves(array), TOLERANCE).matches
    else:  # where spots round, and the mean is small
        array = BASE.copy()
        array[spots] += np.float32(0.3 * STEP)
        array[next(n for n in range(99) if n not in spots)] += np.float32(30 * STEP)
    (difference,) = compare((golden,), leaves(array), TOLERANCE).differences
    assert difference.kinds == ("values",)


MASK = np.where(BASE > 1, np.float32(-1e9), BASE)
BAND = np.where(BASE > 1, np.float32(-1e9) - np.float32(1e7) * BASE, BASE)
LIES = MASK < -1e8


def exchanged():
    """The same elements set aside, in other places: their count and their ends are the same."""
    array = BAND.copy()
    array[LIES] = array[LIES][::-1]
    return array


def one_less():
    array = MASK.copy()
    array[np.flatnonzero(LIES)[5]] = 0
    return array


@pytest.mark.parametrize(
    ("golden", "array"),
    [(MASK, np.where(LIES, np.float32(1.1) * MASK, MASK)), (BAND, exchanged()), (MASK, one_less())],
    ids=["its ends", "its places", "its count"],
)
def test_what_is_set_aside_may_not_move_either(golden, array):
    (held,) = kept(leaves(golden), 0)
    by_sketch = held.but(read=None, spots=None)
    assert compare((by_sketch,), leaves(golden), TOLERANCE).matches
    (difference,) = compare((by_sketch,), leaves(array), TOLERANCE).differences
    assert difference.numbers.aside
