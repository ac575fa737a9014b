"""Imports in the process that runs on other code: what the checkout would give, the tree gives.

Of a module that still comes from elsewhere the ledger, left beside the goldens, says so: a tree
compared with itself proves nothing.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pytest_nnxrng.against import packages
from pytest_nnxrng.against.apart import Job

_OURS = "pytest_nnxrng"
_TESTS = "tests.json"


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def libraries() -> tuple[str, ...]:
    """Where installed packages lie; a virtual environment may lie in the checkout."""
    found = [sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib")]
    found += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return tuple(dict.fromkeys(os.path.realpath(path) for path in found))


class Redirect(MetaPathFinder):
    """Finds what the other finders find, and gives its place in the tree."""

    def __init__(self, job: Job, installed: Sequence[str]) -> None:
        self.job = job
        self.checkout: str = os.path.realpath(job.checkout)
        self.tree: str = os.path.realpath(job.tree)
        self.installed: tuple[str, ...] = tuple(installed)
        self.here: dict[str, Path] = packages.offered(packages.roots(Path(self.checkout)))
        self.there: dict[str, Path] = packages.offered(packages.roots(Path(self.tree)))
        self.asked: set[str] = set()
        self.known: dict[str, str | None] = {}
        self.copies: dict[str, str] = {}  # packages that are installed as copies of ours

    def moved(self, path: str) -> str | None:
        """Where a file of the checkout stands in the tree; None for what is not the checkout's."""
        if path not in self.known:
            self.known[path] = self._moved(path)
        return self.known[path]

    def _moved(self, path: str) -> str | None:
        real = os.path.realpath(path)
        if not _is_within(real, self.checkout) or self.is_library(real):
            return None
        if self.tree != self.checkout and _is_within(real, self.tree):
            return None
        return self.tree + real[len(self.checkout) :]

    def is_library(self, real: str) -> bool:
        return any(_is_within(real, folder) for folder in self.installed)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self.asked or name.partition(".")[0] == _OURS:
            return None
        may_be_ours = path is None or name in self.here or name in self.there
        if not may_be_ours and not any(map(self.moved, path or ())):
            return None  # within a package that lies elsewhere
        self.asked.add(name)
        try:
            found = self._others(name, path, target)
        finally:
            self.asked.discard(name)
        return None if found is None else self._instead(name, found)

    def _others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            found = finder.find_spec(name, path, target)
            if found is not None:
                return found
        return None

    def _instead(self, name: str, found: ModuleSpec) -> ModuleSpec | None:
        """Another spec for what the others found; None to leave it to them."""
        origin = found.origin if found.has_location else None
        folders = list(found.submodule_search_locations or ())
        if origin is None:
            return self._namespace(name, folders)
        moved = self.moved(origin)
        if moved is not None and moved != os.path.realpath(origin):
            return self._at(name, moved, bool(folders))
        if self.is_library(os.path.realpath(origin)) and self._is_installed_copy(name, origin):
            place = self.there.get(name)
            if place is None:
                raise self._absent(name)
            self.copies[name] = os.path.realpath(origin)
            package = place.is_dir()
            return self._at(name, str(place / "__init__.py" if package else place), package)
        return None

    def _is_installed_copy(self, name: str, origin: str) -> bool:
        source = self.there.get(name) or self.here.get(name)
        if source is None:
            return False
        file = Path(origin)
        copy = file.parent if source.is_dir() and file.name == "__init__.py" else file
        return packages.is_copy(copy, source) or (
            name in self.here and packages.is_copy(copy, self.here[name])
        )

    def _namespace(self, name: str, folders: list[str]) -> ModuleSpec | None:
        places = [self.moved(folder) or folder for folder in folders]
        if not folders or places == folders:
            return None
        there = [place for place in places if Path(place).is_dir()]
        if not there:
            raise self._absent(name)
        made = ModuleSpec(name, None, is_package=True)
        made.submodule_search_locations = there
        return made

    def _at(self, name: str, file: str, package: bool) -> ModuleSpec:
        if not Path(file).exists():
            raise self._absent(name)
        folders = [str(Path(file).parent)] if package else None
        made = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=folders
        )
        if made is None:
            raise self._absent(name)
        return made

    def _absent(self, name: str) -> ModuleNotFoundError:
        told = f"No module named {name!r} in {self.job.label}"
        return ModuleNotFoundError(told, name=name)


def install(job: Job) -> Redirect:
    """Map the imports of this process from now on."""
    made = Redirect(job, libraries())
    sys.path[:] = mapped(sys.path, job.paths, made)
    sys.meta_path.insert(0, made)
    importlib.invalidate_caches()
    return made


def mapped(paths: Iterable[str], first: Iterable[str], redirect: Redirect) -> list[str]:
    """Import paths with the checkout's as the tree has them, ``first`` before all others."""
    found = [*first, *((redirect.moved(path) or path) if path else path for path in paths)]
    return list(dict.fromkeys(found))


class Found(NamedTuple):
    """Where the modules of a process came from, by their names.

    ``foreign`` are of the checkout although they should be of the tree; ``code`` are of the
    tree and no tests; ``copies`` are installed, and were taken from the tree all the same.
    """

    foreign: dict[str, str]
    code: dict[str, str]
    copies: dict[str, str]


def survey(redirect: Redirect, modules: Mapping[str, ModuleType | None]) -> Found:
    """What of the project this process has imported, and from where."""
    tests, tree = frozenset(redirect.job.tests), redirect.tree
    found = Found({}, {}, dict(redirect.copies))
    for name, module in list(modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name.partition(".")[0] in (_OURS, "__main__"):
            continue
        real = os.path.realpath(file)
        moved = redirect.moved(real)
        if moved is not None and moved != real:
            found.foreign[name] = real
        elif _is_within(real, tree) and not redirect.is_library(real):
            inside = os.path.relpath(real, tree).replace(os.sep, "/")
            if inside not in tests:
                found.code[name] = inside
    return found


@dataclass
class Ledger:
    """``ran`` are the tests' node ids, ``failed`` and ``uncollected`` say why in one line."""

    ran: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    uncollected: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def why(self, nodeid: str) -> str:
        """Why a test made no golden there; "" if it ran to its end."""
        if nodeid in self.failed:
            return self.failed[nodeid]
        file = nodeid.partition("::")[0]
        for name, told in self.uncollected.items():
            if file == name or file.startswith(f"{name.rstrip('/')}/") or name in ("", "."):
                return told
        return ""

    def first_troubles(self, most: int = 3) -> list[str]:
        """Lines on the first tests that could not run."""
        rows = [*self.uncollected.items(), *self.failed.items()]
        return [f"{name or 'a file'}: {told}" for name, told in rows[:most]]


def write_tests(temporary: Path, ledger: Ledger) -> None:
    rows = {"ran": ledger.ran, "failed": ledger.failed, "uncollected": ledger.uncollected}
    _write(temporary / _TESTS, rows)


def write_imports(temporary: Path, found: Found) -> None:
    """Each process of the run, such as a worker of pytest-xdist, writes a file of its own."""
    _write(temporary / f"imports-{os.getpid()}.json", found._asdict())


def _write(path: Path, row: Mapping[str, object]) -> None:
    path.write_text(json.dumps(row), encoding="utf-8")


def read_ledger(temporary: Path) -> Ledger | None:
    """What the run wrote; None if it did not come to its end."""
    try:
        made = Ledger(**json.loads((temporary / _TESTS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    for path in sorted(temporary.glob("imports-*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        made.foreign |= row["foreign"]
        made.code |= row["code"]
        made.copies |= row["copies"]
    return made
