"""The words for causes: the table of the documentation, and what --nnx-update-only takes."""

import re
from pathlib import Path

import pytest

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.run.settings import BadSetting
from pytest_nnxrng.why import words
from pytest_nnxrng.why.cause import Cause
from pytest_nnxrng.why.words import CAUSES, MEANINGS, parse

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "reference" / "causes.md"
TESTS = Path(__file__).parents[2]
PROOFS = DOCS / "explanation" / "proofs.md"


def test_the_table_of_the_documentation_is_this_one():
    text = PAGE.read_text(encoding="utf-8")
    rows = "".join(f"| `{word}` | {meaning} |\n" for word, meaning in MEANINGS.items())
    assert f"|---|---|\n{rows}\n" in text


def test_each_cause_has_its_proof_in_the_documentation():
    text = PROOFS.read_text(encoding="utf-8")
    table = text[text.index("| cause | is proven by |") :].partition("\n\n")[0]
    told = [
        word for row in table.splitlines() for word in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(told) == sorted(set(CAUSES) - {"unknown"}), "unknown is what nothing proves"


def test_each_cause_has_a_mutation():
    texts = [path.read_text(encoding="utf-8") for path in (TESTS / "causes").glob("test_*.py")]
    named = {word for text in texts for word in re.findall(r'"(\w+)"', text)}
    assert not set(CAUSES) - named, "of these tests/causes has none"


def test_what_sets_a_word_apart_is_told_in_its_row():
    for name, field, value in (
        *((words.KEYED, "keys", True), (words.OPEN, "open", True), (words.ASIDE, "aside", True)),
        *((words.RELEASED, "released", True), (words.PLAIN, "plain", True)),
        *((words.NOT_JUDGED, "judged", False), (words.NEVER_WRITTEN, "written", False)),
    ):
        assert name == {word for word, row in CAUSES.items() if getattr(row, field) is value}
        assert name, f"{field}: no word has it"
    assert set(words.REDRAWS) - {"environment"} == words.KEYED


def test_words_are_read_from_a_list():
    assert parse("draws", "x") == {"draws"}
    assert parse(" draws , environment ", "x") == {"draws", "environment"}
    assert parse("draws,0bafba57", "x") == {"draws", "0bafba57"}, "one change by its id"


@pytest.mark.parametrize("text", ["", "draw", "draws,", "draws,,seed", "Seed", "0bafba5"])
def test_a_word_that_is_none_is_named_with_those_that_are(text):
    with pytest.raises(BadSetting, match=r"^--x: '.*' is no cause\. Causes are seed, stream, "):
        parse(text, "--x")


def test_no_cause_and_no_difference_has_a_word_of_its_own():
    with pytest.raises(ValueError, match="'seeds' is no word for a cause"):
        Cause("seeds", (), "")
    with pytest.raises(ValueError, match="are not all kinds of a difference"):
        Difference("a", ("value",))
