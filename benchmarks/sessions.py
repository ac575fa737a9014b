"""Whole runs of pytest in processes of their own: their seconds, and the memory they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLUGIN = ("-p", "pytest_nnxrng.plugin")
UPDATE = "--nnx-update-snapshots"


# A process is said to have taken what the one that started it had: this one has nothing.
_LAUNCHER = """
import json, os, subprocess, sys, time
with open(sys.argv[1], "w") as log:
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:], stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, peak]))
"""


@dataclass(frozen=True)
class Session:
    wall: float
    cpu: float
    peak: int  # bytes, of the whole process


def write(folder: Path, text: str, name: str = "test_it.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def milliseconds(folder: Path, *options: str, expect: int = 0) -> dict[str, float]:
    """Where the time of the tests in ``folder`` goes, as ``benchmarks.profile`` tells it."""
    command = [sys.executable, "-m", "benchmarks.profile", "test_it.py", *options]
    done = subprocess.run(command, cwd=folder, env=_environ(), capture_output=True, text=True)
    if done.returncode != expect:
        raise RuntimeError(f"pytest failed in {folder}:\n{done.stdout[-2000:]}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environ() -> dict[str, str]:
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
    return environ


def run(folder: Path, arguments: Sequence[str] = PLUGIN, expect: int = 0) -> Session:
    """Run pytest in ``folder``, with the plugins that ``arguments`` name alone."""
    log = folder / "log.txt"
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    command = [sys.executable, "-c", _LAUNCHER, str(log), *pytest]
    done = subprocess.run(command, cwd=folder, env=_environ(), stdout=subprocess.PIPE, check=True)
    code, wall, cpu, peak = json.loads(done.stdout)
    if code != expect:
        raise RuntimeError(f"pytest failed in {folder}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    return Session(wall, cpu, peak)


def said(folder: Path, arguments: Sequence[str]) -> str:
    """What a run of pytest in ``folder`` that passes prints."""
    run(folder, arguments)
    return (folder / "log.txt").read_text(encoding="utf-8")
