"""Products are thinned so that each value, or each pair, is still run."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.products import cover, thinned


class Item:
    """A test of a product, as far as it is looked at."""

    def __init__(self, name, marks, row):
        params = {n: value for names, values in row for n, value in zip(names, values, strict=True)}
        self.nodeid, self.marks = f"test_it.py::{name}[{params}]", marks
        self.callspec = SimpleNamespace(params=params)

    def get_closest_marker(self, name):
        return next(self.iter_markers(name), None)

    def iter_markers(self, name):
        return (mark for mark in self.marks if mark.name == name)


ROWS = [(1, 1), (1, 2), (2, 1), (2, 2)]  # no value is new in the last


def product(name, *marks):
    """The items of four rows of two parameters, three values of one, and four equal objects."""
    axes = [
        (("a", "b"), ROWS),
        (("c",), [(True,), (False,), (None,)]),
        (("d",), [([],), ([],), ([],), ([],)]),
    ]
    given = [pytest.mark.parametrize(names, values).mark for names, values in axes]
    rows = itertools.product(*[[(names, value) for value in values] for names, values in axes])
    return [Item(name, [*given, *(mark.mark for mark in marks)], row) for row in rows]


def seen(items, *names):
    return {tuple(id(item.callspec.params[name]) for name in names) for item in items}


def test_each_pair_of_rows_is_kept():
    items = product("test_pairs", pytest.mark.product("why", pairs=True))
    kept = thinned(items)
    assert len(kept) == 16, "of 48"
    for names in ("abc", "abd", "cd"):
        assert seen(kept, *names) == seen(items, *names)


def test_each_row_is_kept_once_and_the_ways_are_spread():
    items = product("test_values", pytest.mark.product("why"))
    kept = thinned(items)
    assert [(i.callspec.params["a"], i.callspec.params["b"]) for i in kept] == ROWS
    assert seen(kept, "c") == seen(items, "c")
    assert len(seen(kept, "d")) == 4


def test_what_is_no_product_is_run_wholly_and_in_its_order():
    items = [*product("test_all"), *product("test_some", pytest.mark.product("why"))]
    kept = thinned(items)
    assert kept[:48] == items[:48]
    assert kept == [item for item in items if item in kept]
    assert len(kept) == 52


def test_nothing_is_left_uncovered():
    rows = itertools.product("ab", "cd", "ef")
    tests = [tuple(itertools.combinations(enumerate(row), 2)) for row in rows]
    few = cover(tests)
    assert len(few) < len(tests)
    assert {pair for n in few for pair in tests[n]} == set(itertools.chain(*tests))
    assert cover([]) == []


def test_what_is_dear_is_left_to_the_full_run():
    items = product("test_dear", pytest.mark.dear("why")) + product("test_all")
    assert thinned(items) == items[48:]


def test_what_a_run_leaves_out_is_run_by_the_workflow():
    file = Path(__file__).parents[2] / ".github/workflows/tests.yml"
    assert "run: pytest -q --full\n" in file.read_text(encoding="utf-8")
