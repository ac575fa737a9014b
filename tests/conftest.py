"""Plugins and settings of the whole test suite; pytest takes them from the top-level conftest."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from .products import thinned

pytest_plugins = ["pytester"]

# No test depends on the machine's speed.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

# No process needs to compile the package anew, where nothing may be written beside it.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parent.parent / ".tests_cache")
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ["PYTHONPYCACHEPREFIX"], False

# XLA's optimizer takes half of the time of the causes. Where XLA_FLAGS is set, it is as it is.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

_DEAR = ("causes", "stories")  # folders that hold products of models, mutations and ways to run
_LEFT_OUT = pytest.StashKey[int]()


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a process has compiled it does not compile again after a flag was set and reset."""
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="run every combination of each product of parameters, and the dear tests",
    )
    parser.addoption(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="of tests/causes and tests/stories run every Nth test of each file",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "product(why, pairs=False): combinations test nothing that the values (or their pairs) do "
        "not: without --full a few are run, which have each",
        "dear(why): left to --full, since what it tests is also shown for less",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the option
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Where whole folders of dear tests are asked for, and nothing is said of workers: workers."""
    option = config.option
    if hasattr(config, "workerinput") or getattr(option, "numprocesses", 0) is not None:
        return
    here = Path(__file__).parent
    folders = [config.invocation_params.dir / arg for arg in config.args]
    dear = any((here / name).is_relative_to(folder) for name in _DEAR for folder in folders)
    if dear and option.dist == "no" and not (option.tx or option.usepdb or option.collectonly):
        option.numprocesses, option.dist = min(os.cpu_count() or 1, 8), "worksteal"


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = items if config.getoption("--full") or _named(config) else thinned(items)
    config.stash[_LEFT_OUT] = len(items) - len(kept)
    kept = _sampled(kept, config.getoption("--sample"))
    chosen = set(kept)
    left = [item for item in items if item not in chosen]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _named(config: pytest.Config) -> bool:
    """Whether tests are chosen by name: these are run whatever product they are of."""
    return bool(config.option.keyword) or any("::" in arg for arg in config.args)


def _sampled(items: list[pytest.Item], step: int) -> list[pytest.Item]:
    kept: list[pytest.Item] = []
    for path, group in itertools.groupby(items, key=lambda item: item.path):
        kept += itertools.islice(group, 0, None, step if path.parent.name in _DEAR else 1)
    return kept


# -- what was left out, for the last lines of the run --------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of workers, each of which collects all."""
    left_out = getattr(node, "workeroutput", {}).get("left_out", 0)
    node.config.stash[_LEFT_OUT] = left_out


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left_out = config.stash.get(_LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(
            f"Of products of parameters each value was run. {left_out} more tests: pytest --full"
        )
