"""What travels from workers to the summary, and how it is counted."""

import json
from dataclasses import fields, replace

import pytest

from pytest_nnxrng.run.outcomes import (
    Check,
    Outcomes,
    Totals,
    totals,
)

CHECK = Check("t.py::test_a", "g/test_a.1.json", "matched", failed=False)
CAUSE = {"word": "draws", "leaves": ["a", "b"], "text": "t", "evidence": "e", "finding": "f"}
FULL = replace(
    CHECK,
    status="rounded",
    leaves=3,
    rounded=2,
    headroom=0.25,
    worst="a in g",
    same_environment=False,
    unread=1,
    causes=(CAUSE,),
    differences=({"path": "a"},),
    notes=("x", "y"),
)


def row(*checks, test=("t.py", "", "test_a", None), passed=True):
    return {"test": list(test), "passed": passed, "checks": [check.to_json() for check in checks]}


@pytest.mark.parametrize("check", [CHECK, FULL])
def test_a_check_survives_the_way_from_a_worker(check):
    sent = json.loads(json.dumps(check.to_json()))
    assert Check.from_json(sent) == check
    assert set(sent) == {field.name for field in fields(Check)}


def test_checks_come_by_the_names_of_tests_in_whatever_order_these_ran():
    outcomes = Outcomes()
    outcomes.add("b", row(FULL))
    outcomes.add("a", row(CHECK, FULL))
    assert outcomes.all() == [CHECK, FULL, FULL]


def test_a_later_attempt_takes_the_place_of_an_earlier():
    outcomes = Outcomes()
    outcomes.add("t", row(CHECK))
    outcomes.add("t", row(FULL, passed=False))
    assert outcomes.all() == [FULL]
    assert outcomes.passed == set()
    outcomes.add("t", row(CHECK))
    assert outcomes.all() == [CHECK]
    assert outcomes.passed == {("t.py", "", "test_a", None)}


def test_what_passed_is_told_apart_by_parameters():
    outcomes = Outcomes()
    for parameters in ("x", "y", None):
        test = ("t.py", "TestA", "test_a", parameters)
        outcomes.add(str(parameters), row(test=test, passed=parameters != "y"))
    assert outcomes.passed == {("t.py", "TestA", "test_a", "x"), ("t.py", "TestA", "test_a", None)}


def test_a_test_on_two_devices_has_passed_when_it_has_on_both():
    outcomes = Outcomes()
    outcomes.add("t.py::test_a[cpu]", row(CHECK))
    assert outcomes.passed == {("t.py", "", "test_a", None)}
    outcomes.add("t.py::test_a[gpu]", row(passed=False))
    assert outcomes.passed == set()
    again = Outcomes()
    again.add("t.py::test_a[gpu]", row(passed=False))
    again.add("t.py::test_a[cpu]", row(CHECK))
    assert again.passed == set(), "in either order"


def test_tests_that_ran_on_one_device_alone_are_counted_once():
    outcomes = Outcomes()
    outcomes.add("a", row(CHECK) | {"unplaced": True})
    outcomes.add("a", row(CHECK) | {"unplaced": True})
    outcomes.add("b", row(CHECK))
    assert outcomes.unplaced == {"a"}


def test_a_check_that_is_left_to_another_device_is_counted_as_that_alone():
    left = replace(CHECK, status="missing", left="cpu")
    found = totals([CHECK, left, replace(left, status="different"), replace(left, left="gpu")])
    assert (found.matched, found.left, found.missing, found.changed) == (1, 3, 0, 0)
    assert found.left_to == "cpu, gpu"


def test_two_runs_share_nothing():
    Outcomes().add("t", row(CHECK))
    assert Outcomes() == Outcomes(checks={}, tests={}, collected={})


ROWS = [
    ("t.py", True, "", "test_a", None),
    ("t.py", True, "", "test_b", "x"),
    ("t.py", True, "", "test_b", "y"),
    ("u.py", False, "TestA", "test_a", None),
]


def test_what_two_workers_collected_is_one():
    outcomes = Outcomes()
    outcomes.collect(ROWS)
    outcomes.collect(tuple(map(list, ROWS)))
    assert outcomes.collected == {
        "t.py": (True, {("", "test_a"): {None}, ("", "test_b"): {"x", "y"}}),
        "u.py": (False, {("TestA", "test_a"): {None}}),
    }


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_that_any_worker_saw_whole_was_seen_whole(order):
    outcomes = Outcomes()
    seen = [("t.py", False, "", "test_a", None), ("t.py", True, "", "test_b", None)]
    for each in seen[::order]:
        outcomes.collect([each])
    assert outcomes.collected["t.py"] == (True, {("", "test_a"): {None}, ("", "test_b"): {None}})


def test_nothing_is_nothing():
    assert totals([]) == Totals()


def test_totals_count_each_check_once():
    def check(status, **more):
        return replace(CHECK, status=status, **more)

    every = [
        check("matched"),
        check("matched"),
        check("rounded", same_environment=False, headroom=0.5, worst="a"),
        check("rounded", same_environment=True, headroom=0.75, worst="b"),
        check("missing", failed=True),
        check("missing", written=True),
        check("different", failed=True),
        check("different", written=True),
        check("unreadable", failed=True),
        check("locked", failed=True),
        check("matched", unread=3),
        check("different", unread=3, failed=True),
    ]
    assert totals(iter(every)) == Totals(
        matched=3,
        rounded=2,
        written=2,
        missing=1,
        changed=2,
        unreadable=2,
        unread=1,
        headroom=0.75,
        worst="b",
        unproven_rounding=1,
    )
