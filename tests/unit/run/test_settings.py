"""Settings as text -> settings, or a message that says how to mend it."""

import jax
import pytest

from pytest_nnxrng.golden.naming import FOLDER
from pytest_nnxrng.golden.policy import Mode
from pytest_nnxrng.nnx.rngs import OFFSETS
from pytest_nnxrng.run.settings import (
    MAX_SEED,
    STORE_LIMIT,
    BadSetting,
    Settings,
    first,
    folder_name,
    seconds,
    seed,
    size,
    tolerance,
    tolerances,
)


def short(value):
    return repr(value)[:20]


def message(call, *args):
    with pytest.raises(BadSetting) as caught:
        call(*args)
    return str(caught.value)


def test_defaults():
    assert Settings() == Settings(
        seed=0, mode=Mode(False, False), prune=False, devices=(), folder=FOLDER,
        store_limit=STORE_LIMIT, weights_tol={}, outputs_tol={}, strict=False,
    )  # fmt: skip


def test_settings_cannot_be_changed_later():
    with pytest.raises(AttributeError):
        Settings().seed = 1


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((1, 2), 1),
        ((None, 2), 2),
        (("", 2), 2),
        ((0, 2), 0),
        ((False, True), False),
        ((None, "", 0.0), 0.0),
        ((None, ""), None),
        ((), None),
    ],
)
def test_first_is_the_first_that_is_set(values, found):
    got = first(*values)
    assert (got, type(got)) == (found, type(found))


@pytest.mark.parametrize(("value", "number"), [(0, 0), ("7", 7), (" 7 ", 7), (MAX_SEED, MAX_SEED)])
def test_seeds(value, number):
    assert seed(value, "--nnx-seed") == number


@pytest.mark.parametrize(
    "value", ["", "x", "1.5", 1.0, True, None, "0x10", "9" * 5000, b"1"], ids=short
)
def test_what_is_no_seed(value):
    assert message(seed, value, "--nnx-seed") == (
        f"--nnx-seed: {value!r} is not a seed. A seed is an integer: 7"
    )


@pytest.mark.parametrize("value", [-1, "-1", MAX_SEED + 1])
def test_seeds_out_of_range(value):
    assert message(seed, value, "nnx_seed") == (
        f"nnx_seed: the seed {int(value)} is not between 0 and {MAX_SEED}"
    )


@pytest.mark.parametrize("x64", [False, True])
def test_jax_takes_every_stream_of_the_largest_seed(x64):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", x64)
    try:
        keys = [jax.random.key(MAX_SEED + offset) for offset in OFFSETS.values()]
    finally:
        jax.config.update("jax_enable_x64", before)
    assert len({jax.random.key_data(key).tolist().__repr__() for key in keys}) == len(OFFSETS)


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0.0), ("1e-5", 1e-5), (1e-5, 1e-5), (2, 2.0), (" 3 ", 3.0)]
)
def test_tolerance(value, number):
    assert tolerance(value, "x") == number


@pytest.mark.parametrize("value", ["", "x", None, True, [1], 10**400], ids=short)
def test_what_is_no_number(value):
    assert message(tolerance, value, "x") == (
        f"x: {value!r} is not a tolerance. It is a number: 1e-5"
    )


@pytest.mark.parametrize("value", [-1e-5, "-1", float("nan"), "inf", float("inf"), "1e999"])
def test_tolerances_out_of_range(value):
    assert message(tolerance, value, "x") == (
        f"x: {value!r} is not a tolerance. It is 0 or more, and finite"
    )


def test_tolerances_of_dtypes():
    lines = ["float32 = 2e-6", "bfloat16=1e-2", "  float16  =  0 ", "float64 = 1"]
    assert tolerances(lines, "nnx_weights_tol") == {
        "float32": 2e-6, "bfloat16": 1e-2, "float16": 0.0, "float64": 1.0,
    }  # fmt: skip
    assert tolerances([], "x") == {}
    assert tolerances(["float32 = 1", "float32 = 2"], "x") == {"float32": 2.0}


@pytest.mark.parametrize("line", ["float32", "", "int8 = 1", "float31 = 1", "1e-5", "= 1"])
def test_lines_of_another_form(line):
    assert message(tolerances, [line], "nnx_weights_tol") == (
        f"nnx_weights_tol: {line!r} is not of the form 'float32 = 1e-5' with one of "
        "float64, float32, bfloat16, float16"
    )


def test_a_line_s_number_is_named_with_its_dtype():
    assert message(tolerances, ["float32 = x"], "nnx_outputs_tol") == (
        "nnx_outputs_tol: float32: 'x' is not a tolerance. It is a number: 1e-5"
    )
    assert message(tolerances, ["float32 = -1"], "nnx_outputs_tol") == (
        "nnx_outputs_tol: float32: '-1' is not a tolerance. It is 0 or more, and finite"
    )


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("512", 512),
        ("7 B", 7),
        ("64 KiB", 65_536),
        (" 1 MiB ", 1 << 20),
        ("2  GiB", 2 << 30),
    ],
)
def test_sizes(value, number):
    assert size(value, "x") == number


@pytest.mark.parametrize(("value", "number"), [("300", 300), ("0.5", 0.5), ("1e3", 1000)])
def test_seconds(value, number):
    assert seconds(value, "x") == number


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "inf", "nan", "5 min"])
def test_what_is_no_time(value):
    with pytest.raises(BadSetting, match=r"^nnx_process_timeout: .* A time is in seconds: 300$"):
        seconds(value, "nnx_process_timeout")


@pytest.mark.parametrize(
    "value",
    ["", "x", "-1", "1.5 MiB", "1MB", "1 MB", "1 mib", "²", "1 MiB MiB", "9" * 5000],
    ids=short,
)
def test_what_is_no_size(value):
    assert message(size, value, "nnx_snapshot_store_limit") == (
        f"nnx_snapshot_store_limit: {value!r} is not a size. Sizes are written 512, 64 KiB, 1 MiB"
    )


@pytest.mark.parametrize("value", ["goldens", "__nnx_snapshots__", ".goldens", "a b"])
def test_folder_names(value):
    assert folder_name(value, "x") == value


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/a", "a/", "a\\b", "../a"])
def test_what_is_no_folder_s_name(value):
    assert message(folder_name, value, "nnx_snapshot_dir") == (
        f"nnx_snapshot_dir: {value!r} is not the name of a folder, such as {FOLDER}"
    )
