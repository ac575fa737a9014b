"""Passes over many leaves: the same whichever way they are made, and in the leaves' order."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.leaf import passes
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.statistics import Moments, extremes, statistics


def leaf(array, path="w", **fields):
    name = array.dtype.name
    return Leaf(path, "Param", array.shape, name, read=lambda: array, **fields)


def normal(size, dtype=np.float32, loc=0.0, seed=0):
    with np.errstate(over="ignore"):
        return (loc + np.random.default_rng(seed).standard_normal(size)).astype(dtype)


def with_nonfinite(array, *places):
    for place, value in zip(places, (np.nan, np.inf, -np.inf), strict=False):
        array[place] = value
    return array


ARRAYS = {
    "float32": normal(300_000),
    "bfloat16": normal(300_000, ml_dtypes.bfloat16),
    "float16": normal(300_000, np.float16),
    "float64": normal(300_000, np.float64),
    "complex64": normal(300_000).view(np.complex64),
    "float8": normal(300_000, ml_dtypes.float8_e4m3fn),
    "int32": np.arange(300_000, dtype=np.int32),
    "a matrix": normal(300_000).reshape(600, 500).T,
    "narrow": normal(300_000, np.float32, loc=1000),
    "narrower": normal(300_000, np.float64, loc=1e9),
    "all but equal": np.repeat(np.float32([1, 2]), [299_999, 1]),
    "some not finite": with_nonfinite(normal(300_000), 0, 70_000, 299_999),
    "none finite": np.where(np.arange(300_000) % 2, np.float32(np.inf), np.float32(np.nan)),
    "overflows": np.full(300_000, 1.7e308) * np.where(np.arange(300_000) % 2, 1, -0.5),
    "equal NaNs": np.full(300_000, np.nan, np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_one_pass_tells_what_two_tell(name):
    array = ARRAYS[name]
    (made,) = kept([leaf(array)], 1000)
    told = statistics(array)
    if array.dtype.itemsize < 4:  # whose rows are added up in float32, in BLAS's order
        told = pytest.approx(told, rel=1e-5, abs=1e-6)
    assert made.statistics == told
    assert made.sketch == sketch(array)
    assert not made.stored


@pytest.mark.parametrize(
    "array",
    [ARRAYS["narrower"], normal(300_000, ml_dtypes.bfloat16, loc=30)],
    ids=["float64", "bfloat16"],
)
def test_moments_do_not_tell_a_narrow_distribution(array):
    moments = Moments()
    made = sketch(array, moments)
    assert moments.row(made.size, made.nonfinite) is None


@pytest.mark.parametrize("scale", [1e-37, 1e-18, 1e-12, 1, 1e10, 1e18, 1e37])
def test_moments_of_extreme_scales(scale):
    array = normal(300_000, np.float64) * scale
    (made,) = kept([leaf(array.astype(ml_dtypes.bfloat16))], 1000)
    told = statistics(array.astype(ml_dtypes.bfloat16))
    assert made.statistics == pytest.approx(told, rel=1e-5, abs=1e-6 * scale)


def test_what_is_kept_of_each_leaf():
    zeros, small = np.zeros(300_000, np.float32), normal(10)
    abstract = Leaf("d", "Param", (3,), "float32")
    keys = Leaf("e", "RngKey", (), "key<fry>", read=lambda: np.array([1, 2], np.uint32))
    rows = [leaf(zeros, "a"), leaf(small, "b"), leaf(ARRAYS["float32"], "c"), abstract, keys]
    a, b, c, d, e = kept(rows, 1000)
    assert (a.statistics, a.stored, a.sketch) == ({"constant": 0}, False, None)
    assert (b.stored, b.sketch) == (True, None)
    assert (c.stored, c.sketch) == (False, sketch(ARRAYS["float32"]))
    assert d == abstract
    assert (e.statistics, e.stored) == ({}, True)


@pytest.mark.parametrize("threads", [1, 4])
def test_leaves_keep_their_order_and_are_told_of(monkeypatch, threads):
    monkeypatch.setattr(passes, "_processors", lambda: threads)
    arrays = [normal(n, seed=n) for n in (700_000, 5, 600_000, 400_000, 3)]
    leaves = [leaf(a, f"l{i}", fetched=i in (1, 2)) for i, a in enumerate(arrays)]
    leaves[0] = replace(leaves[0], sharding=("data",))
    counted = []
    made = digested(leaves, counted.append, sharding=None)
    assert [m.path for m in made] == [f"l{i}" for i in range(5)]
    assert [m.digest for m in made] == list(map(digest, arrays))
    assert made[0].sharding is None
    assert sorted(counted) == sorted(a.size for a in arrays)


def test_leaves_that_are_fetched_are_never_there_together(monkeypatch):
    monkeypatch.setattr(passes, "_processors", lambda: 4)
    there, most = [0], [0]

    class Fetched(np.ndarray):
        def __del__(self):
            there[0] -= self.base is None

    def fetch():
        there[0] += 1
        most[0] = max(most[0], there[0])
        array = Fetched(600_000, np.float32)
        array[:] = 1
        return array

    rows = [Leaf(f"l{i}", "Param", (600_000,), "float32", read=fetch, fetched=True) for i in "abcd"]
    digested(rows)
    assert most == [1]


def test_an_error_in_a_thread_passes_through(monkeypatch):
    monkeypatch.setattr(passes, "_processors", lambda: 4)

    def fails():
        raise MemoryError("no room")

    rows = [leaf(normal(700_000), "a"), Leaf("b", "Param", (700_000,), "float32", read=fails)]
    with pytest.raises(MemoryError, match="no room"):
        digested(rows)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "numbers",
    [
        [1.5, -2.5, 0.25],
        [3, 2, 1],
        [-3, -2, -1],
        [0.0, -0.0],
        [-0.0, -1],
        [0.0, 1],
        [np.inf, 1],
        [1, -np.inf],
        [np.nan, 1, -1],
        [-np.nan, 1, -1],
        [-np.nan, -1],
    ],
)
def test_extremes_are_those_of_numpy(dtype, numbers):
    array = np.array(numbers, np.float64).astype(dtype)
    wide = array.astype(np.float64)
    (low,), (high,) = extremes(array[None])
    if np.isfinite(wide).all():
        assert (low, high) == (wide.min(), wide.max())
    else:
        assert not (np.isfinite(low) and np.isfinite(high))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_extremes_of_every_bit_pattern(dtype):
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        finite = every[np.isfinite(every.astype(np.float64))]
    wide = finite.astype(np.float64)
    for seed in range(200):
        pick = np.random.default_rng(seed).choice(len(finite), (1 + seed % 3, 1 + seed % 7))
        low, high = extremes(finite[pick])
        assert list(low) == list(wide[pick].min(axis=1))
        assert list(high) == list(wide[pick].max(axis=1))
