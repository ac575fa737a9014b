"""The options and ini keys, read once into Settings."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.run import settings
from pytest_nnxrng.run.settings import FOLDER, BadSetting, Mode, Settings, first

if TYPE_CHECKING:
    from pytest_nnxrng.device.notation import DeviceName

SETTINGS = pytest.StashKey[Settings]()
# Variables that were set after JAX's backend had read them.
LATE = pytest.StashKey[tuple[str, ...]]()

# Set in a process that runs the tests on other code, for --nnx-against.
ON_OTHER_CODE = "PYTEST_NNXRNG_AGAINST"

# Options that keep tests from being collected, run or seen: no proof is made under them.
_NARROWING = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "lf": "--lf",
    "failedfirst": "--ff",
    "stepwise": "--sw",
    "stepwise_skip": "--sw-skip",
    "stepwise_reset": "--sw-reset",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "maxfail": "-x/--maxfail",
    "collectonly": "--collect-only",
}


def add(parser: pytest.Parser) -> None:
    group = parser.getgroup("nnxrng", "deterministic tests of Flax NNX models")
    group.addoption(
        "--nnx-update-snapshots",
        action="store_true",
        help="write goldens that are missing or no longer match, for tests that pass otherwise",
    )
    group.addoption(
        "--nnx-update-only",
        metavar="CAUSES",
        help="update only goldens all of whose causes are among these: draws,environment",
    )
    group.addoption(
        "--nnx-report",
        metavar="DIR",
        help="write DIR/index.html to look at, DIR/report.json, DIR/obtained to accept from",
    )
    group.addoption(
        "--nnx-refresh-snapshots",
        action="store_true",
        help="rewrite goldens that match but were recorded under another environment",
    )
    group.addoption(
        "--nnx-move-snapshots",
        action="store_true",
        help="move goldens to the names of their tests, which were moved or renamed",
    )
    group.addoption(
        "--nnx-prune-snapshots",
        action="store_true",
        help="delete goldens whose test is gone; refuses in a run that cannot prove it",
    )
    group.addoption(
        "--nnx-device",
        metavar="DEVICES",
        help="where tests run: cpu, gpu, tpu, cuda, rocm, gpu:1, several as in cpu,gpu, or all",
    )
    group.addoption(
        "--nnx-device-missing",
        metavar="fail|skip",
        help="what becomes of tests on a named device that is not there (default: fail)",
    )
    group.addoption(
        "--nnx-cpu-devices",
        metavar="N",
        help="so many virtual CPU devices, set before JAX starts; for sharded models",
    )
    group.addoption(
        "--nnx-against",
        metavar="REV",
        help="no goldens needed: hold every check against what the code at this git revision "
        "gives: main, HEAD~3, merge-base:main",
    )
    group.addoption(
        "--nnx-against-python",
        metavar="PATH",
        help="the same against another interpreter's JAX and Flax: what an upgrade moves",
    )
    group.addoption("--nnx-seed", metavar="N", help="the seed of the rngs fixture (default: 0)")
    parser.addini("nnx_seed", "the seed of the rngs fixture", default="")
    parser.addini("nnx_device", "where tests run, as --nnx-device", default="")
    parser.addini("nnx_device_missing", "fail or skip, as --nnx-device-missing", default="")
    parser.addini("nnx_cpu_devices", "virtual CPU devices, as --nnx-cpu-devices", default="")
    parser.addini("nnx_snapshot_dir", "name of the folder of goldens", default="")
    parser.addini(
        "nnx_snapshot_store_limit",
        "largest leaf whose values a golden keeps, such as 64 KiB (default: 256 KiB)",
        default="",
    )
    parser.addini(
        "nnx_weights_tol", "tolerances of check_init, such as float32 = 1e-5", type="linelist"
    )
    parser.addini("nnx_outputs_tol", "tolerances of check, such as float32 = 1e-5", type="linelist")
    parser.addini(
        "nnx_across_tol",
        "tolerances of check where the golden is another platform's, such as float32 = 1e-4",
        type="linelist",
    )
    parser.addini(
        "nnx_matmul_precision",
        "jax_default_matmul_precision for the tests, such as float32",
        default="",
    )
    parser.addini(
        "nnx_gpu_deterministic",
        "deterministic reductions on GPUs, by XLA's own flag",
        type="bool",
        default=False,
    )
    parser.addini(
        "nnx_strict", "use the stricter tolerances for every check", type="bool", default=False
    )
    parser.addini(
        "nnx_process_timeout",
        "seconds to wait for other processes under jax.distributed (default: 300)",
        default="300",
    )


def read(config: pytest.Config) -> Settings:
    """The settings of a run, each from its option, its ini key or its default."""
    ini, option = functools.partial(_ini, config), config.getoption
    source = "--nnx-seed" if option("nnx_seed") is not None else "nnx_seed"
    only, report = option("nnx_update_only"), option("nnx_report")
    limit = ini("nnx_snapshot_store_limit")
    return Settings(
        seed=settings.seed(first(option("nnx_seed"), ini("nnx_seed"), 0), source),
        mode=Mode(
            option("nnx_update_snapshots") or only is not None,
            option("nnx_refresh_snapshots"),
            _causes(only) if only is not None else frozenset(),
            option("nnx_move_snapshots"),
        ),
        prune=option("nnx_prune_snapshots"),
        devices=_devices(option("nnx_device"), ini("nnx_device")),
        devices_from="--nnx-device" if option("nnx_device") is not None else "nnx_device",
        missing_skips=_missing_skips(option("nnx_device_missing"), ini("nnx_device_missing")),
        cpu_devices=_cpu_devices(option("nnx_cpu_devices"), ini("nnx_cpu_devices")),
        precision=_precision(ini("nnx_matmul_precision")),
        deterministic=ini("nnx_gpu_deterministic"),
        folder=settings.folder_name(first(ini("nnx_snapshot_dir"), FOLDER), "nnx_snapshot_dir"),
        store_limit=(
            settings.size(limit, "nnx_snapshot_store_limit") if limit else settings.STORE_LIMIT
        ),
        weights_tol=settings.tolerances(ini("nnx_weights_tol"), "nnx_weights_tol"),
        outputs_tol=settings.tolerances(ini("nnx_outputs_tol"), "nnx_outputs_tol"),
        across_tol=settings.tolerances(ini("nnx_across_tol"), "nnx_across_tol"),
        strict=ini("nnx_strict"),
        report=config.invocation_params.dir / report if report else None,
        process_timeout=settings.seconds(ini("nnx_process_timeout"), "nnx_process_timeout"),
    )


def _causes(only: str) -> frozenset[str]:
    from pytest_nnxrng.why import words

    return words.parse(only, "--nnx-update-only")


def _ini(config: pytest.Config, name: str) -> Any:
    """What ``config.getini`` gives; a number or table of pytest 9's ``[tool.pytest]`` as ini text.

    Raises:
      BadSetting: for a value that no ini file could hold.
    """
    try:
        return config.getini(name)
    except (TypeError, ValueError, pytest.UsageError) as error:
        found = _native(config, name)
        if isinstance(found, dict):
            return [f"{key} = {item}" for key, item in found.items()]
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise BadSetting(f"{name}: {error}") from None
        return str(found)


def _native(config: pytest.Config, name: str) -> Any:
    """The value as the configuration file has it, which pytest keeps to itself."""
    import tomllib

    path = config.inipath
    if path is None or path.suffix != ".toml":
        return None
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return data.get("tool", data).get("pytest", {}).get(name)


def concerns_other_code(config: pytest.Config) -> bool:
    """Whether this run is compared to other code, or runs on it."""
    asked = ("nnx_against", "nnx_against_python")
    given = any(config.getoption(name) is not None for name in asked)
    return given or ON_OTHER_CODE in os.environ


def _devices(option: str | None, ini: str) -> tuple[DeviceName, ...]:
    value = option if option is not None else ini or None
    source = "--nnx-device" if option is not None else "nnx_device"
    if value is None:
        return ()
    from pytest_nnxrng.device import notation

    return notation.parse(value, source)


def _missing_skips(option: str | None, ini: str) -> bool:
    value = first(option, ini, "fail")
    if value not in ("fail", "skip"):
        raise BadSetting(f"--nnx-device-missing: {value!r} is neither fail nor skip")
    return bool(value == "skip")


def _precision(ini: str) -> str | None:
    return settings.precision(ini, "nnx_matmul_precision") if ini else None


def _cpu_devices(option: str | None, ini: str) -> int | None:
    value = first(option, ini)
    source = "--nnx-cpu-devices" if option is not None else "nnx_cpu_devices"
    return None if value is None else settings.cpu_devices(value, source)


def set_environment(early: pytest.Config, given: argparse.Namespace) -> None:
    """Set what JAX reads when it starts, until the run ends.

    Called before conftests are loaded, when options are known but not final; later, where a
    conftest names this plugin. What cannot be used is passed over: ``read`` says so, when
    pytest can show it.
    """
    if LATE in early.stash:
        return
    early.stash[LATE] = ()
    ini = functools.partial(_ini, early)
    with contextlib.suppress(BadSetting):
        wishes = (
            _devices(given.nnx_device, ini("nnx_device")),
            _cpu_devices(given.nnx_cpu_devices, ini("nnx_cpu_devices")),
            _precision(ini("nnx_matmul_precision")),
            ini("nnx_gpu_deterministic"),
        )
        if not any(wishes) and "PYTEST_XDIST_WORKER" not in os.environ:
            return
        from pytest_nnxrng.device import hardware, startup

        as_worker = startup.worker(os.environ)
        changes = startup.plan(startup.Wish(*wishes), os.environ, as_worker, hardware.found)
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        if "jax" in sys.modules:
            early.stash[LATE] = _catch_up(changes)
        early.add_cleanup(lambda: _restore(before))


def _catch_up(changes: dict[str, str]) -> tuple[str, ...]:
    from pytest_nnxrng.device import resolve

    return resolve.catch_up(changes)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def narrowed(config: pytest.Config) -> tuple[str, ...]:
    found = [flag for name, flag in _NARROWING.items() if config.getoption(name, None)]
    return (*found, *(["a node id"] if any("::" in arg for arg in config.args) else []))
