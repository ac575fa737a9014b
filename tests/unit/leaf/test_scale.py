"""The scale S: what masks and single elements far above the rest do to it."""

import math

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, WEIGHTS, Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.scale import Scale, scale

F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
TABLE = Tolerance(OUTPUTS)
LEAST = {kind: float(ml_dtypes.finfo(kind).min) for kind in (F32, F16, BF16)}
MASKS = [
    *((F32, mask) for mask in (-1e9, 1e9, -1e4, -1e30, LEAST[F32], LEAST[F32] / 2)),
    *((F16, mask) for mask in (-1e4, LEAST[F16], LEAST[F16] / 2)),
    *((BF16, mask) for mask in (-1e4, -1e9, LEAST[BF16], 0.7 * LEAST[BF16])),
]


def logits(kind=F32, mask=None, size=400):
    values = 10 * np.random.default_rng(0).standard_normal(size)
    if mask is not None:
        values[::3] = mask
    return values.astype(kind)


def leaf(array):
    return Leaf(
        "x", "Array", array.shape, array.dtype.name, digest=digest(array), read=lambda: array
    )


def matches(a, b, tolerance=TABLE):
    return compare((leaf(a),), (leaf(b),), tolerance).matches


@pytest.mark.parametrize(("kind", "mask"), MASKS)
def test_a_mask_is_not_the_scale_of_the_rest(kind, mask):
    a, share = logits(kind, mask), OUTPUTS[kind.name]
    rest = np.abs(a[a != a[0]].astype(float)).max()
    made = scale(a)
    assert (made.rest, made.largest) == (rest, abs(float(a[0])))
    moved, rounded = a.copy(), a.copy()
    moved[1::3] = (moved[1::3].astype(float) + 3 * share * rest).astype(kind)
    assert not matches(a, moved)
    rounded[1::3] = (rounded[1::3].astype(float) + 0.4 * share * rest).astype(kind)
    assert matches(a, rounded)


@pytest.mark.parametrize(("kind", "mask"), MASKS)
def test_a_mask_is_compared_by_itself(kind, mask):
    a, share = logits(kind, mask), OUTPUTS[kind.name]
    for factor, expected in ((1 - 3 * share, False), (1 - 0.4 * share, True), (1e-3, False)):
        b = a.copy()
        b[3] = float(b[3]) * factor
        assert matches(a, b) is expected
    swapped = a.copy()
    swapped[[3, 4]] = a[[4, 3]]
    assert not matches(a, swapped)


def test_the_worst_element_is_told_on_its_own_scale():
    a = logits(mask=-1e9)
    b = a.copy()
    b[0] += 64  # one ULP, far less than it may
    b[1] += 1
    (found,) = compare((leaf(a),), (leaf(b),), Tolerance(OUTPUTS)).differences
    assert found.numbers.index == (1,)
    assert found.numbers.worst == pytest.approx(1)
    assert found.numbers.scale == scale(a).rest
    assert found.numbers.allowed == pytest.approx(1e-5 * scale(a).rest)
    assert not found.numbers.is_rounding
    assert found.numbers.aside


def test_masks_that_were_added_to_the_logits_and_several_masks():
    a = logits()
    added = np.where(np.arange(a.size) % 3, a, a - np.float32(1e4))
    assert scale(added).rest == np.abs(a[np.arange(a.size) % 3 > 0]).max()
    several = logits(mask=-1e9)
    several[6], several[9] = LEAST[F32], 1e20
    assert scale(several).rest == scale(logits(mask=-1e9)).rest
    assert [s for _, s in scale(several).aside] == [1e9, np.float32(1e20), -LEAST[F32]]


def test_single_elements_far_above_the_rest_have_a_scale_of_their_own():
    a = logits()
    a[[7, 8]] = 3e5, 4e7
    assert scale(a).rest < 100
    assert scale(a).largest == 4e7


def test_a_mask_beside_zeros_alone():
    a = np.where(np.arange(9) % 2, 0, -1e9).astype(np.float32)
    assert scale(a).rest == 1
    b = a.copy()
    b[1] = 5
    assert not matches(a, b)


@pytest.mark.parametrize(
    "values",
    [
        [1e-8, 1.0],  # a gradient that is zero but for rounding, beside one that is not
        [1.0, 1.0, 1e-7, 1e-12, 0.0],  # a saturated softmax
        [0.0, 300.0],
        [-1e9, -1e9],
        [LEAST[F32]],
        list(np.random.default_rng(1).standard_normal(300) * 1e5),
        list(np.exp(np.random.default_rng(2).standard_normal(300) * 4) * 1e3),
        [*np.linspace(1, 1000, 50), *np.linspace(1e5, 1e8, 50)],  # two halves, both broad
        [0.0, math.nan, math.inf],
        [],
    ],
)
def test_usual_leaves_have_one_scale(values):
    a = np.array(values, np.float32)
    finite = a[np.isfinite(a)]
    assert scale(a) == Scale(float(np.abs(finite).max(initial=0)))


def test_wide_float16_has_one_scale():
    a = np.clip(np.random.default_rng(3).standard_normal(1000) * 2e4, -65504, 65504)
    assert scale(a.astype(np.float16)).aside == ()


def test_complex_numbers_and_broadcast_ones():
    a = logits(mask=-1e9)
    assert scale((a + 1j * a).astype(np.complex64)) == scale(a)
    assert scale(np.broadcast_to(np.float32(-1e9), (1 << 40,))) == Scale(1e9)


# -- floats of 8 bits and fewer ----------------------------------------------------------

NARROW = [
    *("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
]


def grid(name):
    """All finite numbers of a format, in order."""
    kind = np.dtype(getattr(ml_dtypes, name))
    bits = np.arange(1 << ml_dtypes.finfo(kind).bits, dtype=np.uint8).view(kind)
    numbers = bits.astype(float)
    return np.unique(numbers[np.isfinite(numbers)]), kind


@pytest.mark.parametrize("table", [WEIGHTS, OUTPUTS])
@pytest.mark.parametrize("name", NARROW)
def test_one_step_of_an_elements_own_grid_is_rounding(name, table):
    numbers, kind = grid(name)
    a = numbers.astype(kind)
    up, down = a.copy(), a.copy()
    up[:-1], down[1:] = a[1:], a[:-1]
    assert matches(a, up, Tolerance(table))
    assert matches(a, down, Tolerance(table))
    for at in range(2, len(a)):
        far = a.copy()
        far[at] = a[at - 2]
        assert not matches(a, far, Tolerance(table))
        near = a.copy()
        near[at - 2] = a[at]
        assert not matches(a, near, Tolerance(table))


def test_scales_without_a_mantissa_are_equal_or_not():
    a = np.array([1, 2, 4, 8]).astype(ml_dtypes.float8_e8m0fnu)
    b = np.array([8, 0.001, 0.001, 8]).astype(ml_dtypes.float8_e8m0fnu)
    c = np.array([2, 4, 8, 16]).astype(ml_dtypes.float8_e8m0fnu)
    assert not matches(a, b)
    assert not matches(a, c)
    assert matches(a, a.copy())


def test_zeros_in_place_of_elements_are_no_rounding():
    a = np.random.default_rng(4).standard_normal(1000).astype(ml_dtypes.float8_e5m2)
    b = np.where(np.arange(1000) % 5 < 2, 0, a.astype(float)).astype(ml_dtypes.float8_e5m2)
    assert not matches(a, b)


def test_what_the_user_allows_holds_for_them_too():
    a = np.array([1.0, 8.0]).astype(ml_dtypes.float8_e4m3fn)
    b = np.array([2.0, 8.0]).astype(ml_dtypes.float8_e4m3fn)
    assert not matches(a, b)
    assert matches(a, b, Tolerance({"float8_e4m3fn": 0.125}))
    assert matches(a, b, Tolerance(OUTPUTS, atol=1.0))
    step = np.array([1.0, 9.0]).astype(ml_dtypes.float8_e4m3fn)
    assert matches(a, step)
    assert not matches(a, step, Tolerance({"*": 1e-5}))
    assert not matches(a, step, Tolerance(OUTPUTS, exact=True))
