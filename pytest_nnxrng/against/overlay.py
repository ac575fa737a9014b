"""The present tests, laid over another revision's code: which files of a project are its tests."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pytest_nnxrng.against.git import knows, names

_FOLDER = re.compile(r"_*tests?|.+[_-]tests?|tests?[_-].+", re.IGNORECASE)
_GENERATED = (".py", ".so", ".pyd")


class Suite(NamedTuple):
    """What counts as tests: pytest's patterns, folders called so, and what the user named.

    ``named`` are files and ``folders`` directories, relative to the top of the checkout.
    """

    patterns: tuple[str, ...] = ("test_*.py", "*_test.py")
    named: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()

    def holds(self, path: str) -> bool:
        """Whether the file at ``path`` is one of the tests, and so the same on both sides."""
        parts = PurePosixPath(path)
        if path in self.named or parts.name == "conftest.py":
            return True
        if any(_matches(parts, pattern) for pattern in self.patterns):
            return True
        if any(str(parent) in self.folders for parent in parts.parents):
            return True
        return any(_FOLDER.fullmatch(part) for part in parts.parts[:-1])


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if "/" in pattern:
        return fnmatch(f"/{path}", pattern if pattern.startswith("*") else f"*/{pattern}")
    return fnmatch(path.name, pattern)


def present(top: Path) -> list[str]:
    """The files of the working tree, but for those that git ignores."""
    listed = names(top, "ls-files", "--cached", "--others", "--exclude-standard")
    return list(dict.fromkeys(name for name in listed if not name.endswith("/")))


def listed(tree: Path) -> list[str]:
    """All files of a tree, in no order, git's own aside."""
    found = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    return [path.as_posix() for path in found if path.parts[0] != ".git"]


def generated(top: Path) -> list[str]:
    """Modules that git ignores, such as a ``_version.py`` or what a compiler made.

    They belong to no revision. What lies in an ignored folder, as a virtual environment, is
    left out.
    """
    words = ("ls-files", "--others", "--ignored", "--exclude-standard", "--directory")
    return [name for name in names(top, *words) if name.endswith(_GENERATED)]


def lay(top: Path, tree: Path, tests: Suite, folder: str) -> list[str]:
    """Put the present tests in place of those of ``tree``; returns helpers that are not its own.

    Goldens, which lie in folders named ``folder``, are left out. A helper is a module of the
    tests that pytest does not collect: where it is another one in ``tree``, both sides use it
    as it is now.
    """
    here = {path for path in present(top) if tests.holds(path)}
    there = {path for path in names(tree, "ls-files", "--cached") if tests.holds(path)}
    before = {path: _content(tree / path) for path in there}
    for path in there:
        (tree / path).unlink(missing_ok=True)
    _copy(top, tree, (path for path in here if folder not in PurePosixPath(path).parts))
    _copy(top, tree, (path for path in generated(top) if not (tree / path).exists()))
    return sorted(
        path
        for path in here & there
        if _is_helper(path, tests) and _content(tree / path) != before[path]
    )


def _is_helper(path: str, tests: Suite) -> bool:
    name = PurePosixPath(path)
    special = name.name in ("conftest.py", "__init__.py")
    collected = any(_matches(name, pattern) for pattern in tests.patterns) or path in tests.named
    return name.suffix == ".py" and not special and not collected


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _copy(top: Path, tree: Path, paths: Iterable[str]) -> None:
    for path in paths:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # deleted, a submodule
            shutil.copy2(top / path, tree / path, follow_symlinks=False)


def is_same_code(top: Path, commit: str, tests: Suite) -> bool:
    """Whether the working tree holds the code of ``commit``, the tests aside."""
    changed = knows(top, "diff", "--name-only", "--no-ext-diff", commit).splitlines()
    others = knows(top, "ls-files", "--others", "--exclude-standard").splitlines()
    return not any(path.endswith(_GENERATED) and not tests.holds(path) for path in changed + others)
