"""Two sets of modules -> changes: what is told, what is folded, what Flax itself changed."""

from __future__ import annotations

import pytest

from pytest_nnxrng.compare.differences import Change, alone, changed, renamed
from pytest_nnxrng.leaf.forward import Modules

NET = {"class": "Net"}
DROPOUT = {"class": "Dropout", "rate": 0.1}


def of(old: dict, new: dict, leaves: tuple[str, ...] = (), **more: object) -> list[Change]:
    return list(changed(old, Modules(new, frozenset(new)), leaves, **more))


def attribute(old: object, new: object, **more: object) -> list[Change]:
    """The changes between two modules that hold these, None being no attribute."""
    rows = [{"class": "N", **({} if value == "nothing" else {"x": value})} for value in (old, new)]
    return of({"": rows[0]}, {"": rows[1]}, **more)


@pytest.mark.parametrize(
    "pair", [(1, 1), (1, 1.0), (None, "nothing"), ("a", "a"), ([1, [2.0]], [1, [2]]), (True, True)]
)
def test_what_is_equal(pair: tuple[object, object]):
    assert attribute(*pair) == []


@pytest.mark.parametrize(
    "pair", [(1, 2), (1, True), (0, False), ("1", 1), ([1], [1, 1]), ([1], [True]), (0, None)]
)
def test_what_is_not(pair: tuple[object, object]):
    assert attribute(*pair) == [Change("", "x", *pair)]


def test_of_another_class_no_attribute_is_told():
    old, new = {"class": "A", "x": 1}, {"class": "B", "x": 2, "y": 3}
    assert of({"": old}, {"": new}) == [Change("", "class", "A", "B")]


def test_another_release_of_flax_may_know_other_attributes_of_its_own_layers():
    assert attribute("nothing", 2, same_library=False) == []
    assert attribute(2, "nothing", same_library=False) == []
    # What both know is told, None being known.
    assert attribute(None, "bfloat16", same_library=False) == [Change("", "x", None, "bfloat16")]
    assert attribute(1, 2, same_library=False) == [Change("", "x", 1, 2)]
    users = Modules({"": {"class": "N", "x": 2}})
    assert changed({"": {"class": "N"}}, users, same_library=False) == (Change("", "x", None, 2),)


def test_all_modules_that_changed_are_told_in_their_order():
    old = {"a": {"class": "N", "x": 1}, "b": {"class": "N", "x": 1}, "c": {"class": "N"}}
    new = {"a": {"class": "N", "x": 2}, "b": {"class": "N", "x": 3}, "d": {"class": ""}}
    assert of(old, new) == [
        *(Change("a", "x", 1, 2), Change("b", "x", 1, 3)),
        *(Change("c", "class", "N", None), Change("d", "class", None, "")),
    ]
    assert of({}, {"d": {"x": 1}}) == [Change("d", "class", None, "")], "a class without a name"


def test_the_value_itself_is_told_unless_a_leaf_of_it_moved():
    assert of({}, {"": NET}) == [Change("", "class", None, "Net")]
    assert of({}, {"": NET}, ("kernel",)) == []


def test_a_list_is_not_what_is_no_list():
    assert attribute([1], "1") == [Change("", "x", [1], "1")]
    assert attribute("ab", ["a", "b"]) == [Change("", "x", "ab", ["a", "b"])]


def test_a_module_under_another_path_is_told_of_what_it_alone_has():
    old, new = {"a.drop": DROPOUT}, {"b.drop": {**DROPOUT, "deterministic": True}}
    found = renamed(alone(old, Modules(new)), {"a.up.kernel": "b.up.kernel"})
    assert found == (Change("b.drop", "deterministic", None, True),)


def test_a_module_without_leaves_that_came_or_went_is_told():
    old, new = {"": NET, "a": DROPOUT}, {"": NET, "b": DROPOUT}
    assert of(old, new) == [
        Change("a", "class", "Dropout", None),
        Change("b", "class", None, "Dropout"),
    ]


def test_one_whose_leaves_came_or_went_is_told_by_these_with_all_that_is_in_it():
    new = {"": NET, "block": NET, "block.drop": DROPOUT, "other": DROPOUT}
    assert of({"": NET}, new, ("block.linear.kernel",)) == [
        Change("other", "class", None, "Dropout")
    ]
    # Without leaves the outermost is told.
    assert [c.path for c in of({"": NET}, new)] == ["block", "other"]


def test_modules_under_another_path_are_paired_as_their_leaves_are():
    old = {"": NET, "a": NET, "a.up": NET, "a.drop": DROPOUT}
    new = {"": NET, "b": NET, "b.up": NET, "b.drop": {**DROPOUT, "rate": 0.5}}
    both = alone(old, Modules(new))
    assert renamed(both, {"a.up.kernel": "b.up.kernel"}) == (Change("b.drop", "rate", 0.1, 0.5),)
    assert renamed(both, {"a.up.kernel": "c.up.kernel"}) == ()
    assert renamed(both, {}) == ()
