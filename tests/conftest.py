"""Plugins and settings of the whole test suite; pytest takes them from the top-level conftest."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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

_DEAR = ("causes", "stories")  # folders that hold products of models, mutations and ways to run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="of tests/causes and tests/stories run every Nth test of each file",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    step = config.getoption("--sample")
    if step < 2:
        return
    kept: list[pytest.Item] = []
    for path, group in itertools.groupby(items, key=lambda item: item.path):
        dear = path.parent.name in _DEAR
        kept += itertools.islice(group, 0, None, step if dear else 1)
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept
