"""Whole runs of pytest in processes of their own: their seconds, and the memory they took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLUGIN = ("-p", "pytest_nnxrng.plugin")
UPDATE = "--nnx-update-snapshots"


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


def run(folder: Path, arguments: Sequence[str] = PLUGIN, expect: int = 0) -> Session:
    """Run pytest in ``folder``, with the plugins that ``arguments`` name alone."""
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expect:
        raise RuntimeError(f"pytest failed in {folder}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    return Session(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
