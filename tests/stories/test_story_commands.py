"""The command on what real runs wrote: look, compare, accept one change and not another."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from projects import MODELS, Project

import pytest_nnxrng
from pytest_nnxrng.command.entry import main

TESTS = """
import jax.numpy as jnp
import pytest
from models import MLP, Net

def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

@pytest.mark.parametrize("width", [3, 4])
def test_wide(width, rngs, nnx_snapshot):
    nnx_snapshot.check_init(MLP, width, 10, 5, rngs=rngs)

def test_finished(rngs, nnx_snapshot):
    nnx_snapshot.check(MLP(3, 12, 6, rngs=rngs), "model")

def test_numbers(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(6.0) * SCALE, "numbers")

SCALE = 1.0
"""
DRAWN = "1 more key is drawn from `params` by the model itself (MLP)"
SCHEMA = "report/report.schema.json"
GOLDENS = "tests/__nnx_snapshots__/test_model"


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        monkeypatch.setenv("COLUMNS", "100")

    def __call__(self, *args: object) -> Command:
        self.capsys.readouterr()
        self.code = main([str(arg) for arg in args])
        self.out, self.err = self.capsys.readouterr()
        self.words = " ".join((self.out + self.err).split())
        return self

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def nnxrng(capsys, monkeypatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.fixture
def moved(project: Project) -> Project:
    """A project in which two things changed at once, and the report of its failing run."""
    project.test(TESTS).made()
    subprocess.run(["git", "init", "-q"], cwd=project.path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=project.path, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *identity, "commit", "-qm", "x"], cwd=project.path, check=True)
    project.change("models.py", "        self.layer2", "        rngs.params()\n        self.layer2")
    project.change("tests/test_model.py", "SCALE = 1.0", "SCALE = 2.0")
    project.run("--nnx-report=nnx-report").came_to(failed=5)
    return project


def test_one_change_is_accepted_and_another_is_not(moved: Project, nnxrng: Command):
    told = nnxrng("pending")
    assert told.code == 1
    for text in (
        "nnx-report: 6 goldens pending, by 4 changes.",
        f"[1] draws: {DRAWN} (3 goldens, 3 leaves)",
        "see models.py:",
        "[2] draws: 1 more key from `params` before layer2.kernel (1 golden, 1 leaf)",
        "[3] unknown: nothing is proven of these leaves (1 golden, 1 leaf)",
        f"[4] follows: from draws: {DRAWN} (1 golden, 1 leaf)",
        "nnxrng accept nnx-report --cause 1",
    ):
        assert text in told.words
    before = moved.goldens()
    assert nnxrng("accept", "nnx-report", "--cause", "draws,follows", "--dry-run").code == 1
    assert moved.goldens() == before
    assert nnxrng("accept", "nnx-report", "--cause", "draws,follows").code == 0
    assert "Wrote 5 goldens, left 1 pending." in nnxrng.words
    run = moved.run().came_to(passed=4, failed=1)
    assert run.failed_tests == {"FAILED tests/test_model.py::test_numbers"}
    assert nnxrng("accept", "nnx-report", "--all").code == 0
    moved.run().came_to(passed=5)
    assert nnxrng("pending").code == 0


def test_what_is_accepted_is_what_an_update_would_have_written(moved: Project, nnxrng: Command):
    before = moved.path / "before"
    shutil.copytree(moved.path / "tests" / "__nnx_snapshots__", before)
    assert nnxrng("accept", "nnx-report", "--all").code == 0
    accepted = moved.goldens()
    shutil.rmtree(moved.path / "tests" / "__nnx_snapshots__")
    shutil.move(before, moved.path / "tests" / "__nnx_snapshots__")
    moved.update().came_to(passed=5)
    assert moved.goldens() == accepted


def test_an_artifact_is_accepted_on_another_machine(moved: Project, nnxrng: Command, monkeypatch):
    laptop = moved.path.parent / "laptop"
    subprocess.run(["git", "clone", "-q", moved.path, laptop], check=True)
    archive = laptop.parent / "artifact.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted((moved.path / "nnx-report").rglob("*")):
            made.write(file, file.relative_to(moved.path / "nnx-report").as_posix())
    monkeypatch.chdir(laptop)
    assert nnxrng("accept", archive, "--test", "test_mlp").code == 0
    assert "Wrote 2 goldens" in nnxrng.words
    for name in ("test_mlp.1.json", "test_mlp.output.json"):
        there = moved.path / "nnx-report" / "obtained" / GOLDENS / name
        assert (laptop / GOLDENS / name).read_bytes() == there.read_bytes()


def test_a_diff_tells_the_causes_of_the_failing_test(moved: Project, nnxrng: Command):
    report = json.loads((moved.path / "nnx-report" / "report.json").read_text())
    proved = {
        check["golden"]: {(c["word"], c["finding"]) for c in check["causes"]}
        for check in report["checks"]
    }
    told = nnxrng("diff", "tests", "nnx-report/obtained/tests", "--json")
    assert told.code == 1
    found = {
        f"tests/{row['golden']}": {(c["word"], c["finding"]) for c in row["causes"]}
        for row in told.json["goldens"]
    }
    assert found == proved  # of the finished model the draw is recovered from its values, too
    assert all(found.values())
    assert nnxrng("diff", "nnx-report").code == 1
    assert "models.py:" in nnxrng.words


def test_a_diff_between_revisions(moved: Project, nnxrng: Command):
    assert nnxrng("diff", "HEAD", "tests").code == 0
    moved.update().came_to(passed=5)
    told = nnxrng("diff", "-v", "HEAD", "--", f"{GOLDENS}/test_mlp.1.json")
    assert told.code == 1
    assert DRAWN in told.words
    assert "moved #2 -> #3 layer2.kernel" in told.words


def test_the_tables_of_a_golden(moved: Project, nnxrng: Command):
    told = nnxrng("show", f"{GOLDENS}/test_mlp.1.json")
    assert told.code == 0
    assert "layer2.kernel Param float32 [10, 5] params#2" in told.words
    assert "├─● #0 layer1.kernel ├─○ #1 nothing random (layer1) ├─● #2 layer2.kernel" in told.words


def test_a_build_that_does_not_repeat_itself_is_never_accepted(project: Project, nnxrng: Command):
    project.write({"models.py": MODELS.replace("(dmid, dout,", "(dmid, COUNT[0],")})
    project.change("models.py", "class MLP", "COUNT = [5]\n\n\nclass MLP")
    project.change("models.py", "        self.layer1", "        COUNT[0] += 1\n        self.layer1")
    project.test(
        "from models import MLP\n"
        "def test_a(rngs, nnx_snapshot):\n"
        "    nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)\n"
    )
    run = project.run("--nnx-update-snapshots", "--nnx-report=nnx-report")
    assert run.ret == 1
    assert nnxrng("accept", "nnx-report", "--all").code in (0, 1)
    assert not (project.path / GOLDENS).exists()
    assert nnxrng("pending").code == 1
    assert "its build does not repeat itself" in nnxrng.words


def test_another_platforms_golden_is_accepted_beside_the_shared_one(
    project: Project, nnxrng: Command
):
    project.test(TESTS).made()
    shared = project.golden("test_numbers.numbers.json")
    text = shared.read_text("utf-8").replace('"platform": "cpu"', '"platform": "gpu"')
    shared.write_text(text, "utf-8")
    project.change("tests/test_model.py", "SCALE = 1.0", "SCALE = 2.0")
    project.run("--nnx-report=nnx-report", "-k", "numbers").came_to(failed=1)
    assert nnxrng("accept", "nnx-report", "--all").code == 0
    assert shared.read_text("utf-8") == text
    assert shared.with_name("test_numbers.numbers@cpu.json").exists()
    project.run("-k", "numbers").came_to(passed=1)


def test_a_test_that_fails_otherwise_keeps_its_goldens(project: Project, nnxrng: Command):
    project.test(TESTS).made()
    project.change("tests/test_model.py", '* SCALE, "numbers")', '* 3, "numbers")\n    assert 0')
    project.run("--nnx-report=nnx-report", "-k", "numbers").came_to(failed=1)
    before = project.goldens()
    nnxrng("accept", "nnx-report", "--all")
    assert project.goldens() == before
    assert "its test fails otherwise, too" in nnxrng.words


def test_a_report_keeps_to_its_published_schema(moved: Project, nnxrng: Command):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(pytest_nnxrng.__file__).parent / SCHEMA).read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema)
    report = json.loads((moved.path / "nnx-report" / "report.json").read_text("utf-8"))
    valid.validate(report)
    assert nnxrng("report", "nnx-report", "nnx-report", "-o", "merged").code == 1
    valid.validate(json.loads((moved.path / "merged" / "report.json").read_text("utf-8")))
    for broken in ({**report, "format": 2}, {**report, "checks": [{}]}, {}):
        assert not valid.is_valid(broken)
    check = report["checks"][0]
    for name, value in (("status", "good"), ("obtained", {"path": "../x"}), ("causes", [3])):
        assert not valid.is_valid({**report, "checks": [{**check, name: value}]})


def test_reports_of_two_jobs_are_one(moved: Project, nnxrng: Command):
    moved.change("tests/test_model.py", "SCALE = 2.0", "SCALE = 1.0")
    moved.run("--nnx-report=newer").came_to(passed=1, failed=4)
    path = moved.path / "newer" / "report.json"
    report = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**report, "run": {**report["run"], "jax": "99.0"}}), "utf-8")
    told = nnxrng("report", "nnx-report", "newer", "-o", "merged")
    assert told.code == 1
    assert f"draws: {DRAWN} (3 goldens, " in told.words
    assert "unknown: nothing is proven of these leaves (1 golden, 1 leaf), only under" in told.words
    assert nnxrng("accept", "merged", "--all").code == 0
    moved.change("tests/test_model.py", "SCALE = 1.0", "SCALE = 2.0")
    moved.run().came_to(passed=5)


@pytest.mark.parametrize("how", ["run", "run_workers"])
def test_workers_write_the_same_report(project: Project, nnxrng: Command, how: str):
    project.test(TESTS).made()
    project.change("tests/test_model.py", "SCALE = 1.0", "SCALE = 2.0")
    getattr(project, how)("--nnx-report=nnx-report").came_to(passed=4, failed=1)
    assert nnxrng("accept", "nnx-report", "--all").code == 0
    project.run().came_to(passed=5)
