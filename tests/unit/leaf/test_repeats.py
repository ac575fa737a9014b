"""Rows that stand for many paths stand for few enough, and are read in no time."""

import time

import pytest

from pytest_nnxrng.leaf.paths import compact, cost, expand

MANY = 1 << 20
LONG = [[MANY, 0, ["x" * 5000 + "{}"]]]  # five gigabytes
EMPTY = [[MANY, 0, [[MANY, 0, []]]]]  # no path at all, after a million million turns
NESTED = [[1000, 0, [[1000, 0, [[1000, 0, ["a.{}.{}.{}"]]]]]]]


def test_paths_are_packed_and_found_again():
    paths = [f"blocks.{n}.{name}" for n in range(9) for name in ("q", "k")] + ["head"]
    rows = compact(paths)
    assert len(rows) == 2
    assert expand(rows) == paths
    assert cost(rows) >= sum(map(len, paths))


@pytest.mark.parametrize("rows", [LONG, EMPTY, NESTED, EMPTY * 9])
def test_rows_that_stand_for_too_much_are_refused_at_once(rows):
    before = time.process_time()
    for read in (cost, expand):
        with pytest.raises(ValueError, match="of too many"):
            read(rows)
    assert time.process_time() - before < 1


@pytest.mark.parametrize("rows", [None, 3, "x", [3], [[1, 2]], [[1, True, []]], [[-1, 0, []]]])
def test_anything_else_is_refused(rows):
    with pytest.raises(ValueError, match=r"holds what is neither|is not a list"):
        expand(rows)
