"""Goldens whose rows contradict themselves are refused when they are read; others are read."""

import json

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.form import Form
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.leaf.sketch import sketch

RNG = np.random.default_rng(0)
LARGE = RNG.standard_normal((40, 1000)).astype(np.float32)
ARRAYS = {
    "large": LARGE,
    "bfloat16": LARGE.astype(ml_dtypes.bfloat16),
    "float8": LARGE.astype(ml_dtypes.float8_e4m3fn),
    "float64": LARGE.astype(np.float64),
    "complex64": (LARGE + 2j * LARGE).astype(np.complex64),
    "overflow": np.linspace(-1, 1, 40_000) * 1.7e308,
    "mask": np.where(LARGE > 1, np.float32(-1e9), LARGE),
    "masks": np.where(LARGE > 1, LARGE - np.float32(1e6), LARGE),
    "nan": np.where(LARGE > 2, np.nan, LARGE),
    "all nan": np.full(40_000, np.nan, np.float32),
    "positive": np.abs(LARGE) + 3,
    "int": RNG.integers(-9, 9, 40_000),
    "small": LARGE[0, :30],
    "small mask": np.array([1, -1e9, 0.5, np.nan], np.float32),
    "scalar": np.float32(2.5),
    "constant": np.full(40_000, 1.5, np.float32),
    "zeros": np.zeros(7, np.float16),
    "empty": np.zeros((0, 3), np.float32),
}


def stored(directory, *, early=False, **arrays):
    """The path of a golden of these arrays, values up to 1000 bytes stored."""
    leaves = [
        Leaf(name, "Param", array.shape, array.dtype.name, read=lambda array=array: array)
        for name, array in ((name, np.asarray(array)) for name, array in arrays.items())
    ]
    made = kept(digested(leaves), 1000)
    if early:
        made = tuple(
            x.but(sketch=sketch(x.read(), form=Form(early=True))) if x.sketch else x for x in made
        )
    values = "x.1.0123abcd.safetensors"
    write_values(directory / values, [leaf for leaf in made if leaf.stored])
    path = directory / "x.1.json"
    owner = Owner("", "x", None, "1", "value")
    path.write_text(dumps(Golden(owner, {}, made, {}, values=values)))
    return path


def edited(path, leaf, **changes):
    """The manifest with other entries in a leaf's row, and without those that are None."""
    data = json.loads(path.read_text())
    row = data["leaves"][leaf]
    row.update(changes)
    data["leaves"][leaf] = {name: value for name, value in row.items() if value is not None}
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_whatever_is_written_is_read(tmp_path, name, early):
    (leaf,) = read(stored(tmp_path, early=early, **{name: ARRAYS[name]})).leaves
    if leaf.read is not None:
        np.testing.assert_array_equal(leaf.read(), ARRAYS[name])


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("large", {"sketch": None}, 'no "sketch"'),
        ("large", {"max": 1e30}, "largest element is"),
        ("large", {"max": 1e30, "sketch": None}, 'no "sketch"'),
        ("large", {"min": -1e30}, "largest element is"),
        ("large", {"min": 9, "max": 8}, '"min" exceeds "max"'),
        ("large", {"mean": 1e6}, '"mean" is not between'),
        ("large", {"std": 1e6}, '"std" is none'),
        ("large", {"std": -1}, '"std" is none'),
        ("large", {"std": 0.001}, '"std" is too small'),
        ("small", {"max": 1e30}, '"std" is too small'),
        ("positive", {"mean": 3.0, "std": 1e-9}, '"std" is too small'),
        ("large", {"digest": None}, 'no "digest"'),
        ("int", {"digest": None}, 'no "digest"'),
        ("large", {"digest": None, "sketch": None}, 'no "digest"'),
        ("large", {"stored": 1}, '"stored" is 1'),
        ("small", {"stored": False}, 'no "sketch"'),
        ("large", {"max": 10**400}, '"max" is too large'),
        ("large", {"max": "inf"}, "\"max\" is 'inf'"),
        ("large", {"mean": "much"}, "\"mean\" is 'much'"),
        ("large", {"nonfinite": 3}, '"nonfinite" are not of one array'),
        ("large", {"nonfinite": -3}, '"nonfinite" is -3'),
        ("large", {"shape": [40, 100]}, '"sketch" is one of 40000 numbers'),
        ("float64", {"sketch": None}, 'no "sketch"'),
        ("nan", {"nonfinite": None}, '"nonfinite" are not of one array'),
        ("int", {"sketch": {"size": 40_000, "data": "0" * 525}}, "which has none"),
        ("mask", {"min": -9e8}, "largest element is"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(tmp_path, name, changes, problem):
    path = edited(stored(tmp_path, **{name: ARRAYS[name]}), name, **changes)
    with pytest.raises(GoldenError, match="edited or damaged") as caught:
        read(path)
    assert problem in str(caught.value)
    assert caught.value.replaceable


def test_a_sketch_of_another_size_is_refused(tmp_path):
    path = stored(tmp_path, large=LARGE)
    data = json.loads(path.read_text())["leaves"]["large"]["sketch"]
    with pytest.raises(GoldenError, match="one of 40001 numbers"):
        read(edited(path, "large", sketch={**data, "size": 40_001}))


@pytest.mark.parametrize("told", ["sketch", "mean", "digest", "spots"])
def test_whatever_tells_of_numbers_needs_a_dtype_of_numbers(tmp_path, told):
    path = stored(tmp_path, large=LARGE)
    row = json.loads(path.read_text())["leaves"]["large"]
    assert told in row
    rest = dict.fromkeys(row, None) | {"type": "Param", "shape": [40, 1000], told: row[told]}
    with pytest.raises(GoldenError, match="\"dtype\" is 'object'"):
        read(edited(path, "large", **rest | {"dtype": "object"}))


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_numbers_that_are_no_floats_are_refused(tmp_path, number):
    path = stored(tmp_path, large=LARGE)
    text = path.read_text()
    path.write_text(text.replace('"mean": ', f'"mean": {number}, "was": ', 1))
    with pytest.raises(GoldenError, match="too large a number"):
        read(path)


def test_spots_beyond_the_extremes_are_refused(tmp_path):
    path = stored(tmp_path, large=LARGE)
    (other,) = read(stored(tmp_path, large=3 * LARGE)).leaves
    path = stored(tmp_path, large=LARGE)
    with pytest.raises(GoldenError, match='"spots" hold'):
        read(edited(path, "large", spots=other.spots))


@pytest.mark.parametrize("changes", [{"max": 1e30}, {"min": -50}, {"mean": 1}, {"nonfinite": 2}])
def test_stored_values_are_those_that_the_row_tells_of(tmp_path, changes):
    path = edited(stored(tmp_path, small=ARRAYS["small"]), "small", **changes)
    with pytest.raises(GoldenError, match="small"):
        read(path).leaves[0].read()


def test_what_is_told_by_spots_alone_is_counted(tmp_path):
    (leaf,) = read(stored(tmp_path, early=True, overflow=ARRAYS["overflow"])).leaves
    assert leaf.sketch is None
    moved = np.nextafter(ARRAYS["overflow"], 0)
    ours = digested([Leaf("overflow", "Param", moved.shape, "float64", read=lambda: moved)])
    found = compare((leaf,), ours, Tolerance(OUTPUTS))
    assert found.matches
    assert found.spotted == ("overflow",)


@pytest.mark.parametrize(("name", "spotted"), [("mask", True), ("large", False)])
def test_an_early_sketch_of_a_mask_tells_less(tmp_path, name, spotted):
    array = ARRAYS[name]
    moved = np.nextafter(array, np.float32(0))
    ours = digested([Leaf(name, "Param", moved.shape, "float32", read=lambda: moved)])
    for early in (True, False):
        (leaf,) = read(stored(tmp_path, early=early, **{name: array})).leaves
        found = compare((leaf,), ours, Tolerance(OUTPUTS))
        assert found.matches
        assert bool(found.spotted) is (early and spotted)


@pytest.mark.parametrize("name", ["mask", "masks", "float8", "bfloat16"])
def test_what_moves_beside_a_mask_is_found_without_values(tmp_path, name):
    array = ARRAYS[name]
    (leaf,) = read(stored(tmp_path, **{name: array})).leaves
    rest = np.flatnonzero((np.abs(array.astype(float)) < 9).reshape(-1))[5:300]
    for by, matches in ((0.02, True), (3.0, False)):
        moved = array.copy()
        share = {"float8": 0.0, "bfloat16": 0.03}.get(name, 1e-5)
        moved.reshape(-1)[rest] = (array.reshape(-1)[rest].astype(float) + by * 12 * share).astype(
            array.dtype
        )
        if name == "float8":
            steps = 1 if matches else 3
            moved.reshape(-1).view(np.uint8)[rest] += steps
        ours = digested(
            [Leaf(name, "Param", moved.shape, array.dtype.name, read=lambda m=moved: m)]
        )
        assert compare((leaf,), ours, Tolerance(OUTPUTS)).matches is matches


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "float8_e5m2"])
@pytest.mark.parametrize("offset", [0, 1, 1e3, 3e4])
@pytest.mark.parametrize("outlier", [0, 1, 1e4])
def test_numbers_far_from_zero_and_far_from_each_other_are_read(tmp_path, dtype, offset, outlier):
    arrays = {}
    for size in (7, 30_001):
        for spread in (0, 1e-3, 1):
            array = offset + spread * RNG.standard_normal(size)
            array[size // 2] += outlier
            arrays[f"{size} {spread}"] = array.astype(dtype)
    for leaf in read(stored(tmp_path, **arrays)).leaves:
        if leaf.read is not None:
            leaf.read()


ESCAPES = "\x1b[2J"


@pytest.mark.parametrize("where", ["path", "type", "draws", "environment", "dtype"])
def test_what_would_move_a_terminals_cursor_is_refused(tmp_path, where):
    path = stored(tmp_path, large=LARGE)
    data = json.loads(path.read_text())
    row = data["leaves"]["large"]
    if where == "path":
        data["leaves"] = {f"large{ESCAPES}": row}
    elif where == "environment":
        data["environment"] = {"jax": ESCAPES}
    else:
        row[where] = [ESCAPES] if where == "draws" else ESCAPES
    path.write_text(json.dumps(data))
    with pytest.raises(GoldenError) as caught:
        read(path)
    assert str(caught.value).isprintable()


def test_what_is_wrong_is_told_in_few_words(tmp_path):
    path = stored(tmp_path, large=LARGE)
    data = json.loads(path.read_text())
    data["leaves"] = {"x" * 100_000: 3}
    path.write_text(json.dumps(data))
    with pytest.raises(GoldenError) as caught:
        read(path)
    assert len(caught.value.problem) <= 400
