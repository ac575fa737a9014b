"""Tests that pytest-repeat runs again and again have one golden."""

from __future__ import annotations

import pytest
from projects import Project

# What the plugin does, for whoever has not installed it.
REPEAT = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--count", default=1, type=int)

@pytest.fixture
def __pytest_repeat_step_number(request):
    return request.param

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    count = metafunc.config.option.count
    if count > 1:
        metafunc.fixturenames.append("__pytest_repeat_step_number")
        metafunc.parametrize(
            "__pytest_repeat_step_number",
            range(count),
            indirect=True,
            ids=lambda i: f"{i + 1}-{count}",
        )
"""
TEST = """
import jax.numpy as jnp
import pytest

@pytest.mark.parametrize("x", [1.5, 2.5])
def test_it(rngs, nnx_snapshot, x):
    nnx_snapshot.check(rngs.params.key.get_value())

def test_plain(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(3.0))
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_each_repetition_is_held_against_the_same_golden(
    project: Project, workers: tuple[str, ...]
):
    project.write({"conftest.py": REPEAT}).test(TEST).made()
    goldens = project.goldens()
    run = project.run("--count=2", *workers).came_to(passed=6)
    assert run.figures == "6 matched."
    assert project.run("--count=3", "--nnx-prune-snapshots").came_to(passed=9).unused == set()
    project.run("--count=2", "--nnx-device=cpu:0,cpu", *workers)
    assert project.goldens() == goldens


def test_the_command_of_a_failure_needs_no_repetition(project: Project):
    project.write({"conftest.py": REPEAT}).test(TEST)
    run = project.run("--count=2").came_to(failed=6)
    run.says("pytest --nnx-update-snapshots 'tests/test_model.py::test_it[1.5]'")
    run.says("pytest --nnx-update-snapshots tests/test_model.py::test_plain")
    project.update("--count=2").came_to(passed=6)
    project.run().came_to(passed=3)
