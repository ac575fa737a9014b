"""Folders of thousands of goldens: pytest does not walk them, and a run lists each once."""

from __future__ import annotations

from projects import Project

TEST = """
import numpy as np
import pytest

@pytest.mark.parametrize("n", range(5))
def test_number(nnx_snapshot, n):
    nnx_snapshot.check(np.arange(3.0) + n)
"""
COLLECT = """

def pytest_collect_file(file_path):
    assert "__nnx_snapshots__" not in file_path.parts
"""


def test_goldens_are_not_collected(project: Project):
    project.write({"tests/conftest.py": COLLECT}).test(TEST).made()
    project.run().came_to(passed=5)
    project.run_workers().came_to(passed=5)


def test_a_folder_that_holds_the_tests_too_is_collected(project: Project):
    project.ini("nnx_snapshot_dir = tests").test(TEST)
    project.update().came_to(passed=5)
    assert project.run().came_to(passed=5).figures == "5 matched."


def test_updating_all_again_and_again_leaves_one_values_file_each(project: Project):
    project.test(TEST).made()
    project.change("tests/test_model.py", "arange(3.0)", "arange(4.0)")
    project.update().came_to(passed=5)
    assert len(project.goldens()) == 10
    project.change("tests/test_model.py", "arange(4.0)", "arange(5.0)")
    project.run_workers("--nnx-update-snapshots").came_to(passed=5)
    assert len(project.goldens()) == 10
    project.run().came_to(passed=5)
