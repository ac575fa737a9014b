"""The folder of a run on other code: made, locked while in use, removed, after kills later."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from pytest_nnxrng.run.settings import BadSetting

PREFIX = "nnxrng-against-"
_LOCK = "lock"
_YOUNG = 60.0  # seconds; a folder just made may not be locked yet


class Folder:
    """A temporary folder that the system knows to be in use for as long as this process lives."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        try:
            self.path: Path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
            self._lock: IO[str] | None = (self.path / _LOCK).open("w")
        except OSError as error:
            raise BadSetting(
                f"--nnx-against: no temporary folder can be made in {tempfile.gettempdir()}: "
                f"{error.strerror or error}. TMPDIR names another place"
            ) from None
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(around: Path) -> None:
    """Remove what killed runs of this user left."""
    for path in around.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
            if is_ours and time.time() - about.st_mtime > _YOUNG and not _is_locked(path / _LOCK):
                shutil.rmtree(path, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
