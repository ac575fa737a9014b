"""What one process tells the others."""

import pytest

from pytest_nnxrng.check.agreement import _message, _parse, _Word
from pytest_nnxrng.device import processes


@pytest.mark.parametrize("letter", ["a", "\n", "é", "\U0001f600", "\ud800"], ids=ascii)
@pytest.mark.parametrize("length", [0, 1, 100, 4000, 100_000])
def test_a_long_word_is_cut_and_arrives(letter, length):
    state = {"options": "0" * 16, "golden": "0" * 40, "leaves": "0" * 16}
    word = _Word("test_a.py::" + "é" * 200, "check 'output'", state, letter * length)
    text = _message(word)
    assert len(text.encode()) <= processes.LONGEST
    got = _parse(text)
    assert (got.at, got.step, got.state) == (word.at, word.step, state)
    assert word.told.startswith(got.told)
    assert len(got.told) >= min(length, 100)
