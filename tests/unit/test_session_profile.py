"""Where a whole session goes, by parts: what ``python -m benchmarks --only profile`` prints."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
pytest.importorskip("benchmarks", reason="not in this checkout")

from benchmarks import profile, runs


def test_the_parts_of_a_session_add_up_to_it(tmp_path):
    found = runs.profile(tmp_path, 3)
    known = {*profile.PARTS, profile.BEFORE, profile.BODY, profile.FIXTURES, profile.REST}
    for kind in ("passing", "failing", "updating"):
        whole = found[kind].pop("all")
        assert sum(found[kind].values()) == pytest.approx(whole)
        assert found[kind].keys() <= known
        assert found[kind]["walking the model"] > 0
    assert found["failing"]["the text of failures"] > 0
    assert found["failing"]["tracing"] > 0
    assert found["updating"]["making a golden ready"] > 0
    assert "the text of failures" not in found["passing"]
    assert "making a golden ready" not in found["passing"]
