"""Temporary files: their names, and those that a killed run left behind, which are taken away.

Only what is provably ours and of no use goes: temporary files whose maker has ended, and values
that no manifest names.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_nnxrng.golden.document import GoldenError, load
from pytest_nnxrng.golden.inventory import (
    TEMPORARY,
    VALUES,
    manifests,
    regular,
    remove_empty,
    through_a_link,
)
from pytest_nnxrng.golden.locks import locked

_MADE = re.compile(rf"\..*\.([0-9]{{1,9}})-([0-9a-f]{{8}})?[0-9a-f]{{8}}{TEMPORARY}", re.DOTALL)
_NAMED = re.compile(rb'^  "values": "([^"\n]*)"', re.MULTILINE)
_DAY = 24 * 3600.0  # seconds after which another host's temporary file is nobody's


@functools.cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def temporary_beside(directory: Path, stem: str) -> Path:
    """Where a file of the golden ``stem`` is made, in a name that says by which process."""
    made_by = f"{os.getpid()}-{_host()}{uuid.uuid4().hex[:8]}"
    return directory / f".{stem}.{made_by}{TEMPORARY}"


@contextlib.contextmanager
def folder_beside(directory: Path, stem: str) -> Iterator[Path]:
    """A folder of our name, for who makes files of names that are not: a kill leaves both."""
    folder = temporary_beside(directory, stem)
    folder.mkdir()
    try:
        yield folder
    finally:
        take_away(folder)


def take_away(temporary: Path) -> None:
    """Delete a temporary file, or a temporary folder with the files that are in it."""
    if temporary.is_symlink() or not temporary.is_dir():
        temporary.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):  # it holds a folder, which is none of ours
        for path in list(temporary.iterdir()):
            path.unlink(missing_ok=True)
        temporary.rmdir()


def is_stale(temporary: Path) -> bool:
    """Whether it is a temporary file, or folder, of a process that has ended."""
    made = _MADE.fullmatch(temporary.name)
    if made is None:
        return False
    if made[2] in (None, _host()) and sys.platform != "win32":  # where asking would end it
        return not _alive(int(made[1]))
    with contextlib.suppress(OSError):  # on a file system that several hosts share
        return time.time() - temporary.stat().st_mtime > _DAY
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def clean(folders: Iterable[Path], rootdir: Path, *, whole: bool = False) -> list[Path]:
    """Take away what killed runs left in these folders of goldens; returns what is gone.

    With ``whole`` values without any manifest go, too: else the golden may be on its way here.
    """
    gone: list[Path] = []
    for folder in folders:
        # What lies behind a link is somebody else's to clean, and may be read-only.
        if not through_a_link(folder, rootdir):
            with contextlib.suppress(OSError):
                gone += _clean(folder, whole)
    return gone


def _clean(folder: Path, whole: bool) -> Iterator[Path]:
    if not any(_left(folder, whole)):  # as nearly always: no need of the lock
        return
    with locked(folder, make=False):
        for path in list(_left(folder, whole)):
            take_away(path)
            if not os.path.lexists(path):
                yield path
    remove_empty(folder)


def _left(folder: Path, whole: bool) -> Iterator[Path]:
    every = sorted(os.scandir(folder), key=lambda entry: entry.name)
    yield from filter(is_stale, map(Path, every))
    names = [entry.name for entry in every if entry.is_file()]
    values = {name: found[1] for name in names if (found := VALUES.fullmatch(name))}
    if not values:
        return
    goldens = manifests(folder)
    used = {name for path in goldens for name in _used(path, _told(path))}
    if values.keys() <= used:
        return
    try:
        used = {name for path in goldens for name in _used(path, load(path).get("values"))}
    except (OSError, GoldenError):
        return  # nobody knows what that one names
    whose = {path.name.removesuffix(".json") for path in goldens}
    for name, stem in values.items():
        if name not in used and (whole or stem in whose):
            yield folder / name


def _told(path: Path) -> str | None:
    """The values that a manifest names, by a look at its text alone."""
    with contextlib.suppress(OSError):
        regular(path)
        if found := _NAMED.search(path.read_bytes()):
            return found[1].decode("utf-8", "replace")
    return None


def _used(manifest: Path, values: object) -> Iterator[str]:
    """The names that this manifest's values may have: as it says, or as it is called itself."""
    if isinstance(values, str) and (found := VALUES.fullmatch(values)):
        yield values
        yield f"{manifest.name.removesuffix('.json')}{values[len(found[1]) :]}"
