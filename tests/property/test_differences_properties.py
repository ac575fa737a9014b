"""Comparison against a naive reference in numpy."""

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import dtype_of
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.scale import scale

fast = settings(deadline=None, max_examples=200)
FLOATS = ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
INTEGERS = ["bool", "int8", "uint8", "int32", "int64", "uint64", "int4"]


def leaf(array, path="x", **more):
    return Leaf(
        path,
        "Param",
        array.shape,
        array.dtype.name,
        digest=digest(array),
        read=lambda: array,
        **more,
    )


@st.composite
def bits(draw, names, like=None):
    """An array of any bits, or one that shares most of them with ``like``."""
    if like is None:
        dtype = dtype_of(draw(st.sampled_from(names)))
        shape = draw(npst.array_shapes(min_dims=0, min_side=1, max_side=5))
    else:
        dtype, shape = like.dtype, like.shape
    count = math.prod(shape)
    if dtype.kind == "b" or dtype.name == "int4":
        low, high = (0, 1) if dtype.kind == "b" else (-8, 7)
        row = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
        return np.array(row, np.int8).astype(dtype).reshape(shape)
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    array = np.frombuffer(raw, dtype).reshape(shape).copy()
    if like is not None:
        kept = draw(npst.arrays(bool, shape))
        array = np.where(kept, like, array).astype(dtype)
    return array


def pairs(names):
    return bits(names).flatmap(lambda a: st.tuples(st.just(a), bits(names, like=a)))


def raw(array):
    return array.view(f"u{array.dtype.itemsize}") if array.shape else array.reshape(1).view(
        f"u{array.dtype.itemsize}"
    )  # fmt: skip


tolerances = st.builds(
    lambda share, atol: Tolerance({"*": share}, atol),
    st.sampled_from([0.0, 1e-5, 0.5, 1e3]),
    st.sampled_from([0.0, 1e-3, 1e30]),
)


def reference(a, b, tolerance):
    """Element by element: does each agree? And how far apart finite ones are, the worst of its own
    tolerance, with its scale."""
    sizes, fine, worst = scale(a), True, (0.0, 0.0, None)
    for x, y in zip(*([float(v) for v in side.reshape(-1)] for side in (a, b)), strict=True):
        if math.isfinite(x) and math.isfinite(y):
            own = float(np.max(sizes.of(np.array([x]))))
            allowed, apart = tolerance.of(a.dtype.name) * own + tolerance.atol, abs(x - y)
            fine = fine and apart <= allowed
            over = 0.0 if not apart else apart / allowed if allowed else math.inf
            over = over if sizes.aside else apart
            worst = max(worst, (over, apart, own), key=lambda row: row[:2])
        elif not (x == y or (math.isnan(x) and math.isnan(y))):
            fine = False
    return fine, worst[1], worst[2] if worst[1] else None


@fast
@given(bits(FLOATS))
def test_every_element_has_one_scale_and_is_no_larger(a):
    sizes = scale(a)
    with np.errstate(invalid="ignore"):  # a NaN that signals
        finite = np.abs(a.astype(np.float64)).reshape(-1)
    finite = finite[np.isfinite(finite)]
    of = np.broadcast_to(sizes.of(finite), finite.shape)
    assert (finite <= of).all()
    assert set(of) <= {sizes.rest, *(s for _, s in sizes.aside)}
    assert sizes.largest == finite.max(initial=0.0)
    lower = [sizes.rest, *(s for _, s in sizes.aside)]
    assert lower == sorted(lower)
    assert all(512 <= start <= s < math.inf for start, s in sizes.aside)


@fast
@given(pairs(FLOATS), tolerances)
def test_floats(pair, tolerance):
    a, b = pair
    found = compare((leaf(a),), (leaf(b),), tolerance)
    passes, worst, own = reference(a, b, tolerance)
    assert found.matches is passes
    same = a.tobytes() == b.tobytes()
    assert bool(found.matched) is same
    if same:
        return
    numbers = found.rounded.get("x") or found.differences[0].numbers
    assert numbers.worst == worst
    assert numbers.nonfinite or own in (None, numbers.scale)
    assert numbers.differing == (raw(a) != raw(b)).sum()
    assert numbers.total == a.size
    shown = a[numbers.index], b[numbers.index]
    assert raw(np.asarray(shown[0])) != raw(np.asarray(shown[1]))
    if not numbers.nonfinite:
        assert abs(float(shown[0]) - float(shown[1])) in (worst, math.nan) or worst == 0
    digits = {2: 4, 4: 9, 8: 17}.get(a.dtype.itemsize, 3)
    assert numbers.expected == f"{float(shown[0]):.{digits}g}"
    assert numbers.obtained == f"{float(shown[1]):.{digits}g}"


@fast
@given(pairs(INTEGERS), tolerances)
def test_integers_and_bools(pair, tolerance):
    a, b = pair
    found = compare((leaf(a),), (leaf(b),), tolerance)
    x, y = ([int(v) for v in array.reshape(-1)] for array in (a, b))
    assert found.matches is (x == y)
    if x == y:
        return
    numbers = found.differences[0].numbers
    assert numbers.differing == sum(p != q for p, q in zip(x, y, strict=True))
    assert numbers.worst == float(max(abs(p - q) for p, q in zip(x, y, strict=True)))
    assert numbers.expected == str(a[numbers.index].item())
    assert numbers.obtained == str(b[numbers.index].item())


@fast
@given(pairs(["float32", "float64"]), tolerances)
def test_complex_numbers_are_their_parts(pair, tolerance):
    a, b = (np.stack([x, x[..., ::-1] if x.ndim else x], -1).copy() for x in pair)
    kind = np.complex64 if a.dtype == np.float32 else np.complex128
    parts = compare((leaf(a),), (leaf(b),), tolerance)
    whole = compare((leaf(a.view(kind)[..., 0]),), (leaf(b.view(kind)[..., 0]),), tolerance)
    assert parts.matches is whole.matches
    for one, other in zip(parts.differences, whole.differences, strict=True):
        assert one.numbers.worst == other.numbers.worst
        assert one.numbers.differing == other.numbers.differing
        assert one.numbers.index[:-1] == other.numbers.index


@fast
@given(pairs([*FLOATS, *INTEGERS]))
def test_exact_is_equality_of_bits(pair):
    a, b = pair
    matches = compare((leaf(a),), (leaf(b),), Tolerance({}, exact=True)).matches
    assert matches is (digest(a) == digest(b))


@fast
@given(bits([*FLOATS, *INTEGERS]))
def test_everything_matches_itself(a):
    assert compare((leaf(a),), (leaf(a.copy()),), Tolerance({}, exact=True)).matched == ("x",)


@fast
@given(pairs(FLOATS))
def test_the_figures_are_those_of_either_direction(pair):
    a, b = pair
    tolerance = Tolerance({"*": 0.0})
    one, other = (compare((leaf(p),), (leaf(q),), tolerance) for p, q in ((a, b), (b, a)))
    assume(not one.matches)
    one, other = one.differences[0].numbers, other.differences[0].numbers
    assert (one.worst, one.index, one.ulp) == (other.worst, other.index, other.ulp)
    assert (one.expected, one.obtained) == (other.obtained, other.expected)


@fast
@given(st.sampled_from(["float16", "float32", "float64"]), st.data())
def test_ulp_is_the_number_of_steps(name, data):
    dtype = dtype_of(name)
    width = {"float16": 16, "float32": 32, "float64": 64}[name]
    start = np.array(
        [data.draw(st.floats(allow_nan=False, allow_infinity=False, width=width))], dtype
    )
    steps = data.draw(st.integers(1, 5))
    end = start
    with np.errstate(over="ignore"):
        for _ in range(steps):
            end = np.nextafter(end, dtype.type(np.inf))
    assume(np.isfinite(end).all())
    found = compare((leaf(start),), (leaf(end),), Tolerance({}, exact=True))
    assert found.differences[0].numbers.ulp == steps


paths = st.sets(st.sampled_from(["a", "a.b", "a.c", 'a["x"]', "b", "b.a", "c"]))


@fast
@given(paths, paths, paths, paths)
def test_every_leaf_is_accounted_for_once(old, new, changed, tied):
    def make(names, value):
        return tuple(
            leaf(np.array([value if name in changed else 1.0]), name) for name in sorted(names)
        )

    found = compare(make(old, 1.0), make(new, 2.0), Tolerance(OUTPUTS))
    told = [*found.matched, *found.rounded, *found.unread, *(d.path for d in found.differences)]
    assert sorted(told) == sorted(old | new)
    assert found.matches is (old == new and not (old & changed))
    assert found.leaves == len(old | new)
    # Tied to one leaf on both sides, nothing is reported; on one side, each is.
    ties = dict.fromkeys(tied, "z")
    both = compare(make(old, 1.0), make(new, 2.0), Tolerance(OUTPUTS), (ties, ties))
    assert both == found
    one = compare(make(old, 1.0), make(new, 2.0), Tolerance(OUTPUTS), (ties, {}))
    assert {d.path for d in one.differences if "aliasing" in d.kinds} == tied
