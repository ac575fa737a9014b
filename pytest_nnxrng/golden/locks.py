"""One process at a time changes the goldens of a folder, whichever run it belongs to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":  # which lets nobody open a folder, either
    import fcntl


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of ``directory``, which is made if it is not there.

    The lock is the folder's own: it leaves no file, and goes with the process that holds it. Where
    a file system has no locks, nothing is waited for.

    Raises:
      OSError: when the folder cannot be made.
    """
    held = _acquire(directory)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _acquire(directory: Path) -> int | None:
    while True:
        # Another process may have found the folder empty and removed it.
        directory.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return None
        try:
            held = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(OSError):
            if os.path.samestat(os.fstat(held), directory.stat()):
                return held
        os.close(held)  # removed, and perhaps made again, while we waited


def to_disk(path: Path) -> None:
    """Wait until what was written to a file, or renamed in a folder, outlives a power cut."""
    with suppress(OSError):  # a system that has no such thing for folders
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
