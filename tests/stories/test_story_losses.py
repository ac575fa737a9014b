"""What a golden knew of keys is not lost in silence when it is written anew."""

from __future__ import annotations

import json

import pytest
from projects import Project

TEST = """
from models import MLP

def test_it(rngs, nnx_snapshot):
    nnx_snapshot(OPTIONS).check_init(MLP, 2, 10, 5, rngs=rngs)
"""


@pytest.mark.parametrize("options", ["", "abstract=True"])
def test_a_search_for_leaked_tracers_leaves_the_golden_as_it_is(project: Project, options: str):
    project.test(TEST.replace("OPTIONS", options)).made()
    whole = project.goldens()
    for path in whole:
        (project.path / path).unlink()
    project.env(JAX_CHECK_TRACER_LEAKS="1")
    run = project.run_apart("--nnx-update-snapshots").came_to(passed=1)
    run.does_not_say("and holds none now")
    assert project.goldens() == whole


def test_an_update_says_that_draws_and_streams_are_lost(project: Project):
    project.test(TEST.replace("OPTIONS", "")).made()
    project.change(
        "models.py",
        "self.layer1 = nnx.Linear(din, dmid, rngs=rngs)",
        "self.layer1 = nnx.Linear(din, dmid, rngs=rngs); float(self.layer1.kernel[...].sum());"
        " rngs.params()",
    )
    run = project.update().came_to(passed=1)
    run.says("test_it.1.json held draws", "and holds none now (", "explained by values alone")
    data = json.loads(project.golden("test_it.1.json").read_text())
    assert "draws" not in data["leaves"]["layer1.kernel"]
    # What was lost before is not told again.
    project.change("models.py", " rngs.params()", " rngs.params(); rngs.params()")
    project.update().came_to(passed=1).does_not_say("and holds none now")
