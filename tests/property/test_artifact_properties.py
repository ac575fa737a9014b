"""Whatever a report says, the commands end in an answer or in one clear error."""

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_nnxrng.command.artifact import read, safe
from pytest_nnxrng.command.merge import disagreeing, merged, where
from pytest_nnxrng.command.pending import document
from pytest_nnxrng.command.proposal import Selection, plan, selected
from pytest_nnxrng.command.terminal import Trouble

TARGET = "tests/__nnx_snapshots__/test_a/test_a.1.json"
CAUSE = {"word": "draws", "leaves": ["a"], "text": "t", "evidence": "", "finding": "f"}
ROW = {
    "test": "tests/test_a.py::test_a",
    "golden": TARGET,
    "status": "different",
    "failed": True,
    "leaves": 4,
    "headroom": 0.5,
    "causes": [CAUSE],
    "differences": [{"leaf": "a"}],
    "notes": ["x"],
    "obtained": {
        "path": f"obtained/{TARGET}",
        "digest": "0" * 64,
        "target": TARGET,
        "against": None,
    },
    "withheld": "",
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def ends_well(report):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "report.json").write_text(json.dumps(report), encoding="utf-8")
        with contextlib.suppress(Trouble):
            artifact = read("out", Path(folder))
            made = plan([artifact], Path(folder))
            json.dumps(document(made))
            assert selected(made, Selection(all=True)) == list(made.proposals)
            json.dumps(merged([artifact], where([artifact]), disagreeing([artifact])))


@given(st.sampled_from(sorted(ROW)), JSON)
def test_any_value_of_a_check(key, value):
    ends_well({"format": 1, "run": {}, "checks": [{**ROW, key: value}, ROW]})


@given(st.sampled_from(sorted(ROW["obtained"])), JSON)
def test_any_value_of_what_was_obtained(key, value):
    ends_well({"format": 1, "checks": [{**ROW, "obtained": {**ROW["obtained"], key: value}}]})


@given(st.sampled_from(sorted(CAUSE)), JSON)
def test_any_value_of_a_cause(key, value):
    ends_well({"format": 1, "checks": [{**ROW, "causes": [{**CAUSE, key: value}]}]})


@given(st.sampled_from(["format", "run", "checks", "unused", "gone"]), JSON)
def test_any_value_of_a_report(key, value):
    ends_well({"format": 1, "run": {"jax": "1"}, "checks": [ROW], key: value})


@given(JSON)
def test_any_report(report):
    ends_well(report)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "C:", "", "b.json", "\0"]), max_size=6))
def test_a_safe_path_stays_in_its_folder(parts):
    text = "/".join(parts)
    try:
        path = safe(text)
    except Trouble:
        return
    whole = Path("/folder").joinpath(path)
    assert Path("/folder") in whole.parents
    assert ".." not in whole.parts
