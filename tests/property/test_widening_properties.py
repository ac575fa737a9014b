"""However a golden's row is edited: it is refused, or a model that moved does not match it."""

import json
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.leaf.scale import scale

TOLERANCE = Tolerance(OUTPUTS)
VALUES = "x.1.0123abcd.safetensors"
RNG = np.random.default_rng(0)
LARGE = RNG.standard_normal((40, 1000)).astype(np.float32)
ARRAYS = {
    "large": LARGE,
    "bfloat16": LARGE.astype(ml_dtypes.bfloat16),
    "float64": LARGE.astype(np.float64),
    "mask": np.where(LARGE > 1, np.float32(-1e9), LARGE),
    "nan": np.where(LARGE > 2, np.float32(np.nan), LARGE),
    "positive": np.abs(LARGE) + 3,
    "small": LARGE[0, :30],
    "constant": np.full(40_000, 1.5, np.float32),
}


def as_leaves(arrays):
    made = [Leaf(n, "Param", a.shape, a.dtype.name, read=lambda a=a: a) for n, a in arrays.items()]
    return digested(made)


def moved(array):
    """The array with each usual element some thirty tolerances away."""
    step = 30 * TOLERANCE.of(array.dtype.name) * scale(array).rest
    shift = np.where(RNG.random(array.shape) > 0.5, step, -step)
    usual = np.isfinite(array.astype(np.float64)) & (np.abs(array.astype(np.float64)) < 1e8)
    return np.where(usual, array.astype(np.float64) + shift, array).astype(array.dtype)


MOVED = as_leaves({name: moved(array) for name, array in ARRAYS.items()})


@pytest.fixture(scope="module")
def golden():
    """A golden of the arrays, and its manifest as JSON."""
    leaves = kept(as_leaves(ARRAYS), 1000)
    owner = Owner("", "x", None, "1", "value")
    with tempfile.TemporaryDirectory() as name:
        write_values(Path(name) / VALUES, [leaf for leaf in leaves if leaf.stored])
        text = dumps(Golden(owner, {}, leaves, {}, values=VALUES))
        yield Path(name) / "x.1.json", json.loads(text)


def judged(path, data):
    path.write_text(json.dumps(data))
    try:
        return compare(read(path).leaves, MOVED, TOLERANCE)
    except GoldenError:
        return None


FIELDS = (
    *("value", "constant", "mean", "std", "min", "max", "nonfinite"),
    *("digest", "stored", "sketch", "spots", "kept"),
)
numbers = st.sampled_from([0, 1, -1, 0.5, -1e9, 1e9, 1e30, -1e30, 1e300, 40_000, "inf", "nan"])
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


@st.composite
def edits(draw, rows, name):
    """The row with a few entries taken out, taken from another row, or made anew."""
    row = dict(rows[name])
    for entry in draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True)):
        how = draw(st.sampled_from(["drop", "other", "number", "scaled", "digits"]))
        other = rows[draw(st.sampled_from(sorted(rows)))].get(entry)
        if how == "drop":
            row.pop(entry, None)
        elif how == "other" and other is not None:
            row[entry] = other
        elif how == "number":
            row[entry] = draw(numbers | st.booleans())
        elif how == "scaled" and isinstance(row.get(entry), float):
            row[entry] *= draw(st.sampled_from([2.0, 100.0, 1e6, -1.0]))
        elif how == "digits" and entry == "sketch" and isinstance(row.get(entry), dict):
            row[entry] = dict(row[entry], data=draw(_spoiled(row[entry]["data"])))
    return row


@st.composite
def _spoiled(draw, text):
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text) - 1))
        text = f"{text[:at]}{draw(st.sampled_from(DIGITS))}{text[at + 1 :]}"
    return text


def test_the_golden_as_it_is_tells_that_all_moved(golden):
    path, data = golden
    found = judged(path, data)
    assert {d.path for d in found.differences} == set(ARRAYS)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_no_edit_of_a_row_lets_a_moved_leaf_match(golden, data):
    path, whole = golden
    name = data.draw(st.sampled_from(sorted(ARRAYS)))
    row = data.draw(edits(whole["leaves"], name))
    found = judged(path, {**whole, "leaves": {**whole["leaves"], name: row}})
    if found is None:
        return
    # Of a row that holds neither values nor spots nothing could be read, and that is counted.
    told = {d.path for d in found.differences} | set(found.unread)
    assert name in told, row
    assert name not in found.unread or not {"digest", "spots"} & row.keys(), row
