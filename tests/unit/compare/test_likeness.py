"""What is alike by decision, though its bits or its containers are not."""

import numpy as np
import pytest

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import flatten

X = np.arange(3, dtype=np.float32)
NANS = np.array([0x7FC00000, 0xFFC01234], np.uint32).view(np.float32)


def leaves(value):
    return digested(flatten(value).leaves)


@pytest.mark.parametrize(("a", "b"), [([X, X + 1], {0: X, 1: X + 1}), ((X,), [X])])
def test_paths_are_compared_and_not_containers(a, b):
    # The State of a module holds its lists as dicts.
    assert compare(leaves(a), leaves(b), Tolerance({}, exact=True)).matches


def test_a_text_is_another_key_than_a_number():
    found = compare(leaves([X]), leaves({"0": X}), Tolerance(OUTPUTS))
    assert sorted(d.kinds for d in found.differences) == [("added",), ("removed",)]


@pytest.mark.parametrize(
    ("a", "b"),
    [(np.float32([0, 1]), np.float32([-0.0, 1])), (NANS[:1], NANS[1:])],
    ids=["sign of zero", "payload of NaN"],
)
def test_bits_without_a_distance_are_rounding(a, b):
    found = compare(leaves(a), leaves(b), Tolerance({"*": 0.0}))
    assert list(found.rounded) == [""]
    assert not compare(leaves(a), leaves(b), Tolerance({}, exact=True)).matches
