"""A process that runs the tests on other code: its job, and its end, when this one ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NamedTuple

JOB = "PYTEST_NNXRNG_AGAINST"  # names the file, in the environment
WATCH = "PYTEST_NNXRNG_AGAINST_WATCH"  # a pipe that ends when this process does
FILE = "job.json"
_TAIL = 8_000  # characters of its output that are looked at
_PATIENCE = 10.0  # seconds that it may take to end when told to


class Job(NamedTuple):
    """The folders, and the import paths of this run as they are in ``tree``.

    ``tree`` holds the files of the revision where ``checkout`` holds the present ones; they are
    one where another interpreter alone is asked. ``tests`` are the files of the tests.
    """

    temporary: str
    checkout: str
    tree: str
    label: str
    paths: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    @property
    def goldens(self) -> Path:
        return Path(self.temporary) / "goldens"

    def save(self) -> Path:
        path = Path(self.temporary) / FILE
        path.write_text(json.dumps(self._asdict()), encoding="utf-8")
        return path


def load_job(path: str | Path) -> Job:
    row = json.loads(Path(path).read_text(encoding="utf-8"))
    return Job(**{**row, "paths": tuple(row["paths"]), "tests": tuple(row["tests"])})


def current(environ: Mapping[str, str]) -> Job | None:
    """The job of this process; None in an ordinary run."""
    return load_job(environ[JOB]) if JOB in environ else None


def run(
    command: Sequence[str], here: Path, environ: Mapping[str, str], output: Path
) -> tuple[int, str]:
    """Run ``command`` to its end; returns the exit code and the end of what it printed."""
    here.mkdir(parents=True, exist_ok=True)
    ours, theirs = os.pipe()
    with output.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=here,
            env={**environ, WATCH: str(ours)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=(ours,),
            start_new_session=True,
        )
        os.close(ours)
        try:
            code = process.wait()
        finally:
            _end(process)
            os.close(theirs)
    return code, output.read_bytes()[-_TAIL:].decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it started; a second Ctrl-C meanwhile does not leave it behind."""
    try:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def watch(environ: MutableMapping[str, str], temporary: Path) -> None:
    """In the process that was started: end with the one that started it, and clean up for it."""
    if WATCH not in environ:
        return  # a worker, which ends with its controller
    pipe = int(environ.pop(WATCH))
    threading.Thread(target=_wait, args=(pipe, temporary), daemon=True).start()


def _wait(pipe: int, temporary: Path) -> None:
    while True:
        with contextlib.suppress(OSError):
            if os.read(pipe, 1):
                continue
        break
    shutil.rmtree(temporary, ignore_errors=True)
    _kill_group()


def _kill_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
