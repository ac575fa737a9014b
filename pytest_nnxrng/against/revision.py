"""What ``--nnx-against=REV`` names -> a commit of the repository that holds the tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pytest_nnxrng.against.git import GitError, ask, knows
from pytest_nnxrng.run.settings import BadSetting

OPTION = "--nnx-against"
_FORK = "merge-base:"


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


def resolve(name: str, where: Path) -> Revision:
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
