"""Runs that were killed, and what the next ones make of it."""

from __future__ import annotations

import os

import pytest
from projects import Project

from pytest_nnxrng.golden import inventory

TESTS = """
import jax.numpy as jnp
import os, pathlib, signal

def test_one(nnx_snapshot):
    nnx_snapshot.check(jnp.arange({0}))

def test_two(nnx_snapshot):
    nnx_snapshot.check(jnp.arange({0}))
    {1}

def test_three(nnx_snapshot):
    nnx_snapshot.check(jnp.arange({0}))
"""
FOLDER = "tests/__nnx_snapshots__/test_model"
KILL = (
    "pathlib.Path('killed').exists() or (pathlib.Path('killed').touch(), os.kill(os.getpid(), 9))"
)


def test_a_worker_that_is_killed_leaves_whole_goldens_and_the_next_update_clears_up(
    project: Project,
):
    project.test(TESTS.format("5.0", "pass")).made()
    before = project.goldens()
    project.test(TESTS.format("6.0", KILL))
    project.run_fresh("--nnx-update-snapshots", "-n", "1")  # a second worker takes over
    left = project.goldens().keys() - before.keys()
    assert any(name.endswith(".nnx-tmp") for name in left)
    project.test(TESTS.format("6.0", "pass"))
    project.run().came_to(failed=1, passed=2).says("test_two.1: shape: [5] -> [6]")
    assert project.goldens().keys() - before.keys() >= left  # a run that compares deletes nothing
    project.update("-k", "test_one").says(f"Cleared up 1 file that a killed run left in {FOLDER}.")
    project.update().came_to(passed=3)
    assert len(project.goldens()) == 6
    project.run().came_to(passed=3)


def test_prune_takes_values_along_whose_golden_is_gone(project: Project):
    project.test(TESTS.format("5.0", "pass")).made()
    before = project.goldens()
    superseded, alone = (f"{FOLDER}/{name}.0000aaaa.safetensors" for name in ("test_one.1", "x.1"))
    for name in (superseded, alone):
        (project.path / name).touch()
    project.run().does_not_say("Cleared up")
    project.update().says(f"Cleared up 1 file that a killed run left in {FOLDER}.")
    assert project.goldens().keys() - before.keys() == {alone}
    project.run("--nnx-prune-snapshots").says(
        f"Cleared up 1 file that a killed run left in {FOLDER}"
    )
    assert project.goldens() == before


def test_a_golden_that_cannot_be_deleted_is_told_and_the_others_go(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    project.test(TESTS.format("5.0", "pass")).made()
    project.test("def test_nothing():\n    pass")
    delete = inventory.delete

    def forbidden(path):
        if path.name == "test_one.1.json":
            raise PermissionError(13, os.strerror(13))
        delete(path)

    monkeypatch.setattr(inventory, "delete", forbidden)
    run = project.run("--nnx-prune-snapshots").came_to(passed=1, ret=4)
    run.says(f"{FOLDER}/test_one.1.json cannot be deleted: Permission denied.", "2 deleted")
    assert project.manifests() == {"test_one.1.json"}
