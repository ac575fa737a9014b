"""The benchmarks run, and tell what they found: smallest sizes, nothing timed."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
benchmarks = pytest.importorskip("benchmarks", reason="not in this checkout")
for name in ("syrupy", "pytest_regressions", "orbax.checkpoint", "chex", "matplotlib"):
    pytest.importorskip(name, reason="pip install -r benchmarks/requirements.txt")

from benchmarks import (  # noqa: E402
    bars,
    measure,
    peers,
    profile,
    prose,
    report,
    rows,
    sessions,
    workloads,
)


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.test)
def test_a_peer_keeps_what_matches_and_finds_what_does_not(tmp_path, peer):
    model, changed = (workloads.Weights(2000, "float32", changed=c) for c in (False, True))
    if not peer.limit:
        assert measure.run(peer, "update", tmp_path, model).outcome == "passed"
    check = measure.run(peer, "check", tmp_path, model)
    assert check.outcome == "passed", check.said
    assert check.wall > 0
    if not peer.limit:
        assert check.golden > 0
        assert measure.run(peer, "fail", tmp_path, changed).outcome == "failed"


def row(peer, mode, wall, outcome="passed", **fields):
    told = {"peer": peer, "label": peer, "mode": mode, "wall": wall, "cpu": wall}
    shape = {"size": 250_000_000, "dtype": "float32", "said": "", "golden": 16_000, "peak": 0}
    return {**told, **shape, "outcome": outcome, "repetitions": 5, **fields}


TINY = {"without": 10.0, "check": 12.0, "check_init": 14.0}
FOUND = {
    "machine": {"processor": "X1", "cores": 2, "python": "3.12"},
    "contest": [
        row(peers.OURS, "check", 0.05),
        row(peers.OURS, "update", 0.3),
        row(peers.OURS, "fail", 0.1, "failed"),
        row("test_npz_equal", "check", 1.0, golden=1_000_000_000),
        row("test_safetensors", "check", 2.0),
        row("test_safetensors", "update", 0.15),
        row("test_safetensors", "fail", 2.0, "failed"),
        row("test_syrupy_text", "check", 0.01),
        row("test_syrupy_text", "fail", 0.01),
        row("test_orbax_chex", "check", 1.0, "failed", said="TypeError: no"),
        row(peers.EQUAL, "check", 0.1),
    ],
    "tiny": {
        "tests": 1000,
        "where": {
            "reading the golden": 0.91,
            "walking the model": 1.2,
            "fixture nnx_snapshot": 0.3,
        },
        **{kind: {"wall": wall, "cpu": wall} for kind, wall in TINY.items()},
    },
    "start": {"with": {"wall": 0.51, "cpu": 0.5}, "without": {"wall": 0.5, "cpu": 0.5}},
    "goldens": [{"x": n, "check": {"wall": n / 1e3}, "update": {"wall": n / 1e3}} for n in (1, 9)],
}


def test_bars_say_what_is_met():
    met = {bar.what.partition(",")[0]: (round(bar.wall, 3), bar.met) for bar in bars.bars(FOUND)}
    assert met == {
        "check / np.array_equal": (0.5, True),
        "fastest peer (test_npz_equal) / check": (20.0, True),
        "update / safetensors save_file": (2.0, False),
        "a failing check / a passing one": (2.0, True),
        "extra memory of a check": (0.0, True),
        "golden": (15.625, None),
        "start of pytest": (1.02, True),
        "check_init of a tiny model beyond building it": (4.0, True),
        "1000 tiny tests with check_init / without": (1.4, False),
        "check of a tiny model beyond building it": (2.0, True),
        "1000 tiny tests with check / without": (1.2, True),
    }


def test_results_are_written_as_text_json_and_a_plot(tmp_path):
    report.write(FOUND, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == FOUND
    text = (tmp_path / "results.txt").read_text(encoding="utf-8")
    assert "cannot: TypeError: no" in text
    assert "passes although a weight changed by 8" in text
    assert "NOT MET" in text
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_the_documentation_takes_the_results(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(prose.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    prose.replace(page, FOUND)
    prose.replace(page, FOUND)
    text = page.read_text(encoding="utf-8")
    assert text.count("| pytest-nnxrng | 0.05 | 0.3 | 0.1 | 16 KiB |") == 1
    assert "| np.load + array_equal | 1 (20x) |  |  | 1 GB |" in text
    assert "| orbax + chex.assert_trees_all_close | cannot |" in text
    assert "starts pytest in 1.02 of its time" in text
    words = " ".join(text.split())
    assert "In ms: walking the model 1.2, reading the golden 0.9; the fixture" in words


def test_the_steps_of_a_tiny_check_are_timed(tmp_path):
    body = "nnx_snapshot.check_init(Tiny, rngs=rngs)"
    text = rows.TINY.format(tests=3, fixtures="rngs, nnx_snapshot", body=body)
    sessions.write(tmp_path, text)
    sessions.run(tmp_path, (*sessions.PLUGIN, sessions.UPDATE))
    found = sessions.milliseconds(tmp_path)
    assert {"fixture rngs", "fixture nnx_snapshot", "test", *profile.STEPS} <= found.keys()
    assert sum(found[step] for step in profile.STEPS) < found["test"]


def test_a_run_is_not_charged_for_the_memory_of_its_starter(tmp_path):
    ballast = bytearray(600 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    found = sessions.run(sessions.write(tmp_path, "def test_nothing(): ...\n"))
    assert 0 < found.peak < len(ballast)
