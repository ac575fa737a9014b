"""The folder of a run on other code, and in it the tree of a commit, without a trace elsewhere.

``git worktree add`` would note the tree in the repository, where a killed run leaves it. So the
tree is a repository of its own that borrows the objects of the user's. The folder is locked while
it is in use; what a killed run left is removed by a later one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from pytest_nnxrng.against.git import GitError, ask, knows, names
from pytest_nnxrng.run.settings import BadSetting

_SUBMODULE = "160000"
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:(\w{64})\n"
)
_POINTER_BYTES = 1024
PREFIX = "nnxrng-against-"
_LOCK = "lock"
_YOUNG = 60.0  # seconds; a folder just made may not be locked yet


def make(top: Path, commit: str, tree: Path, label: str) -> list[str]:
    """Fill ``tree`` with the files of ``commit``; returns what is to be told of it.

    Raises:
      BadSetting: when it cannot be made.
    """
    try:
        _check_out(top, commit, tree)
        return [*_large_files(top, tree, label), *_submodules(top, commit, tree, label)]
    except (GitError, OSError) as error:
        told = str(error).strip().splitlines() or ["no reason given"]
        raise BadSetting(
            f"--nnx-against: the tree of {label} cannot be made in {tree}: {told[-1]}. "
            f"{_hint(top, str(error))}"
        ) from None


def _hint(top: Path, said: str) -> str:
    if knows(top, "config", "--get-regexp", r"remote\..*\.promisor"):
        return f"This is a partial clone: fetch what is missing with git -C {top} fetch --refetch"
    if "space" in said.lower():
        return "Name a folder with room in TMPDIR"
    return "TMPDIR names another place for it"


def _check_out(top: Path, commit: str, tree: Path) -> None:
    tree.mkdir(parents=True, exist_ok=True)
    form = knows(top, "rev-parse", "--show-object-format") or "sha1"
    ask(tree, "init", "--quiet", "--template=", f"--object-format={form}", ".")
    git = tree / ".git"
    (git / "objects" / "info").mkdir(parents=True, exist_ok=True)
    absolute = ("rev-parse", "--path-format=absolute", "--git-path")
    alternates = git / "objects" / "info" / "alternates"
    alternates.write_text(ask(top, *absolute, "objects") + "\n", encoding="utf-8")
    shallow = Path(ask(top, *absolute, "shallow"))
    if shallow.is_file():
        shutil.copy(shallow, git / "shallow")
    ask(tree, "checkout", "--quiet", "--force", "--detach", commit)


def _submodules(top: Path, commit: str, tree: Path, label: str) -> list[str]:
    """Fill the folders of submodules from their checkouts, as far as these have the commits."""
    told = []
    for row in names(top, "ls-tree", "-r", commit):
        about, _, path = row.partition("\t")
        mode, _, wanted = about.split(" ")[:3]
        if mode != _SUBMODULE:
            continue
        here = top / path
        # In a submodule that was never checked out, git would answer for the one around it.
        if (here / ".git").exists() and _holds(here, wanted):
            _check_out(here, wanted, tree / path)
            told += _submodules(here, wanted, tree / path, label)
        else:
            told.append(
                f"The submodule {path} is at {wanted[:7]} in {label}, which is not in this clone: "
                "its folder was empty there. To fetch it: git submodule update --init, then "
                f"git -C {path} fetch origin {wanted[:7]}"
            )
    return told


def _holds(repository: Path, commit: str) -> bool:
    try:
        ask(repository, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


# -- Git LFS -----------------------------------------------------------------------------------


def _large_files(top: Path, tree: Path, label: str) -> list[str]:
    """Fill in what Git LFS holds, as far as it is here: nothing is downloaded."""
    pointers = [tree / name for name in names(tree, "ls-files", ":(attr:filter=lfs)")]
    store = Path(ask(top, "rev-parse", "--path-format=absolute", "--git-path", "lfs/objects"))
    lacking = []
    for path in pointers:
        found = _POINTER.match(path.read_bytes()[:_POINTER_BYTES]) if path.is_file() else None
        if found is None:
            continue
        oid = found[1].decode()
        held = store / oid[:2] / oid[2:4] / oid
        if held.is_file():
            shutil.copyfile(held, path)
        else:
            lacking.append(path.relative_to(tree).as_posix())
    if not lacking:
        return []
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return [
        f"{lacking[0]}{more} of {label}, kept by Git LFS, was not in this clone: the tests found "
        f"a pointer there. To fetch it: git lfs fetch origin {label.partition(' ')[0]}"
    ]


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
