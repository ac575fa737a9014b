"""A check without pytest around it: one golden is written, another build is held against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from pytest_nnxrng.check.snapshot import Snapshot
from pytest_nnxrng.check.state import TestChecks
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.golden.policy import Mode, Outcome
from pytest_nnxrng.run.settings import Settings
from pytest_nnxrng.why.cause import Cause

NAMED: list[str] = []  # the words named since the test began, for the score
Checks = Callable[[Snapshot], Any]


class Bench:
    """``write`` makes the goldens of some checks, ``causes`` says why others differ from them."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings()
        self.folder = folder

    def _run(self, body: Checks, mode: Mode) -> TestChecks:
        checks = TestChecks(
            Identity("", "test_it"),
            self.folder / "test_it.py",
            self.settings._replace(mode=mode),
            lambda: jax.devices()[0],
            self.folder,
        )
        body(Snapshot(checks))
        checks.settle(Outcome.PASSED)
        return checks

    def write(self, body: Checks) -> None:
        done = self._run(body, Mode(update=True))
        assert not done.failing
        assert all(result.written for result in done.results)

    def causes(self, body: Checks) -> list[tuple[Cause, ...]]:
        found = [result.causes for result in self._run(body, Mode()).results]
        NAMED.extend(cause.word for causes in found for cause in causes)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class Goldens:
    """Benches by the golden that was written there: each is written once in a module.

    What holds a build against a golden changes nothing of it.
    """

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folders = folders
        self.benches: dict[Any, Bench] = {}

    def of(self, key: Any, body: Checks) -> Bench:
        if key not in self.benches:
            bench = Bench(self.folders.mktemp("golden"))
            bench.write(body)
            self.benches[key] = bench
        return self.benches[key]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Goldens:
    return Goldens(tmp_path_factory)


def words(causes: tuple[Cause, ...]) -> set[str]:
    return {cause.word for cause in causes}
