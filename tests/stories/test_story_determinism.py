"""The same run gives the same bytes, whatever the machine, the order and the workers are like."""

from __future__ import annotations

import re
from collections.abc import Callable

from projects import Project, Run

TESTS = """
import jax.numpy as jnp
import pytest
from models import MLP, Net

@pytest.mark.parametrize("width", [3, 5])
def test_mlp(rngs, nnx_snapshot, width):
    model = nnx_snapshot.check_init(MLP, 2, width, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

def test_net(rngs, nnx_snapshot):
    nnx_snapshot.check_init(Net, rngs=rngs)
    nnx_snapshot.check({"b": 1.5, "a": [jnp.arange(3.0), True], "ü": {4: 2}}, "tree")

class TestThings:
    def test_large(self, rngs, nnx_snapshot):
        nnx_snapshot.check_init(MLP, 300, 400, 5, rngs=rngs)
"""
REVERSED = """
def pytest_collection_modifyitems(items):
    items.reverse()
"""


MORE_KEYS = "        rngs.params()\n        self.layer2 ="


def test_the_same_run_gives_the_same_bytes(project: Project):
    project.test(TESTS).test("def test_a():\n    pass", "tests/test_a.py")
    here = _everything(project, project.run_apart)
    project.write({"conftest.py": REVERSED})
    project.env(PYTHONHASHSEED="4711", TZ="Asia/Kolkata", LC_ALL="C", LANG="tr_TR.UTF-8")
    project.env(COLUMNS="200", OMP_NUM_THREADS="1", PYTHONUTF8="0")
    there = _everything(project, project.run_apart, "-n", "2", "--dist=loadscope")
    for one, other in zip(here, there, strict=True):
        assert one == other


def _everything(
    project: Project, start: Callable[..., Run], *options: str
) -> tuple[dict[str, bytes], dict[str, bytes], str, str, list[str]]:
    """All that an update and a mismatch write."""
    for path in project.goldens():
        (project.path / path).unlink()
    start("--nnx-update-snapshots", *options).came_to(passed=5)
    goldens = project.goldens()
    project.change("models.py", "        self.layer2 =", MORE_KEYS)
    run = start("--nnx-report=report", *options).came_to(failed=3, passed=2)
    project.change("models.py", MORE_KEYS, "        self.layer2 =")
    report = project.path / "report"
    texts = [(report / name).read_text(encoding="utf-8") for name in ("report.json", "summary.md")]
    obtained = {
        path.relative_to(report).as_posix(): path.read_bytes()
        for path in sorted((report / "obtained").rglob("*"))
        if path.is_file()
    }
    told = sorted(line for line in run.lines if re.match(r"\w*test_\S*: |  (why|leaves) ", line))
    return goldens, obtained, *texts, [*told, *run.summary]
