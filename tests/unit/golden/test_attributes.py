"""Rows of modules as a manifest holds them: equal ones once, hostile ones refused."""

from __future__ import annotations

import json

import pytest

from pytest_nnxrng.golden.execution import packed, unpacked

LONG = {"class": "Linear", "in_features": 4, "rates": [0.1, None]}


def test_rows_come_back_as_they_went():
    rows = {"b": LONG, "a": {"class": "Net"}, "c": {**LONG, "dtype": None}, "d": dict(LONG)}
    data = packed(rows)
    assert list(data) == ["a", "b", "c", "d"]
    assert data["d"] == "b"
    assert unpacked(json.loads(json.dumps(data))) == rows


def test_what_is_shorter_than_a_reference_to_it_is_written_out():
    rows = {"a.long.path.of.a.module": {"class": "N"}, "b": {"class": "N"}}
    assert packed(rows) == rows


def test_rows_that_differ_in_kind_alone_are_not_one():
    rows = {"a": {"class": "N", "x": 1, "y": "long"}, "b": {"class": "N", "x": True, "y": "long"}}
    assert unpacked(packed(rows))["b"]["x"] is True


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([], "is not a map"),
        ({"a": 3}, "a is neither a module nor like one"),
        ({"a": "b"}, "a is neither a module nor like one"),
        ({"a": "a"}, "a is neither a module nor like one"),
        ({"a": "b", "b": "c", "c": {"class": "N"}}, "a is neither a module nor like one"),
        ({"a": {"class": 3}}, "a is neither a module nor like one"),
        ({"a": {"rate": {}}}, "a holds what is no number"),
        ({"a": {"rate": [[{}]]}}, "a holds what is no number"),
        ({"a": {"rate": float("inf")}}, "a holds what is no number"),
    ],
)
def test_anything_else_is_refused(data: object, told: str):
    with pytest.raises(ValueError, match=told):
        unpacked(data)
