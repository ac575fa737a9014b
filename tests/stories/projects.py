"""A user's project, told as a story: write files, run, change a file, run again, look."""

from __future__ import annotations

import functools
import linecache
import os
import re
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import jax
import numpy.fft  # noqa: F401  # C code that loads once: a story must not be the first to import it
import pytest
from forks import LEFT_OUT, Forks, Workers, settings

# JAX cannot be imported twice: it must be here before pytester's first run brings it.
import pytest_nnxrng.check.snapshot  # noqa: F401

GOLDENS = "__nnx_snapshots__"

MODELS = """
import jax
import jax.numpy as jnp
from flax import nnx


class MLP(nnx.Module):
    def __init__(self, din, dmid, dout, *, rngs):
        self.layer1 = nnx.Linear(din, dmid, rngs=rngs)
        self.layer2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x):
        return self.layer2(nnx.relu(self.layer1(x)))


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.linear = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            num_heads=2, in_features=8, decode=False, rngs=rngs
        )

    def __call__(self, x):
        return self.attention(self.dropout(self.norm(self.linear(x))))
"""

INI = """
[pytest]
addopts = --strict-markers --strict-config
pythonpath = .
testpaths = tests
"""

# What a run may leave in os.environ for xdist's workers is not for the inner runs to see.
_OUTER = (
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    "PYTEST_XDIST_TESTRUNUID",
    "CI",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)


class Run:
    """What a run of the project's tests came to."""

    def __init__(self, result: pytest.RunResult) -> None:
        self.ret = int(result.ret)
        self.lines: list[str] = result.outlines
        self.text = "\n".join(result.outlines)
        self.errors = "\n".join(result.errlines)
        self.everything = f"{self.text}\n{self.errors}"
        self.words = " ".join(self.everything.split())  # with lines joined: for wrapped messages
        self.outcomes = _outcomes(result)

    @property
    def summary(self) -> list[str]:
        """The lines of the plugin's paragraph, without its title."""
        starts = [n for n, line in enumerate(self.lines) if " nnx snapshots " in line]
        if not starts:
            return []
        rest = self.lines[starts[0] + 1 :]
        end = next((n for n, line in enumerate(rest) if re.match(r"[=-]{5,}", line)), len(rest))
        return [line for line in rest[:end] if line]

    @property
    def figures(self) -> str:
        """The counts of the paragraph, ``2 matched, 1 written.``."""
        return self.summary[0] if self.summary else ""

    @property
    def failed_tests(self) -> set[str]:
        """The same without the messages, which older versions of pytest drop under xdist."""
        return {line.partition(" - ")[0] for line in self.failures}

    @property
    def failures(self) -> set[str]:
        """The lines of pytest's short summary."""
        return {line for line in self.lines if line.startswith(("FAILED ", "ERROR "))}

    @property
    def unused(self) -> set[str]:
        """The manifests that the paragraph lists."""
        files = {line.strip(" \\'") for line in self.summary if line.startswith("  ")}
        return {file for file in files if file.endswith(".json")}

    def came_to(self, ret: int | None = None, **outcomes: int) -> Run:
        """Assert the counts of outcomes (``passed=2``), and the exit code if given."""
        assert self.outcomes == {k: n for k, n in outcomes.items() if n}, self.everything
        if ret is None:
            bad = any(outcomes.get(kind) for kind in ("failed", "errors"))
            ret = 1 if bad else 0
        assert self.ret == ret, self.everything
        return self

    def says(self, *phrases: str) -> Run:
        """Assert that the output holds each of ``phrases``, wherever its lines are broken."""
        for phrase in phrases:
            assert " ".join(phrase.split()) in self.words, f"no {phrase!r} in\n{self.everything}"
        return self

    def does_not_say(self, *phrases: str) -> Run:
        for phrase in phrases:
            assert " ".join(phrase.split()) not in self.words, f"{phrase!r} in\n{self.everything}"
        return self


def _outcomes(result: pytest.RunResult) -> dict[str, int]:
    try:
        found = result.parseoutcomes()
    except ValueError:
        return {}
    return {kind: n for kind, n in found.items() if kind not in ("warnings", "deselected")}


class Project:
    """A project in a folder of its own; every method that changes it returns it."""

    left_out = LEFT_OUT

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        self.path = pytester.path
        self.imports = _Imports(self.path)
        self.clock = 1_700_000_000
        for name in _OUTER:
            monkeypatch.delenv(name, raising=False)
        self.write({"pytest.ini": INI, "models.py": MODELS})

    # -- its files -----------------------------------------------------------------------

    def write(self, files: Mapping[str, str]) -> Project:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._save(path, textwrap.dedent(text).strip() + "\n")
        return self

    def _save(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # A file changed twice in a second must not be read from a stale __pycache__.
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def test(self, text: str, file: str = "tests/test_model.py") -> Project:
        """Write the test file."""
        return self.write({file: text})

    def change(self, file: str, old: str, new: str) -> Project:
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        self._save(path, text.replace(old, new))
        return self

    def ini(self, *lines: str) -> Project:
        return self.write({"pytest.ini": INI + "\n".join(lines)})

    def env(self, **values: str) -> Project:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)
        return self

    # -- its goldens -----------------------------------------------------------------------

    def goldens(self) -> dict[str, bytes]:
        """Every file in every folder of goldens, by its path in the project."""
        return {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if GOLDENS in path.parts and path.is_file()
        }

    def manifests(self) -> set[str]:
        """The names of the manifests, without their folder."""
        return {name.rpartition("/")[2] for name in self.goldens() if name.endswith(".json")}

    def times(self) -> dict[str, int]:
        return {name: (self.path / name).stat().st_mtime_ns for name in self.goldens()}

    def golden(self, name: str) -> Path:
        """The path of the golden file called ``name``."""
        (found,) = [self.path / path for path in self.goldens() if path.endswith(f"/{name}")]
        return found

    def values(self, stem: str) -> Path:
        """The path of the values file of a golden."""
        names = [n for n in self.goldens() if re.search(rf"/{re.escape(stem)}\.\w{{8}}\.safe", n)]
        (found,) = [self.path / name for name in names]
        return found

    # -- its runs ------------------------------------------------------------------------

    def run(self, *args: str | Path) -> Run:
        """Run pytest in this process, where JAX is imported already."""
        if not any(str(arg).startswith("--reruns") for arg in args):
            # Under workers it leaves a thread behind, which in its older versions never rests.
            args = ("-p", "no:rerunfailures", *args)
        args = (*self.left_out, *args)
        plugins: list[object] = [self.imports]
        if any(str(arg).startswith(("-n", "--tx")) for arg in args):
            plugins.append(Workers(_forks().address))
        with _as_it_was(self.path):
            return Run(self.pytester.runpytest_inprocess(*map(str, args), plugins=plugins))

    def update(self, *args: str | Path) -> Run:
        return self.run("--nnx-update-snapshots", *args)

    def made(self) -> Project:
        """Write the goldens that the tests ask for, which must pass."""
        run = self.update()
        assert run.ret == 0, run.everything
        return self

    def run_apart(self, *args: str | Path) -> Run:
        """Run pytest in a process of its own, which JAX does not have to be imported in."""
        forks = _forks()
        if settings(os.environ) != forks.settings:
            return self.run_fresh(*args)
        base = tempfile.mkdtemp(prefix="runpytest-", dir=self.path)
        code, out, err = forks.run([f"--basetemp={base}", *map(str, args)], self.path)
        return Run(pytest.RunResult(code, out, err, duration=0.0))

    def run_fresh(self, *args: str | Path) -> Run:
        """Run pytest as a user does, in a process that has imported nothing."""
        return Run(self.pytester.runpytest_subprocess(*map(str, args)))

    def run_workers(self, *args: str | Path) -> Run:
        """Run pytest with two workers; the controller is this process."""
        return self.run("-n", "2", *args)


_ENVIRON = dict(os.environ)  # before any story changes it


@functools.cache
def _forks() -> Forks:
    return Forks(_ENVIRON)


class _Imports:
    """Keeps, as a plugin, the modules that a run imports and that are not the project's own.

    pytester drops them after a run and again after the test; but neither JAX's modules nor
    time are there to be spent twice.
    """

    kept: ClassVar[dict[str, ModuleType]] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = set(sys.modules)  # if the run ends before it is configured

    def pytest_configure(self, config: pytest.Config) -> None:
        # What JAX or Flax deprecates must not be used by this package, whatever a user's run says.
        config.addinivalue_line("filterwarnings", "error::DeprecationWarning:pytest_nnxrng")
        sys.modules.update({n: m for n, m in self.kept.items() if n not in sys.modules})
        self.before = set(sys.modules)

    def pytest_unconfigure(self) -> None:
        for name in sys.modules.keys() - self.before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not file.startswith(str(self.path)):
                self.kept[name] = sys.modules[name]


@contextmanager
def _as_it_was(path: Path) -> Generator[None]:
    """Undo what an in-process run leaves behind: JAX's settings, modules of the same name."""
    before = dict(jax.config.values)
    device = jax.config.jax_default_device
    hidden = {n: sys.modules.pop(n) for n in _stems(path.rglob("*.py")) if n in sys.modules}
    linecache.clearcache()
    where = Path.cwd()
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()  # this suite turns them into errors; a user's need not
            yield
    finally:
        os.chdir(where)
        sys.modules.update(hidden)
        for name, value in before.items():
            if jax.config.values.get(name) is not value and jax.config.values[name] != value:
                jax.config.update(name, value)
        jax.config.update("jax_default_device", device)


def _stems(paths: Iterable[Path]) -> set[str]:
    return {path.stem for path in paths} - {"conftest"}
