"""Two sets of leaves -> what differs, and by how much."""

import math

import ml_dtypes
import numpy as np
import pytest

from pytest_nnxrng.compare.differences import Comparison, Difference, compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, STRICT, WEIGHTS, Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import dtype_of
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.placement import Placement
from pytest_nnxrng.leaf.spots import COUNT, chosen, encode

EXACT = Tolerance({}, exact=True)
ZERO = Tolerance({"*": 0.0})
TOL = Tolerance({"*": 1e-5})
FLOATS = ["float16", "bfloat16", "float32", "float64"]
BLOCK = 65_536


def leaf(values, path="x", dtype=None, shape=None, type="Param", **more):
    array = values if isinstance(values, np.ndarray) else np.asarray(values, np.float32)
    return Leaf(
        path,
        type,
        array.shape if shape is None else shape,
        dtype or array.dtype.name,
        digest=digest(array),
        read=lambda: array,
        **more,
    )


def abstract(made):
    return Leaf(made.path, made.type, made.shape, made.dtype)


def numbers(a, b, tolerance=ZERO, **more):
    """How two arrays differ, and whether that is rounding."""
    found = compare((leaf(a, **more),), (leaf(b, **more),), tolerance)
    if found.rounded:
        return found.rounded["x"]
    (difference,) = found.differences
    return difference.numbers


def kinds(a, b, tolerance=TOL, **more):
    found = compare((a,), (b,), tolerance, **more)
    return [difference.kinds for difference in found.differences]


# -- structure -------------------------------------------------------------------------


def test_equal_leaves_match():
    a, b = leaf([1, 2], "a"), leaf([3], "b")
    found = compare((a, b), (b, a), EXACT)
    assert found == Comparison(matched=("a", "b"))
    assert found.matches
    assert found.leaves == 2


def test_nothing_and_nothing_match():
    assert compare((), (), EXACT) == Comparison()


def test_added_and_removed():
    a, b, c = leaf([1], "a"), leaf([1], "b"), leaf([1], "c")
    found = compare((a, b), (b, c), TOL)
    assert found.matched == ("b",)
    assert found.differences == (
        Difference("a", ("removed",), expected=a),
        Difference("c", ("added",), obtained=c),
    )
    assert found.leaves == 3
    assert not found.matches


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (leaf([1, 2], type="BatchStat"), ("type",)),
        (leaf([1, 2, 3]), ("shape",)),
        (leaf([[1, 2]]), ("shape",)),
        (leaf(np.array([1, 2], np.float64)), ("dtype",)),
        (leaf(np.array([1, 2], np.int32)), ("dtype",)),
        (leaf([1, 3]), ("values",)),
        (leaf([1, 3], type="BatchStat"), ("type", "values")),
        (leaf(np.array([[1]], np.int8), type="BatchStat"), ("type", "shape", "dtype")),
    ],
)
def test_kinds_of_difference(other, expected):
    assert kinds(leaf([1, 2]), other) == [expected]
    assert kinds(other, leaf([1, 2])) == [expected]


def test_all_differences_are_reported_by_path():
    old = (leaf([1], "c"), leaf([1], "b"), leaf([1], "a"))
    new = (leaf([2], "a"), leaf([1, 1], "b"), leaf([1], "d"))
    found = compare(old, new, TOL)
    assert [(d.path, d.kinds) for d in found.differences] == [
        ("a", ("values",)),
        ("b", ("shape",)),
        ("c", ("removed",)),
        ("d", ("added",)),
    ]


def test_an_equal_leaf_of_another_type_has_no_numbers():
    (difference,) = compare((leaf([1]),), (leaf([1], type="Cache"),), TOL).differences
    assert difference.numbers is None


def test_rounding_does_not_excuse_another_type():
    a, b = leaf([1.0]), leaf([1.000001], type="Cache")
    found = compare((a,), (b,), TOL)
    assert [d.kinds for d in found.differences] == [("type",)]
    assert found.differences[0].numbers.is_rounding


def test_sharding_is_checked_when_asked_for():
    a, b = leaf([1], sharding=("data", None)), leaf([1], sharding=("model",))
    assert kinds(a, b, sharding=True) == [("sharding",)]
    assert kinds(a, b) == []
    assert kinds(a, leaf([1]), sharding=True) == [("sharding",)]
    assert kinds(a, a, sharding=True) == []


def test_a_golden_that_records_the_sharding_of_a_leaf_records_that_of_all():
    some = leaf([1]).but(sharding=("a",)), leaf([2], "y")
    none = leaf([1]), leaf([2], "y")
    both = leaf([1]).but(sharding=("a",)), leaf([2], "y").but(sharding=("b",))
    found = compare(some, both, EXACT, sharding=True).differences
    assert [(d.path, d.kinds) for d in found] == [("y", ("sharding",))]
    assert compare(some, some, EXACT, sharding=True).matches
    assert not compare(some, none, EXACT, sharding=True).matches
    assert compare(some, both, EXACT).matches, "nobody asked for it"


def test_where_the_slices_of_a_leaf_lie_is_a_part_of_its_sharding():
    def on(spec):
        return leaf([1]).but(sharding=(), placed=Placement(spec))

    assert compare((on(("data",)),), (on(("data",)),), EXACT, sharding=True).matches
    assert kinds(on(("data",)), on((None,)), sharding=True) == [("sharding",)]
    assert kinds(on(("data",)), on((None,))) == []


def test_a_difference_has_both_sides():
    a, b = leaf([1]), leaf([2])
    (difference,) = compare((a,), (b,), EXACT).differences
    assert (difference.expected, difference.obtained) == (a, b)


@pytest.mark.parametrize(("size", "found"), [(COUNT, []), (COUNT + 1, [("derivation",)])])
def test_of_a_small_leaf_the_spots_are_all_that_there_is(size, found):
    values = np.arange(size, dtype=np.float32)
    golden = abstract(leaf(values)).but(
        spots=encode(values[list(chosen(size, COUNT))], "float32", (size,)),
        draws=("params#0",),
        initializer="ab",
    )
    assert kinds(golden, golden.but(initializer="cd")) == found


@pytest.mark.parametrize("rng", [True, False])
def test_a_difference_knows_rng_state(rng):
    one = leaf([1], rng=rng)
    assert Difference("x", ("added",), obtained=one).rng is rng
    assert Difference("x", ("removed",), expected=one).rng is rng
    assert Difference("x", ("aliasing",)).rng is False


# -- aliasing --------------------------------------------------------------------------


def aliasing(old, new, old_aliases, new_aliases):
    found = compare(old, new, TOL, (old_aliases, new_aliases))
    return [(d.path, d.kinds, d.alias) for d in found.differences]


A, B, B1 = leaf([1], "a.w"), leaf([1], "b.w"), leaf([2], "b.w")


def test_tied_parameters_stay_tied():
    assert aliasing((A,), (A,), {"b.w": "a.w"}, {"b.w": "a.w"}) == []


@pytest.mark.parametrize("own", [B, B1])
def test_untied_is_one_difference_not_an_added_leaf(own):
    assert aliasing((A,), (A, own), {"b.w": "a.w"}, {}) == [("b.w", ("aliasing",), ("a.w", None))]


def test_tied_is_one_difference_not_a_removed_leaf():
    assert aliasing((A, B), (A,), {}, {"b.w": "a.w"}) == [("b.w", ("aliasing",), (None, "a.w"))]


def test_retied():
    assert aliasing((A, B), (A, B), {"c": "a"}, {"c": "b"}) == [("c", ("aliasing",), ("a", "b"))]


def test_a_module_untied_hides_all_that_is_below_it_alone():
    old = (leaf([1], "a.w"), leaf([1], 'a["x"]'), leaf([1], "bb.w"))
    new = (*old, leaf([1], "b.w"), leaf([1], 'b["x"]'), leaf([1], "bc.w"))
    found = compare(old, new, TOL, ({"b": "a"}, {}))
    assert [(d.path, d.kinds) for d in found.differences] == [
        ("b", ("aliasing",)),
        ("bc.w", ("added",)),
    ]


def test_an_alias_that_is_gone_is_not_called_untied():
    assert aliasing((A,), (A,), {"b.w": "a.w"}, {}) == [
        ("b.w", ("aliasing", "removed"), ("a.w", None))
    ]
    assert aliasing((A,), (), {"b": "a"}, {})[0] == ("b", ("aliasing", "removed"), ("a", None))


def test_an_alias_that_is_new_is_not_called_tied():
    assert aliasing((A,), (A,), {}, {"b.w": "a.w"}) == [
        ("b.w", ("aliasing", "added"), (None, "a.w"))
    ]


def test_what_cannot_be_seen_of_a_module_without_leaves_is_not_claimed():
    assert aliasing((A,), (A,), {"act2": "act"}, {}) == [("act2", ("aliasing",), ("act", None))]


def test_aliasing_alone_fails_the_check_and_counts_no_leaf():
    found = compare((A,), (A,), TOL, ({"b": "a"}, {}))
    assert not found.matches
    assert found.leaves == 1


# -- what has no values ------------------------------------------------------------------


def test_an_abstract_run_compares_all_but_values():
    a, b = leaf([1, 2]), leaf([1, 2], "y")
    found = compare((a, b), (abstract(a), abstract(b)), EXACT)
    assert found == Comparison(unread=("x", "y"))
    assert found.leaves == 2


def test_an_abstract_golden_compares_all_but_values():
    assert compare((abstract(leaf([1])),), (leaf([2]),), EXACT) == Comparison(unread=("x",))


def test_both_abstract():
    one = abstract(leaf([1]))
    assert compare((one,), (one,), EXACT) == Comparison(unread=("x",))


@pytest.mark.parametrize("first", [True, False])
def test_what_is_abstract_still_has_a_type_shape_and_dtype(first):
    a, b = abstract(leaf([1, 2])), leaf(np.array([1], np.int8), type="Cache")
    pair = (a, b) if first else (b, a)
    assert kinds(*pair) == [("type", "shape", "dtype")]


@pytest.mark.parametrize(
    ("other", "more", "found"),
    [
        ({"initializer": "cd"}, {}, [("derivation",)]),
        ({"draws": ("params#1",)}, {}, [("derivation",)]),
        ({}, {"rekeyed": ["params"]}, [("derivation",)]),
        ({}, {"rekeyed": ["dropout"]}, []),
        ({"initializer": "cd"}, {"fingerprints": False}, []),
        ({"draws": None}, {}, []),
    ],
)
def test_what_is_abstract_still_has_a_derivation(other, more, found):
    golden = abstract(leaf([1, 2])).but(draws=("params#0",), initializer="ab")
    assert kinds(golden, golden.but(**other), **more) == found


def test_values_that_are_proven_match_and_are_counted_apart():
    golden = abstract(leaf([1, 2]))
    found = compare((golden,), (golden,), EXACT, proven=["x"])
    assert found == Comparison(matched=("x",), proven=("x",))
    assert compare((golden,), (golden,), EXACT, proven=["y"]) == Comparison(unread=("x",))


def spots(values):
    return encode(values, values.dtype.name, values.shape)


@pytest.mark.parametrize(("moved", "rounded"), [(0.0, ()), (1e-7, ("x",))])
def test_spots_match_by_bits_or_by_rounding(moved, rounded):
    values = np.linspace(1, 2, 8, dtype=np.float32)
    old = abstract(leaf(values)).but(spots=spots(values))
    new = abstract(leaf(values)).but(spots=spots(values * np.float32(1 + moved)))
    found = compare((old,), (new,), TOL)
    assert found.spotted == ("x",)
    assert found.matched == (() if rounded else ("x",))
    assert tuple(found.rounded) == rounded
    for numbers_ in found.rounded.values():
        assert numbers_.differing
    assert not compare((old,), (new.but(spots=spots(values + 1)),), TOL).matches


def unstored(made):
    return Leaf(
        made.path, made.type, made.shape, made.dtype, digest=made.digest, stored=False
    )  # fmt: skip


def test_values_that_are_not_stored_match_by_their_digest():
    assert compare((unstored(leaf([1])),), (leaf([1]),), EXACT).matched == ("x",)


def test_values_that_are_not_stored_differ_without_numbers():
    (difference,) = compare((unstored(leaf([1])),), (leaf([2]),), EXACT).differences
    assert difference.kinds == ("values",)
    assert difference.numbers is None


def test_a_run_s_digest_is_made_where_it_has_none():
    a = leaf([1, 2])
    fresh = Leaf("x", "Param", a.shape, a.dtype, read=a.read)
    assert compare((a,), (fresh,), EXACT) == Comparison(matched=("x",))
    fresh = Leaf("x", "Param", a.shape, a.dtype, read=lambda: a.read() + 1)
    assert not compare((a,), (fresh,), EXACT).matches


def test_equal_bits_are_not_read():
    def never():
        raise AssertionError("read")

    a = leaf([1])
    closed = Leaf("x", "Param", a.shape, a.dtype, digest=a.digest, read=never)
    assert compare((closed,), (closed,), EXACT).matches


# -- tolerance -------------------------------------------------------------------------


@pytest.mark.parametrize("table", [WEIGHTS, OUTPUTS, STRICT])
def test_each_table_names_the_dtypes_and_orders_them(table):
    assert set(table) == set(FLOATS)
    assert table["float64"] < table["float32"] < table["float16"] < table["bfloat16"]
    assert all(STRICT[name] <= table[name] for name in FLOATS)


@pytest.mark.parametrize(
    ("dtype", "share"),
    [
        ("float32", 1e-5),
        ("complex64", 1e-5),
        ("complex128", 1e-12),
        ("float64", 1e-12),
        ("python float", 1e-5),
        ("python complex", 1e-5),
        ("bfloat16", 1.6e-2),
        ("float8_e4m3fn", 0),  # by steps
        ("int32", 0),
        ("bool", 0),
        ("python int", 0),
        ("key<fry>", 0),
        ("int4", 0),
    ],
)
def test_the_tolerance_of_a_dtype(dtype, share):
    assert Tolerance(WEIGHTS).of(dtype) == share
    assert Tolerance(WEIGHTS, exact=True).of(dtype) == 0


def test_one_tolerance_for_all_that_rounds():
    for dtype in ("float32", "complex128", "float8_e5m2", "python float"):
        assert Tolerance({"*": 0.5}).of(dtype) == 0.5
    assert Tolerance({"*": 0.5}).of("int8") == 0
    assert Tolerance({"*": 0.5, "float32": 0.1}).of("float32") == 0.1


def test_the_tolerance_is_a_share_of_the_leaf_s_largest_element():
    golden = np.array([1e-3, -4.0], np.float32)
    for moved, rounding in [(3.9e-5, True), (4.1e-5, False)]:
        found = numbers(golden, golden + np.array([moved, 0], np.float32), TOL)
        assert found.is_rounding is rounding
        assert found.scale == 4
        assert found.allowed == pytest.approx(4e-5)
        assert found.headroom == pytest.approx(moved / 4e-5, rel=1e-2)


def test_the_scale_is_the_golden_s_not_the_run_s():
    assert not numbers(np.array([1.0, 0]), np.array([1e9, 0]), TOL).is_rounding


def test_a_scale_changed_by_a_little_is_not_rounding():
    golden = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 1e-3
    assert not numbers(golden, golden * np.float32(1 + 1e-4), TOL).is_rounding


def test_exactly_at_the_tolerance_is_rounding():
    assert numbers(np.array([1.0, 8]), np.array([1.5, 8]), Tolerance({"*": 0.0625})).is_rounding
    assert not numbers(
        np.array([1.0, 8]), np.array([1.5, 8]), Tolerance({"*": 0.06249})
    ).is_rounding


def test_atol_is_added():
    golden, near = np.zeros(3, np.float32), np.array([0, 1e-7, 0], np.float32)
    assert not numbers(golden, near, TOL).is_rounding
    assert numbers(golden, near, Tolerance({"*": 1e-5}, atol=2e-7)).is_rounding
    one = numbers(np.array([1.0]), np.array([1.25]), Tolerance({"*": 0.125}, atol=0.125))
    assert (one.allowed, one.is_rounding, one.headroom) == (0.25, True, 1.0)


@pytest.mark.parametrize("name", FLOATS)
def test_exact_accepts_equal_bits_alone(name):
    a = np.array([1, 2], dtype_of(name))
    b = a.copy()
    b.view(f"u{a.dtype.itemsize}")[1] += 1
    assert compare((leaf(a),), (leaf(a.copy()),), EXACT).matches
    assert kinds(leaf(a), leaf(b), EXACT) == [("values",)]


def test_rounded_leaves_are_told_apart_from_matched_ones():
    found = compare((leaf([1], "a"), leaf([1], "b")), (leaf([1], "a"), leaf([1.000001], "b")), TOL)
    assert found.matched == ("a",)
    assert list(found.rounded) == ["b"]
    assert found.matches
    assert found.leaves == 2


def test_headroom_without_a_tolerance_is_boundless():
    assert numbers(np.array([1.0]), np.array([2.0])).headroom == math.inf


# -- what is not finite ------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOATS)
def test_signed_zeros_are_rounding_but_not_equal_bits(name):
    a, b = np.array([1, 0, 2], dtype_of(name)), np.array([1, -0.0, 2], dtype_of(name))
    assert numbers(a, b, ZERO).is_rounding
    found = numbers(a, b, EXACT)
    assert not found.is_rounding
    assert (found.differing, found.worst, found.ulp) == (1, 0, 0)
    assert (found.index, found.expected, found.obtained) == ((1,), "0", "-0")


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (math.nan, 1.0),
        (1.0, math.nan),
        (math.inf, 1.0),
        (1.0, -math.inf),
        (math.inf, -math.inf),
        (math.nan, math.inf),
        (-math.inf, math.nan),
    ],
)
def test_kinds_that_are_not_finite_must_agree(name, a, b):
    # A finite difference stands before, to be shown only where all are finite.
    x, y = np.array([1, 3, a], dtype_of(name)), np.array([1, 3.5, b], dtype_of(name))
    found = numbers(x, y, Tolerance({"*": 1e9}, atol=1e9))
    assert not found.is_rounding
    assert found.nonfinite == 1
    assert found.differing == 2
    assert found.index == (2,)
    assert found.ulp is None
    assert (float(found.expected), float(found.obtained)) == pytest.approx((a, b), nan_ok=True)


@pytest.mark.parametrize("name", FLOATS)
def test_nans_with_other_bits_are_alike_unless_exact(name):
    a = np.array([1, math.nan], dtype_of(name))
    b = a.copy()
    b.view(f"u{a.dtype.itemsize}")[1] ^= 1
    found = numbers(a, b, ZERO)
    assert found.is_rounding
    assert (found.worst, found.nonfinite, found.differing) == (0, 0, 1)
    exact = numbers(a, b, EXACT)
    assert not exact.is_rounding
    assert exact.index == (1,)
    # ... and the sign of a NaN is no more than that.
    assert numbers(np.array([math.nan]), np.array([-math.nan])).is_rounding


def test_equal_infinities_do_not_hide_a_difference():
    found = numbers(np.array([math.inf, 1.0]), np.array([math.inf, 2.0]), TOL)
    assert (found.worst, found.index, found.scale, found.nonfinite) == (1, (1,), 1, 0)


def test_the_scale_is_of_finite_elements_alone():
    found = numbers(np.array([math.inf, math.nan, 2.0]), np.array([math.inf, math.nan, 3.0]), TOL)
    assert found.scale == 2
    assert not found.is_rounding


@pytest.mark.parametrize("name", FLOATS)
def test_the_ends_of_a_dtype_raise_no_warning(name):
    top = np.array([ml_dtypes.finfo(dtype_of(name)).max], dtype_of(name))
    found = numbers(top, -top)
    assert not found.is_rounding
    assert found.worst == (math.inf if name == "float64" else 2 * float(top[0]))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "float8_e5m2"])
def test_any_bits_raise_no_warning(name):
    dtype = dtype_of(name)
    bits = np.random.default_rng(0).integers(0, 256, 4096 * dtype.itemsize, np.uint8)
    a = bits.view(dtype)
    found = numbers(a, np.roll(bits, dtype.itemsize).view(dtype), EXACT)
    assert found.total == 4096


# -- floats of 8 bits and fewer, which move by steps -----------------------------------------


def narrow(*values):
    return np.array(values).astype(ml_dtypes.float8_e4m3fn)  # 1.0, 1.125; 16, 18, 20


def test_a_narrow_float_may_move_by_a_step_of_its_own():
    steps = Tolerance({})
    assert numbers(narrow(1, 16), narrow(1.125, 18), steps).is_rounding
    found = numbers(narrow(1, 16), narrow(1.25, 18), steps)
    assert not found.is_rounding
    assert (found.index, found.worst, found.allowed) == ((0,), 0.25, 0.125)
    assert not numbers(narrow(1, 16), narrow(1, 20), steps).is_rounding


def test_a_narrow_float_may_move_by_what_is_allowed_in_absolute_terms():
    found = numbers(narrow(1, 16), narrow(1.25, 18), Tolerance({}, atol=0.25))
    assert found.is_rounding, "16 still may move by a step, which is more"
    assert not numbers(narrow(1, 16), narrow(1.5, 18), Tolerance({}, atol=0.25)).is_rounding


def test_a_narrow_float_for_which_something_is_said_has_that():
    said = Tolerance({"float8_e4m3fn": 0.01})
    less = Tolerance({"float8_e4m3fn": 1e-3})
    assert not numbers(narrow(1, 16), narrow(1.125, 16), less).is_rounding
    assert numbers(narrow(1, 16), narrow(1.125, 16), said).is_rounding, "0.01 of 16"
    assert not numbers(narrow(1, 16), narrow(1, 16.0 + 2), said).is_rounding


def test_the_worst_is_what_is_furthest_over_what_is_allowed_there():
    a = np.array([0.5, 100, 3, -1e9], np.float32)  # the mask is set aside: others have their scale
    b = np.array([0.5, 100.5, 3, -1.1e9], np.float32)
    assert numbers(a, b, Tolerance({"*": 1e-4})).index == (3,)
    c = np.array([0.9, 100, 3, -1e9 - 1e4], np.float32)
    found = numbers(a, c, Tolerance({"*": 1e-4}))
    assert (found.index, found.expected) == ((0,), "0.5"), "the mask moved further, and is rounding"


# -- what does not round -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "a", "b", "worst", "index"),
    [
        ("int8", [1, -128, 5], [2, 127, 5], 255, (1,)),
        ("int32", [0, 0], [1, -(2**31)], 2**31, (1,)),
        ("int64", [-(2**63)], [2**63 - 1], float(2**64 - 1), (0,)),
        ("uint64", [0, 7], [2**64 - 1, 7], float(2**64 - 1), (0,)),
        ("uint8", [0, 0, 0], [1, 3, 3], 3, (1,)),
        ("bool", [True, False], [True, True], 1, (1,)),
        ("int4", [-8, 3], [7, 3], 15, (0,)),
        ("uint4", [0, 15], [0, 1], 14, (1,)),
        ("int2", [-2, 1], [1, 1], 3, (0,)),
    ],
)
def test_integers_and_bools_are_compared_exactly(dtype, a, b, worst, index):
    kind = dtype_of(dtype)
    x, y = (np.array(v, None if kind.isbuiltin != 1 else kind).astype(kind) for v in (a, b))
    found = numbers(x, y, Tolerance({"*": 1e9}, atol=1e9))
    assert not found.is_rounding
    assert (found.worst, found.index) == (worst, index)
    assert found.expected == str(a[index[0]])
    assert found.obtained == str(b[index[0]])
    assert found.differing == sum(p != q for p, q in zip(a, b, strict=True))
    assert found.ulp is None


def test_keys_are_compared_exactly_and_shown_whole():
    a = np.array([[0, 1], [2, 3], [4, 5]], np.uint32)
    b = a.copy()
    b[1, 1] = 9
    found = numbers(a, b, Tolerance({"*": 1e9}, atol=1e9), dtype="key<fry>", shape=(3,))
    assert not found.is_rounding
    assert (found.differing, found.total, found.index) == (1, 3, (1,))
    assert (found.expected, found.obtained) == ("[2 3]", "[2 9]")
    assert found.worst is None


def test_a_single_key():
    found = numbers(
        np.array([0, 1], np.uint32), np.array([0, 2], np.uint32), dtype="key<fry>", shape=()
    )
    assert (found.differing, found.total, found.index) == (1, 1, ())


def test_key_data_of_another_width_differ_as_a_whole():
    a, b = np.zeros((3, 2), np.uint32), np.zeros((3, 4), np.uint32)
    old = leaf(a, dtype="key<rbg>", shape=(3,))
    new = leaf(b, dtype="key<rbg>", shape=(3,))
    (difference,) = compare((old,), (new,), TOL).differences
    assert (difference.kinds, difference.numbers.differing) == (("values",), 3)


# -- figures -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("start", [1.0, -1.0, 0.0, 3.14, 1e-3])
@pytest.mark.parametrize("steps", [1, 3])
def test_ulp_counts_the_floats_between(name, start, steps):
    dtype = dtype_of(name)
    a = np.array([start]).astype(dtype)
    b = a
    for _ in range(steps):
        b = np.nextafter(b, np.array([np.inf]).astype(dtype))
    assert numbers(a, b).ulp == numbers(b, a).ulp == steps


@pytest.mark.parametrize("name", FLOATS)
def test_ulp_goes_through_zero(name):
    dtype = dtype_of(name)
    zero, up, down = (
        np.nextafter(np.zeros(1, dtype), np.array([to]).astype(dtype)) for to in (0, 1, -1)
    )
    assert numbers(down, up).ulp == 2
    assert numbers(-zero, up).ulp == 1


def test_ulp_of_neighbours_of_another_binade_and_of_the_ends():
    two = np.float32([2])
    assert numbers(two, np.nextafter(two, np.float32(0))).ulp == 1
    top = np.float32([np.finfo(np.float32).max])
    assert numbers(-top, top).ulp == 2 * (0x7F7FFFFF)


@pytest.mark.parametrize(
    ("dtype", "a", "b", "ulp"),
    [
        ("float8_e4m3fn", 1.0, 1.125, 1),
        ("float8_e5m2", -1.0, 1.0, 2 * 0x3C),
        ("float8_e4m3fnuz", -1.0, 1.0, 2 * 0x40),
        ("float8_e8m0fnu", 1.0, 2.0, 1),
        ("float8_e8m0fnu", 0.5, 2.0, 2),
        ("float4_e2m1fn", 0.5, -0.5, 2),
        ("float6_e2m3fn", 1.0, 1.125, 1),
    ],
)
def test_ulp_of_narrow_floats(dtype, a, b, ulp):
    x, y = (np.array([v]).astype(dtype_of(dtype)) for v in (a, b))
    assert numbers(x, y, EXACT).ulp == ulp


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("float16", "0.09998"),
        ("bfloat16", "0.1001"),
        ("float32", "0.100000001"),
        ("float64", "0.10000000000000001"),
        ("float8_e5m2", "0.0938"),
    ],
)
def test_numbers_are_shown_with_the_digits_they_have(name, shown):
    a = np.array([0.1, 4]).astype(dtype_of(name))
    b = np.array([4, 4]).astype(dtype_of(name))
    assert numbers(a, b, EXACT).expected == shown


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1])
@pytest.mark.parametrize("where", ["first", "last", "block"])
def test_the_worst_element_is_found_wherever_it_stands(size, where):
    at = {"first": 0, "last": size - 1, "block": min(size - 1, BLOCK)}[where]
    a = np.ones(size, np.float32)
    a[size // 2] = -4
    b = a * np.float32(1 + 1e-6)
    b[at] += 1
    found = numbers(a, b, TOL)
    assert found.index == (at,)
    assert found.total == size
    assert found.differing == size
    assert found.scale == 4
    assert found.worst == pytest.approx(1, rel=1e-4)
    assert (float(found.expected), float(found.obtained)) == pytest.approx((a[at], b[at]))


def test_the_first_of_equals_is_shown():
    a = np.zeros(BLOCK + 9, np.float32)
    b = a.copy()
    b[[7, BLOCK + 3]] = 1
    assert numbers(a, b).index == (7,)


def test_a_signed_zero_in_one_block_does_not_hide_a_difference_in_the_next():
    a = np.zeros(BLOCK + 9, np.float32)
    b = a.copy()
    b[3], b[BLOCK + 3] = -0.0, 1e-30
    found = numbers(a, b)
    assert (found.index, found.differing) == ((BLOCK + 3,), 2)
    assert found.worst == pytest.approx(1e-30)


def test_an_index_has_as_many_axes_as_the_leaf():
    a = np.zeros((2, 3, 4), np.float32)
    b = a.copy()
    b[1, 2, 3] = 1
    assert numbers(a, b).index == (1, 2, 3)
    assert numbers(np.ones(()), np.zeros(())).index == ()


def test_zero_size_leaves_match_whatever_their_layout():
    assert compare((leaf(np.zeros((0, 3))),), (leaf(np.zeros((0, 3))),), EXACT).matched == ("x",)
    assert kinds(leaf(np.zeros((0, 3))), leaf(np.zeros((3, 0)))) == [("shape",)]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_are_two_parts(dtype):
    a = np.array([[1 + 1j, 2], [3, 4j]], dtype)
    b = a.copy()
    b[1, 1] += 0.5j
    found = numbers(a, b, TOL)
    assert (found.index, found.worst, found.differing, found.total) == ((1, 1), 0.5, 1, 8)
    assert (found.expected, found.obtained, found.scale) == ("4", "4.5", 4)
    assert numbers(a, b, Tolerance({"*": 0.125})).is_rounding
    b[0, 0] = complex(math.nan, 1)
    assert numbers(a, b, TOL).index == (0, 0)


@pytest.mark.parametrize(
    ("a", "b", "rounding"), [(0.1, 0.1000001, True), (0.1, 0.10001, False), (1.0, math.nan, False)]
)
def test_a_python_float_rounds_as_a_float32(a, b, rounding):
    found = numbers(np.array(a), np.array(b), Tolerance(OUTPUTS), dtype="python float")
    assert found.is_rounding is rounding


def test_a_python_int_does_not_round():
    found = numbers(np.array(10**9), np.array(10**9 + 1), Tolerance(OUTPUTS), dtype="python int")
    assert not found.is_rounding
    assert (found.expected, found.obtained) == ("1000000000", "1000000001")
