"""How leaves are sharded, in words that hold on any mesh."""

from __future__ import annotations

import pytest

from pytest_nnxrng.leaf.placement import Placement, axes, moved, normal, placement, told


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ((), ()),
        ((None, None), ()),
        (("a", None), ("a",)),
        ([None, ["a"]], (None, "a")),
        ([["a", "b"], [], None], (("a", "b"),)),
        ((None, ("a", "b"), None), (None, ("a", "b"))),
    ],
)
def test_a_spec_has_one_form(spec, expected):
    assert normal(spec) == expected
    assert normal(normal(spec)) == expected


def test_the_names_at_each_axis():
    assert axes((None, "a", ("b", "c"), None)) == ((), ("a",), ("b", "c"))


@pytest.mark.parametrize(
    ("spec", "mesh", "expected"),
    [
        ((None, "model"), {"data": 2, "model": 4}, Placement((None, "model"))),
        ((None, "model"), {"data": 8, "model": 32}, Placement((None, "model"))),
        ((), {"data": 8, "model": 2}, Placement(())),
        (("data",), {"data": 8, "model": 1}, Placement(("data",), ("model",))),
        # On one device a name is as good as anywhere; without one nothing can be told.
        ((None, "model"), {"data": 1, "model": 1}, Placement((None, "model"), ("data",))),
        ((), {"data": 1, "model": 1}, None),
    ],
)
def test_a_placement_is_the_same_on_meshes_of_any_size(spec, mesh, expected):
    assert placement(spec, mesh) == expected


BOTH = Placement(("data", "model"))


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        (BOTH, BOTH, False),
        (BOTH, Placement(("data",)), True),
        (BOTH, Placement(("data",), ("model",)), False),  # XLA dropped the axis of size 1
        (Placement(("data",), ("model",)), BOTH, False),
        (BOTH, Placement((), ("model",)), True),
        (BOTH, Placement(("model", "data")), True),
        (Placement((("a", "b"),)), Placement((("b", "a"),)), True),
        (BOTH, None, False),
        (None, BOTH, False),
        (BOTH, Placement(("data", "tensor")), True),
    ],
)
def test_what_cannot_be_told_does_not_differ(old, new, differs):
    assert moved(old, new) is differs


@pytest.mark.parametrize(
    ("annotated", "placed", "text"),
    [
        (
            ((None, "model"), (None, "model")),
            (Placement((None, "model")), Placement(())),
            "no longer sharded over model: placed P(None, 'model') -> P()",
        ),
        (
            ((None, "model"), ()),
            (Placement((None, "model")), Placement(())),
            "no longer sharded over model: annotated P(None, 'model') -> P(), "
            "placed P(None, 'model') -> P()",
        ),
        ((("a",), (None, "a")), (None, None), "annotated P('a') -> P(None, 'a')"),
        (((), ("a",)), (None, None), "now sharded over a: annotated P() -> P('a')"),
        ((("a",), ("b",)), (None, None), "annotated P('a') -> P('b')"),
    ],
)
def test_what_it_was_and_is(annotated, placed, text):
    assert told(annotated, placed) == text
