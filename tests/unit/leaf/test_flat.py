"""What is tied in a golden, under the names of the run."""

from __future__ import annotations

import pytest

from pytest_nnxrng.leaf.leaf import Leaf, aligned


def leaves(*paths):
    return tuple(Leaf(path, "Param", (2,), "float32") for path in paths)


@pytest.mark.parametrize(
    ("paths", "aliases", "now_paths", "now", "expected", "expected_aliases"),
    [
        # the first name is gone, or another: what is left is the first
        (["a.w", "x"], {"b": "a"}, ["b.w", "x"], {}, ["b.w", "x"], {"a": "b"}),
        (["a.w"], {"b": "a"}, ["b.w"], {"c": "b"}, ["b.w"], {"a": "b"}),
        (["a"], {"b": "a", "c": "a"}, ["b"], {"c": "b"}, ["b"], {"a": "b", "c": "b"}),
        (['a["k"]'], {"b": "a"}, ['b["k"]'], {}, ['b["k"]'], {"a": "b"}),
        # nothing to do: the same first name, no longer tied, or all gone
        (["a.w"], {"b": "a"}, ["a.w"], {"b": "a"}, ["a.w"], {"b": "a"}),
        (["a.w"], {"b": "a"}, ["a.w", "b.w"], {}, ["a.w"], {"b": "a"}),
        (["a.w"], {"b": "a"}, ["z"], {}, ["a.w"], {"b": "a"}),
        (["a.w"], {"b": "a"}, ["aa.w"], {"b": "aa"}, ["a.w"], {"b": "a"}),
        # only what lies below the name moves, aliases too
        (["a.w", "ab.w"], {"b": "a"}, ["b.w"], {}, ["b.w", "ab.w"], {"a": "b"}),
        (
            *(["a.m.w"], {"a.n": "a.m", "b": "a"}, ["b.m.w"], {"b.n": "b.m"}),
            *(["b.m.w"], {"b.n": "b.m", "a": "b"}),
        ),
    ],
)
def test_aligned(paths, aliases, now_paths, now, expected, expected_aliases):
    found, renamed = aligned(leaves(*paths), aliases, now_paths, now)
    assert [leaf.path for leaf in found] == expected
    assert dict(renamed) == expected_aliases
