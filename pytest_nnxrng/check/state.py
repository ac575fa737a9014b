"""The state of a test's checks: what was asked, what was found, what is to be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_nnxrng.check.memory import Memory
from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.compare.tolerance import Tolerance, tolerance
from pytest_nnxrng.device.notation import Device
from pytest_nnxrng.golden import store
from pytest_nnxrng.golden.inventory import Folders
from pytest_nnxrng.golden.lost import Lost
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.golden.policy import Decision, Outcome, Status
from pytest_nnxrng.run.progress import Progress
from pytest_nnxrng.run.settings import Settings
from pytest_nnxrng.why.cause import Cause, Evidence, ModelCheck


class SnapshotError(Exception):
    """The assertions were used in a way that can check nothing; the message says what to do."""


@dataclass(frozen=True)
class CheckOptions:
    """What ``nnx_snapshot(...)`` was given."""

    name: str | None = None
    tol: float | Mapping[str, float] | None = None
    atol: float = 0.0
    exact: bool = False
    only: Any = None
    abstract: bool = False
    sharding: bool = False
    per_platform: bool = False
    also: Any = ()
    static: bool = True
    method: str | None = None
    grad: bool = False
    depth: int | None = None

    def but(self, **changed: Any) -> CheckOptions:
        """The same with these options."""
        return replace(self, **changed)

    def tolerance(
        self, settings: Settings, kind: str, then: Mapping[str, Any], now: Mapping[str, Any]
    ) -> Tolerance:
        """What counts as rounding in a check of this kind, between these environments."""
        return tolerance(settings, kind, then, now, tol=self.tol, atol=self.atol, exact=self.exact)


@dataclass(frozen=True)
class Earlier:
    """A golden of another number that an unnamed check agrees with."""

    path: Path
    status: Status
    comparison: Comparison


@dataclass
class Result:
    """One check of a test: what was found, what is to become of the golden.

    ``where`` is the line of the test that called it. ``problem`` says why there is no
    comparison. ``changes`` lists what in the environment is not as it was recorded.
    ``left_out`` says of the leaves of an abstract model that have no spots why not. ``left``
    names the device of the run that writes the golden, in place of this one. ``target`` is where
    an update would write it, ``obtained`` what the report holds for that (see ``Check``), and
    ``withheld`` says why an update would not write it. ``evidence`` is what ``causes`` were named
    from.
    """

    name: str
    kind: str
    where: str
    path: Path
    status: Status
    decision: Decision
    comparison: Comparison | None = None
    problem: str = ""
    lacks: str = ""  # that the golden's values are not there
    changes: tuple[tuple[str, Any, Any], ...] = ()
    note: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    left: str = ""
    causes: tuple[Cause, ...] = ()
    evidence: Evidence | None = None
    whole_model: bool = False
    fingerprints: bool = True
    spread: bool = False  # over devices, among which sums round in another order
    also: str = ""  # how other ways of building differ
    notes: tuple[str, ...] = ()
    staged: store.Staged | None = None
    written: bool = False
    unrecorded: bool = False  # the golden was made before static state was kept
    moves: bool = False  # what is staged is the golden as it stands, under another name
    elsewhere: Path | None = None  # where the golden stands that the check was held against
    earlier: Mapping[int, Earlier] = field(default_factory=dict)
    new: str = ""  # that no golden was written of this check
    gone: str = ""  # what became of the test whose golden that was
    target: Path | None = None
    obtained: Mapping[str, Any] | None = None
    withheld: str = ""

    @property
    def of_model(self) -> ModelCheck:
        """What this check of a whole model tells of outputs."""
        comparison = self.comparison
        if comparison is None:
            return ModelCheck(True, self.causes, moved=False)
        moved = any(map(_moved, comparison.differences)) or bool(comparison.static)
        return ModelCheck(True, self.causes, moved)


def _moved(difference: Difference) -> bool:
    both = difference.expected is not None and difference.obtained is not None
    kinds = {"values", "derivation", "shape", "dtype"}
    return both and not kinds.isdisjoint(difference.kinds)


@dataclass
class Form:
    """Assertions with options that a test made, in which line, and whether it checked by them."""

    file: str
    line: int
    used: bool = False


@dataclass
class TestChecks:
    """The checks of one test, and whether it may still make any: ``closed`` says why not.

    ``devices`` are the names and platforms of those that the test runs on, one after the
    other; ``turn`` is which of them it is now. Of one device nothing is said.
    Of several processes: ``apart`` says how another one fared otherwise, so that nothing is
    written, and ``stop`` why no further test can be run together.
    """

    identity: Identity
    test_file: Path
    settings: Settings
    platform_device: Callable[[], Device]
    rootdir: Path = field(default_factory=Path)
    given: Callable[[], dict[str, Any]] = dict
    progress: Progress = field(default_factory=Progress)
    folders: Folders = field(default_factory=Folders)
    results: list[Result] = field(default_factory=list)
    closed: str = ""
    unlike: list[str] = field(default_factory=list)  # texts on live values that are not the same
    subtest_failed: bool = False
    zero_kernels: list[str] = field(default_factory=list)
    devices: tuple[tuple[str, str], ...] = ()
    turn: int = 0
    apart: str = ""
    stop: str = ""
    forms: list[Form] = field(default_factory=list)
    lost: Callable[[], Lost | None] = lambda: None
    clashes: Callable[[], bool] = lambda: False  # whether another test's name differs by case alone
    memory: Memory = field(default_factory=Memory)
    models: Callable[[], list[Any]] = list  # those that the test's fixtures hold

    __test__ = False  # not a test class, whatever its name begins with

    @property
    def title(self) -> str:
        """What names the test among those of the run."""
        file = os.path.relpath(self.test_file, self.rootdir).replace(os.sep, "/")
        return f"{file}::{self.identity.label}"

    @property
    def failing(self) -> list[Result]:
        return [result for result in self.results if result.decision.fails]

    @property
    def fails(self) -> bool:
        return bool(self.failing or self.unlike)

    def settle(self, outcome: Outcome) -> list[tuple[Result, OSError]]:
        """Write what is to be written now that the test's outcome is final.

        Returns the results that could not be written, each with the error.
        """
        failures = []
        passed = outcome is Outcome.PASSED and not self.failing
        writes = not self.apart and (passed or self.settings.rehearses)
        try:
            for result in self.results if writes else ():
                if result.staged is None:
                    continue
                try:
                    result.staged.commit()
                    result.written = True
                except OSError as error:
                    failures.append((result, error))
        finally:  # also when Ctrl-C comes in between
            for result in self.results:
                if result.staged is not None:
                    result.staged.discard()
                    result.staged = None
        return failures
