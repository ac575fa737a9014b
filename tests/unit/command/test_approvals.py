"""What was chosen on a page is accepted, if the report is the one that the page was of."""

import json

import pytest
from trees import FOLDER, model

from pytest_nnxrng.golden.document import fingerprint

ONE, TWO = f"{FOLDER}/test_a.1.json", f"{FOLDER}/test_a.2.json"


@pytest.fixture
def moved(tree):
    for name in ("test_a.1", "test_a.2"):
        tree.golden(name)
        tree.obtained(name)
    return tree


def approve(tree, *goldens, **more):
    """Save an approvals.json as the page does."""
    rows = [
        {"golden": golden, "digest": fingerprint(tree.report / "obtained" / golden)}
        for golden in goldens
    ]
    path = tree.path / "approvals.json"
    path.write_text(json.dumps({"by": "pytest-nnxrng", "format": 1, "approved": rows, **more}))
    return path


def test_what_was_approved_is_written_and_the_rest_is_left(moved, nnxrng):
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--from", approve(moved, TWO))
    assert ran.code == 0, ran.words
    assert "Wrote 1 golden, left 1 pending." in ran.words
    assert moved.files()[ONE] == before[ONE]
    assert fingerprint(moved.root / TWO) == fingerprint(moved.report / "obtained" / TWO)


def test_approved_and_named_both_must_hold(moved, nnxrng):
    ran = nnxrng("accept", moved.report, "--from", approve(moved, ONE, TWO), "--golden", TWO)
    assert ran.code == 0
    assert "Wrote 1 golden, left 1 pending." in ran.words


def test_what_another_run_obtained_is_refused(moved, nnxrng):
    chosen, before = approve(moved, ONE), moved.files()
    moved.rows.clear()
    moved.obtained("test_a.1", model(seed=0.25))
    ran = nnxrng("accept", moved.report, "--from", chosen)
    assert ran.code == 2
    assert "it is not what was approved: the page was another run's" in ran.words
    assert moved.files() == before


def test_what_the_report_does_not_hold_is_refused(moved, nnxrng):
    chosen = approve(moved, ONE, TWO)
    before = moved.files()
    del moved.rows[1]
    moved.written()
    ran = nnxrng("accept", moved.report, "--from", chosen)
    assert ran.code == 2
    assert "holds nothing for it. Is this the report that the page was of?" in ran.words
    assert moved.files() == before


BAD = {
    "{": "is not a whole JSON file",
    "[]": "was not saved by a page of pytest-nnxrng",
    '{"by": "pytest-nnxrng", "format": 2}': "has format 2; this pytest-nnxrng reads format 1",
    '{"by": "pytest-nnxrng", "format": 1, "approved": []}': "approves nothing",
    '{"by": "pytest-nnxrng", "format": 1, "approved": [{"golden": 1}]}': "edited or damaged",
    '{"by": "pytest-nnxrng", "format": 1, "approved": [{"golden": "../x", "digest": "a"}]}': (
        "leaves the tree"
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_no_page_saved_is_refused(moved, nnxrng, text):
    path, before = moved.path / "approvals.json", moved.files()
    path.write_text(text)
    ran = nnxrng("accept", moved.report, "--from", path)
    assert ran.code == 2
    assert BAD[text] in ran.words
    assert moved.files() == before


def test_a_file_that_is_not_there_is_named(moved, nnxrng):
    ran = nnxrng("accept", moved.report, "--from", "gone.json")
    assert ran.code == 2
    assert "there is no file gone.json" in ran.words
