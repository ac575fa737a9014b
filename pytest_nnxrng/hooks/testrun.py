"""A test's run: its checks fail it at the end of its body, are settled, and are reported."""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.item import CHECKS, golden_name, identity, our_place, relative
from pytest_nnxrng.hooks.options import SETTINGS
from pytest_nnxrng.hooks.parametrize import unplaced

if TYPE_CHECKING:
    from pytest_nnxrng.check.state import TestChecks
    from pytest_nnxrng.run.outcomes import Check


_BESIDE: pytest.StashKey[dict[Path, bool]] = pytest.StashKey()


class SnapshotMismatch(AssertionError):
    """A test whose body passed, with checks that did not: its text is the whole report."""


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
        raise SnapshotMismatch(_texts(item, checks)[0])
    return result


def _finish(item: pytest.Item, checks: TestChecks, error: BaseException | None) -> str:
    """What other processes made of the test, if it is not what this one did."""
    from pytest_nnxrng.check import agreement

    if isinstance(error, KeyboardInterrupt | SystemExit | pytest.exit.Exception):
        checks.apart = "this process was interrupted"  # it waits for no other one
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
        _attach(item, report, checks)
    return report


def _settle(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, checks: TestChecks
) -> None:
    from pytest_nnxrng.check import agreement
    from pytest_nnxrng.golden.policy import Outcome
    from pytest_nnxrng.report.text import Failure

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
    text, headline = _texts(item, checks)
    if call.excinfo is not None and isinstance(call.excinfo.value, SnapshotMismatch):
        report.longrepr = Failure.of(text, headline)
    else:
        report.sections.append(("nnx_snapshot", text))


def _texts(item: pytest.Item, checks: TestChecks) -> tuple[str, str]:
    """The text of a test's failing checks, and its headline."""
    from pytest_nnxrng.report import text

    root, made = item.config.rootpath, checks.settings
    shown = [(result, golden_name(result.path, root, made)) for result in checks.failing]
    command = "" if made.against else _command(item)
    parts = [text.failure(shown, command, made.against)] if shown else []
    heads = [text.headline(shown)] if shown else []
    heads += [told.partition("\n")[0] for told in checks.unlike]
    return "\n\n".join([*checks.unlike, *parts]), "; ".join(heads)


def _command(item: pytest.Item) -> str:
    """What accepts the checks of this test: of this device alone, if it ran on several."""
    where = os.path.relpath(item.path, item.config.invocation_params.dir)
    *scopes, name = item.nodeid.split("::")[1:]
    words, place = ["pytest", "--nnx-update-snapshots"], our_place(item)
    if place is not None:
        who = identity(item)
        name = who.function if who.parameters is None else f"{who.function}[{who.parameters}]"
    if device := place.name if place is not None else item.config.getoption("nnx_device"):
        words.append(f"--nnx-device={device}")
    if number := item.config.getoption("nnx_cpu_devices"):
        words.append(f"--nnx-cpu-devices={number}")
    return shlex.join([*words, "::".join([where, *scopes, name])])


def _attach(item: pytest.Item, report: pytest.TestReport, checks: TestChecks | None) -> None:
    """Put on the report what the summary needs: reports are what xdist's workers send."""
    alone = unplaced(item)
    if checks is None and not alone and not _beside_goldens(item):
        return  # nothing will be asked of it
    who, root = identity(item), item.config.rootpath
    found = (
        []
        if checks is None
        else [
            _row(item.nodeid, result, golden_name(result.path, root, checks.settings))
            for result in checks.results
        ]
    )
    passed = report.when == "call" and report.passed and not hasattr(report, "wasxfail")
    report.nnxrng = {  # type: ignore[attr-defined]
        "test": [relative(item.path, root), who.cls, who.function, who.parameters],
        "unplaced": alone,
        "passed": passed and not (checks and checks.subtest_failed),
        "checks": [row.to_json() for row in found],
    }


def _beside_goldens(item: pytest.Item) -> bool:
    """Whether there were goldens of tests in the item's directory when the first of them ran."""
    known = item.config.stash.setdefault(_BESIDE, {})
    directory = item.path.parent
    if directory not in known:
        known[directory] = (directory / item.config.stash[SETTINGS].folder).is_dir()
    return known[directory]


def _row(nodeid: str, result: Any, golden: str) -> Check:
    from dataclasses import asdict

    from pytest_nnxrng.report import machine
    from pytest_nnxrng.run.outcomes import Check

    comparison = result.comparison
    rounded = comparison.rounded if comparison is not None else {}
    near = max(rounded, key=lambda path: rounded[path].headroom, default=None)
    told = result.written or not result.decision.writes
    return Check(
        test=nodeid,
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
    )
