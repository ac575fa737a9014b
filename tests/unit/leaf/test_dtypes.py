"""The table of dtypes says what numpy and ml_dtypes say, and leaves none of theirs out."""

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.leaf import dtypes

NAMES = [name for name in dtypes.names() if not name.startswith("python")]


def info(name):
    dtype = dtypes.dtype_of(name)
    return (ml_dtypes.iinfo if dtypes.is_integer(name) else ml_dtypes.finfo)(dtype)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bool", *dtypes.PARTS)])
def test_bits_are_those_of_the_dtype(name):
    mask = dtypes.spare_mask(name)
    bits = info(name).bits
    assert (mask is not None) == (bits < 8) == dtypes.is_packed(name)
    assert mask is None or mask == (1 << bits) - 1


def test_no_dtype_of_ml_dtypes_is_left_out():
    there = {np.dtype(kind).name for kind in vars(ml_dtypes).values() if isinstance(kind, type)
             and issubclass(kind, np.generic)}  # fmt: skip
    # Complex numbers of two narrow floats: no layer of NNX makes any.
    assert there - {"complex32", "bcomplex32"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_has_the_same_bytes(name):
    dtype, stored = dtypes.dtype_of(name), np.dtype(dtypes.storage(name))
    assert stored.isbuiltin == 1 or stored == ml_dtypes.bfloat16
    assert dtype.itemsize == stored.itemsize * (2 if name in dtypes.PARTS else 1)


@pytest.mark.parametrize("name", NAMES)
def test_small_floats_are_those_of_8_bits_and_fewer(name):
    assert dtypes.is_small_float(name) == name.startswith(("float4_", "float6_", "float8_"))


def test_keys():
    assert dtypes.dtype_of("key<fry>") == np.uint32
    assert dtypes.storage("key<fry>") == "uint32"
    assert dtypes.is_key("key<fry>")
    assert not dtypes.is_inexact("key<fry>")
