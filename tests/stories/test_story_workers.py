"""pytest-xdist: the same goldens, the same figures, no lost reports."""

from __future__ import annotations

from projects import Project

FILE = """
import jax.numpy as jnp
import pytest
from models import MLP

def test_init(rngs, nnx_snapshot):
    nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)

@pytest.mark.parametrize("n", range(6))
def test_number(nnx_snapshot, n):
    nnx_snapshot.check(jnp.arange(n + 1.0) * SCALE)
    nnx_snapshot.check(n, "n")

def test_skips(nnx_snapshot):
    nnx_snapshot.check(1)
    pytest.skip("no")

@pytest.fixture
def breaks():
    yield
    raise RuntimeError("late")

def test_breaks_late(nnx_snapshot, breaks):
    nnx_snapshot.check(2)

def test_fails(nnx_snapshot):
    nnx_snapshot.check(3)
    assert False

SCALE = 1
"""
OUTCOMES = {"passed": 16, "failed": 2, "skipped": 2, "errors": 2}


def both(project: Project) -> Project:
    return project.test(FILE, "tests/test_one.py").test(FILE, "tests/test_two.py")


def test_figures_failures_and_goldens_are_those_of_a_single_process(project: Project):
    alone = both(project).update().came_to(**OUTCOMES)
    goldens = project.goldens()
    for name in goldens:
        (project.path / name).unlink()
    run = project.run_workers("--nnx-update-snapshots", "--dist", "loadfile").came_to(**OUTCOMES)
    assert run.summary == alone.summary
    assert project.goldens() == goldens

    project.change("tests/test_one.py", "SCALE = 1", "SCALE = 2")
    project.change("tests/test_two.py", "range(6)", "range(7)")
    alone = project.run()
    run = project.run_workers("--dist", "worksteal")
    assert run.outcomes == alone.outcomes
    assert set(run.summary) == set(alone.summary)
    assert run.failed_tests == alone.failed_tests
    assert project.goldens() == goldens


def test_stopping_at_the_first_failure_loses_nothing(project: Project):
    both(project).update()
    project.change("tests/test_one.py", "SCALE = 1", "SCALE = 2")
    goldens = project.goldens()
    run = project.run_workers("-x")
    assert run.ret in (1, 2)
    assert project.goldens() == goldens
    assert run.unused == set()


def test_every_test_in_every_worker_writes_the_same(project: Project):
    both(project).update().came_to(**OUTCOMES)
    goldens = project.goldens()
    for name in goldens:
        (project.path / name).unlink()
    run = project.run("--dist", "each", "--tx", "2*popen", "--nnx-update-snapshots")
    assert run.outcomes == {kind: 2 * n for kind, n in OUTCOMES.items()}
    assert project.goldens() == goldens
    # Who writes and who finds it written is a race; the goldens are the same either way.
    assert "changed" not in run.figures
