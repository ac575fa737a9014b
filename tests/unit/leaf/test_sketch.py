"""The digest and the sketch of a leaf: what they hold, and what `judge` can and cannot tell."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import xxhash
from numpy.typing import NDArray

from pytest_nnxrng.compare.estimate import Verdict, changed_parts, difference, judge
from pytest_nnxrng.leaf.cells import part_size
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.form import Form
from pytest_nnxrng.leaf.sketch import Sketch, sketch

TOL = 1e-5


def _of(array: NDArray[Any]) -> Sketch:
    result = sketch(array)
    assert result is not None
    return result


def _normal(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(n, dtype=np.float32)


def _judge(a: NDArray[Any], b: NDArray[Any], tol: float = TOL) -> Verdict:
    first = _of(a)
    return judge(first, _of(b), tol * first.scale)


@pytest.fixture(scope="module")
def large() -> NDArray[np.float32]:
    return _normal(25_000_000)


def test_the_digest_is_xxh3_128_of_the_bytes() -> None:
    array = _normal(300_000).reshape(3, -1)
    assert digest(array) == xxhash.xxh3_128_hexdigest(array.tobytes())


DTYPES = [
    *("bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7, 5, 3)])
def test_every_dtype_and_layout_has_one_digest_and_one_sketch(
    dtype: Any, shape: tuple[int, ...]
) -> None:
    array = (np.arange(math.prod(shape)) % 2).reshape(shape).astype(dtype)
    expected = (xxhash.xxh3_128_hexdigest(array.tobytes()), sketch(array))
    for layout in (array, np.asfortranarray(array)):
        assert (digest(layout), sketch(layout)) == expected
    if array.dtype.isbuiltin == 1:
        swapped = array.astype(array.dtype.newbyteorder(">"))
        assert (digest(swapped), sketch(swapped)) == expected


def test_a_large_transposed_array_is_taken_in_c_order() -> None:
    array = _normal(1_500_000).reshape(3, 1000, 500)
    view = array.transpose(2, 0, 1)
    for made in (digest, sketch):
        assert made(view) == made(np.ascontiguousarray(view))
        assert made(view) != made(array)


def test_the_spare_bits_of_a_narrow_dtype_do_not_count() -> None:
    one, same = (np.array([b], np.uint8).view(ml_dtypes.int4) for b in (0x0F, 0xFF))
    assert one[0] == same[0] == -1
    assert digest(one) == digest(same)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.zeros(2, np.longdouble),
        np.zeros(2, [("a", "f4")]),
    ],
    ids=["object", "longdouble", "structure"],
)
def test_bytes_that_do_not_travel_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(TypeError, match="no portable bytes to digest"):
        digest(array)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.uint8, ml_dtypes.int4])
def test_exact_dtypes_have_no_sketch(dtype: Any) -> None:
    assert sketch(np.ones(10, dtype)) is None


def test_float64_sums_that_overflow_are_shifted() -> None:
    a = np.linspace(-1, 1, 100_000) * 1.7e308
    assert sketch(a, form=Form(early=True)) is None
    made = _of(a)
    assert (made.shift, made.scale) == (64, 1.7e308)
    assert Sketch.from_json(json.loads(json.dumps(made.to_json())), made.kind) == made
    b = a.copy()
    b[50_000] = 1e303
    ours = sketch(b, form=made.form)
    assert ours is not None
    assert judge(made, ours, math.ldexp(2e303, -64)).kind == "within"
    assert judge(made, ours, math.ldexp(1e302, -64)).kind == "changed"


def test_a_known_sketch_stays_what_it_is() -> None:
    # Goldens on disk hold these numbers: a change here is a change of the format.
    array = np.arange(2_000_000, dtype=np.float32)
    early = sketch(array, form=Form(early=True))
    assert early is not None
    made = [json.dumps(kept.to_json()) for kept in (early, _of(array))]
    assert [xxhash.xxh3_64_hexdigest(text.encode()) for text in made] == [
        "9c090afd20757f21",
        "4b3ad4810a28ab28",
    ]


def test_a_sketch_is_short_and_comes_back_from_json() -> None:
    array = _normal(100_000)
    array[[3, 99_999]] = np.nan, -np.inf
    for made in (_of(array), _of(array.astype(np.float64)), _of(np.zeros(0, np.float32))):
        text = json.dumps(made.to_json())
        assert len(text) <= (960 if made.kind == "float64" else 640)
        assert Sketch.from_json(json.loads(text), made.kind) == made


INFINITE = base64.b85encode(np.full(84, np.inf).view(np.uint8).tobytes()).decode()
GOOD: Any = _of(_normal(100)).to_json()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is an object"),
        ({**GOOD, "more": 1}, "is an object"),
        ({**GOOD, "size": -1}, "counts its elements"),
        ({**GOOD, "size": True}, "counts its elements"),
        ({**GOOD, "size": 10**400}, "counts its elements"),
        ({**GOOD, "size": 1e3}, "counts its elements"),
        ({"size": 1}, "is a string of"),
        ({**GOOD, "data": 5}, "is a string of"),
        ({**GOOD, "data": GOOD["data"][:-1]}, "is a string of"),
        ({**GOOD, "data": "0" * 10**6}, "is a string of"),
        ({**GOOD, "data": '"' * 525}, "bad base85"),
        ({**GOOD, "data": "é" * 525}, "ASCII"),
        ({**GOOD, "data": "~" * 525}, "base85 overflow"),
        ({**GOOD, "data": INFINITE}, "numbers are finite"),
        ({**GOOD, "nonfinite": 3}, "a count and a digest"),
        ({**GOOD, "nonfinite": [0, ""]}, "counts its elements"),
        ({**GOOD, "nonfinite": [3, "x"]}, "16 hex digits"),
        ({**GOOD, "nonfinite": [3, ["0" * 16]]}, "16 hex digits"),
        ({**GOOD, "nonfinite": [101, "0" * 16]}, "more non-finite elements"),
        (replace(_of(_normal(9)), lowest=(9.0,) * 12).to_json(), "minimum exceeds"),
    ],
)
def test_a_hostile_sketch_is_a_value_error(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sketch.from_json(value, "float32")


def test_one_ulp_on_all_of_25_million_elements_is_consistent_with_rounding(
    large: NDArray[np.float32],
) -> None:
    moved = np.nextafter(large, np.float32(np.inf))
    seen = _judge(large, moved)
    assert (seen.kind, seen.reason, seen.where) == ("consistent", "", ())
    assert seen.limit < 5e-4 * _of(large).scale
    assert seen.may_exceed < 1_000


def test_one_element_among_25_million_stands_out_of_one_ulp_on_all(
    large: NDArray[np.float32],
) -> None:
    moved = np.nextafter(large, np.float32(np.inf))
    at, scale = 8_000_000, _of(large).scale
    moved[at] = large[at] + 1e-2 * scale
    seen = _judge(large, moved)
    assert (seen.kind, seen.reason) == ("changed", "peak")
    assert len(seen.where) == 1
    assert seen.where[0][0] <= at < seen.where[0][1] <= seen.where[0][0] + large.size // 11
    moved[at] = large[at] + 1e-3 * scale
    assert _judge(large, moved).kind == "changed"


def test_a_scale_of_one_part_in_ten_thousand_is_found_and_measured() -> None:
    a = _normal(1_000_000)
    b = a * np.float32(1.0001)
    assert (_judge(a, b).kind, _judge(a, b).reason) == ("changed", "extremes")
    seen = difference(_of(a), _of(b))
    assert seen.ratio == pytest.approx(1.0001, abs=1e-7)
    assert seen.residual < 1e-6


def test_a_scale_changed_in_one_layer_of_a_stack_is_found() -> None:
    a = _normal(24_000_000)
    b = a.copy()
    b[5_000_000:6_000_000] *= np.float32(1.0001)
    a[5_500_000] = b[5_500_000] = 0
    a[5_600_000], b[5_600_000] = 20, 20 * 1.0001
    a[0] = b[0] = 20
    seen = _judge(a, b)
    assert (seen.kind, seen.reason) == ("changed", "extremes")
    assert all(start < 6_000_000 and stop > 4_000_000 for start, stop in seen.where)


def test_unrelated_values_are_found_by_their_energy() -> None:
    a, b = (np.tanh(_normal(1_000_000, seed) * 9) for seed in (0, 1))
    seen = _judge(a, b, tol=0.1)
    assert (seen.kind, seen.reason) == ("changed", "energy")
    assert difference(_of(a), _of(b)).residual == pytest.approx(1, abs=0.1)


def test_a_few_changes_do_not_hide_each_other() -> None:
    a = _normal(1_000_000)
    b = a.copy()
    b[np.arange(4) * 200_000 + 7] += 0.01 * (np.arange(4) + 1)
    assert (_judge(a, b).kind, _judge(a, b).reason) == ("changed", "peak")


def test_small_rounding_of_a_small_leaf_is_proven() -> None:
    a = _normal(70_000)
    seen = _judge(a, np.where(np.arange(a.size) % 50 == 0, np.nextafter(a, np.float32(9)), a))
    assert (seen.kind, seen.may_exceed) == ("within", 0)
    assert seen.limit <= TOL * _of(a).scale


def test_what_cannot_be_told_is_not_claimed() -> None:
    # 300 elements beyond the tolerance, too many for peaks and too little energy, among others that
    # all round: said, not hidden.
    a = _normal(10_000_000)
    b = np.nextafter(a, np.float32(9))
    b[:: a.size // 300] += 20 * TOL * _of(a).scale
    seen = _judge(a, b)
    assert seen.kind == "consistent"
    assert 300 <= seen.may_exceed < 1_000_000
    assert seen.limit >= 20 * TOL * _of(a).scale


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_elements_agree_in_kind_and_place(value: float) -> None:
    a, b, c, d = (_normal(50_000) for _ in range(4))
    a[40_000] = b[40_000] = c[40_001] = value
    d[40_000] = np.inf if np.isnan(value) else -value
    assert _judge(a, b).kind == "within"
    assert [_judge(a, x).reason for x in (c, d, _normal(50_000))] == ["nonfinite"] * 3


def test_nonfinite_elements_agree_in_their_block() -> None:
    a, b = (np.zeros(100_000, np.float32) for _ in range(2))
    a[5] = b[5 + 32 * 1021] = np.nan
    assert _judge(a, b).reason == "nonfinite"


def test_nans_are_all_alike() -> None:
    a, b = (np.array([1, bits, 1], np.uint32).view(np.float32) for bits in (0x7FC00000, 0xFFC01234))
    assert _of(a) == _of(b)
    assert digest(a) != digest(b)


NARROW = [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


@pytest.mark.parametrize("size", [70_000, 3_000_000])
@pytest.mark.parametrize("dtype", NARROW)
def test_rows_of_narrow_leaves_are_added_up_well_enough(dtype: Any, size: int) -> None:
    array = _normal(size).astype(dtype)
    # Of float8 it is steps that are summed, but for early goldens.
    form = Form(early=array.dtype.itemsize == 1)
    narrow = sketch(array, form=form)
    assert narrow is not None
    _agree(narrow, _of(array.astype(np.float64)))


@pytest.mark.parametrize("place", [0, 1_500_000, 2_999_999])
def test_the_largest_bfloat16_do_not_overflow(place: int) -> None:
    most = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    array = np.full(3_000_000, most).astype(ml_dtypes.bfloat16)
    _agree(_of(array), _of(array.astype(np.float64)))
    few = _normal(3_000_000).astype(ml_dtypes.bfloat16)
    few[place : place + 5000] = most
    _agree(_of(few), _of(few.astype(np.float64)))


def _agree(narrow: Sketch, wide: Sketch) -> None:
    """To a few of the 24 bits of float32, of which the extremes need none."""
    norm = math.hypot(*wide.sums)
    for ours, theirs in ((narrow.sums, wide.sums), (narrow.segments, wide.segments)):
        assert np.abs(np.subtract(ours, theirs)).max() < 1e-6 * norm
    assert (narrow.lowest, narrow.highest) == (wide.lowest, wide.highest)


def test_what_rounds_in_bfloat16_is_consistent_and_what_moves_is_not() -> None:
    array = _normal(3_000_000).astype(ml_dtypes.bfloat16)
    bits = array.view(np.uint16)
    rounded = np.where(np.arange(bits.size) % 1000 == 0, bits ^ 1, bits).view(ml_dtypes.bfloat16)
    assert _judge(array, rounded, 2**-6).kind == "consistent"
    moved = rounded.copy()
    moved[1_234_567] = 4.5  # less than the greatest: no extreme tells
    assert _judge(array, moved, 2**-6).reason == "peak"


def test_negative_zero_is_no_difference() -> None:
    zeros = np.zeros(40_000, np.float32)
    mixed = np.where(np.arange(zeros.size) % 2, zeros, -zeros)
    texts = {json.dumps(_of(x).to_json()) for x in (zeros, -zeros, mixed, mixed[::-1])}
    assert len(texts) == 1
    assert judge(_of(zeros), _of(-zeros), 0.0).kind == "within"


@pytest.mark.parametrize("allowed", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_finite_number(allowed: float) -> None:
    made = _of(_normal(10))
    with pytest.raises(ValueError, match="allowed must be a finite number"):
        judge(made, made, allowed)


def test_different_sizes_do_not_compare() -> None:
    with pytest.raises(ValueError, match="sketches of 10 and 11 elements"):
        difference(_of(_normal(10)), _of(_normal(11)))


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_extreme_scales_neither_overflow_nor_vanish(factor: float) -> None:
    a = _normal(2_000).astype(np.float64) * factor
    b = a.copy()
    b[7] += 10 * _of(a).scale
    assert _judge(a, a).kind == "within"
    assert _judge(a, b).kind == "changed"
    assert difference(_of(a), _of(b)).norm == pytest.approx(10 * _of(a).scale, rel=1e-6)


def test_the_norm_is_unbiased_with_the_stated_error() -> None:
    zero = _of(np.zeros(20_000, np.float32))
    rng, relative = np.random.default_rng(5), []
    for _ in range(300):
        noise = rng.standard_normal(20_000, dtype=np.float32)
        seen = difference(zero, _of(noise))
        relative.append(seen.norm / float(np.linalg.norm(noise)))
    assert np.mean(relative) == pytest.approx(1, abs=0.03)
    assert np.std(relative) == pytest.approx(seen.norm_error / seen.norm, rel=0.2)


@pytest.mark.parametrize("density", [1e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1.0])
def test_no_difference_within_tolerance_is_called_a_change(density: float) -> None:
    # The worst that is allowed: exactly +-t wherever it differs. From 1 element to all of them.
    zero = _of(np.zeros(70_000, np.float32))
    rng = np.random.default_rng(int(density * 1e6))
    for _ in range(60):
        noise = rng.choice(np.array([-1.0, 1.0]), 70_000) * (rng.random(70_000) < density)
        assert judge(zero, _of(noise.astype(np.float32)), 1.0).kind != "changed"


def test_the_peak_rule_keeps_its_false_alarm_rate_for_gaussian_sums() -> None:
    # The bound of `judge`'s text, with 8 sigma replaced by rarer-to-commoner cuts, must hold.
    sums = np.abs(np.random.default_rng(1).standard_normal((200_000, 3, 16)))
    peak = sums.max(axis=2).min(axis=1) / (np.median(sums.reshape(-1, 48), axis=1) / 0.6745)
    for cut, bound in ((5.0, 8.3e-6), (8.0, 1.5e-9)):
        alarms = int((peak > cut).sum())
        assert alarms <= 200_000 * bound + 5 * math.sqrt(200_000 * bound) + 1
        assert _gaussian_bound(cut) == pytest.approx(bound, rel=0.1)
    assert (peak > 3.0).mean() > 1e-3  # the statistic is alive: a low cut does raise alarms


def _gaussian_bound(cut: float) -> float:
    """E[min(1, 8 Q(cut m / 0.6745) / Q(m))^3] over the 24th of 48 |gauss|."""
    m = np.linspace(1e-3, 2, 2_000)
    tail = np.array([math.erfc(x / math.sqrt(2)) for x in m])
    far = np.array([math.erfc(cut * x / 0.6745 / math.sqrt(2)) for x in m])
    at_least = sum(math.comb(48, k) * (1 - tail) ** k * tail ** (48 - k) for k in range(24, 49))
    weight = np.diff(at_least, prepend=0)
    return float((weight * np.minimum(1, 8 * far / tail) ** 3).sum())


def test_a_factor_is_told_and_a_few_elements_are_none() -> None:
    a = _normal(1_000_000)
    edited = a.copy()
    edited[500_000] += 0.5
    assert difference(_of(a), _of(a * np.float32(1.25))).factor == pytest.approx(1.25)
    assert difference(_of(a), _of(edited)).residual < 1e-3
    assert difference(_of(a), _of(edited)).factor is None
    assert difference(_of(a), _of(a)).factor is None
    assert difference(_of(a), _of(_normal(1_000_000)[::-1])).factor is None


# -- what changed, among what is equal -------------------------------------------------


@pytest.mark.parametrize("n", [70_000, 3_000_000])
@pytest.mark.parametrize("k", [20, 50, 300, 3_000])
def test_elements_that_moved_do_not_hide_among_equal_ones(n: int, k: int) -> None:
    rng = np.random.default_rng(n + k)
    a = _normal(n)
    a[0] = 9  # so that no other is an extreme
    b = a.copy()
    b[rng.choice(np.arange(1, n), k, replace=False)] += 30 * TOL * 9 * rng.choice([-1, 1], k)
    assert _judge(a, b).kind == "changed"
    if n > 1_000_000 and k <= 300:
        held, ours = (sketch(x, form=Form(early=True)) for x in (a, b))
        assert held is not None
        assert ours is not None
        assert judge(held, ours, TOL * 9).kind == "consistent"


@pytest.mark.parametrize("n", [70_000, 3_000_000])
@pytest.mark.parametrize("k", [1, 30, 1_000, 30_000])
def test_the_parts_that_changed_are_no_more_than_is_told(n: int, k: int) -> None:
    a = _normal(n)
    b = a.copy()
    b[np.random.default_rng(k).choice(n, k, replace=False)] += 1
    parts = changed_parts(_of(a), _of(b))
    assert parts >= k - k * k * part_size(n) / n
    assert k == 30_000 or parts <= 60 + 5 * k


def test_all_parts_may_have_changed_where_all_did() -> None:
    a = _normal(3_000_000)
    assert changed_parts(_of(a), _of(a + 1)) == math.inf
    assert changed_parts(_of(a), _of(a)) < 60
    early = sketch(a, form=Form(early=True))
    assert early is not None
    assert changed_parts(early, early) == math.inf


@pytest.mark.parametrize("start", [0, 400_000])
@pytest.mark.parametrize("size", [16, 1_000, 50_000])
def test_a_block_that_moved_within_the_tolerance_is_no_change(start: int, size: int) -> None:
    # The worst for the count of parts: whole parts that moved, and no others.
    zero, rng = _of(np.zeros(3_000_000, np.float32)), np.random.default_rng(size)
    for _ in range(20):
        d = np.zeros(3_000_000, np.float32)
        d[start : start + size] = rng.choice([-1.0, 1.0], size)
        assert judge(zero, _of(d), 1.0).kind != "changed"


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_of_float8_a_step_is_one_wherever_it_is(dtype: Any) -> None:
    a = _normal(300_000).astype(dtype)
    up = (a.view(np.uint8) + (np.abs(a.astype(np.float32)) < 2)).view(dtype)
    made = _of(a)
    assert made.by_steps
    assert made.scale == float(np.abs(a.astype(np.float32)).max())
    assert judge(made, _of(up), 1.0).kind == "consistent"
    zeroed = np.where(np.arange(a.size) % 5 < 2, 0, a.astype(np.float32)).astype(dtype)
    assert judge(made, _of(zeroed), 1.0).kind == "changed"


# -- what is set aside -------------------------------------------------------------------


def _masked(mask: float, dtype: Any = np.float32, n: int = 300_000) -> NDArray[Any]:
    values = 10 * _normal(n)
    values[::3] = mask
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("mask", "dtype"),
    [(-1e9, np.float32), (-3.4e38, np.float32), (-1e4, np.float16), (-3e38, ml_dtypes.bfloat16)],
)
def test_a_mask_is_set_aside(mask: float, dtype: Any) -> None:
    a = _masked(mask, dtype)
    made = _of(a)
    rest = float(np.abs(a[a != a[0]].astype(np.float64)).max())
    assert made.sizes.rest == rest
    (group,) = made.aside
    assert (group.count, group.lowest, group.inner) == (100_000, abs(float(a[0])), None)
    assert Sketch.from_json(json.loads(json.dumps(made.to_json())), made.kind) == made
    b = a.copy()
    b[100_000] = 0
    ours = sketch(b, form=made.form)
    assert ours is not None
    assert judge(made, ours, 1e-2 * abs(float(a[100_000]))).kind == "changed"
    b = a.copy()
    b[3] = a[4]
    ours = sketch(b, form=made.form)
    assert ours is not None
    assert judge(made, ours, 1.0).reason == "nonfinite"


def test_masks_that_are_not_alike_have_a_sketch_of_their_own() -> None:
    a = 10 * _normal(300_000)
    a[::3] -= np.float32(1e6)
    made = _of(a)
    (group,) = made.aside
    assert group.inner is not None
    assert Sketch.from_json(json.loads(json.dumps(made.to_json())), made.kind) == made
    assert sketch(a, form=made.form) == made


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("odd", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("others", [0.0, -0.0, 1.0, -1.0])
def test_one_odd_number_of_either_sign_does_not_cost_the_sketch(
    dtype: type, odd: float, others: float
) -> None:
    array = np.full(5000, others, dtype)
    array[777] = odd
    found = sketch(array)
    assert found is not None
    assert (found.nonfinite, found.scale) == (1, abs(others))
