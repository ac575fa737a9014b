"""Whole runs of one kind of test: failing, updating, under workers, long; goldens that are read.

Each row is a ratio of two things done by turns in one run.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import sessions
from benchmarks.sessions import PLUGIN, UPDATE

TESTS = 100
MODEL = """
import os

import jax.numpy as jnp
import pytest
from flax import nnx

X = jnp.ones((2, 8))


class Tiny(nnx.Module):
    def __init__(self, *, rngs):
        if os.environ.get("CHANGED"):
            rngs.params()
        for n in range(10):
            setattr(self, f"layer{n}", nnx.Linear(8, 8, rngs=rngs))

    def __call__(self, x):
        for n in range(10):
            x = getattr(self, f"layer{n}")(x)
        return x


@pytest.mark.parametrize("n", range(TESTS))
def test_tiny(rngs, nnx_snapshot, n):
    model = nnx_snapshot.check_init(Tiny, rngs=rngs)
    nnx_snapshot.check(model(X), "output")
"""
LONG = """
import gc, resource

import numpy as np
import pytest

@pytest.mark.parametrize("n", range(TESTS))
def test_long(nnx_snapshot, n):
    weights = [np.full(50_000, n % 7 + i, np.float32) for i in range(20)]
    nnx_snapshot.check(weights)
    if n in (199, TESTS - 1):
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def failing(folder: Path, repetitions: int) -> dict[str, Any]:
    """Runs of tests that check a build and its output: passing, all failing, and written first."""
    here = _project(folder / "failing", MODEL, TESTS)
    goldens = here / "__nnx_snapshots__"
    found: dict[str, list[float]] = {"passing": [], "failing": [], "updating": []}
    for _ in range(repetitions):
        shutil.rmtree(goldens, ignore_errors=True)
        found["updating"].append(sessions.run(here, (*PLUGIN, UPDATE)).wall)
        found["passing"].append(sessions.run(here).wall)
        os.environ["CHANGED"] = "1"
        try:
            found["failing"].append(sessions.run(here, (*PLUGIN, "--tb=short"), expect=1).wall)
        finally:
            del os.environ["CHANGED"]
    return {"tests": TESTS, **_medians(found)}


def profile(folder: Path, tests: int) -> dict[str, Any]:
    """Where a session goes, in ms by parts that add up: the tests pass, fail, and are written."""
    here = _project(folder / "profile", MODEL, tests)
    found: dict[str, Any] = {"tests": tests}
    found["updating"] = sessions.milliseconds(here, "--whole", UPDATE)
    found["passing"] = sessions.milliseconds(here, "--whole")
    os.environ["CHANGED"] = "1"
    try:
        found["failing"] = sessions.milliseconds(here, "--whole", "--tb=short", expect=1)
    finally:
        del os.environ["CHANGED"]
    return found


def workers(folder: Path, repetitions: int, tests: int) -> dict[str, Any]:
    """The same checks in one process and in two."""
    here = _project(folder / "workers", MODEL, tests)
    sessions.run(here, (*PLUGIN, UPDATE))
    two = (*PLUGIN, "-p", "xdist", "-n", "2", "--dist", "worksteal")
    found: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(repetitions):
        found["one"].append(sessions.run(here).wall)
        found["two"].append(sessions.run(here, two).wall)
    return {"tests": tests, **_medians(found)}


def memory(folder: Path, tests: int) -> dict[str, Any]:
    """The peak of a run after 200 checks of a million numbers, and after all of them, in bytes."""
    here = _project(folder / "memory", LONG, tests)
    sessions.run(here, (*PLUGIN, UPDATE))
    peaks = [
        int(line.split()[-1])
        for line in sessions.said(here, (*PLUGIN, "-s")).splitlines()
        if "peak" in line
    ]
    return {"tests": tests, "early": peaks[0], "late": peaks[-1]}


def reading(folder: Path, repetitions: int, leaves: int) -> dict[str, Any]:
    """A golden with so many leaves, read and held to be sound; and its JSON alone."""
    from pytest_nnxrng.golden import manifest

    folder.mkdir(parents=True, exist_ok=True)
    text = (
        "import numpy as np\n\ndef test_it(nnx_snapshot):\n    nnx_snapshot.check("
        f"{{f'blocks.{{i}}.kernel': np.arange(8.0) + i for i in range({leaves})}})\n"
    )
    here = sessions.write(folder / "reading", text)
    sessions.run(here, (*PLUGIN, UPDATE))
    (path,) = (here / "__nnx_snapshots__").rglob("*.json")
    raw = path.read_bytes()
    found: dict[str, list[float]] = {"json": [], "golden": []}
    for _ in range(repetitions):
        found["json"].append(_seconds(lambda: json.loads(raw)))
        found["golden"].append(_seconds(lambda: manifest.read(path)))
    return {"leaves": leaves, **_medians(found)}


def start(folder: Path, repetitions: int) -> dict[str, Any]:
    """pytest on a test that uses nothing, with the wheel installed and without."""
    folder.mkdir(parents=True, exist_ok=True)
    python = _bare(folder)
    here = sessions.write(folder / "start", "def test_nothing(): ...\n")
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(repetitions + 1):
        for kind, samples in found.items():
            path = str(folder / "site") if kind == "with" else ""
            command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            run = _runner(command, here, {**environ, "PYTHONPATH": path})
            seconds = _seconds(run)
            if turn:  # the first compiles
                samples.append(seconds)
    files = (folder / "site").rglob("RECORD")
    listed = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return {"files": listed, **_medians(found)}


def _runner(command: list[str], here: Path, environ: dict[str, str]) -> Callable[[], Any]:
    return lambda: subprocess.run(command, cwd=here, env=environ, capture_output=True, check=True)


def _bare(folder: Path) -> str:
    """An interpreter with pytest alone; beside it, in ``site``, the wheel of this project."""

    def call(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    call(sys.executable, "-m", "venv", str(folder / "bare"))
    python = str(folder / "bare/bin/python")
    call(python, "-m", "pip", "install", "-q", "pytest")
    call(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(sessions.ROOT))
    (wheel,) = folder.glob("*.whl")
    target = str(folder / "site")
    call(python, "-m", "pip", "install", "-q", "--no-deps", "--target", target, str(wheel))
    return python


def _project(folder: Path, text: str, tests: int) -> Path:
    return sessions.write(folder, text.replace("TESTS", str(tests)))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _medians(found: dict[str, list[float]]) -> dict[str, Any]:
    """The median of each, and the median of each turn's ratio to the first."""
    first = next(iter(found.values()))
    medians: dict[str, Any] = {kind: statistics.median(of) for kind, of in found.items()}
    ratios = {
        kind: statistics.median([a / b for a, b in zip(of, first, strict=True)])
        for kind, of in found.items()
    }
    return {**medians, "ratios": ratios, "repetitions": len(first)}
