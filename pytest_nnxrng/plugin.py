"""What pytest loads: hooks and fixtures, by their names. What they do stands in other modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_nnxrng.hooks import options, parametrize
from pytest_nnxrng.hooks.fixtures import nnx_device, nnx_mesh, nnx_snapshot, rngs, rngs_factory
from pytest_nnxrng.hooks.item import PROGRESS, writes
from pytest_nnxrng.hooks.options import SETTINGS
from pytest_nnxrng.hooks.parametrize import (
    pytest_generate_tests,
    pytest_runtest_protocol,
    pytest_runtest_setup,
    pytest_sessionstart,
)
from pytest_nnxrng.hooks.testrun import Recorder, pytest_runtest_call, pytest_runtest_makereport
from pytest_nnxrng.run.settings import BadSetting, Settings

__all__ = [
    "nnx_device",
    "nnx_mesh",
    "nnx_snapshot",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_sessionstart",
    "rngs",
    "rngs_factory",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)
    if options.ON_OTHER_CODE in os.environ:
        from pytest_nnxrng.hooks import baseline

        baseline.redirect()


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    options.set_environment(early_config, early_config.known_args_namespace)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "nnx_device(*names): restricts this test to these devices, such as 'gpu' or 'gpu:1': it "
        "is skipped on others.",
    )
    config.addinivalue_line(
        "markers",
        "nnx_rngs(seed) or nnx_rngs(**streams): what the rngs fixture gives this test: one "
        "integer is the seed, anything else goes to nnx.Rngs as it is.",
    )
    try:
        config.stash[SETTINGS] = made = _settings(config)
        options.set_environment(config, config.option)
        if made.prune:
            _refuse_pruning(options.narrowed(config))
        if made.report is not None and not hasattr(config, "workerinput") and writes():
            _prepare(made.report)
        config.pluginmanager.register(Recorder(config), "nnxrng-recorder")
        _tell_progress(config)
    except BadSetting as error:
        raise pytest.UsageError(str(error)) from None


def _settings(config: pytest.Config) -> Settings:
    made = options.read(config)
    if not options.concerns_other_code(config):
        return made
    from pytest_nnxrng.hooks import baseline

    return baseline.settled(config, made)


def _refuse_pruning(narrowed: tuple[str, ...]) -> None:
    from pytest_nnxrng.golden import policy

    if refusal := policy.prune_refusal(policy.Run(narrowed)):
        raise BadSetting(refusal)


def _tell_progress(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not os.isatty(1):
        return  # nobody looks: `progress.on` need not be loaded to say so
    from pytest_nnxrng.run import progress

    config.stash[PROGRESS] = progress.on(sys.stdout, os.environ)
    config.add_cleanup(config.stash[PROGRESS].close)


def _prepare(report: Path) -> None:
    from pytest_nnxrng.report import machine

    machine.prepare(report)


def pytest_report_header(config: pytest.Config) -> list[str]:
    made = config.stash[SETTINGS]
    shown = [f"against {made.against}"] if made.against else []
    shown += [f"seed {made.seed}"] if made.seed else []
    shown += parametrize.shown(config)
    shown += [f"{made.cpu_devices} CPU devices"] if made.cpu_devices else []
    return [f"nnxrng: {', '.join(shown)}"] if shown else []
