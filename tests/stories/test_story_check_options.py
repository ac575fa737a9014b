"""Options of a check: each is used, or refused by its name; a form that checks nothing is told."""

from __future__ import annotations

import pytest
from projects import Project

TEST = """
import jax.numpy as jnp
import numpy as np
from flax import nnx

def test_it(nnx_snapshot):
    value = {{"a": jnp.arange(4.0)}}
    {line}
"""
REFUSED = {
    "nnx_snapshot(value)": "a dict came, and nothing was checked. Check it with "
    "nnx_snapshot.check(value)",
    "nnx_snapshot(jnp.ones(3)).check(value)": "an ArrayImpl came, and nothing was checked",
    "nnx_snapshot(3).check(value)": "an int came",
    'nnx_snapshot(tol={"flaot32": 0.5}).check(value)': "'flaot32' is no dtype that rounds",
    'nnx_snapshot(tol={"int32": 0.5}).check(value)': "'int32' is no dtype that rounds by itself",
    'nnx_snapshot(tol={"complex64": 0.5}).check(value)': "the tolerance of its parts",
    "nnx_snapshot(tol={3: 0.5}).check(value)": "'3' is no dtype",
    'nnx_snapshot(tol={"float32": None}).check(value)': "None is not a tolerance",
    'nnx_snapshot(exact="no").check(value)': "nnx_snapshot(exact=...): 'no' is neither True nor",
    "nnx_snapshot(abstract=1).check(value)": "nnx_snapshot(abstract=...): 1 is neither",
    'nnx_snapshot(static="").check(value)': "nnx_snapshot(static=...): '' is neither",
    "nnx_snapshot(only=3).check(value)": "only=nnx.Param",
    'nnx_snapshot(only="Param").check(value)': "'Param' is a text, which nnx takes for the tag of "
    "an RNG stream; a type of Variable is the class itself: only=nnx.Param",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(project: Project, line: str):
    project.test(TEST.format(line=line))
    run = project.update().came_to(failed=1).says(REFUSED[line])
    run.does_not_say("INTERNALERROR")
    assert project.goldens() == {}


@pytest.mark.parametrize(
    "tol", ['{"float32": 0.5}', "{jnp.float32: 0.5}", "{np.float32: 0.5}", "{np.dtype('f4'): 0.5}"]
)
def test_a_dtype_is_taken_by_its_name_or_as_itself(project: Project, tol: str):
    project.test(TEST.format(line=f"nnx_snapshot(tol={tol}).check(value)")).made()
    project.change("tests/test_model.py", "jnp.arange(4.0)", "jnp.arange(4.0) + 0.5")
    assert project.run().came_to(passed=1).figures == "0 matched, 1 matched by rounding."


@pytest.mark.parametrize("line", ['nnx_snapshot("x")', 'nnx_snapshot(tol=1)("x")'])
def test_options_that_nothing_is_checked_with_are_told(project: Project, line: str):
    project.test(TEST.format(line=line))
    project.run().came_to(passed=1).says(
        f"UnusedOptionsWarning: {line}: nothing is checked by this alone", "test_model.py:7"
    )
    project.run("-W", "error::pytest_nnxrng.UnusedOptionsWarning").came_to(failed=1)


def test_options_that_a_check_is_made_with_are_not(project: Project):
    project.test(TEST.format(line='nnx_snapshot(tol=1)("x").check(value)'))
    project.update().came_to(passed=1).does_not_say("UnusedOptionsWarning")


def test_nor_are_those_of_a_test_that_failed_before(project: Project):
    project.test(TEST.format(line='nnx_snapshot("x"); assert False'))
    project.run().came_to(failed=1).does_not_say("UnusedOptionsWarning")
