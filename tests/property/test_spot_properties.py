"""Spots: any elements survive as text, and their text is one; anything else is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pytest_nnxrng.compare.gap import gap_at_spots
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.dtypes import dtype_of
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.spots import COUNT, at_spots, decode, elements, encode

DTYPES = ["bool", "int8", "int32", "uint64", "float16", "bfloat16", "float32", "float64"]
DTYPES += ["complex64", "float8_e4m3fn", "uint4", "key<fry>"]
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)


@st.composite
def spotted(draw):
    """A dtype, a shape, and the spots of such a leaf."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    count, width = min(math.prod(shape), COUNT), dtype_of(dtype).itemsize
    words = 2 if dtype == "key<fry>" else 1
    octets = draw(st.binary(min_size=count * width * words, max_size=count * width * words))
    data = np.frombuffer(octets, np.uint8)
    if dtype in ("bool", "uint4"):
        data = data & (1 if dtype == "bool" else 15)
    found = data.view(dtype_of(dtype))
    return dtype, shape, found.reshape(count, 2) if words == 2 else found


@given(spotted())
def test_any_spots_survive_to_the_bit(found):
    dtype, shape, spots = found
    text = encode(spots, dtype, shape)
    again = decode(text, dtype, shape)
    assert again.tobytes() == spots.tobytes()
    assert again.shape == spots.shape or not spots.size
    assert encode(again, dtype, shape) == text


@given(spotted(), st.data())
def test_an_edit_of_the_text_is_found(found, data):
    dtype, shape, spots = found
    text = encode(spots, dtype, shape)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    edited = text[:at] + other + text[at + 1 :]
    if edited == text:
        return
    with pytest.raises(ValueError, match='"spots"'):
        decode(edited, dtype, shape)


@given(st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text())), spotted())
def test_anything_else_is_refused(text, found):
    dtype, shape, spots = found
    if text == encode(spots, dtype, shape):
        return
    with pytest.raises(ValueError, match='"spots"'):
        decode(text, dtype, shape)


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(max_dims=2, max_side=40),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.floats(-1e-4, 1e-4),
)
def test_what_differs_at_spots_differs_in_the_leaf(array, scale):
    other = (array * np.float32(1 + scale)).astype(np.float32)
    old = Leaf("x", "Param", array.shape, "float32", read=lambda: array)
    new = Leaf("x", "Param", array.shape, "float32", read=lambda: other)
    text = encode(at_spots(new, other), "float32", other.shape)
    found = gap_at_spots(old, new, Tolerance({"*": 1e-5}))
    again = gap_at_spots(old, Leaf("x", "Param", array.shape, "float32", spots=text), Tolerance({}))
    assert found.spots
    assert found.differing == again.differing
    assert found.differing <= int((array.view(np.uint32) != other.view(np.uint32)).sum())
    if array.size <= COUNT:
        assert found.differing == int((array.view(np.uint32) != other.view(np.uint32)).sum())
        assert np.array_equal(elements(old), array.reshape(-1))
    if found.differing:
        assert array[found.index] != other[found.index]
