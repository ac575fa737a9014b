"""A test's run: its checks fail it at the end of its body, are settled, and put on its report.

`Recorder` gathers the reports where they meet: here, or in xdist's controller. Most of what is
gathered is looked at only in runs that have goldens, by `session`: a run without any pays for
lists alone.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.item import (
    CHECKS,
    golden_name,
    holds_goldens,
    identity,
    our_place,
    relative,
    repetition,
)
from pytest_nnxrng.hooks.options import SETTINGS
from pytest_nnxrng.hooks.parametrize import unplaced

if TYPE_CHECKING:
    from pytest_nnxrng.check.state import TestChecks
    from pytest_nnxrng.hooks.session import Ending
    from pytest_nnxrng.report.text import Told
    from pytest_nnxrng.run.outcomes import Check, Row
    from pytest_nnxrng.run.settings import Settings


_BESIDE: pytest.StashKey[dict[Path, bool]] = pytest.StashKey()


class SnapshotMismatch(AssertionError):
    """A test whose body passed, with checks that did not: its text is the whole report."""

    told: Told | None = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    __tracebackhide__ = True
    raised: BaseException | None = None
    try:
        result = yield
    except BaseException as error:
        raised = error
        raise
    finally:
        checks = item.stash.get(CHECKS, None)
        elsewhere = _finish(item, checks, raised) if checks is not None else ""
        if checks is not None and not checks.closed:
            checks.closed = (
                "after the test's body had ended (in teardown, or kept by another test): its "
                "checks are settled. Check inside the test, or in the set-up of a fixture it uses"
            )
    if elsewhere and not (checks is not None and checks.fails):
        raise SnapshotMismatch(elsewhere)
    if checks is not None and checks.fails:
        for result in checks.failing:
            for cause in result.causes:
                item.user_properties.append(("nnx_cause", f"{cause.word}: {cause.text}"))
        mismatch = SnapshotMismatch((told := _told(item, checks)).full)
        mismatch.told = told
        raise mismatch
    if checks is not None and checks.forms:
        from pytest_nnxrng.check import warn

        warn.warn_of_unused(checks)
    return result


def _finish(item: pytest.Item, checks: TestChecks, error: BaseException | None) -> str:
    """What other processes made of the test, if it is not what this one did."""
    from pytest_nnxrng.check import agreement
    from pytest_nnxrng.check.record import renumber
    from pytest_nnxrng.golden.policy import Outcome

    if error is None:
        renumber(checks)
    if isinstance(error, KeyboardInterrupt | SystemExit | pytest.exit.Exception):
        checks.apart = "this process was interrupted"  # it waits for no other one
        checks.settle(Outcome.OTHER)  # pytest makes no report of it
    told = agreement.finish(checks, error)
    if checks.stop:
        item.session.shouldfail = checks.stop
    return told


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    checks = item.stash.get(CHECKS, None)
    if call.when == "call" and checks is not None and not checks.closed:
        # A report of a subtest, made while the body runs.
        checks.subtest_failed |= report.failed
        return report
    if call.when == "setup" and call.excinfo is not None and checks is not None:
        _finish(item, checks, call.excinfo.value)
    if checks is not None and (checks.results or checks.unlike):
        _settle(item, call, report, checks)
    if call.when == "call" or not report.passed:
        _attach(item, call, report, checks)
    return report


def _settle(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, checks: TestChecks
) -> None:
    from pytest_nnxrng.check import agreement
    from pytest_nnxrng.golden.policy import Outcome
    from pytest_nnxrng.report.summary import Failure

    if call.when == "setup" and report.passed:
        return
    good = call.when == "call" and report.passed and not hasattr(report, "wasxfail")
    outcome = Outcome.PASSED if good and not checks.subtest_failed else Outcome.OTHER
    for result, error in agreement.settle(checks, outcome):
        problem = f"{result.path} could not be written: {error.strerror or error}"
        report.outcome = "failed"
        report.longrepr = Failure.of(problem, problem)
    if checks.stop:
        item.session.shouldfail = checks.stop
    if not checks.fails or not report.failed or call.when == "teardown":
        return
    if (told := _mismatch(call)) is not None:
        report.longrepr = Failure.of(told.full, told.headline, told.place)
    else:
        report.sections.append(("nnx_snapshot", _told(item, checks).full))


def _mismatch(call: pytest.CallInfo[None]) -> Told | None:
    """The text of a test that its checks alone failed."""
    raised = call.excinfo.value if call.excinfo is not None else None
    return raised.told if isinstance(raised, SnapshotMismatch) else None


def _told(item: pytest.Item, checks: TestChecks) -> Told:
    """What is said of a test's failing checks."""
    from pytest_nnxrng.report import text

    root, made = item.config.rootpath, checks.settings
    shown = [(result, golden_name(result.path, root, made)) for result in checks.failing]
    command = "" if made.against else _command(item)
    told = text.failure(
        shown,
        command,
        against=made.against,
        verbosity=item.config.getoption("verbose", 0),
        brief=item.config.getoption("tbstyle", None) == "short",
    )
    return told.after(checks.unlike)


def _command(item: pytest.Item) -> str:
    """What accepts the checks of this test: of this device alone, if it ran on several."""
    where = os.path.relpath(item.path, item.config.invocation_params.dir)
    *scopes, name = item.nodeid.split("::")[1:]
    words, place = ["pytest", "--nnx-update-snapshots"], our_place(item)
    if place is not None or repetition(item) is not None:
        who = identity(item)
        name = who.function if who.parameters is None else f"{who.function}[{who.parameters}]"
    if device := place.name if place is not None else item.config.getoption("nnx_device"):
        words.append(f"--nnx-device={device}")
    if place is None and (missing := item.config.getoption("nnx_device_missing")):
        words.append(f"--nnx-device-missing={missing}")
    if number := item.config.getoption("nnx_cpu_devices"):
        words.append(f"--nnx-cpu-devices={number}")
    return shlex.join([*words, "::".join([where, *scopes, name])])


def _attach(
    item: pytest.Item,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
    checks: TestChecks | None,
) -> None:
    """Put on the report what the summary needs: reports are what xdist's workers send."""
    alone = unplaced(item)
    if checks is None and not alone and not _beside_goldens(item):
        return  # nothing will be asked of it
    who, root, told = identity(item), item.config.rootpath, _mismatch(call)
    otherwise = _otherwise(call, report, checks)
    results = checks.results if checks else []
    found = [_row(item, result, otherwise) for result in results]
    passed = report.when == "call" and report.passed and not hasattr(report, "wasxfail")
    report.nnxrng = {  # type: ignore[attr-defined]
        "test": [relative(item.path, root), who.cls, who.function, who.parameters],
        "unplaced": alone,
        "passed": passed and not (checks and checks.subtest_failed),
        "checks": [row.to_json() for row in found],
        "failure": told.to_json() if told is not None and report.failed else None,
    }


def _otherwise(
    call: pytest.CallInfo[None], report: pytest.TestReport, checks: TestChecks | None
) -> str:
    """Why a test's goldens would not be written but for the checks that failed."""
    own = call.excinfo is None or isinstance(call.excinfo.value, SnapshotMismatch)
    if hasattr(report, "wasxfail"):
        return "its test is expected to fail"
    return "" if own and not (checks and checks.subtest_failed) else "its test fails otherwise, too"


def _beside_goldens(item: pytest.Item) -> bool:
    """Whether there were goldens of tests in the item's directory when the first of them ran."""
    known = item.config.stash.setdefault(_BESIDE, {})
    directory = item.path.parent
    if directory not in known:
        known[directory] = (directory / item.config.stash[SETTINGS].folder).is_dir()
    return known[directory]


def _is_reported(made: Settings) -> bool:
    """Whether there will be more to read than the terminal's text."""
    return made.report is not None or os.environ.get("GITHUB_ACTIONS") == "true"


def _row(item: pytest.Item, result: Any, otherwise: str) -> Check:
    from dataclasses import asdict

    from pytest_nnxrng.report import machine
    from pytest_nnxrng.report.text import key_map
    from pytest_nnxrng.run.outcomes import Check
    from pytest_nnxrng.why.cause import line_of

    root, made = item.config.rootpath, item.config.stash[SETTINGS]
    golden = golden_name(result.path, root, made)
    comparison = result.comparison
    rounded = comparison.rounded if comparison is not None else {}
    near = max(rounded, key=lambda path: rounded[path].headroom, default=None)
    told = result.written or not (result.decision.writes or result.moves)
    return Check(
        test=item.nodeid,
        golden=golden,
        status=result.status.value,
        failed=result.decision.fails,
        written=result.written,
        leaves=comparison.leaves if comparison is not None else 0,
        rounded=len(rounded),
        headroom=rounded[near].headroom if near is not None else 0.0,
        worst=f"{near or 'the value'} in {golden}" if near is not None else "",
        same_environment=not (result.changes or result.spread),
        unread=len(comparison.unread) if comparison is not None else 0,
        spotted=len(comparison.spotted) if comparison is not None else 0,
        proven=len(comparison.proven) if comparison is not None else 0,
        left_out=dict(result.left_out),
        fingerprints=result.fingerprints,
        causes=tuple(asdict(cause) for cause in result.causes),
        differences=tuple(map(machine.difference, comparison.differences)) if comparison else (),
        notes=((result.note,) if result.note and told else ()) + result.notes,
        left=result.left,
        modules=tuple(map(machine.module, comparison.static)) if comparison else (),
        unrecorded=result.unrecorded,
        elsewhere=relative(result.elsewhere, root) if result.elsewhere is not None else "",
        moved=result.written and result.moves,
        obtained=result.obtained,
        withheld=(result.withheld or otherwise) if result.decision.fails else "",
        where=line_of(result.where),
        keymap=tuple(key_map(result)) if _is_reported(made) else (),
    )


# -- the run ---------------------------------------------------------------------------


class Recorder:
    """Gathers the tests of a run and what their reports carry."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings: Settings = config.stash[SETTINGS]
        self.items: list[pytest.Item] = []
        self.rows: list[Row] = []  # what xdist's workers collected
        self.reports: dict[str, Mapping[str, Any]] = {}
        self.troubles: list[str] = []
        self.told: dict[str, str] = {}  # a change -> the test that tells it in full
        self.end: Ending | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.items = list(items)  # before any is deselected

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep pytest from asking about every golden, of which there may be thousands."""
        is_named_so = collection_path.name == self.settings.folder
        return True if is_named_so and holds_goldens(collection_path) else None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.troubles.append(f"{report.nodeid or 'a file'} could not be collected")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "nnxrng", None)
        if row is None:
            return
        self.reports[report.nodeid] = row  # a later attempt takes the place of an earlier
        if row["failure"] is not None and not hasattr(self.config, "workerinput"):
            self._tell(report, **row["failure"])

    def _tell(
        self, report: pytest.TestReport, full: str, headline: str, key: str, place: str
    ) -> None:
        """Give the report its text, which comes plain from a worker; one change is told once."""
        from pytest_nnxrng.report.summary import Failure
        from pytest_nnxrng.report.text import again

        first = report.nodeid
        if key and self.config.getoption("verbose", 0) < 1:
            first = self.told.setdefault(key, first)
        text = full if first == report.nodeid else again(headline, first)
        is_line = self.config.getoption("tbstyle", None) == "line"
        report.longrepr = Failure.of(text, headline, place, is_line=is_line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has ended, by itself or not."""
        if error is not None:
            self.troubles.append(f"worker {node.gateway.id} crashed")
        self.rows += getattr(node, "workeroutput", {}).get("nnxrng", ())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._concerns():
            return
        if hasattr(self.config, "workeroutput"):
            # Tuples, which execnet can send.
            self.config.workeroutput["nnxrng"] = list(dict.fromkeys(self.collected()))
        else:
            from pytest_nnxrng.hooks.session import Ending

            self.end = Ending(self.config, [*self.collected(), *self.rows], self.troubles)
            self.end.finish(session, self.reports)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.end is not None:
            self.end.show(terminalreporter)

    def collected(self) -> Iterator[Row]:
        """What this process collected."""
        parts = {Path(arg.split("::")[0]).name for arg in self.config.args if "::" in arg}
        for item in self.items:
            who, file = identity(item), relative(item.path, self.config.rootpath)
            yield file, item.path.name not in parts, who.cls, who.function, who.parameters

    def _concerns(self) -> bool:
        """Whether this run has goldens, or was asked for what is to be said of none."""
        if self.settings.prune or self.settings.report is not None:
            return True
        if any(row["checks"] or row["unplaced"] for row in self.reports.values()):
            return True
        root = self.config.rootpath
        files = {item.path for item in self.items} | {root / row[0] for row in self.rows}
        beside = {file.parent for file in files}
        return any((directory / self.settings.folder).is_dir() for directory in beside)
