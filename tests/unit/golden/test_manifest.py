"""The golden's format: what goes in comes out, and whatever lies on disk, one clear error."""

import json
import os
import stat
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner, read_owner
from pytest_nnxrng.golden.manifest import FORMAT, Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf import dtypes
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype, dtype_of, is_inexact, storage
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.paths import json_string
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.statistics import statistics
from pytest_nnxrng.nnx.flatten import flatten

OWNER = Owner("TestA", "test_mlp", "adam-1", "output", "value")
VALUES = "test_mlp.1.0123abcd.safetensors"
RESTORE = "Restore it from version control, or write it anew with pytest --nnx-update-snapshots"
RUNNING_AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def leaf(array, path="x", dtype=None, shape=None, **more):
    return Leaf(
        path=path,
        type=more.pop("type", "Param"),
        shape=array.shape if shape is None else shape,
        dtype=dtype or array.dtype.name,
        digest=digest(array),
        read=lambda: array,
        **more,
    )


def golden(*leaves, values=VALUES, **more):
    return Golden(OWNER, more.pop("environment", {"jax": "1"}), leaves, {}, values=values, **more)


def save(directory, made):
    """Write a golden as the store does; returns the manifest's path."""
    path = directory / "test_mlp.1.json"
    if made.values is not None:
        write_values(directory / made.values, [leaf for leaf in made.leaves if leaf.read])
    path.write_text(dumps(made), encoding="utf-8", newline="\n")
    return path


def read_all(path):
    return [leaf.read() for leaf in read(path).leaves if leaf.read is not None]


def refused(path, *, replaceable=True):
    """The one GoldenError of ``path`` and of the leaves that it names."""
    with pytest.raises(GoldenError) as caught:
        read_all(path)
    error = caught.value
    assert error.replaceable is replaceable
    assert str(error) == f"{error.path}: {error.problem}. {error.remedy}"
    assert "\n" not in str(error)
    assert len(str(error)) < 600 + len(str(error.path))
    return error


# -- manifests -------------------------------------------------------------------------

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
FULL = Golden(
    owner=OWNER,
    environment={"jax": "0.12", "device_count": 1, "jax_enable_x64": False, "share": 0.5},
    leaves=(
        leaf(
            KERNEL,
            "layer.kernel",
            sharding=("data", None, ("model", "expert")),
            statistics={"mean": 2.5, "std": 1.70783, "min": 0, "max": 5, "nonfinite": 2},
            draws=("params#0", "params#1/0"),
            initializer="0f" * 8,
        ),
        leaf(np.zeros((2,), np.uint32), "rngs.key", "key<fry>", (), type="RngKey", rng=True),
        leaf(np.float32(1) * np.ones(()), 'odd["a.b\\"é\\u0000"]', statistics={"value": "nan"}),
        replace(leaf(KERNEL, "big", sketch=sketch(KERNEL)), stored=False, read=None),
        Leaf("abstract", "Param", (2, 0), "float8_e4m3fn", stored=False),
    ),
    aliases={"head.kernel": "embed.kernel"},
    streams={
        "params": {"impl": "fry", "key": [0, 1], "count": 0, "end": 4},
        "noise": {"impl": "fry", "key": [0, 1, 2, 3], "count": [0, 0], "end": [1, 1]},
    },
    values=VALUES,
)


def as_read(made):
    """A golden as reading gives it: leaves by path, elements aside."""
    leaves = sorted(made.leaves, key=lambda leaf: leaf.path)
    return replace(made, leaves=tuple(replace(leaf, read=None) for leaf in leaves))


def test_what_is_written_is_read(tmp_path):
    assert as_read(read(save(tmp_path, FULL))) == as_read(FULL)


def test_a_golden_without_leaves_survives(tmp_path):
    made = golden(values=None)
    assert read(save(tmp_path, made)) == made


def test_writing_twice_gives_the_same_bytes(tmp_path):
    shuffled = replace(
        FULL,
        leaves=FULL.leaves[::-1],
        environment=dict(reversed(FULL.environment.items())),
        streams=dict(reversed(FULL.streams.items())),
    )
    assert dumps(FULL) == dumps(shuffled)
    again = read(save(tmp_path, FULL))
    assert dumps(again) == dumps(FULL)
    first = (tmp_path / VALUES).read_bytes()
    save(tmp_path, shuffled)
    assert (tmp_path / VALUES).read_bytes() == first


def test_a_manifest_is_made_for_review():
    made = golden(leaf(KERNEL, "b", statistics={"mean": 2.5}), leaf(KERNEL, "a"))
    row = f'{{"type": "Param", "dtype": "float32", "shape": [2, 3], "digest": "{digest(KERNEL)}"}}'
    described = row.replace('"digest"', '"mean": 2.5, "digest"')
    assert dumps(made) == (
        "{\n"
        f'  "format": {FORMAT},\n'
        '  "owner": {\n'
        '    "class": "TestA",\n'
        '    "function": "test_mlp",\n'
        '    "parameters": "adam-1",\n'
        '    "check": "output",\n'
        '    "kind": "value"\n'
        "  },\n"
        '  "environment": {\n'
        '    "jax": "1"\n'
        "  },\n"
        '  "streams": {},\n'
        f'  "values": "{VALUES}",\n'
        '  "aliases": {},\n'
        '  "leaves": {\n'
        f'    "a": {row},\n'
        f'    "b": {described}\n'
        "  }\n"
        "}\n"
    )


def test_one_leaf_a_line_whatever_its_name():
    names = ["a", "\n", "\r\n", "\u2028", "é", '"', "\\", "\ud800", ""]
    leaves = [leaf(KERNEL, json_string(name)) for name in names]
    text = dumps(golden(*leaves))
    assert text.isascii()
    assert text.endswith("\n}\n")
    rows = text[text.index('"leaves"') :].splitlines()
    assert len(rows) == 1 + len(names) + 2
    assert json.loads(text)["leaves"].keys() == {made.path for made in leaves}


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("a.b", '"a.b"'),
        ("größe", '"größe"'),
        ('"', r'"\""'),
        ("\n", r'"\n"'),
        ("\u200b", r'"\u200b"'),
        ("\ud800", r'"\ud800"'),
    ],
)
def test_json_string_is_readable_and_printable(text, literal):
    assert json_string(text) == literal
    assert json.loads(json_string(text)) == text
    assert json_string(text).isprintable()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_never_written(bad):
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps(golden(leaf(KERNEL, statistics={"mean": bad})))


# -- values ----------------------------------------------------------------------------


def every_bit_pattern(name, count=512):
    dtype = dtype_of(name)
    if dtype.kind == "b":
        return np.tile([True, False], count // 2)
    bits = np.random.default_rng(0).integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    if dtypes.is_packed(name) and name.lstrip("uint").isdigit():
        width = int(name.lstrip("uint"))
        values = np.arange(count) % (1 << width) - (0 if name[0] == "u" else 1 << (width - 1))
        return values.astype(np.int8).astype(dtype)
    if dtype.itemsize == 1:
        bits = np.arange(count).astype(np.uint8)
    return bits.view(dtype)


DTYPES = [name for name in dtypes.names() if not name.startswith("python")]


def same_bits(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(512,), (16, 1, 32), (0,), (3, 0, 2), ()])
def test_values_survive_bit_for_bit(tmp_path, name, shape):
    count = int(np.prod(shape))
    array = every_bit_pattern(name)[:count].reshape(shape)
    back = read(save(tmp_path, golden(leaf(array)))).leaves[0]
    assert back.shape == shape
    assert same_bits(back.read(), array)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_signs_of_zero_and_kinds_of_nan_survive(tmp_path, name):
    dtype = dtype_of(name)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan]).astype(dtype)
    payloads = special.view(f"u{dtype.itemsize}").copy()
    payloads[4:] += 5
    array = payloads.view(dtype)
    assert same_bits(read(save(tmp_path, golden(leaf(array)))).leaves[0].read(), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float32)[::-2],
        np.broadcast_to(np.float32(3), (2, 5)),
        np.asfortranarray(np.arange(6, dtype=np.complex64).reshape(2, 3)),
    ],
)
def test_layout_in_memory_does_not_matter(tmp_path, array):
    back = read(save(tmp_path, golden(leaf(array)))).leaves[0].read()
    np.testing.assert_array_equal(back, array)
    assert digest(back) == digest(array)


@pytest.mark.parametrize("value", [True, 0, -(2**63), 2**63 - 1, 0.1, -0.0, 1e-320, 1 + 2j])
def test_python_numbers_survive(tmp_path, value):
    (made,) = flatten(value).leaves
    made = replace(made, digest=digest(made.read()), path="x")
    back = read(save(tmp_path, golden(made))).leaves[0]
    assert back.dtype == f"python {type(value).__name__}"
    assert same_bits(back.read(), made.read())
    assert repr(back.read().item()) == repr(value)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_typed_keys_survive(tmp_path, impl, shape):
    keys = jax.random.key(7, impl=impl)
    keys = jax.random.split(keys, shape) if shape else keys
    (made,) = flatten({"k": keys}).leaves
    made = replace(made, digest=digest(made.read()))
    back = read(save(tmp_path, golden(made))).leaves[0]
    assert (back.dtype, back.shape) == (made.dtype, shape)
    np.testing.assert_array_equal(back.read(), jax.random.key_data(keys))


@pytest.mark.parametrize(
    "name", ["", '["__metadata__"]', '["a.b"]', '["größe"]', '["\\n"]', "0", "x" * 3000]
)
def test_values_are_found_by_any_path(tmp_path, name):
    other = leaf(KERNEL + 1, "zz")
    back = read(save(tmp_path, golden(leaf(KERNEL, name), other)))
    assert {made.path: made.read()[0, 1] for made in back.leaves} == {name: 1, "zz": 2}


def test_leaves_are_read_one_by_one(tmp_path):
    back = read(save(tmp_path, golden(leaf(KERNEL, "a"), leaf(KERNEL + 1, "b"))))
    np.testing.assert_array_equal(back.leaves[1].read(), KERNEL + 1)
    np.testing.assert_array_equal(back.leaves[1].read(), KERNEL + 1)  # again


def test_what_was_not_stored_has_nothing_to_read(tmp_path):
    made = golden(
        replace(leaf(KERNEL, "big", sketch=sketch(KERNEL)), stored=False, read=None),
        leaf(KERNEL, "small"),
    )
    big, small = read(save(tmp_path, made)).leaves
    assert big.read is None
    assert not big.stored
    assert small.read is not None


def test_a_sketch_is_one_of_the_leaf_s_elements(tmp_path):
    made = replace(leaf(KERNEL, "big", sketch=sketch(KERNEL[:1])), stored=False, read=None)
    path = save(tmp_path, golden(made, values=None))
    problem = '"sketch" is one of 3 numbers, the leaf has others'
    assert refused(path).problem == f"has been edited or damaged: leaf big: {problem}"


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"No such file|os error"):
        write_values(tmp_path / "no" / "such", [leaf(KERNEL)])


def test_nothing_that_pickle_made_is_in_a_values_file(tmp_path):
    save(tmp_path, golden(leaf(KERNEL)))
    data = (tmp_path / VALUES).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    assert header["x"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert data[8 + size :] == KERNEL.tobytes()


@pytest.mark.parametrize("name", ["object", "str96", "datetime64[ns]", "void64", "longdouble", ""])
def test_dtypes_that_no_golden_holds(name):
    for ask in (dtype_of, storage):
        with pytest.raises(UnsupportedDtype):
            ask(name)


def test_what_may_round():
    inexact = {name for name in DTYPES if is_inexact(name)}
    assert inexact == {name for name in DTYPES if "float" in name or "complex" in name}
    assert [is_inexact(f"python {name}") for name in ("bool", "int", "float", "complex")] == [
        False, False, True, True,
    ]  # fmt: skip
    assert not is_inexact("key<fry>")


# -- statistics ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.zeros((2, 0), np.float32), {}),
        (np.float32(0.1) * np.ones(()), {"value": 0.1}),
        (np.array(np.nan), {"value": "nan"}),
        (np.zeros(3, np.float32), {"constant": 0}),
        (np.full(3, -np.inf), {"constant": "-inf"}),
        (np.array([1, 2, 3, 4], np.int32), {"mean": 2.5, "std": 1.11803, "min": 1, "max": 4}),
        (
            np.array([1, np.nan, 3, np.inf], np.float32),
            {"mean": 2, "std": 1, "min": 1, "max": 3, "nonfinite": 2},
        ),
        (np.array([np.nan, np.inf]), {"nonfinite": 2}),
        (np.array([True, False]), {"mean": 0.5, "std": 0.5, "min": 0, "max": 1}),
        (np.array([1 + 2j, 1 + 2j]), {"mean": 1.5, "std": 0.5, "min": 1, "max": 2}),
        (np.array([1e7, 1e-3, 5e6]), {"mean": 5e6, "std": 4.08248e6, "min": 0.001, "max": 1e7}),
        (
            np.array([1, 2], np.int8).astype(ml_dtypes.int4),
            {"mean": 1.5, "std": 0.5, "min": 1, "max": 2},
        ),
    ],
)
def test_statistics(array, shown):
    assert statistics(array) == shown


def test_statistics_of_a_narrow_distribution_far_from_zero():
    array = (1e8 + np.random.default_rng(0).standard_normal(200_000)).astype(np.float64)
    shown = statistics(array)
    assert shown["std"] == pytest.approx(array.std(), rel=1e-5)
    assert shown["mean"] == pytest.approx(array.mean(), rel=1e-5)


@pytest.mark.parametrize("name", DTYPES)
def test_statistics_of_any_bits_are_json_and_raise_no_warning(name):
    shown = statistics(every_bit_pattern(name, 65_536 + 2))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


# -- constants: the manifest holds them ----------------------------------------------------


def held(array, path="x", dtype=None, shape=None):
    """A leaf as a check stores it: a constant in the manifest, other values beside it."""
    made = leaf(array, path, dtype, shape)
    shown = {} if made.dtype.startswith("key<") else statistics(array)
    made = replace(made, statistics=shown)
    return replace(made, stored=False, read=None) if constant(made) is not None else made


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("number", [0, 1, -1, 0.1, -0.0, np.inf, -np.inf, np.nan, -np.nan])
def test_a_constant_survives_bit_for_bit(tmp_path, name, number):
    dtype = dtype_of(name)
    with np.errstate(all="ignore"):
        array = np.full((3, 1), number).astype(dtype)
    made = golden(held(array), leaf(KERNEL, "other"))
    back = read(save(tmp_path, made)).leaves
    assert same_bits(np.ascontiguousarray(back[1].read()), array)


def test_a_constant_needs_no_values_file(tmp_path):
    path = save(tmp_path, golden(held(np.zeros((4, 4), np.float32)), values=None))
    assert '"constant": 0,' in path.read_text(encoding="utf-8")
    (back,) = read(path).leaves
    assert (back.read() == 0).all()
    assert back.read().dtype == np.float32


@pytest.mark.parametrize("array", [np.zeros(3, np.complex64), np.full(3, np.nan, np.float32)])
def test_a_constant_that_is_not_held_and_not_stored_has_nothing_to_read(tmp_path, array):
    held = leaf(array, statistics=statistics(array), sketch=sketch(array))
    made = replace(held, stored=False, read=None)
    (back,) = read(save(tmp_path, golden(made, values=None))).leaves
    assert back.read is None
    assert not back.stored


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4", "float8_e4m3fn", "bool"])
@pytest.mark.parametrize(
    "value",
    [300, -1, 2**63, 2**70, 10**400, 1e300, "1e999", "x", "", "0x1", "nan", [0], True, None],
)
def test_a_constant_that_is_none_of_the_dtype(tmp_path, dtype, value):
    path = save(tmp_path, golden(held(np.zeros(3, dtype_of(dtype))), values=None))
    data = json.loads(path.read_text(encoding="utf-8"))
    data["leaves"]["x"]["constant"] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    try:
        (back,) = read(path).leaves
        assert back.read is None or (back.read() == 0).all()
    except GoldenError as error:
        assert error.problem.startswith("holds other values of x than")  # noqa: PT017


def test_a_constant_edited_by_hand(tmp_path):
    path = save(tmp_path, golden(held(np.zeros(3, np.float32)), values=None))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"constant": 0', '"constant": 1e-9'), encoding="utf-8")
    error = refused(path)
    assert error.path == path
    assert error.problem == "holds other values of x than those that the manifest was made with"


def test_a_constant_of_gigabytes_is_not_made(tmp_path):
    path = save(tmp_path, golden(held(np.zeros(3, np.float32)), values=None))
    data = json.loads(path.read_text(encoding="utf-8"))
    for shape in ([1 << 40], [1 << 62], [1 << 62, 1 << 62], [1] * 200):
        data["leaves"]["x"]["shape"] = shape
        path.write_text(json.dumps(data), encoding="utf-8")
        tracemalloc.start()
        try:
            assert read(path).leaves[0].shape == tuple(shape)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


# -- every bad manifest: one error, naming the file and the way out ---------------------


@pytest.fixture
def path(tmp_path):
    return save(tmp_path, FULL)


def test_a_missing_manifest_is_just_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "test_mlp.1.json")


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n\t"])
def test_empty(path, content):
    path.write_bytes(content)
    error = refused(path)
    assert (error.path, error.problem, error.remedy) == (path, "is empty", RESTORE)


WHOLE = dumps(FULL).encode()


@pytest.mark.parametrize("length", [1, 2, 30, 99, 400, 800, len(WHOLE) - 4, len(WHOLE) - 3])
def test_truncated(path, length):
    path.write_bytes(WHOLE[:length])
    error = refused(path)
    assert error.path == path
    assert error.problem.startswith("is not a whole JSON file (")
    assert error.remedy == RESTORE


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_conflict_markers(path, style):
    base = "||||||| base\n  x\n" if style == "diff3" else ""
    text = WHOLE.decode().replace(
        '  "values"', f'<<<<<<< HEAD\n  "values"{base}=======\n>>>>>>> theirs\n  "values"', 1
    )
    path.write_text(text, encoding="utf-8")
    error = refused(path)
    assert error.problem == "holds the conflict markers of an unfinished merge"
    assert error.remedy == (
        "Take one side (git checkout --ours or --theirs), or write it anew with "
        "pytest --nnx-update-snapshots"
    )


def test_windows_line_endings_and_other_spacing_are_fine(path):
    path.write_bytes(WHOLE.replace(b"\n", b"\r\n"))
    assert as_read(read(path)) == as_read(FULL)
    path.write_text(json.dumps(json.loads(WHOLE)), encoding="utf-8")
    assert as_read(read(path)) == as_read(FULL)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\0" * 100, "is not a whole JSON file"),
        (b"[" * 100_000, "is not a whole JSON file"),
        (b'{"a":' * 100_000, "is not a whole JSON file"),
        (b'{"format": ' + b"9" * 5000 + b"}", "is not a whole JSON file"),
        (b'{"format": NaN}', "is not a whole JSON file (NaN is not JSON)"),
        (b'{"format": -Infinity}', "is not a whole JSON file (-Infinity is not JSON)"),
        (b'{"format": 1, "format": 1}', "is not a whole JSON file (one name stands twice)"),
        (b'{"format": 1, "x": "\\ud800"}', "is not a whole JSON file"),
        (WHOLE + WHOLE, "is not a whole JSON file"),
        (b"\xef\xbb\xbf" + WHOLE, "is not a whole JSON file"),
        ('{"format": "é"}'.encode("latin-1"), "is not UTF-8 text"),
        (WHOLE.decode().encode("utf-16"), "is not UTF-8 text"),
        (b"[]", 'has no "format": it is not a golden of pytest-nnxrng'),
        (b"null", 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'"format"', 'has no "format": it is not a golden of pytest-nnxrng'),
        (b"{}", 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'{"format": "1"}', 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'{"format": true}', 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'{"format": 1.0}', 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'{"format": 0}', 'has no "format": it is not a golden of pytest-nnxrng'),
        (b'{"format": -1}', 'has no "format": it is not a golden of pytest-nnxrng'),
    ],
    ids=range(21),
)
def test_not_a_golden(path, content, problem):
    path.write_bytes(content)
    error = refused(path)
    assert error.path == path
    assert error.problem.startswith(problem)
    assert error.remedy == RESTORE


def test_a_newer_format_is_never_written_over(path):
    path.write_text('{"format": 2, "leaves": "of another kind"}', encoding="utf-8")
    error = refused(path, replaceable=False)
    assert error.problem == "has format 2; this pytest-nnxrng reads formats up to 1"
    assert error.remedy == "Upgrade it: pip install -U pytest-nnxrng"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize("which", ["manifest", "values"])
def test_an_lfs_pointer_is_never_written_over(path, which):
    file = path if which == "manifest" else path.parent / VALUES
    file.write_bytes(POINTER)
    error = refused(path, replaceable=False)
    assert error.path == file
    assert error.problem == "is a Git LFS pointer, not the file itself"
    assert error.remedy == "Fetch it: git lfs pull"


@pytest.mark.skipif(RUNNING_AS_ROOT, reason="root may read anything")
@pytest.mark.parametrize("which", ["manifest", "values"])
def test_an_unreadable_file_is_never_written_over(path, which):
    file = path if which == "manifest" else path.parent / VALUES
    file.chmod(0)
    try:
        error = refused(path, replaceable=False)
    finally:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert error.path == file
    assert error.problem == "cannot be read (Permission denied)"
    assert error.remedy == "Make it readable"


@pytest.mark.parametrize("which", ["manifest", "values"])
def test_no_permission(path, monkeypatch, which):
    file = path if which == "manifest" else path.parent / VALUES
    name = "read_bytes" if which == "manifest" else "open"

    def denied(self, *args, **more):
        if self == file:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **more)

    real = getattr(Path, name)
    monkeypatch.setattr(Path, name, denied)
    error = refused(path, replaceable=False)
    assert str(error) == f"{file}: cannot be read (Permission denied). Make it readable"


@pytest.mark.parametrize("which", ["manifest", "values"])
def test_a_folder_in_a_file_s_place_is_never_written_over(path, which):
    file = path if which == "manifest" else path.parent / VALUES
    file.unlink()
    file.mkdir()
    error = refused(path, replaceable=False)
    assert error.path == file
    assert error.problem == "cannot be read (Is a directory)"


# -- hand-edited: each field of a wrong type ---------------------------------------------

WRONG = [None, True, 7, -1, 0.5, "text", [], ["x"], {}, {"a": 1}, 10**400]
OPTIONAL = {
    "values": [None],
    "owner.parameters": [None, "text"],
    "leaf.digest": [None],
    "leaf.draws": [[], ["x"], None],
    "leaf.initializer": ["text"],
    "leaf.sketch": ["text"],
    "leaf.sharding": [[], ["x"], None],
    "leaf.shape": [[]],
}
TEXTS = ["owner.class", "owner.function", "owner.check", "owner.kind", "leaf.type"]
MAPS = {
    "environment": [{}, {"a": 1}],
    "streams": [{}],
    "aliases": [{}],
    "leaves": [{}],
    "owner": [],
    "leaf": [],
}
ALLOWED = OPTIONAL | MAPS | {name: ["text"] for name in TEXTS} | {"leaf.dtype": []}


def fits(field, value):
    return any(type(value) is type(ok) and value == ok for ok in ALLOWED[field])


def edited(field, value):
    data = json.loads(WHOLE)
    name, _, inner = field.partition(".")
    if name == "leaf":
        parent, key = data["leaves"], "layer.kernel"
    else:
        parent, key = data, name
    if inner:
        parent, key = parent[key], inner
    parent[key] = value
    return json.dumps(data)


EDITS = [(field, value) for field in ALLOWED for value in WRONG if not fits(field, value)]


@pytest.mark.parametrize(
    ("field", "value"), EDITS, ids=[f"{field}={value!r:.12}" for field, value in EDITS]
)
def test_a_field_of_a_wrong_type(path, field, value):
    path.write_text(edited(field, value), encoding="utf-8")
    error = refused(path)
    assert error.path in (path, path.parent / VALUES)
    if error.path == path:
        assert error.problem.startswith("has been edited or damaged: ")
        assert {"leaves": "lea"}.get(field, field.rpartition(".")[2]) in error.problem
    assert error.remedy == RESTORE


@pytest.mark.parametrize("field", [name for name in ALLOWED if name not in OPTIONAL])
def test_a_field_that_is_missing(path, field):
    data = json.loads(edited(field, "@gone@"))
    text = json.dumps(data, indent=1)
    lines = [line for line in text.splitlines() if '"@gone@"' not in line]
    text = "\n".join(lines).replace(",\n }", "\n }").replace(",\n  }", "\n  }")
    text = text.replace(",\n   }", "\n   }").replace(",\n}", "\n}")
    data = json.loads(text)
    path.write_text(json.dumps(data), encoding="utf-8")
    if field == "leaf":
        assert "layer.kernel" not in {made.path for made in read(path).leaves}
        return
    error = refused(path)
    assert field.rpartition(".")[2] in error.problem


@pytest.mark.parametrize(
    "shape", [[-1], [True], [1.0], ["2"], [None], [[2]], [2**63], [2, 3, "x"], {"0": 2}, "23"]
)
def test_a_shape_that_is_none(path, shape):
    path.write_text(edited("leaf.shape", shape), encoding="utf-8")
    assert 'leaf layer.kernel: "shape" is ' in refused(path).problem


@pytest.mark.parametrize("value", ["", "0" * 31, "0" * 33, "g" * 32, "0" * 32 + "\n", "A" * 32])
def test_a_digest_that_is_none(path, value):
    path.write_text(edited("leaf.digest", value), encoding="utf-8")
    assert 'leaf layer.kernel: "digest" is not 32 hex digits' in refused(path).problem


STREAM = {"impl": "fry", "key": [0, 1], "count": 0, "end": 0}


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (7, 'params has no "impl" or no "key"'),
        ([], 'params has no "impl" or no "key"'),
        ({}, 'params has no "impl" or no "key"'),
        ({**STREAM, "impl": None}, 'params has no "impl" or no "key"'),
        ({**STREAM, "key": 7}, 'params has no "impl" or no "key"'),
        ({**STREAM, "key": [0, 2**32]}, "the key or counts of params are not 32-bit numbers"),
        ({**STREAM, "key": [[0]]}, "the key or counts of params are not 32-bit numbers"),
        ({**STREAM, "count": -1}, "the key or counts of params are not 32-bit numbers"),
        ({**STREAM, "count": None}, "the key or counts of params are not 32-bit numbers"),
        ({**STREAM, "end": [True]}, "the key or counts of params are not 32-bit numbers"),
    ],
)
def test_a_stream_that_is_none(path, stream, problem):
    path.write_text(edited("streams", {"params": stream}), encoding="utf-8")
    assert refused(path).problem == f'has been edited or damaged: "streams": {problem}'


@pytest.mark.parametrize("value", [None, [], {}, [1]])
def test_an_environment_that_is_none(path, value):
    path.write_text(edited("environment", {"jax": value}), encoding="utf-8")
    assert refused(path).problem == (
        'has been edited or damaged: "environment" is not a map of texts and numbers'
    )


@pytest.mark.parametrize("depth", [100, 900, 100_000])
@pytest.mark.parametrize("field", ["leaf.sharding", "leaf.shape", "environment", "leaf", "values"])
def test_nested_without_end(path, field, depth):
    text = edited(field, "@deep@").replace('"@deep@"', "[" * depth + "]" * depth)
    path.write_text(text, encoding="utf-8")
    if (field, depth) == ("leaf.sharding", 100):
        return  # as deep as it likes, as long as it can be read
    try:
        read(path)
    except GoldenError:
        return
    assert field == "leaf.sharding"


@pytest.mark.parametrize(
    "name",
    [
        "../test_mlp.1.0123abcd.safetensors",
        "/etc/passwd",
        "..",
        "",
        ".other.1.0123abcd.safetensors",
        "c:other.1.0123abcd.safetensors",
        "test_mlp.1.0123abcd.pickle",
        "test_mlp.1.0123abcd.safetensors\n",
        "test_mlp.1.0123ABCD.safetensors",
        "test_mlp.1/0123abcd.safetensors",
    ],
)
def test_a_values_file_can_only_be_the_golden_s_own(path, name):
    path.write_text(edited("values", name), encoding="utf-8")
    problem = refused(path).problem
    assert problem.startswith('has been edited or damaged: "values" names ')
    assert problem.endswith(", not a file of this golden")


def test_a_stem_is_no_pattern(tmp_path):
    path = tmp_path / "test_a[1+].x.json"
    made = replace(golden(), values="test_a[1+].x.0123abcd.safetensors")
    path.write_text(dumps(made), encoding="utf-8")
    assert read(path).values == made.values


# -- every bad values file ---------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    return save(tmp_path, golden(leaf(KERNEL)))


def test_a_missing_values_file(small):
    (small.parent / VALUES).unlink()
    error = refused(small)
    assert error.path == small
    assert error.problem == f"its values file {VALUES} is missing"
    assert error.remedy == (
        f"Restore it (git checkout -- {VALUES}), or write it anew with "
        "pytest --nnx-update-snapshots"
    )


def test_a_broken_values_file_matters_only_when_it_is_read(small):
    (small.parent / VALUES).unlink()
    assert read(small).leaves[0].digest == digest(KERNEL)


STORED = 8 + len('{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}')


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, STORED - 1, STORED, STORED + 1])
def test_a_truncated_values_file(small, length):
    values = small.parent / VALUES
    values.write_bytes(values.read_bytes()[:length])
    error = refused(small)
    assert error.path == values
    assert error.problem.startswith("does not hold the values of x (")
    assert error.remedy == RESTORE


def safetensors(header, body=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def tensor(dtype="F32", shape=(2, 3), start=0, end=24):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


BODY = KERNEL.tobytes()
HOSTILE = {
    "garbage": b"\xff" * 200,
    "zeros": b"\0" * 200,
    "a pickle": b"\x80\x04\x95cposix\nsystem\n(S'touch /tmp/x'\ntR.",
    "a zip, as npz is": b"PK\x03\x04" + b"\0" * 100,
    "header longer than the file": safetensors({"x": tensor()}, BODY, 1 << 40),
    "header of all the memory there is": safetensors({"x": tensor()}, BODY, (1 << 64) - 1),
    "no JSON": safetensors(b"{'x'", BODY),
    "JSON nested without end": safetensors(b"[" * 50_000, BODY),
    "not UTF-8": safetensors(b'{"\xff": 1}', BODY),
    "another name": safetensors({"y": tensor()}, BODY),
    "no tensors": safetensors({}),
    "two of them overlap": safetensors({"x": tensor(), "y": tensor()}, BODY),
    "out of the file": safetensors({"x": tensor(end=1 << 40)}, BODY),
    "before the file": safetensors({"x": tensor(start=-24)}, BODY),
    "a shape of terabytes": safetensors({"x": tensor(shape=[1 << 40])}, BODY),
    "a shape that overflows": safetensors({"x": tensor(shape=[1 << 62, 1 << 62])}, BODY),
    "a shape of nothing that overflows": safetensors(
        {"x": tensor(shape=[0, 1 << 62, 1 << 62], end=0)}
    ),
    "too many axes": safetensors({"x": tensor(shape=[1] * 200, end=4)}, BODY[:4]),
    "an unknown dtype": safetensors({"x": tensor("F33")}, BODY),
    "an 8-bit float, which numpy has not": safetensors({"x": tensor("F8_E4M3", [24])}, BODY),
    "a 4-bit float": safetensors({"x": tensor("F4", [48])}, BODY),
    "metadata that is none": safetensors({"__metadata__": {"a": 1}, "x": tensor()}, BODY),
    "bytes left over": safetensors({"x": tensor()}, BODY + b"\0"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_values_file(small, case):
    values = small.parent / VALUES
    values.write_bytes(HOSTILE[case])
    tracemalloc.start()
    try:
        error = refused(small)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.path == values
    assert error.problem.startswith("does not hold the values of x (")
    assert error.remedy == RESTORE
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (tensor(shape=[6]), "float32[6]"),
        (tensor(shape=[3, 2]), "float32[3, 2]"),
        (tensor("I32"), "int32[2, 3]"),
        (tensor("U8", [24]), "uint8[24]"),
        (tensor("BF16", [12]), "bfloat16[12]"),
        (tensor("C64", [3]), "complex64[3]"),
    ],
)
def test_values_of_another_shape_or_dtype(small, header, holds):
    (small.parent / VALUES).write_bytes(safetensors({"x": header}, BODY))
    assert refused(small).problem == (f"holds {holds} for x, where the manifest says float32[2, 3]")


@pytest.mark.parametrize("bit", [0, 31, 191])
def test_values_that_the_manifest_was_not_made_with(small, bit):
    values = small.parent / VALUES
    data = bytearray(values.read_bytes())
    data[-24 + bit // 8] ^= 1 << bit % 8
    values.write_bytes(data)
    error = refused(small)
    assert error.problem == ("holds other values of x than those that the manifest was made with")
    assert error.path == values


def test_key_data_of_another_width(tmp_path):
    key = leaf(np.zeros((2,), np.uint32), "x", "key<fry>", ())
    path = save(tmp_path, golden(key))
    for shape in ([4], [1, 2], []):
        count = 4 * int(np.prod(shape))
        content = safetensors({"x": tensor("U32", shape, 0, count)}, b"\0" * count)
        (tmp_path / VALUES).write_bytes(content)
        assert refused(path).problem.startswith("holds ")


def test_a_manifest_that_claims_gigabytes_makes_none(small):
    data = json.loads(small.read_text(encoding="utf-8"))
    data["leaves"]["x"]["shape"] = [1 << 40, 1 << 20]
    small.write_text(json.dumps(data), encoding="utf-8")
    assert refused(small).problem == (
        "holds float32[2, 3] for x, where the manifest says float32[1099511627776, 1048576]"
    )


@pytest.mark.parametrize("dtype", ["object", "O", "float128", "S10", "M8[ns]", "str", ""])
def test_a_dtype_that_no_golden_holds(small, dtype):
    data = json.loads(small.read_text(encoding="utf-8"))
    data["leaves"]["x"]["dtype"] = dtype
    small.write_text(json.dumps(data), encoding="utf-8")
    assert refused(small).problem == f'has been edited or damaged: leaf x: "dtype" is {dtype!r}'


# -- what is read is bounded -------------------------------------------------------------------


@pytest.mark.parametrize("which", ["manifest", "values"])
@pytest.mark.parametrize("kind", ["an endless device", "a pipe"])
def test_what_is_no_file_is_not_opened(small, which, kind):
    path = small if which == "manifest" else small.parent / VALUES
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    error = refused(small, replaceable=False)
    assert error.path == path
    assert error.problem == "cannot be read (it is no regular file)"
    assert read_owner(path) is None


def test_a_manifest_of_gigabytes_is_not_read(small):
    with small.open("r+b") as file:
        file.truncate(3 << 30)
    assert refused(small).problem == "has 3,221,225,472 bytes, which no manifest has"


def test_a_shape_of_thousands_of_dimensions(path):
    path.write_text(edited("leaf.shape", [1] * 3000), encoding="utf-8")
    problem = refused(path).problem
    assert '"shape" is [1, 1, ' in problem
    assert len(problem) < 250
