"""A run: what was collected and reported, the goldens that no check asked for, the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_nnxrng import inventory, places, policy
from pytest_nnxrng.items import identity, relative, writes
from pytest_nnxrng.options import SETTINGS
from pytest_nnxrng.outcomes import Check, Outcomes, findings, totals
from pytest_nnxrng.report import machine

# A run that came to its end; the last test of a suite may be the one that is gone.
_ENDED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class Recorder:
    """Gathers the outcomes of a run where its reports meet: here, or in xdist's controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = config.stash[SETTINGS]
        self.outcomes = Outcomes()
        self.survey = inventory.Survey()
        self.deleted: list[str] = []
        self.refusal: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        parts = {Path(arg.split("::")[0]).name for arg in self.config.args if "::" in arg}
        rows = []
        for item in items:
            who, file = identity(item), relative(item.path, self.config.rootpath)
            rows.append((file, item.path.name not in parts, who.cls, who.function, who.parameters))
        self.outcomes.collect(rows)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep pytest from asking about every golden, of which there may be thousands."""
        is_named_so = collection_path.name == self.settings.folder
        return True if is_named_so and inventory.holds_goldens(collection_path) else None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes.troubles.append(f"{report.nodeid or 'a file'} could not be collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "nnxrng", None)
        if row is not None:
            self.outcomes.add(report.nodeid, row)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has ended, by itself or not."""
        if error is not None:
            self.outcomes.troubles.append(f"worker {node.gateway.id} crashed")
        self.outcomes.collect(getattr(node, "workeroutput", {}).get("nnxrng", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["nnxrng"] = self.outcomes.collected_rows()
            return
        root = self.config.rootpath
        beside = {(root / file).parent for file in self.outcomes.collected}
        if self.settings.prune:
            beside |= set(inventory.directories_below(self._roots(), self.settings.folder))
        found = inventory.folders(sorted(beside), self.settings.folder)
        self.survey = inventory.survey(self.outcomes, root, found)
        if not writes():
            return
        if self.settings.prune:
            self._prune(session)
        if self.settings.report is not None:
            machine.write(self.settings.report, self.outcomes, self.survey, root)

    def _roots(self) -> list[Path]:
        here = self.config.invocation_params.dir
        return [
            path if path.is_dir() else path.parent for path in map(here.joinpath, self.config.args)
        ]

    def _prune(self, session: pytest.Session) -> None:
        troubles = list(dict.fromkeys(self.outcomes.troubles))
        for file in self.survey.silent:
            troubles.append(
                f"{relative(file, self.config.rootpath)} is there but collected no test"
            )
        if session.exitstatus not in _ENDED:
            troubles.append("the run did not come to its end")
        self.refusal = policy.prune_refusal(policy.Run((), tuple(troubles)))
        if self.refusal is not None:
            if session.exitstatus != pytest.ExitCode.TESTS_FAILED:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        for path in self.survey.gone:
            inventory.delete(path)
            self.deleted.append(relative(path, self.config.rootpath))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from pytest_nnxrng.report import summary

        root = self.config.rootpath
        unused = [relative(path, root) for path in self.survey.unused]
        gone = [] if self.deleted else [relative(path, root) for path in self.survey.gone]
        checks = self.outcomes.all()
        unplaced = self.outcomes.unplaced
        if not (checks or unused or gone or self.deleted or self.refusal or unplaced):
            return
        terminalreporter.section("nnx snapshots", sep="-")
        lines = summary.lines(
            totals(checks), unused, gone, self.deleted, self._notes(checks), findings(checks)
        )
        for line in lines:
            terminalreporter.line(line)

    def _notes(self, checks: list[Check]) -> list[str]:
        notes = list(dict.fromkeys(note for check in checks for note in check.notes))
        if self.outcomes.unplaced:
            names = places.ids(self.settings.devices)
            notes.append(
                f"Run on one device alone, of {', '.join(names)}: {len(self.outcomes.unplaced)}. "
                "Methods of unittest, and tests that use request.getfixturevalue, cannot be "
                "parametrised."
            )
        return notes + ([self.refusal] if self.refusal else [])
