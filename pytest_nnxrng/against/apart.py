"""A process that runs the tests on other code; it ends when this one does, however that ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from pytest_nnxrng.against.job import WATCH

_TAIL = 8_000  # characters of its output that are looked at
_PATIENCE = 10.0  # seconds that it may take to end when told to


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
