"""Paths folded to patterns: few, and exactly these paths."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from pytest_nnxrng.report.fold import folded, natural


def test_a_product_is_one_pattern():
    paths = [f"blocks.{n}.attn.{x}.kernel" for n in range(3) for x in "kqvo"]
    assert folded(paths) == ["blocks.{0..2}.attn.{k,o,q,v}.kernel"]


def test_what_is_no_product_is_several():
    paths = [f"blocks.{n}.a" for n in (0, 1, 2)] + ["blocks.1.b", "head"]
    assert folded(paths) == ["blocks.1.{a,b}", "blocks.{0,2}.a", "head"]


def test_numbers_with_gaps_are_listed_and_many_names_are_counted():
    assert folded(f"l.{n}" for n in (0, 2, 10)) == ["l.{0,2,10}"]
    assert folded(f"l.{x}" for x in "abcdefgh") == ["l.{a,b,c,d,e,f,... 8 in all}"]


def test_quoted_keys_stay_whole():
    assert folded(['a["x.y"].b', 'a["x.y"].c']) == ['a["x.y"].{b,c}']


def test_two_comes_before_ten():
    assert sorted(["l.10", "l.2", "l"], key=natural) == ["l", "l.2", "l.10"]


def expanded(pattern):
    parts = []
    for part in re.split(r"\.(?![.}])(?<!\.\.)", pattern):
        if part.startswith("{") and ".." in part:
            low, high = part[1:-1].split("..")
            parts.append([str(n) for n in range(int(low), int(high) + 1)])
        else:
            parts.append(part.strip("{}").split(","))
    return {".".join(choice) for choice in itertools.product(*parts)}


@given(st.sets(st.lists(st.sampled_from("0123ab"), min_size=1, max_size=3).map(".".join)))
def test_patterns_stand_for_exactly_the_paths(paths):
    patterns = folded(paths)
    found = [path for pattern in patterns for path in expanded(pattern)]
    assert sorted(found) == sorted(paths)
