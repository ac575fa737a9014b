"""git, asked for what it knows. Nothing here changes the repository that is asked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_nnxrng.run.settings import BadSetting

_NEVER = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")


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
