"""``--nnx-against``: the tests run on other code first, whose goldens this run compares to."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.options import ON_OTHER_CODE, SETTINGS
from pytest_nnxrng.run.settings import BadSetting, Mode, Settings

if TYPE_CHECKING:
    from pytest_nnxrng.against.imports import Ledger, Redirect
    from pytest_nnxrng.against.rehearsal import Given, Side

BASELINE = pytest.StashKey["Baseline"]()
_INPUT = "nnxrng_against"


def asked(config: pytest.Config) -> bool:
    option = config.getoption
    return option("nnx_against") is not None or option("nnx_against_python") is not None


def settled(config: pytest.Config, made: Settings) -> Settings:
    """The settings as a run against other code, or on it, has them."""
    if ON_OTHER_CODE in os.environ:
        from pytest_nnxrng.against.imports import Redirect

        found = next(finder for finder in sys.meta_path if isinstance(finder, Redirect))
        return rehearse(config, made, found)
    return begin(config, made) if asked(config) else made


def begin(config: pytest.Config, made: Settings) -> Settings:
    """The settings of a run that compares to other code, of which nothing has run yet."""
    if made.mode != Mode() or made.prune:
        raise BadSetting(
            "--nnx-against compares to what other code gives, and neither writes nor deletes a "
            "golden: leave out the options that do"
        )
    mode = Mode(against=True)
    if hasattr(config, "workerinput"):
        row = config.workerinput[_INPUT]
        return made._replace(mode=mode, golden_root=Path(row["goldens"]), against=row["label"])
    from pytest_nnxrng.against import rehearsal

    option, here = config.getoption, config.invocation_params.dir
    named = option("nnx_against"), option("nnx_against_python")
    side = rehearsal.Side.of(*named, config.rootpath, here)
    config.add_cleanup(side.folder.remove)
    config.stash[BASELINE] = baseline = Baseline(config, side)
    config.pluginmanager.register(baseline, "nnxrng-baseline")
    return made._replace(mode=mode, golden_root=side.goldens, against=side.label)


class Baseline:
    """Runs the tests on the other code, when all is configured and nothing has been run."""

    def __init__(self, config: pytest.Config, side: Side) -> None:
        self.config = config
        self.side = side
        self.ledger: Ledger | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        option = self.config.getoption
        if option("collectonly") or option("showfixtures") or option("show_fixtures_per_test"):
            return
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and option("verbose") >= 0:
            terminal.write_line(f"nnxrng: the tests run on {self.side.label} first")
        try:
            self.ledger = self.side.rehearse(_given(self.config))
        except BadSetting as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker of pytest-xdist is about to be started."""
        node.workerinput[_INPUT] = {"goldens": str(self.side.goldens), "label": self.side.label}

    def about(self, unrun: dict[str, str]) -> dict[str, Any]:
        """What the report says of the other code."""
        found, python = self.side.revision, self.side.python
        return {
            "label": self.side.label,
            "commit": found.commit if found is not None else None,
            "python": python.path if python is not None else None,
            "cannot_run": unrun,
        }

    def unrun(self, tests: list[str]) -> dict[str, str]:
        """Of tests without goldens: those that the other code could not run, and why."""
        if self.ledger is None:
            return {}
        found = {test: self.ledger.why(test) for test in tests}
        return {test: why for test, why in found.items() if why}


def _given(config: pytest.Config) -> Given:
    from pytest_nnxrng.against.rehearsal import Given

    addopts = config.getini("addopts")
    words = [*(shlex.split(addopts) if isinstance(addopts, str) else addopts)]
    words += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    return Given(
        words=(*words, *map(str, config.invocation_params.args)),
        root=config.rootpath,
        ini=config.inipath,
        here=config.invocation_params.dir,
        patterns=tuple(config.getini("python_files")),
        testpaths=tuple(config.getini("testpaths")),
        named=tuple(arg.partition("::")[0] for arg in config.args),
        folder=config.stash[SETTINGS].folder,
    )


# -- the run on other code ---------------------------------------------------------------


def redirect() -> None:
    """In a run on other code: map the imports of this process, before any of the project's."""
    if ON_OTHER_CODE not in os.environ:
        return
    from pytest_nnxrng.against import apart, imports

    asked = apart.load_job(os.environ[ON_OTHER_CODE])
    apart.watch(os.environ, Path(asked.temporary))
    imports.install(asked)


def rehearse(config: pytest.Config, made: Settings, found: Redirect) -> Settings:
    """The settings of a run on other code, which notes what becomes of its tests."""
    config.pluginmanager.register(Rehearsal(config, found), "nnxrng-rehearsal")
    goldens = found.job.goldens
    return made._replace(mode=Mode(update=True), golden_root=goldens, rehearses=True)


class Rehearsal:
    """Notes which tests ran on the other code, and where its modules came from."""

    def __init__(self, config: pytest.Config, found: Redirect) -> None:
        from pytest_nnxrng.against.imports import Ledger

        self.config = config
        self.redirect = found
        self.ledger: Ledger = Ledger()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.ledger.uncollected[report.nodeid] = _line(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.ledger.ran.append(report.nodeid)
        if report.failed and report.when != "teardown":
            self.ledger.failed[report.nodeid] = _line(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        from pytest_nnxrng.against import imports

        temporary = Path(self.redirect.job.temporary)
        imports.write_imports(temporary, imports.survey(self.redirect, sys.modules))
        if not hasattr(self.config, "workerinput"):
            imports.write_tests(temporary, self.ledger)


def _line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test or a file failed, in one line: the exception."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return " ".join(str(crash.message).split())[:300]
    lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["it failed"])[-1][:300]
