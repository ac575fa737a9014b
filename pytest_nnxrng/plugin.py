"""What pytest loads: hooks and fixtures, by their names. What they do stands in other modules."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_nnxrng import options, policy, progress
from pytest_nnxrng.fixtures import nnx_device, nnx_mesh, nnx_snapshot, rngs, rngs_factory
from pytest_nnxrng.items import PROGRESS, writes
from pytest_nnxrng.options import SETTINGS
from pytest_nnxrng.recorder import Recorder
from pytest_nnxrng.report import machine
from pytest_nnxrng.running import pytest_runtest_call, pytest_runtest_makereport
from pytest_nnxrng.settings import BadSetting

__all__ = [
    "nnx_device",
    "nnx_mesh",
    "nnx_snapshot",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "rngs",
    "rngs_factory",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    options.set_environment(early_config)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "nnx_rngs(seed) or nnx_rngs(**streams): what the rngs fixture gives this test: one "
        "integer is the seed, anything else goes to nnx.Rngs as it is.",
    )
    try:
        config.stash[SETTINGS] = made = options.read(config)
        if made.prune and (refusal := policy.prune_refusal(policy.Run(options.narrowed(config)))):
            raise BadSetting(refusal)
        if made.report is not None and not hasattr(config, "workerinput") and writes():
            machine.prepare(made.report)
        if made.cpu_devices is not None and not _is_xdist_controller(config):
            _make_cpu_devices(made.cpu_devices)
        if made.device is not None:
            _use_device(config, made.device)
        config.pluginmanager.register(Recorder(config), "nnxrng-recorder")
        config.stash[PROGRESS] = progress.on(
            sys.stdout, worker=hasattr(config, "workerinput"), environ=os.environ
        )
        config.add_cleanup(config.stash[PROGRESS].close)
    except BadSetting as error:
        raise pytest.UsageError(str(error)) from None


def _make_cpu_devices(number: int) -> None:
    # Without JAX in the process the environment says it all.
    if "jax" in sys.modules:
        from pytest_nnxrng import devices

        devices.make_cpu_devices(number)


def _use_device(config: pytest.Config, device: str) -> None:
    from pytest_nnxrng import devices

    if _is_xdist_controller(config):
        # The controller runs no test: it must not hold an accelerator.
        devices.probe(device)
        return
    import jax

    jax.config.update("jax_default_device", devices.find(device))


def pytest_report_header(config: pytest.Config) -> list[str]:
    made = config.stash[SETTINGS]
    shown = [f"seed {made.seed}"] if made.seed else []
    shown += [f"device {made.device}"] if made.device else []
    shown += [f"{made.cpu_devices} CPU devices"] if made.cpu_devices else []
    return [f"nnxrng: {', '.join(shown)}"] if shown else []


def _is_xdist_controller(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
