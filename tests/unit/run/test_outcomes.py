"""What travels from workers to the summary, and how it is counted."""

import json
from dataclasses import fields, replace

import pytest

from pytest_nnxrng.run.outcomes import (
    Check,
    Outcomes,
    Totals,
    change_id,
    findings,
    shortfalls,
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
    assert findings([]) == []


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


def test_one_change_in_many_tests_is_one_finding():
    def check(golden, *causes):
        return replace(CHECK, golden=golden, causes=causes)

    def cause(word, finding, *leaves):
        return {**CAUSE, "word": word, "finding": finding, "leaves": list(leaves)}

    found = findings(
        [
            check("a", cause("shape", "wider", "w")),
            check("b", cause("draws", "two more", "w", "b"), cause("shape", "", "w")),
            check("c", cause("draws", "two more", "w")),
            check("c", cause("draws", "two more", "v")),
        ]
    )
    assert [(f.word, f.text, f.goldens, f.leaves) for f in found] == [
        ("draws", "two more", ("b", "c"), 4),
        ("shape", "wider", ("a",), 1),
        ("shape", "shape", ("b",), 1),
    ]


# -- findings --------------------------------------------------------------------------


def moved(golden, *words, **more):
    causes = tuple({**CAUSE, "word": word, "finding": word} for word in words)
    return replace(CHECK, golden=golden, failed=True, status="different", causes=causes, **more)


def test_a_change_names_those_that_its_goldens_need_to_be_accepted_with():
    checks = [moved("a", "draws", "shape"), moved("b", "draws", "shape"), moved("c", "shape")]
    found = {finding.word: finding for finding in findings(checks)}
    ids = {word: change_id(word, word) for word in ("draws", "shape")}
    assert found["draws"].together == tuple(sorted(ids.values()))
    assert found["shape"].together == (), "c was moved by it alone"


def test_a_change_names_those_that_its_tests_need_to_be_updated_with():
    checks = [
        *(moved("a", "draws", test="one"), moved("b", "shape", test="one")),
        *(moved("c", "shape", test="two"), moved("d", "follows", test="two")),
        *(moved("e", "static", test="three"), moved("f", "unknown", test="three")),
    ]
    found = {finding.word: finding for finding in findings(checks)}
    ids = {word: change_id(word, word) for word in ("draws", "shape")}
    assert all(finding.together == () for finding in found.values())
    assert found["draws"].of_tests == tuple(sorted(ids.values()))
    assert found["shape"].of_tests == (), "of the test two it is the one that is judged"
    assert found["static"].of_tests == ()


def test_a_change_has_the_first_line_that_called_and_the_key_map_where_keys_moved():
    check = moved("a", "draws", "shape", where="tests/t.py:3", keymap=("params",))
    found = {f.word: f for f in findings([check, replace(check, where="tests/t.py:9")])}
    assert {f.called for f in found.values()} == {"tests/t.py:3"}
    assert (found["draws"].keymap, found["shape"].keymap) == (("params",), ())


def test_what_failed_by_no_cause_is_told_by_what_is_wrong_with_the_golden():
    rows = [("a", "missing"), ("b", "missing"), ("c", "locked"), ("d", "matched")]
    checks = [
        replace(CHECK, golden=golden, status=status, failed=status != "matched", where="t.py:1")
        for golden, status in rows
    ]
    short = [(f.word, f.goldens, f.called) for f in shortfalls(checks)]
    assert short == [("missing", ("a", "b"), "t.py:1"), ("unreadable", ("c",), "t.py:1")]
    assert not shortfalls([replace(checks[0], failed=False), moved("e", "draws")])
