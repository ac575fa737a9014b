"""A new check among those without names: the others keep their goldens."""

from __future__ import annotations

import pytest
from projects import Project

DEAR = "Workers report a check as one process does: test_story_workers."

TEST = """
import jax.numpy as jnp

def test_it(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(4.0))
    nnx_snapshot.check(jnp.arange(4.0) * 2)
    nnx_snapshot.check(jnp.ones(3), "named")
    nnx_snapshot.check(jnp.arange(5.0))
"""
A, B, C = (
    "    nnx_snapshot.check(jnp.arange(4.0))\n",
    "    nnx_snapshot.check(jnp.arange(4.0) * 2)\n",
    "    nnx_snapshot.check(jnp.arange(5.0))\n",
)
NEW = "    nnx_snapshot.check(jnp.arange(4.0) * 7)\n"
FILE = "tests/test_model.py"

PLACES = {
    # What is changed to what, and the numbers of the new checks.
    "first": (A, NEW + A, [1]),
    "in the middle": (B, NEW + B, [2]),
    "behind": (C, C + NEW, [4]),
    "two at once": (B, NEW + B + NEW, [2, 4]),
    "of another shape": (B, "    nnx_snapshot.check(jnp.ones(9))\n" + B, [2]),
    "the same as another": (B, B + B, [3]),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_new_check_is_told_and_the_others_match(project: Project, case: str):
    old, new, numbers = PLACES[case]
    project.test(TEST).made()
    goldens = project.goldens()
    project.change(FILE, old, new)
    run = project.run().came_to(failed=1)
    assert run.figures == f"4 matched, {len(numbers)} missing."
    for number in numbers:
        run.says(f"test_it.{number}: the golden is missing")
        if case != "behind":
            run.says(f"check {number} is new")
    run.does_not_say("why unknown", "why values")
    assert project.goldens() == goldens
    project.update().came_to(passed=1)
    assert project.run().came_to(passed=1).figures == f"{4 + len(numbers)} matched."


def test_a_change_beside_a_new_check_is_not_taken_for_one(project: Project):
    project.test(TEST).made()
    project.change(FILE, A, NEW + A).change(FILE, "arange(5.0)", "arange(5.0) * 3")
    run = project.run().came_to(failed=1)
    run.says("test_it.1: ", "test_it.3: ", "test_it.4: the golden is missing")
    run.does_not_say("is new")


def test_a_step_that_is_made_twice_is_a_change(project: Project):
    """What one check has now is what the next one had: no check is new, and none passes for it."""
    project.test(TEST).made()
    project.change(FILE, A, B)
    run = project.run().came_to(failed=1)
    run.says("test_it.1: ").does_not_say("is new")


@pytest.mark.dear(DEAR)
def test_the_same_under_workers(project: Project):
    project.test(TEST).made()
    project.change(FILE, A, NEW + A)
    run = project.run_workers().came_to(failed=1).says("check 1 is new")
    assert run.figures == "4 matched, 1 missing."
