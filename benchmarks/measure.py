"""One run of one contestant's test, timed around everything that pytest does for the test.

``python -m benchmarks.measure PEER SIZE DTYPE FOLDER`` does so in a process of its own, for the
memory that it takes, and prints what it found as JSON.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from benchmarks import contest, peers, workloads

Mode = Literal["update", "check", "fail"]
PLUGINS = ("pytest_nnxrng.plugin", "syrupy", "pytest_regressions.plugin", "pytest_datadir.plugin")
UPDATE = ("--nnx-update-snapshots", "--snapshot-update", "--regen-all")


@dataclass(frozen=True)
class Sample:
    """What one run came to: seconds, bytes of the golden, how the test ended and why."""

    wall: float
    cpu: float
    outcome: str
    said: str = ""
    golden: int = 0
    peak: int = 0  # bytes beyond those that were taken before


class Task:
    """What the tests of ``contest`` find to do, as the fixture ``task``."""

    def __init__(self, folder: Path, model: workloads.Weights, *, updates: bool) -> None:
        self.folder, self.model, self.updates = folder, model, updates
        self.arrays = workloads.arrays(model)
        self.jax_arrays = {name: getattr(model, name)[...] for name in self.arrays}

    @functools.cached_property
    def copies(self) -> dict[str, np.ndarray]:
        return {name: array.copy() for name, array in self.arrays.items()}

    @functools.cached_property
    def buffer(self) -> bytearray:
        return bytearray(1 << 20)

    def file(self, suffix: str) -> Path:
        return self.folder / f"golden.{suffix}"

    def npz(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, **self.arrays)
        return file.getvalue()

    def prepare(self, test: str) -> None:
        """What a limit needs, and is not charged for."""
        if test == peers.EQUAL:
            _ = self.copies
        elif test == peers.READ:
            _ = self.buffer
            if not self.file("raw").exists():
                with self.file("raw").open("wb") as file:
                    for array in self.arrays.values():
                        file.write(array.tobytes())


class _Clock:
    """A plugin that gives ``task`` to a test and times everything that pytest does for it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.sample = Sample(0.0, 0.0, "not run")

    @pytest.fixture
    def task(self) -> Task:
        return self._task

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        before = resident()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return (yield)
        finally:
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            peak = max(0, highest() - before)
            self.sample = Sample(wall, cpu, self.sample.outcome, self.sample.said, peak=peak)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            lines = str(report.longrepr).splitlines() if report.failed else []
            said = next((line[1:].strip() for line in lines if line.startswith("E  ")), "")
            said = said or (lines[0] if lines else "")
            self.sample = Sample(0.0, 0.0, report.outcome, said[:200])


def run(peer: peers.Peer, mode: Mode, folder: Path, model: workloads.Weights) -> Sample:
    """Run the test of ``peer`` on ``model`` in its own folder below ``folder``."""
    here = folder / peer.test
    if mode == "update":
        shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True, exist_ok=True)
    shutil.copy(contest.__file__, here / "test_contest.py")
    (here / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    task = Task(here, model, updates=mode == "update")
    task.prepare(peer.test)
    clock = _Clock(task)
    plugins = [word for name in PLUGINS for word in ("-p", name)]
    if mode == "update" and not peer.limit:
        plugins += UPDATE
    gc.collect()
    forget_highest()
    with contextlib.redirect_stdout(io.StringIO()), _no_other_plugins():
        pytest.main(
            [f"{here / 'test_contest.py'}::{peer.test}", *plugins, "-p", "no:cacheprovider"],
            plugins=[clock],
        )
    found = clock.sample
    return Sample(found.wall, found.cpu, found.outcome, found.said, _bytes(here), found.peak)


@contextlib.contextmanager
def _no_other_plugins() -> Iterator[None]:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.modules.pop("test_contest", None)
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        sys.modules.pop("test_contest", None)


def _bytes(folder: Path) -> int:
    ours = ("test_contest.py", "pytest.ini")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ours]
    return sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)


def apart(peer: peers.Peer, folder: Path, size: int, dtype: str) -> dict[str, Sample]:
    """An update and a check in a process of their own, with the memory that each took."""
    command = [sys.executable, "-m", __name__, peer.test, str(size), dtype, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"check": Sample(0.0, 0.0, "crashed", done.stderr.strip()[-200:])}
    rows: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {mode: Sample(**row) for mode, row in rows.items()}


# -- memory, as Linux tells it ---------------------------------------------------------------


def resident() -> int:
    return _status("VmRSS:")


def highest() -> int:
    return _status("VmHWM:")


def forget_highest() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return 0


def main() -> None:
    test, size, dtype, folder = sys.argv[1:]
    peer = next(peer for peer in peers.PEERS if peer.test == test)
    modes: tuple[Mode, ...] = ("check",) if peer.limit else ("update", "check")
    model = workloads.Weights(int(size), dtype)
    rows = {mode: asdict(run(peer, mode, Path(folder), model)) for mode in modes}
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
