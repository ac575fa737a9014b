"""Spots as text: what is written is read; what nobody wrote is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype, dtype_of
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.spots import COUNT, at_spots, chosen, decode, elements, encode, places

DTYPES = ["bool", "int8", "uint16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
DTYPES += ["complex64", "complex128", "int4", "uint4", "float8_e4m3fn", "float8_e5m2"]


def some(dtype, count):
    bits = np.random.default_rng(0).integers(0, 256, count * dtype_of(dtype).itemsize, np.uint8)
    if dtype == "bool":
        bits &= 1
    return bits.view(dtype_of(dtype))


@pytest.mark.parametrize("shape", [(), (1,), (7,), (4, 8), (33,), (64, 128), (1 << 20, 1 << 20)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read(dtype, shape):
    spots = some(dtype, min(math.prod(shape), COUNT))
    text = encode(spots, dtype, shape)
    found = decode(text, dtype, shape)
    assert found.dtype == dtype_of(dtype)
    assert found.shape == spots.shape
    assert encode(found, dtype, shape) == text
    if dtype not in ("int4", "uint4"):  # their spare bits mean nothing
        assert found.tobytes() == spots.tobytes()
    assert len(text) <= 5 * (COUNT * dtype_of(dtype).itemsize + 7) // 4


def test_the_text_of_int4_does_not_depend_on_spare_bits():
    values = np.array([-1, 7, -8], ml_dtypes.int4)
    masked = (values.view(np.uint8) & 15).view(ml_dtypes.int4)
    assert encode(values, "int4", (3,)) == encode(masked, "int4", (3,))
    assert decode(encode(values, "int4", (3,)), "int4", (3,)).astype(int).tolist() == [-1, 7, -8]


def test_one_element_stands_for_those_that_are_alike():
    zeros, ones = np.zeros(32, np.float32), np.ones(32, np.float32)
    assert len(encode(zeros, "float32", (1 << 30,))) == 10
    assert decode(encode(ones, "float32", (99,)), "float32", (99,)).tolist() == [1.0] * 32
    minus = np.where(np.arange(32) == 5, np.float32(-0.0), zeros)
    assert len(encode(minus, "float32", (1 << 30,))) > 100


def test_keys_are_their_words():
    data = np.arange(6, dtype=np.uint32).reshape(3, 2)
    assert decode(encode(data, "key<fry>", (3,)), "key<fry>", (3,)).tolist() == data.tolist()
    same = np.zeros((3, 4), np.uint32)
    assert decode(encode(same, "key<rbg>", (3,)), "key<rbg>", (3,)).shape == (3, 4)
    with pytest.raises(ValueError, match="are no spots of key<fry>"):
        encode(data.reshape(-1), "key<fry>", (6,))


def test_a_leaf_without_elements_has_empty_spots():
    none = np.zeros(0, np.float32)
    assert decode(encode(none, "float32", (0, 3)), "float32", (0, 3)).shape == (0,)


def test_elements_of_another_leaf_are_refused():
    with pytest.raises(ValueError, match=r"float32\[3\] are no spots of float32\[4\]"):
        encode(np.zeros(3, np.float32), "float32", (4,))
    with pytest.raises(ValueError, match="float64"):
        encode(np.zeros(4), "float32", (4,))
    with pytest.raises(UnsupportedDtype):
        encode(np.zeros(4), "longdouble", (4,))


GOOD = encode(np.arange(32, dtype=np.float32), "float32", (8, 8))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, '"spots" is not text'),
        (3, '"spots" is not text'),
        ("", '"spots" are not 32 elements of float32'),
        ("é" * 20, '"spots" is not base 85'),
        ('"' * 20, '"spots" is not base 85'),
        ("~" * 20, '"spots" is not base 85'),
        (GOOD[:-5], '"spots" are not 32 elements'),
        (GOOD + "00000", '"spots" are not 32 elements'),
        (GOOD[:10] + "00000" + GOOD[15:], '"spots" are not those that were written'),
        (GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1"), '"spots" are not those that were written'),
    ],
)
def test_what_nobody_wrote_is_refused(text, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        decode(text, "float32", (8, 8))
    assert told in str(caught.value)


def test_spots_belong_to_a_shape_and_a_dtype():
    for dtype, shape in (("int32", (8, 8)), ("float32", (64,))):
        with pytest.raises(ValueError, match="are not those that were written"):
            decode(GOOD, dtype, shape)


# -- the spots of a leaf -----------------------------------------------------------------


def test_spots_are_read_from_whatever_a_leaf_holds():
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    leaf = Leaf("x", "Param", array.shape, "float32", read=lambda: array)
    wanted = array.reshape(-1)[chosen(1000, COUNT)]
    assert places(leaf).tolist() == wanted.astype(int).tolist()
    assert np.array_equal(elements(leaf), wanted)
    text = encode(at_spots(leaf, array), "float32", array.shape)
    assert np.array_equal(elements(replace(leaf, read=None, spots=text)), wanted)
    bare = replace(leaf, read=None)
    assert elements(bare) is None
    assert elements(replace(bare, statistics={"constant": 2})).tolist() == [2.0] * 32


def test_spots_of_scalars_and_keys():
    scalar = Leaf("x", "scalar", (), "python float", read=lambda: np.asarray(2.5))
    assert elements(scalar).tolist() == [2.5]
    data = np.arange(2, dtype=np.uint32)
    assert elements(Leaf("k", "RngKey", (), "key<fry>", read=lambda: data)).tolist() == [[0, 1]]
    many = np.arange(200, dtype=np.uint32).reshape(100, 2)
    found = elements(Leaf("k", "RngKey", (100,), "key<fry>", read=lambda: many))
    assert found.tolist() == many[chosen(100, COUNT)].tolist()


# -- in a golden -------------------------------------------------------------------------


def manifest(tmp_path: Path, **row: object) -> Path:
    spots = Leaf("x", "Param", (8, 8), "float32", spots=GOOD, stored=False)
    path = tmp_path / "test_it.1.json"
    made = Golden(Owner("", "test_it", None, "1", "init"), {}, (spots,), {})
    data = json.loads(dumps(made))
    data["leaves"]["x"].update(row)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_golden_keeps_spots(tmp_path):
    (leaf,) = read(manifest(tmp_path)).leaves
    assert leaf.spots == GOOD
    assert not leaf.kept
    assert leaf.read is None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"spots": 1}, '"spots" is not text'),
        ({"spots": GOOD.swapcase()}, '"spots"'),
        ({"shape": [2**62, 2**62]}, '"spots"'),
        ({"shape": []}, '"spots"'),
        ({"dtype": "float31"}, "\"dtype\" is 'float31'"),
    ],
)
def test_a_golden_with_other_spots_is_one_clear_error(tmp_path, row, told):
    with pytest.raises(GoldenError) as caught:
        read(manifest(tmp_path, **row))
    assert told in str(caught.value)
    assert "leaf x" in str(caught.value)
    assert "pytest --nnx-update-snapshots" in str(caught.value)
    assert caught.value.replaceable


def test_kept_values_are_marked(tmp_path):
    (leaf,) = read(manifest(tmp_path, kept=True)).leaves
    assert leaf.kept
