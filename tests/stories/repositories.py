"""A project in a git repository, with what must not change in it while tests run."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from projects import Project, Run

_WHO = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(where: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=where,
        env={**os.environ, **_WHO},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Repository:
    """The git repository of a project; its first commit is on ``main``."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.path = project.path
        git(self.path, "init", "--quiet", "--initial-branch=main")
        project.write({".gitignore": "__pycache__/\n.pytest_cache/\n*.egg-info/\nsite/\n"})

    def commit(self, message: str = "A commit") -> Repository:
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)
        return self

    @property
    def short(self) -> str:
        return git(self.path, "rev-parse", "main")[:7]

    @property
    def first(self) -> str:
        return git(self.path, "rev-list", "--max-parents=0", "HEAD")[:7]

    def against(self, revision: str, *args: str | Path) -> Run:
        """Run against ``revision``; the repository must stay as it is, byte for byte."""
        before = self.bytes()
        run = self.project.run(f"--nnx-against={revision}", *args)
        assert self.bytes() == before
        return run

    def bytes(self) -> dict[str, str]:
        """Digests of all files, git's own included, but for what pytest and Python keep."""
        kept = ("__pycache__", ".pytest_cache", "site", "stdout", "stderr")
        return {
            str(path.relative_to(self.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not set(path.parts) & set(kept)
        }
