"""The modules and packages that a source tree offers, for flat, ``src`` and nested layouts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_BUILDS = ("pyproject.toml", "setup.py", "setup.cfg")
_INNER = ("", "src", "lib", "python")
_SKIPPED = ("node_modules", "site-packages", "dist-packages", "build", "dist")
_DEEP = 3  # folders of a namespace package, or of a monorepo above its packages


def roots(tree: Path) -> list[Path]:
    """The folders that packages lie in: of the tree, and of each project within it."""
    projects = [tree, *_projects(tree, _DEEP)]
    found = [project / inner for project in projects for inner in _INNER]
    return list(dict.fromkeys(folder for folder in found if folder.is_dir()))


def _projects(folder: Path, deep: int) -> Iterator[Path]:
    for inner in _folders(folder):
        if any((inner / name).is_file() for name in _BUILDS):
            yield inner
        if deep > 1:
            yield from _projects(inner, deep - 1)


def offered(folders: Iterable[Path]) -> dict[str, Path]:
    """Dotted names of what can be imported from ``folders``, the first folder first.

    Of a namespace package, the packages within it: others may share its name.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for name, path in _within(folder, "", _DEEP):
            found.setdefault(name, path)
    return found


def _within(folder: Path, prefix: str, deep: int) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob("*.py")):
        if path.stem.isidentifier() and path.stem not in ("setup", "conftest"):
            yield prefix + path.stem, path
    for inner in _folders(folder):
        if not inner.name.isidentifier():
            continue
        if (inner / "__init__.py").is_file():
            yield prefix + inner.name, inner
        elif deep > 1:
            yield from _within(inner, f"{prefix}{inner.name}.", deep - 1)


def _folders(folder: Path) -> list[Path]:
    """Sub-folders in order, without hidden ones and virtual environments."""
    try:
        inside = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(
        Path(entry.path)
        for entry in inside
        if not entry.name.startswith((".", "__"))
        and entry.name not in _SKIPPED
        and not (Path(entry.path) / "pyvenv.cfg").exists()
    )


def is_copy(installed: Path, source: Path) -> bool:
    """Whether ``installed`` is a copy, perhaps an older one, of the package at ``source``.

    More than half of its modules are there. Others' packages may have the name of a folder here.
    """
    if installed.is_file() or source.is_file():
        return installed.is_file() and source.is_file() and _alike(installed, source)
    here = _modules(installed)
    return bool(here) and len(here & _modules(source)) * 2 > len(here)


def _alike(a: Path, b: Path) -> bool:
    lines, others = (set(path.read_bytes().splitlines()) for path in (a, b))
    return len(lines & others) * 2 >= max(len(lines), len(others))


def stale(installed: Path, source: Path) -> list[str]:
    """The modules of ``source`` that the copy at ``installed`` does not hold as they are."""
    if source.is_file():
        return [] if installed.read_bytes() == source.read_bytes() else [source.name]
    return sorted(
        name
        for name in _modules(source)
        if not (installed / name).is_file()
        or (installed / name).read_bytes() != (source / name).read_bytes()
    )


def _modules(package: Path) -> frozenset[str]:
    if package.is_file():
        return frozenset((package.name,))
    return frozenset(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
