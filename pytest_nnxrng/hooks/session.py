"""The end of a run that has goldens: those that no check asked for, the report, the summary."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_nnxrng.device import notation
from pytest_nnxrng.golden import inventory, policy
from pytest_nnxrng.hooks.baseline import BASELINE, Baseline
from pytest_nnxrng.hooks.item import relative, writes
from pytest_nnxrng.hooks.options import SETTINGS
from pytest_nnxrng.report import github, machine, summary
from pytest_nnxrng.report.findings import Finding, findings, shortfalls
from pytest_nnxrng.run.outcomes import Check, Outcomes, Row, totals
from pytest_nnxrng.run.settings import Settings
from pytest_nnxrng.why import words

# A run that came to its end; the last test of a suite may be the one that is gone.
_ENDED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class Ending:
    """What is made of a run's outcomes when all its tests have run."""

    def __init__(
        self, config: pytest.Config, collected: Iterable[Row], troubles: Iterable[str]
    ) -> None:
        self.config = config
        self.settings: Settings = config.stash[SETTINGS]
        self.outcomes: Outcomes = Outcomes()
        self.outcomes.collect(collected)
        self.troubles: list[str] = list(dict.fromkeys(troubles))
        self.survey: inventory.Survey = inventory.Survey()
        self.deleted: list[list[str]] = []
        self.refusal: str | None = None
        self.cleaned: str = ""
        self.baseline: Baseline | None = config.stash.get(BASELINE, None)
        self.unrun: dict[str, str] = {}
        self.page: str | None = None

    def finish(self, session: pytest.Session, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Look for goldens that no check asked for, prune them and write the report if asked."""
        for nodeid, row in reports.items():
            self.outcomes.add(nodeid, row)
        root = self.config.rootpath
        beside = {(root / file).parent for file in self.outcomes.collected}
        if self.baseline is not None:
            self._finish_against(self.baseline, session)
            return
        if self.settings.prune:
            beside |= set(inventory.directories_below(self._roots(), self.settings.folder))
        found = list(inventory.folders(sorted(beside), self.settings.folder))
        self.survey = inventory.survey(self.outcomes, root, found)
        if not writes():
            return
        if self.settings.prune:
            self._prune(session)
        if self.settings.prune or self.settings.mode.writes_goldens:
            self._clean(found)
        if self.settings.report is not None:
            machine.write(self.settings.report, self.outcomes, self.survey, root)
            text = self._markdown()
            (self.settings.report / "summary.md").write_text(text, encoding="utf-8")
            self._write_page(self.settings.report)

    def _finish_against(self, baseline: Baseline, session: pytest.Session) -> None:
        checks = self.outcomes.all()
        self.unrun = baseline.unrun([check.test for check in checks if check.status == "missing"])
        nothing = all(check.status == "missing" for check in checks)
        if session.exitstatus == pytest.ExitCode.OK and nothing:
            self.refusal = f"Nothing was compared to {baseline.side.label}."
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if writes() and self.settings.report is not None:
            about = baseline.about(self.unrun)
            root = self.config.rootpath
            machine.write(self.settings.report, self.outcomes, self.survey, root, about)
            self._write_page(self.settings.report, baseline)

    def _write_page(self, folder: Path, baseline: Baseline | None = None) -> None:
        """``index.html``, from the same data as ``report.json``."""
        from pytest_nnxrng.page.assemble import write
        from pytest_nnxrng.page.subject import Run

        root, here = self.config.rootpath, self.config.invocation_params.dir
        name = relative(folder, here)
        unused = tuple(relative(path, root) for path in self.survey.unused)
        checks = tuple(machine.ordered(self.outcomes))
        versions = machine.versions()
        against, goldens = "", root
        if baseline is not None:
            against, goldens = baseline.side.label, baseline.side.goldens
        try:
            there = write(Run(name, folder, goldens, checks, versions, unused, against))
        except Exception as error:  # a picture must not cost the run its summary
            told = f"{type(error).__name__}: {error}"
            self.page = f"could not be drawn ({told}). The rest of {name} is whole; tell us, please"
        else:
            self.page = relative(there, here)

    def _roots(self) -> list[Path]:
        here = self.config.invocation_params.dir
        return [
            path if path.is_dir() else path.parent for path in map(here.joinpath, self.config.args)
        ]

    def _prune(self, session: pytest.Session) -> None:
        troubles = list(self.troubles)
        for file in self.survey.silent:
            troubles.append(
                f"{relative(file, self.config.rootpath)} is there but collected no test"
            )
        missing = totals(self.outcomes.all()).missing
        if missing:
            troubles.append(
                f"goldens are missing ({missing}), to which those that are unused may belong"
            )
        if session.exitstatus not in _ENDED:
            troubles.append("the run did not come to its end")
        self.refusal = policy.prune_refusal(policy.Run((), tuple(troubles)))
        if self.refusal is not None:
            if session.exitstatus != pytest.ExitCode.TESTS_FAILED:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        for path in self.survey.gone:
            (files,) = self._files([path])
            try:
                inventory.delete(path)
            except FileNotFoundError:
                continue  # another run was faster
            except OSError as error:
                told = f"{files[0]} cannot be deleted: {error.strerror or error}."
                self.refusal = " ".join(filter(None, (self.refusal, told)))
                session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR
            else:
                self.deleted.append(files)

    def _clean(self, folders: Iterable[Path]) -> None:
        """Take away what runs that were killed left here."""
        from pytest_nnxrng.golden import stale

        whole = self.settings.prune and self.refusal is None
        gone = stale.clean(folders, self.config.rootpath, whole=whole)
        if gone:
            root = self.config.rootpath
            where = ", ".join(sorted({relative(path.parent, root) for path in gone}))
            files = f"{len(gone)} file{'s' if len(gone) > 1 else ''}"
            self.cleaned = f"Cleared up {files} that a killed run left in {where}."

    def _files(self, goldens: Iterable[Path]) -> list[list[str]]:
        """The files of each golden, as whoever started the run would name them."""
        here = self.config.invocation_params.dir
        return [[relative(file, here) for file in inventory.files(path)] for path in goldens]

    def show(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the summary's section, if there is anything to say."""
        unused = self._files(self.survey.unused)
        gone = self._files(path for path in self.survey.gone if path.exists())
        checks = self.outcomes.all()
        unplaced = self.outcomes.unplaced
        told = self.deleted or self.cleaned or self.refusal
        if not (checks or unused or gone or told or unplaced):
            return
        terminalreporter.section("nnx snapshots", sep="-")
        lines = summary.lines(
            totals(checks),
            unused,
            gone,
            self.deleted,
            self._notes(checks),
            findings(checks),
            self._against(checks),
            self.settings.mode,
            self._report_folder(),
        )
        for line in lines:
            terminalreporter.line(line)
        if self.page is not None:
            terminalreporter.line(f"A page to look at: {self.page}")
        self._tell_github(terminalreporter)

    def _report_folder(self) -> str:
        """The report's folder, as whoever started the run would name it."""
        report = self.settings.report
        return "" if report is None else relative(report, self.config.invocation_params.dir)

    def _markdown(self) -> str:
        checks, report = self.outcomes.all(), self.settings.report
        where = str(report) if report is not None else None
        return github.summary(totals(checks), _told(checks), os.environ, where)

    def _tell_github(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Annotations and a job summary, where GitHub runs this."""
        checks = self.outcomes.all()
        if os.environ.get("GITHUB_ACTIONS") != "true" or not checks:
            return
        for line in github.commands(_told(checks), _folder(os.environ)):
            terminalreporter.line(line)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
                file.write(self._markdown())

    def _against(self, checks: list[Check]) -> str:
        if self.baseline is None:
            return ""
        unrun = sum(check.status == "missing" and check.test in self.unrun for check in checks)
        return summary.against(self.baseline.side.label, totals(checks), unrun)

    def _notes(self, checks: list[Check]) -> list[str]:
        notes = list(dict.fromkeys(note for check in checks for note in check.notes))
        if self.outcomes.unplaced:
            names = notation.ids(self.settings.devices)
            notes.append(
                f"Run on one device alone, of {', '.join(names)}: {len(self.outcomes.unplaced)}. "
                "Methods of unittest, and tests that use request.getfixturevalue, cannot be "
                "parametrised."
            )
        ids = {finding.id for finding in findings(checks)}
        asked = {name for name in self.settings.mode.only if words.is_id(name)}
        if asked - ids:
            unknown = ", ".join(sorted(asked - ids))
            notes.append(f"--nnx-update-only: no change of this run is {unknown}.")
        if self.baseline is not None:
            notes += [*self.baseline.side.notes, *summary.unrun(self.unrun)]
        ends = [note for note in (self.cleaned, self.refusal) if note]
        return notes + self._ignored(checks) + ends

    def _ignored(self, checks: list[Check]) -> list[str]:
        root = self.config.rootpath
        written = [root / check.golden for check in checks if check.written]
        if not written:
            return []
        files = [file for path in written for file in inventory.files(path)]
        rules = inventory.rules(files, root)
        if not rules:
            return []
        return [
            f"git ignores goldens that were written ({'; '.join(rules)}): a clone would lack them, "
            f"and fail. Take that out, or add below it: !**/{self.settings.folder}/**"
        ]


def _told(checks: list[Check]) -> list[Finding]:
    """What is told to who reads no terminal: what failed by no cause, too."""
    return [*findings(checks), *shortfalls(checks)]


def _folder(environ: Mapping[str, str]) -> str:
    """Where this run's folder lies in the checkout of a job on GitHub."""
    top = Path(environ.get("GITHUB_WORKSPACE") or ".").resolve()
    here = Path.cwd()
    inside = here.relative_to(top).as_posix() if here.is_relative_to(top) else ""
    return "" if inside == "." else inside
