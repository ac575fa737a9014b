"""Goldens whose values are not there: a clone of a repository that ignores them, or Git LFS."""

from __future__ import annotations

import json
import subprocess

import pytest
from projects import Project

TEST = """
import jax.numpy as jnp
from models import MLP

def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

def test_constant(nnx_snapshot):
    nnx_snapshot.check(jnp.ones(7))
"""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def clone(project: Project) -> Project:
    """The project as it is cloned from a repository with ``*.safetensors`` in .gitignore."""
    project.test(TEST).made()
    for name in project.goldens():
        if name.endswith(".safetensors"):
            (project.path / name).unlink()
    return project


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_golden_without_its_values_is_no_match(clone: Project, workers: tuple[str, ...]):
    run = clone.run("--nnx-report=out", *workers).came_to(passed=1, failed=1)
    assert run.figures == "1 matched, 2 unreadable."
    run.says(
        "test_mlp.1: the golden lacks its values",
        "its values file test_mlp.1.",
        "is missing",
        "git check-ignore -v",
        "to write: pytest --nnx-update-snapshots tests/test_model.py::test_mlp",
    )


def test_an_update_writes_what_is_missing(project: Project):
    project.test(TEST).made()
    goldens = project.goldens()
    values = [name for name in goldens if name.endswith(".safetensors")]
    for name in values:
        (project.path / name).unlink()
    run = project.update().came_to(passed=2)
    assert run.figures == "1 matched, 2 written."
    assert project.goldens() == goldens
    project.run().came_to(passed=2)


def test_a_mismatch_is_explained_by_what_the_manifest_holds(clone: Project):
    clone.change(
        "models.py",
        "self.layer2 = ",
        "self.norm = nnx.LayerNorm(dmid, rngs=rngs)\n        self.layer2 = ",
    )
    run = clone.run("-v").came_to(passed=1, failed=1)
    run.says(
        "test_mlp.1: ",
        "is missing",
        "draws:",
        "added:",
        "the golden's values of this leaf are not there",
    )
    clone.run("--nnx-update-only=draws,added,follows").came_to(passed=2)
    clone.run().came_to(passed=2)


def test_pointers_of_git_lfs_are_no_values(project: Project):
    project.test(TEST).made()
    values = project.values("test_mlp.1")
    whole = values.read_bytes()
    values.write_text(POINTER)
    goldens = project.goldens()
    for run in (project.run(), project.update()):
        run.came_to(passed=1, failed=1).says(
            "test_mlp.1: the golden lacks its values", "git lfs pull"
        )
        assert project.goldens() == goldens
    project.change("models.py", "nnx.Linear(dmid", "nnx.Linear(dmid + 0 * rngs.params().ndim")
    for run in (project.run(), project.update()):
        run.came_to(passed=1, failed=1).says("test_mlp.1: ", "git lfs pull")
        assert project.goldens() == goldens
    project.run().says("draws:")
    values.write_bytes(whole)
    project.update().came_to(passed=2)


def test_an_abstract_check_keeps_no_values_that_are_not_there(clone: Project):
    clone.test("""
        import jax.numpy as jnp
        from models import MLP

        def test_mlp(rngs, nnx_snapshot):
            nnx_snapshot(abstract=True).check_init(MLP, 2, 10, 5, rngs=rngs)
    """)
    goldens = clone.goldens()
    for run in (clone.run(), clone.update()):
        run.came_to(failed=1).says("is missing")
        assert clone.goldens() == goldens


IGNORES = {
    "*.safetensors": True,
    "__nnx_snapshots__/": True,
    "*.npz": False,
    "*.safetensors\n!**/__nnx_snapshots__/**": False,
}


@pytest.mark.parametrize("ignore", IGNORES)
def test_an_update_says_that_git_ignores_what_it_writes(project: Project, ignore: str):
    subprocess.run(["git", "init", "-q"], cwd=project.path, check=True)
    project.test(TEST).write({".gitignore": ignore})
    run = project.update().came_to(passed=2)
    phrases = ("git ignores", ".gitignore:1", "!**/__nnx_snapshots__/**")
    if IGNORES[ignore]:
        run.says(*phrases)
    else:
        run.does_not_say("git ignores")
    project.run().came_to(passed=2).does_not_say("git ignores")


def test_git_says_nothing_of_files_that_it_tracks(project: Project):
    subprocess.run(["git", "init", "-q"], cwd=project.path, check=True)
    project.test(TEST).write({".gitignore": "*.safetensors"}).made()
    subprocess.run(["git", "add", "-f", "."], cwd=project.path, check=True)
    for name in project.goldens():
        (project.path / name).unlink()
    project.update().came_to(passed=2).does_not_say("git ignores")


def test_the_status_is_in_the_report(clone: Project):
    clone.run("--nnx-report=out")
    rows = json.loads((clone.path / "out/report.json").read_text())["checks"]
    assert {row["status"] for row in rows} == {"matched", "unreadable"}
