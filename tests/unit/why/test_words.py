"""The words for causes: the table of the documentation, and what --nnx-update-only takes."""

from pathlib import Path

import pytest

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.run.settings import BadSetting
from pytest_nnxrng.why.cause import Cause
from pytest_nnxrng.why.words import MEANINGS, parse

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "causes.md"


def test_the_table_of_the_documentation_is_this_one():
    text = PAGE.read_text(encoding="utf-8")
    rows = "".join(f"| `{word}` | {meaning} |\n" for word, meaning in MEANINGS.items())
    assert f"|---|---|\n{rows}\n" in text


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
