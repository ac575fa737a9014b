"""Arrays as pictures: what is sampled, what is not finite, what is furthest apart."""

import numpy as np
import pytest
from trees import leaf

from pytest_nnxrng.leaf.dtypes import dtype_of
from pytest_nnxrng.page import detail


def test_both_sides_are_on_one_scale():
    a, b = np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]])
    made = detail.heat(a, b)
    assert (made["low"], made["high"]) == (0.0, 2.0)
    assert made["golden"] == "Af"  # 0 and half of 63
    assert made["now"] == "f/"
    assert made["apart"] == "//"
    assert not made["golden_sampled"]


def test_a_large_leaf_is_sampled_over_its_area():
    values = np.zeros((100, 50))
    values[99, 49] = 1.0
    made = detail.heat(values, values * 2)
    assert len(made["golden"]) == detail.MOST * detail.MOST
    assert made["golden_sampled"]
    assert made["apart"][-1] == "/"  # the largest of an area is not lost in its mean
    assert set(made["apart"][:-1]) == {"A"}


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4), (3, 3, 2, 5), (40, 1)])
def test_any_shape_has_rows_and_columns(shape):
    made = detail.heat(np.arange(float(np.prod(shape))).reshape(shape), None)
    assert len(made["golden"]) % made["golden_rows"] == 0


def test_what_is_not_finite_is_a_hole():
    made = detail.heat(np.array([1.0, np.nan, np.inf, 2.0]), None)
    assert made["golden"] == "A../"


def test_a_leaf_of_one_element_or_of_nans_has_no_histogram():
    assert detail.heat(np.float64(3.0), None) is None
    assert detail.histogram(np.array([1.0, 1.0]), None) is None
    assert detail.histogram(np.array([np.nan, np.nan]), None) is None


def test_a_histogram_counts_both_in_the_same_bins():
    made = detail.histogram(np.array([0.0, 1.0]), np.array([0.0, 0.0, 4.0]))
    assert (made["low"], made["high"]) == (0.0, 4.0)
    assert (made["golden"][0], made["now"][0], made["now"][-1]) == (1, 2, 1)


def test_the_worst_elements_come_first_with_their_place():
    a = np.zeros((2, 3), np.float32)
    b = a.copy()
    b[1, 2], b[0, 1] = 2.0, np.nan
    found = detail.worst(a, b, leaf("x", a))
    assert [row[0] for row in found] == ["[0, 1]", "[1, 2]"]
    assert found[0][2:] == ["nan", "not finite", None]
    assert found[1][1:4] == ["0", "2", "2"]


def test_integers_and_bools_have_no_ulp():
    a, b = np.array([1, 2]), np.array([1, 5])
    assert detail.worst(a, b, leaf("x", a)) == [["[1]", "2", "5", "3", None]]


def test_complex_numbers_are_not_drawn():
    assert detail.numbers(np.array([1j])) is None


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int4", "int64", "float16", "bfloat16", "float8_e4m3fn", "float64"]
)
def test_every_dtype_that_has_an_order_is_drawn(dtype):
    a = np.array([[0, 1], [1, 0]]).astype(dtype_of(dtype))
    b = np.array([[0, 1], [0, 1]]).astype(dtype_of(dtype))
    x, y = detail.numbers(a), detail.numbers(b)
    assert detail.heat(x, y)["apart"] == "AA//"
    assert sum(detail.histogram(x, y)["now"]) == 4
    assert [row[0] for row in detail.worst(a, b, leaf("x", a))] == ["[1, 0]", "[1, 1]"]


def test_a_leaf_without_elements_is_not_drawn():
    assert detail.heat(np.zeros((0, 3)), None) is None
    assert "golden" not in detail.heat(np.zeros((3, 0)), np.ones((2, 2)))
    assert detail.histogram(np.zeros(0), None) is None
    assert detail.worst(np.zeros(0), np.zeros(0), leaf("x", np.zeros(0))) == []
