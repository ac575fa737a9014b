"""git, asked what a revision is and holds. Nothing here changes the repository that is asked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_nnxrng.run.settings import BadSetting

_NEVER = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
OPTION = "--nnx-against"
_FORK = "merge-base:"


class GitError(Exception):
    """What git said when it refused."""


def environment(around: Mapping[str, str]) -> dict[str, str]:
    """``around`` without what names another repository, as it is set within a hook of git."""
    kept = {name: value for name, value in around.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",  # or `git ls-files` would refresh the user's index
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def ask(where: Path, *words: str) -> str:
    """What ``git <words>`` prints when run in ``where``, without the last line's end.

    Raises:
      GitError: with what git said.
      BadSetting: where there is no git.
    """
    try:
        done = subprocess.run(
            ["git", *_NEVER, *words],
            cwd=where,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise BadSetting("--nnx-against needs git, and there is no command git here") from None
    except OSError as error:
        raise GitError(str(error)) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise GitError(said.removeprefix("fatal: ") or f"git {words[0]}: exit {done.returncode}")
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")


def names(where: Path, *words: str) -> list[str]:
    """The names that ``git <words> -z`` lists."""
    return [name for name in ask(where, *words, "-z").split("\0") if name]


def knows(where: Path, *words: str) -> str:
    """The same as ``ask``; "" where git refuses."""
    try:
        return ask(where, *words)
    except GitError:
        return ""


class Revision(NamedTuple):
    """A commit as the user named it, and the top folder of the working tree that has it."""

    name: str
    commit: str
    top: Path

    @property
    def label(self) -> str:
        """``main (a1b2c3d)``, or the hash alone where the user gave it."""
        short = self.commit[:7]
        return short if self.commit.startswith(self.name) else f"{self.name} ({short})"


def revision(name: str, where: Path) -> Revision:
    """The commit that ``name`` is in the repository around ``where``.

    Raises:
      BadSetting: when there is no repository, or no such commit in it.
    """
    top = _top(where)
    if not name.strip() or name.startswith("-"):
        raise BadSetting(
            f"{OPTION}: {name!r} is not a revision. Name a branch, a tag or a commit: {OPTION}=main"
        )
    if name.startswith(_FORK):
        return Revision(name, _fork(name.removeprefix(_FORK), top), top)
    return Revision(name, _commit(name, top), top)


def _top(where: Path) -> Path:
    try:
        found = ask(where, "rev-parse", "--show-toplevel")
    except GitError as error:
        if "not a git repository" in str(error):
            raise BadSetting(
                f"{OPTION}: {where} is in no git repository. Run it in a clone, or start one: "
                "git init, git add, git commit"
            ) from None
        raise BadSetting(f"{OPTION}: git cannot read {where}: {error}") from None
    return Path(found)


def top(where: Path) -> Path | None:
    """The top folder of the working tree around ``where``; None where there is none, or no git."""
    try:
        return _top(where)
    except BadSetting:
        return None


def _commit(name: str, top: Path) -> str:
    found = knows(top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found:
        return found
    raise BadSetting(f"{OPTION}: {name!r} is no commit of {top}. {_hint(name, top)}")


def _hint(name: str, top: Path) -> str:
    for remote in knows(top, "remote").splitlines():
        if knows(top, "rev-parse", "--verify", "--quiet", f"{remote}/{name}^{{commit}}"):
            return f"There is {remote}/{name}: {OPTION}={remote}/{name}"
    if not knows(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        return "It has no commits yet"
    if knows(top, "rev-parse", "--is-shallow-repository") == "true":
        return (
            "This clone is shallow, so that older commits are not in it: git fetch --unshallow "
            "(in GitHub Actions: fetch-depth: 0)"
        )
    return "Branches and tags are listed by: git branch --all; git tag"


def _fork(other: str, top: Path) -> str:
    _commit(other, top)
    found = knows(top, "merge-base", other, "HEAD")
    if found:
        return found
    shallow = knows(top, "rev-parse", "--is-shallow-repository") == "true"
    more = ": this clone is shallow: git fetch --unshallow" if shallow else ""
    raise BadSetting(f"{OPTION}: {other} and HEAD have no commit in common{more}")


def is_clean(top: Path) -> bool:
    """Whether the working tree holds what HEAD holds, files that git ignores aside."""
    return not knows(top, "status", "--porcelain", "--ignore-submodules=none")
