"""Whatever bytes lie in a golden's files: a golden, or a GoldenError, and nothing else."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner, parse_owner, read_owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import json_string
from pytest_nnxrng.leaf.statistics import statistics

pytestmark = pytest.mark.filterwarnings("error")
fast = settings(deadline=None, max_examples=150)
VALUES = "g.1.0123abcd.safetensors"


def leaf(path, array, **more):
    return Leaf(
        path,
        "Param",
        array.shape,
        array.dtype.name,
        digest=digest(array),
        read=lambda: array,
        **more,
    )


LEAVES = (
    leaf("a", np.arange(4, dtype=np.float32), draws=("params#0",), initializer="ab"),
    leaf("b.c", np.zeros((2, 0), np.int8), sharding=("x", None)),
    leaf('["é"]', np.array(True), statistics={"value": 1}),
)
STREAMS = {"params": {"impl": "fry", "key": [0, 1], "count": 0, "end": 4}}
WHOLE = Golden(Owner("", "g", None, "1", "init"), {"jax": "1"}, LEAVES, {"d": "a"}, STREAMS, VALUES)


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory() as name:
        write_values(Path(name) / VALUES, LEAVES)
        yield Path(name)


MANIFEST = dumps(WHOLE).encode()


def told(error, path):
    """A GoldenError that names the file and the way out, and can be printed and sent."""
    assert str(path.parent) in str(error)
    assert error.problem.isprintable()
    assert len(error.problem) <= 400
    assert error.remedy
    str(error).encode()
    return error


def outcome(directory, manifest=None, values=None, arrays=None):
    """Read everything; a GoldenError is the only exception that there may be."""
    path, stored = directory / "g.1.json", directory / VALUES
    whole = stored.read_bytes()
    before = {entry.name for entry in os.scandir(directory)} | {path.name}
    path.write_bytes(MANIFEST if manifest is None else manifest)
    if values is not None:
        stored.write_bytes(values)
    try:
        found = read(path)
        for each in found.leaves:
            if each.read is not None:
                array = each.read()
                assert array.nbytes <= 64
                if arrays is not None:
                    arrays[each.path] = array
        return found
    except GoldenError as error:
        return told(error, path)
    finally:
        stored.write_bytes(whole)
        assert {entry.name for entry in os.scandir(directory)} == before


def test_the_golden_that_is_mutated_here_can_be_read(directory):
    assert isinstance(outcome(directory), Golden)


@fast
@given(st.binary(max_size=300))
def test_random_bytes_for_a_manifest(directory, data):
    assert isinstance(outcome(directory, manifest=data), GoldenError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ["format", "owner", "environment", "streams", "values", "aliases", "leaves"]


@fast
@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_json_for_a_manifest(directory, data):
    data = {**json.loads(MANIFEST), **data}
    outcome(directory, manifest=json.dumps(data).encode())


LEAF_FIELDS = [
    *("type", "dtype", "shape", "rng", "sharding", "draws", "initializer", "digest", "stored"),
    *("sketch", "mean", "value", "constant"),
]
shapes = st.lists(st.integers(-1, 2**70), max_size=4)
dtypes = st.sampled_from(
    ["float32", "int4", "key<fry>", "complex64", "python int", "bool", "object"]
)


@fast
@given(
    st.dictionaries(st.sampled_from(LEAF_FIELDS), json_values),
    st.none() | shapes,
    st.none() | dtypes,
    st.sets(st.sampled_from(LEAF_FIELDS), max_size=2),
    st.just("a") | st.text(max_size=9),
)
def test_any_json_for_a_leaf(directory, fields, shape, dtype, dropped, name):
    data = json.loads(MANIFEST)
    row = data["leaves"]["a"] | fields
    if shape is not None:
        row["shape"] = shape
    if dtype is not None:
        row["dtype"] = dtype
    data["leaves"][name] = {k: v for k, v in row.items() if k not in dropped}
    found = outcome(directory, manifest=json.dumps(data).encode())
    if isinstance(found, Golden):
        for each in found.leaves:
            hash((each.path, each.type, each.shape, each.dtype, each.draws, each.initializer))


@st.composite
def mutations(draw, whole):
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data[start:end] = draw(st.binary(max_size=8) | st.just(data[:end][-8:]))
    return bytes(data)


@fast
@given(mutations(MANIFEST))
def test_a_mutated_manifest(directory, data):
    found = outcome(directory, manifest=data)
    if isinstance(found, Golden):
        dumps(found)  # what was read can be written


@fast
@given(st.data())
def test_a_mutated_values_file_never_gives_other_numbers(directory, data):
    whole = (directory / VALUES).read_bytes()
    changed = data.draw(mutations(whole))
    arrays = {}
    outcome(directory, values=changed, arrays=arrays)
    for each in LEAVES:
        if each.path in arrays:
            assert arrays[each.path].tobytes() == each.read().tobytes()


@fast
@given(st.integers(1, len(MANIFEST) - 3))
def test_a_truncated_manifest(directory, length):
    found = outcome(directory, manifest=MANIFEST[:length])
    assert found.problem.startswith("is not a whole JSON file (")


@fast
@given(st.binary(max_size=300))
@example(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n")
def test_random_bytes_for_values(directory, data):
    assert isinstance(outcome(directory, values=data), GoldenError)


@fast
@given(st.integers(0, 2**64 - 1), json_values, st.binary(max_size=40))
def test_any_header_for_values(directory, size, header, body):
    text = json.dumps(header).encode()
    for claimed in (size, len(text)):
        data = claimed.to_bytes(8, "little") + text + body
        assert isinstance(outcome(directory, values=data), GoldenError)


# -- round trips -------------------------------------------------------------------------

names = st.text(max_size=6).map(lambda name: f"x[{json_string(name)}]")
arrays = npst.arrays(
    npst.boolean_dtypes()
    | npst.integer_dtypes(endianness="=")
    | npst.unsigned_integer_dtypes(endianness="=")
    | npst.floating_dtypes(endianness="=", sizes=(16, 32, 64))
    | npst.complex_number_dtypes(endianness="=", sizes=(64, 128)),
    npst.array_shapes(min_dims=0, min_side=0, max_side=4),
)


@fast
@given(st.dictionaries(names, arrays, max_size=4))
@example({"w": np.array(0.0 + 3.5e-253j)})  # its square is 0
@example({"w": np.array([1e-160, 3e-160, 0.0])})
def test_any_leaves_survive(found):
    made = tuple(leaf(name, array, statistics=statistics(array)) for name, array in found.items())
    golden = Golden(Owner("", "g", None, "1", "value"), {}, made, {}, values=VALUES)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "g.1.json"
        write_values(path.parent / VALUES, made)
        path.write_text(dumps(golden), encoding="utf-8")
        back = read(path)
        assert dumps(back) == dumps(golden)
        assert [each.path for each in back.leaves] == sorted(found)
        for each in back.leaves:
            array = found[each.path]
            assert each.statistics == statistics(array)
            assert (each.read().dtype, each.read().shape) == (array.dtype, array.shape)
            assert each.read().tobytes() == array.tobytes()


texts = st.text(max_size=8).filter(lambda text: text.isprintable())


@fast
@given(st.builds(Owner, texts, texts, st.none() | texts, texts, texts))
def test_the_owner_survives_and_stands_in_the_head(owner):
    golden = Golden(owner, {"jax": "1"}, LEAVES, {})
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "g.1.json"
        path.write_text(dumps(golden), encoding="utf-8")
        assert read(path).owner == read_owner(path) == owner


@fast
@given(json_values)
def test_any_json_for_an_owner(row):
    good = isinstance(row, dict) and {"class", "function", "check", "kind"} <= row.keys()
    if good and all(isinstance(value, str) for value in row.values()):
        assert isinstance(parse_owner(row), Owner)
        return
    with contextlib.suppress(ValueError):
        assert isinstance(parse_owner(row), Owner)


@fast
@given(st.binary(max_size=200) | mutations(MANIFEST))
def test_reading_an_owner_never_raises(directory, data):
    path = directory / "g.1.json"
    path.write_bytes(data)
    found = read_owner(path)
    assert found is None or isinstance(found, Owner)
