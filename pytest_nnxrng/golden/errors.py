"""A golden that cannot be used, and the way out: what reading any file of it may raise."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 400  # characters of what is wrong
UPDATE = "pytest --nnx-update-snapshots"


class BadReference(ValueError):
    """A reference that cannot be read, or whose names do not lead to one leaf each."""


class GoldenError(Exception):
    """A golden that cannot be used: which file, what is wrong with it, and the way out.

    ``replaceable`` tells whether ``--nnx-update-snapshots`` may write over it: never over a
    file that holds, or stands for, something that this run cannot see.
    """

    def __init__(self, path: Path, problem: str, remedy: str, *, replaceable: bool) -> None:
        problem = shown(problem)
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path: Path = path
        self.problem: str = problem
        self.remedy: str = remedy
        self.replaceable = replaceable


def broken(path: Path, problem: str) -> GoldenError:
    return GoldenError(
        path,
        problem,
        f"Restore it from version control, or write it anew with {UPDATE}",
        replaceable=True,
    )


def unreadable(path: Path, error: OSError) -> GoldenError:
    problem = f"cannot be read ({error.strerror or error})"
    return GoldenError(path, problem, "Make it readable", replaceable=False)


def pointer(path: Path) -> GoldenError:
    return GoldenError(
        path,
        "is a Git LFS pointer, not the file itself",
        "Fetch it: git lfs pull",
        replaceable=False,
    )


def shown(text: str) -> str:
    """As it may be printed: what a golden holds may be long, or move a terminal's cursor."""
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
