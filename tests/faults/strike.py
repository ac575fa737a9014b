"""A plugin of an attacked run: strikes when one of its processes reaches an operation on goldens.

``STRIKE`` says how, at which operation, in which worker ("" is the controller), and which run.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    if not worker:
        os.environ["CONTROLLER"] = str(os.getpid())
    whose = os.environ["GOLDENS"]
    pids = config.rootpath / "pids"
    (pids / str(os.getpid())).write_text(f"{whose}\n{worker}", encoding="utf-8")
    kind, number, where, run = os.environ.get("STRIKE", ":0::nobody").split(":")
    if (where, run) == (worker, whose):
        stack = ExitStack()
        stack.enter_context(_armed(config.rootpath, kind, int(number)))
        config.add_cleanup(stack.close)


def _armed(root: Path, kind: str, which: int) -> AbstractContextManager[None]:
    from tests.faults.operations import watched

    number = 0

    def reached(event: str, args: tuple[Any, ...]) -> None:
        nonlocal number
        if "__nnx_snapshots__" not in str(args[0]):
            return
        number += 1
        if number == which:
            (root / "struck").touch()
        lasts = kind == "full" and number > which and event not in ("os.remove", "os.rmdir")
        if number == which or lasts:
            _STRIKES[kind](root)

    return watched(reached)


def _worker(root: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _controller(root: Path) -> None:
    os.kill(int(os.environ["CONTROLLER"]), signal.SIGKILL)


def _all(root: Path) -> None:
    for path in (root / "pids").iterdir():
        whose, worker = path.read_text(encoding="utf-8").split("\n")
        if whose == os.environ["GOLDENS"] and worker and int(path.name) != os.getpid():
            os.kill(int(path.name), signal.SIGKILL)
    _controller(root)
    _worker(root)


def _full(root: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt(root: Path) -> None:
    os.kill(int(os.environ["CONTROLLER"]), signal.SIGINT)


def _interrupts(root: Path) -> None:
    _interrupt(root)
    time.sleep(0.05)  # the first is being dealt with
    _interrupt(root)


_STRIKES = {
    "worker": _worker,
    "controller": _controller,
    "all": _all,
    "full": _full,
    "interrupt": _interrupt,
    "two interrupts": _interrupts,
}
