"""One process at a time changes the goldens of a folder; what it wrote outlives a power cut."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":  # which lets nobody open a folder, either
    import fcntl

PATIENCE = 60.0  # seconds; a golden takes milliseconds to put in place
_PAUSE = 0.02
# What a file system answers that syncs no such file; anything else may be lost data.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


@contextmanager
def locked(directory: Path, *, make: bool = True) -> Iterator[None]:
    """Hold the lock of ``directory``, which is made if it is not there and ``make`` says so.

    The lock is the folder's own: it leaves no file, and goes with the process that holds it. Who
    only reads never waits. Where a file system has no locks, nobody does.

    Raises:
      OSError: when there is no folder, or another process holds it for ``PATIENCE`` seconds.
    """
    held = _acquire(directory, make)
    try:
        yield
    finally:
        if held is not None:
            _release(held)


def _acquire(directory: Path, make: bool) -> int | None:
    until = time.monotonic() + PATIENCE
    while True:
        if make:  # another process may have found the folder empty and removed it
            directory.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return None
        try:
            held = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            if not make:
                raise
            continue
        try:
            _wait(held, directory, until)
            with suppress(OSError):
                if os.path.samestat(os.fstat(held), directory.stat()):
                    return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # removed, and perhaps made again, while we waited


def _wait(held: int, directory: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                told = f"another process has kept it locked for {PATIENCE:.0f} seconds"
                raise TimeoutError(errno.ETIMEDOUT, told, os.fspath(directory)) from None
            time.sleep(_PAUSE)
        except OSError:
            return  # a file system without locks
        else:
            return


def _release(held: int) -> None:
    with suppress(OSError):  # by word, since a fork of this process would keep it
        fcntl.flock(held, fcntl.LOCK_UN)
    os.close(held)


def file_to_disk(path: Path) -> None:
    """Wait until what was written to a file outlives a power cut.

    Raises:
      OSError: when it does not, as some file systems say only now.
    """
    opened = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(opened)


def folder_to_disk(directory: Path) -> None:
    """Wait until what was renamed or deleted in a folder outlives a power cut."""
    with suppress(OSError):  # a system that has no such thing for folders
        opened = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
