"""Sequences of owners: what a golden holds of them comes back, and an alignment is exact."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_nnxrng.leaf.paths import compact, expand
from pytest_nnxrng.why.alignment import align

STEPS = st.sampled_from(["a", "b", "0", "1", "2", "01", "10", "{}", "norm"])
PATHS = st.lists(st.lists(STEPS, max_size=4).map(".".join), max_size=30)


@given(PATHS)
def test_what_a_golden_holds_comes_back(paths: list[str]) -> None:
    assert expand(json.loads(json.dumps(compact(paths)))) == paths


def test_what_repeats_stands_once() -> None:
    blocks = [f"blocks.{i}.{name}" for i in range(32) for name in ("a.kernel", "a", "norm")]
    heads = [f"blocks.{i}.heads.{j}" for i in range(4) for j in range(2)]
    assert compact(["embed", *blocks]) == [
        "embed",
        [32, 0, ["blocks.{}.a.kernel", "blocks.{}.a", "blocks.{}.norm"]],
    ]
    assert compact(heads) == [[4, 0, [[2, 0, ["blocks.{}.heads.{}"]]]]]


@pytest.mark.parametrize(
    "rows", [None, "a", [1], [[2, 0]], [[-1, 0, ["a"]]], [[1 << 19, 0, ["a"] * 3]], [[True, 0, []]]]
)
def test_rows_that_are_none_are_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="path"):
        expand(rows)


@given(st.lists(st.sampled_from("abcdef"), max_size=20), st.lists(st.sampled_from("abcdef")))
def test_an_alignment_accounts_for_every_draw(theirs: list[str], ours: list[str]) -> None:
    found = align(theirs, ours)
    pairs = [*found.stayed, *found.moved]
    assert all(theirs[a] == ours[b] for a, b in pairs)
    out = [i for gap in found.gaps for i in gap.out]
    put = [i for gap in found.gaps for i in gap.put]
    assert sorted([a for a, _ in pairs] + out) == list(range(len(theirs)))
    assert sorted([b for _, b in pairs] + put) == list(range(len(ours)))
    for (a, b), gap in zip(found.stayed, found.gaps, strict=False):
        assert b - a == gap.edited + gap.moved


@given(st.lists(st.sampled_from("abcdef"), max_size=20), st.integers(0, 20), st.integers(1, 3))
def test_an_insertion_is_found_where_it_is(theirs: list[str], at: int, count: int) -> None:
    at = min(at, len(theirs))
    found = align(theirs, [*theirs[:at], *["new"] * count, *theirs[at:]])
    assert [gap.put for gap in found.gaps if gap.more] == [tuple(range(at, at + count))]
    assert not found.moved
