"""The whole story of a run on other code: make its tree, lay the tests over it, run, read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_nnxrng.against import (
    apart,
    git,
    imports,
    overlay,
    packages,
    replay,
    worktree,
)
from pytest_nnxrng.against.apart import JOB, Job
from pytest_nnxrng.against.imports import Ledger, libraries
from pytest_nnxrng.against.overlay import Suite
from pytest_nnxrng.against.replay import Interpreter
from pytest_nnxrng.against.worktree import Folder
from pytest_nnxrng.run.settings import BadSetting

_ENDED = (0, 1, 2, 5)  # exit codes: passed, failed, errors of collection, no tests


class Given(NamedTuple):
    """This run of pytest: its words, folders and ini file, and what it takes for tests."""

    words: tuple[str, ...]
    root: Path
    ini: Path | None
    here: Path
    patterns: tuple[str, ...]
    testpaths: tuple[str, ...]
    named: tuple[str, ...]
    folder: str


class Side:
    """The other code, or the other interpreter, or both; in a temporary folder.

    ``top`` is the checkout, which is also the ``tree`` where there is no revision.
    """

    def __init__(self, found: git.Revision | None, python: Interpreter | None, root: Path) -> None:
        self.revision: git.Revision | None = found
        self.python: Interpreter | None = python
        self.top: Path = git.top(root) or root if found is None else found.top
        self.folder: Folder = Folder()
        self.goldens: Path = self.folder.path / "goldens"
        self.tree: Path = self.top
        if found is not None:
            self.tree = self.folder.path / "tree" / self.top.name
        self.notes: list[str] = []

    @classmethod
    def of(cls, name: str | None, python: str | None, root: Path, here: Path) -> Side:
        """The side that ``--nnx-against=name`` and ``--nnx-against-python=python`` ask for.

        Raises:
          BadSetting: when there is no such revision or interpreter, or no room.
        """
        found = None if name is None else git.revision(name, root)
        return cls(found, None if python is None else replay.interpreter(python, here), root)

    @property
    def label(self) -> str:
        """What the goldens are of: ``main (a1b2c3d), jax 0.6.0, flax 0.11.0 (Python 3.11.9)``."""
        return ", ".join(one.label for one in (self.revision, self.python) if one is not None)

    def rehearse(self, given: Given) -> Ledger:
        """Run the tests on the other code, which leaves goldens.

        Raises:
          BadSetting: when that came to nothing that could be compared to.
        """
        tests = tests_of(given, self.top)
        if self.revision is not None:
            self._make_tree(self.revision, tests, given.folder)
        found = self._run(given, tests)
        self._refuse(found)
        return found

    def _make_tree(self, found: git.Revision, tests: Suite, folder: str) -> None:
        self.notes += worktree.make(self.top, found.commit, self.tree, found.label)
        helpers = overlay.lay(self.top, self.tree, tests, folder)
        if helpers:
            self.notes.append(_helpers(helpers, found.label))
        if overlay.is_same_code(self.top, found.commit, tests):
            self.notes.append(f"The code is the same as in {found.label}, the tests aside.")

    def _run(self, given: Given, tests: Suite) -> Ledger:
        top = str(self.top)
        tree, temporary = str(self.tree), str(self.folder.path)
        place = self._place(given)
        job = Job(
            temporary,
            top,
            tree,
            self.label,
            paths_within(sys.path, top, tree, given.here),
            tuple(filter(tests.holds, overlay.listed(self.tree))) if self.revision else (),
        )
        words = replay.moved(replay.repeated(given.words), top, tree)
        python, environ = sys.executable, environment(os.environ, job.save())
        plugins: tuple[str, ...] = ()
        if self.python is not None:
            python = self.python.path
            plugins = () if "nnxrng" in self.python.plugins else ("pytest_nnxrng.plugin",)
            environ = lent(environ, self.folder.path / "plugin")
            if "pytest-xdist" not in self.python.packages:
                words = replay.alone(words)
        command = replay.command(python, words, place, temporary, plugins)
        code, said = apart.run(command, Path(place.here), environ, self.folder.path / "output")
        found = imports.read_ledger(self.folder.path)
        if found is None or code not in _ENDED:
            lines = [line for line in said.splitlines() if line.strip()][-12:]
            raise BadSetting(
                f"{self._option}: the run of the tests on {self.label} ended with code {code} "
                "before its end, and nothing was compared. It said:\n  " + "\n  ".join(lines)
            )
        return found

    @property
    def _option(self) -> str:
        return git.OPTION if self.revision is not None else replay.OPTION

    def _place(self, given: Given) -> replay.Place:
        top, tree = str(self.top), str(self.tree)
        root = replay.relocated(str(given.root), top, tree)
        Path(root).mkdir(parents=True, exist_ok=True)
        if given.ini is None:
            ini = self.folder.path / "pytest.ini"
            ini.write_text("[pytest]\n", encoding="utf-8")
            there = str(ini)
        else:
            there = replay.relocated(str(given.ini), top, tree)
            if there != str(given.ini):
                Path(there).parent.mkdir(parents=True, exist_ok=True)
                Path(there).write_bytes(given.ini.read_bytes())
        return replay.Place(root, there, replay.relocated(str(given.here), top, tree))

    def _refuse(self, found: Ledger) -> None:
        """Raise when what was run is not the other code, or gave nothing."""
        told = f"{self._option}: nothing was compared to {self.label}: "
        if found.foreign:
            name, file = next(iter(sorted(found.foreign.items())))
            raise BadSetting(
                f"{told}the module {name} came from {file}, which is the present code, and not "
                "from the revision's tree. It was imported before imports could be mapped: by a "
                ".pth file or another plugin of pytest"
            )
        if self.python is None:
            self._refuse_stale(found.copies)
        if not any(self.goldens.rglob("*.json")):
            raise BadSetting(told + _nothing(found))
        if self.revision is not None and not found.code:
            raise BadSetting(
                f"{told}the tests import no module of {self.top}, apart from the tests "
                "themselves, which are the same on both sides"
            )

    def _refuse_stale(self, copies: Mapping[str, str]) -> None:
        here = packages.offered(packages.roots(self.top)) if copies else {}
        for name, origin in sorted(copies.items()):
            source, file = here.get(name), Path(origin)
            if source is None:
                continue
            installed = file.parent if source.is_dir() else file
            if other := packages.stale(installed, source):
                raise BadSetting(
                    f"{self._option}: nothing was compared to {self.label}: the tests import "
                    f"{name} from {installed}, which is not what {source} holds "
                    f"({other[0]} is another). Install it again, or so that it follows the "
                    "checkout: pip install -e ."
                )


def _nothing(found: Ledger) -> str:
    troubles = found.first_troubles()
    if troubles:
        return "none of the tests could run there.\n  " + "\n  ".join(troubles)
    if not found.ran:
        return "no test was run there"
    return f"none of the {len(found.ran)} tests that ran makes a check with nnx_snapshot"


def _helpers(paths: list[str], label: str) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    verb = "is" if len(paths) == 1 else "are"
    return (
        f"{', '.join(paths[:3])}{more}: not as in {label}, and used as {verb} now on both sides, "
        "as part of the tests."
    )


def tests_of(given: Given, top: Path) -> Suite:
    """What counts as tests in this run."""
    named = {_within(str(given.here / name), top) for name in given.named}
    files = {path for path in named if path and (top / path).is_file()}
    folders = {_within(str(given.root / path), top) for path in given.testpaths}
    return Suite(
        given.patterns,
        frozenset(files),
        frozenset(path for path in folders if path and not _holds_code(top / path)),
    )


def _holds_code(folder: Path) -> bool:
    return folder.name in ("src", "lib") or (folder / "__init__.py").exists()


def _within(path: str, top: Path) -> str | None:
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(top)).replace(os.sep, "/")
    return None if inside == "." or inside.startswith("../") or inside == ".." else inside


def paths_within(paths: list[str], top: str, tree: str, here: Path) -> tuple[str, ...]:
    """The import paths that lie in the checkout, as they are in the tree."""
    installed = libraries()
    found = []
    for path in paths:
        real = os.path.realpath(path or here)
        moved = replay.relocated(real, top, tree)
        if moved != real and real not in installed:
            found.append(moved)
    return tuple(dict.fromkeys(found))


def environment(around: Mapping[str, str], job: Path) -> dict[str, str]:
    """The environment of the run on other code."""
    outer = ("PYTEST_XDIST_", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS", "COV_CORE_")
    kept = {name: value for name, value in around.items() if not name.startswith(outer)}
    return {**kept, JOB: str(job), "PYTHONDONTWRITEBYTECODE": "1"}


def lent(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of another interpreter, which finds this plugin in ``folder``.

    The import paths of this interpreter are no good there; the job names those of the checkout.
    """
    folder.mkdir()
    ours = Path(__file__).parent.parent
    (folder / ours.name).symlink_to(ours, target_is_directory=True)
    gone = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONPATH")
    kept = {name: value for name, value in environ.items() if name not in gone}
    return {**kept, "PYTHONPATH": str(folder)}
