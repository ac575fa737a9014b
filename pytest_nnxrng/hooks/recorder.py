"""What a run leaves behind, gathered where its reports meet: here, or in xdist's controller.

Most of what is gathered is looked at only in runs that have goldens, by ``ending``: a run
without any pays for lists alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.item import holds_goldens, identity, relative
from pytest_nnxrng.hooks.options import SETTINGS

if TYPE_CHECKING:
    from pytest_nnxrng.hooks.session import Ending
    from pytest_nnxrng.run.outcomes import Row


class Recorder:
    """Gathers the tests of a run and what their reports carry."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = config.stash[SETTINGS]
        self.items: list[pytest.Item] = []
        self.rows: list[Row] = []  # what xdist's workers collected
        self.reports: dict[str, Mapping[str, Any]] = {}
        self.troubles: list[str] = []
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "nnxrng", None)
        if row is not None:
            self.reports[report.nodeid] = row  # a later attempt takes the place of an earlier

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
            self.config.workeroutput["nnxrng"] = list(dict.fromkeys(self._collected()))
        else:
            from pytest_nnxrng.hooks.session import Ending

            self.end = Ending(self.config, [*self._collected(), *self.rows], self.troubles)
            self.end.finish(session, self.reports)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.end is not None:
            self.end.show(terminalreporter)

    def _collected(self) -> Iterator[Row]:
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
