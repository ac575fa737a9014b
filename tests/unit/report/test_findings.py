"""The causes of a run's checks, by change."""

from dataclasses import replace

from pytest_nnxrng.report.findings import findings, shortfalls
from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import change_id

CHECK = Check("t.py::test_a", "g/test_a.1.json", "matched", failed=False)
CAUSE = {"word": "draws", "leaves": ["a", "b"], "text": "t", "evidence": "e", "finding": "f"}


def test_nothing_is_nothing():
    assert findings([]) == []
    assert shortfalls([]) == []


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
    assert found["shape"].of_tests == (ids["shape"], "follows"), "of the test two"
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
