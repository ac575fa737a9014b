"""Laws of the sketch, on arrays that hypothesis picks."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pytest_nnxrng.compare.estimate import judge
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.sketch import Sketch, sketch

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
WHOLE = hnp.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.integers(-1000, 1000).map(float),
)
# Long enough for several blocks and a rest; the length and the seed are drawn, not the elements.
LENGTHS = st.integers(1, 60_000)
SEEDS = st.integers(0, 2**32 - 1)


def _of(array: NDArray[Any]) -> Sketch:
    result = sketch(array)
    assert result is not None
    return result


def _signed(made: Sketch) -> NDArray[np.float64]:
    return np.array(made.sums + made.segments)


@SETTINGS
@given(LENGTHS, SEEDS)
def test_sums_are_linear(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1000, 1000, (2, n)).astype(np.float32)
    expected = 2 * _signed(_of(a)) - _signed(_of(b))
    np.testing.assert_array_equal(_signed(_of(2 * a - b)), expected)


@SETTINGS
@given(LENGTHS, SEEDS, st.integers(1, 4))
def test_layout_does_not_matter(n: int, seed: int, stride: int) -> None:
    a = np.random.default_rng(seed).standard_normal(n, dtype=np.float32)
    spread = np.zeros((n, stride), np.float32)
    spread[:, 0] = a
    assert sketch(spread[:, 0]) == sketch(a) == sketch(a.astype(">f4"))
    assert digest(spread[:, 0]) == digest(a) == digest(a.astype(">f4"))


@SETTINGS
@given(WHOLE, st.data())
def test_a_swap_of_two_elements_shows(a: NDArray[np.float32], data: st.DataObject) -> None:
    i, j = (data.draw(st.integers(0, a.size - 1)) for _ in range(2))
    assume(a[i] != a[j])
    b = a.copy()
    b[[i, j]] = a[[j, i]]
    assert digest(a) != digest(b)
    # The squared norm is 2 (a_i - a_j)^2; only a meeting in all sets, 3e-5, could hide it.
    assert _of(a).sums != _of(b).sums


@SETTINGS
@given(LENGTHS, SEEDS, st.floats(1e-20, 1e20), st.sampled_from([np.float32, np.float64]))
def test_one_ulp_everywhere_is_never_a_change(n: int, seed: int, by: float, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    a = (rng.standard_normal(n) * by).astype(dtype)
    b = np.nextafter(a, np.where(rng.random(n) < 0.5, -np.inf, np.inf).astype(dtype))
    made = _of(a)
    assert judge(made, _of(b), 1e-5 * made.scale).kind != "changed"


@SETTINGS
@given(LENGTHS, SEEDS, st.floats(0, 1), st.floats(0, 3))
def test_anything_within_the_tolerance_is_never_a_change(
    n: int, seed: int, density: float, power: float
) -> None:
    rng = np.random.default_rng(seed)
    d = rng.uniform(-1, 1, n)
    d = (np.sign(d) * np.abs(d) ** power * (rng.random(n) < density)).astype(np.float32)
    seen = judge(_of(np.zeros(n, np.float32)), _of(d), 1.0)
    assert seen.kind != "changed"
    assert seen.limit >= np.abs(d).max()


@SETTINGS
@given(LENGTHS, SEEDS, st.floats(0.01, 100))
def test_one_element_far_off_is_always_a_change(n: int, seed: int, by: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(n, dtype=np.float32)
    made, b, at = _of(a), np.nextafter(a, np.float32(0)), int(rng.integers(n))
    b[at] += np.float32(by * made.scale)
    seen = judge(made, _of(b), 1e-5 * made.scale)
    assert seen.kind == "changed"
    assert not seen.where or any(start <= at < stop for start, stop in seen.where)


@SETTINGS
@given(hnp.arrays(np.float64, st.integers(0, 50)))
def test_any_values_come_back_from_json(a: NDArray[np.float64]) -> None:
    made = sketch(a)
    if made is not None:
        assert Sketch.from_json(made.to_json(), "float64") == made


@SETTINGS
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["size", "data", "nonfinite", "x"]), inner)
        ),
    )
)
def test_reading_anything_gives_a_sketch_or_a_value_error(value: object) -> None:
    try:
        Sketch.from_json(value, "float32")
    except ValueError:
        return
    raise AssertionError(f"accepted {value!r}")
