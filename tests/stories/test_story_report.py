"""``--nnx-report=DIR``: nothing is written outside of DIR, nothing deleted that is not ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from projects import Project

TEST = """
import jax.numpy as jnp

def test_it(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(3.0) + 1)
"""


def everything(path: Path) -> dict[str, bytes]:
    """The project's files but for caches."""
    return {
        found.relative_to(path).as_posix(): found.read_bytes()
        for found in sorted(path.rglob("*"))
        if found.is_file() and not {"__pycache__", ".pytest_cache"} & set(found.parts)
    }


@pytest.mark.product("where the report lies is decided before workers are")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("report", [".", "out", "tests", "ci/out"])
def test_tests_outside_of_rootdir_are_written_inside_of_the_report(
    project: Project, report: str, workers: tuple[str, ...]
):
    project.write({"ci/pytest.ini": "[pytest]"}).test(TEST)
    flags = ("-c", "ci/pytest.ini", "tests")
    project.update(*flags).came_to(passed=1)
    project.change("tests/test_model.py", "+ 1", "+ 2")
    before = everything(project.path)

    pages = set()
    for _ in range(2):  # again, over its own report
        project.run(f"--nnx-report={report}", *flags, *workers).came_to(failed=1)
        after = everything(project.path)
        assert {name: after[name] for name in before} == before
        inside = {Path(name) for name in after.keys() - before.keys()}
        files, folder = ("report.json", "summary.md", "index.html"), Path(report) / "obtained"
        rest = inside - {Path(report) / name for name in files}
        assert len(rest) == len(inside) - len(files)
        assert rest
        assert all(p.is_relative_to(folder) for p in rest), rest
        pages.add((project.path / report / "index.html").read_bytes())
    assert len(pages) == 1  # the same run gives the same bytes
    place = "obtained/__parent__/tests/__nnx_snapshots__/test_model/test_it.1.json"
    assert (project.path / report / place).is_file()


def test_what_was_obtained_is_accepted_by_copying(project: Project):
    project.test(TEST).made()
    project.change("tests/test_model.py", "+ 1", "+ 2")
    run = project.run("--nnx-report=out").came_to(failed=1)
    run.says("A page to look at: out/index.html")
    subprocess.run("cp -r out/obtained/* .", shell=True, check=True, cwd=project.path)
    project.run().came_to(passed=1)


REFUSED = {
    "a report.json of another tool": (
        {"out/report.json": '{"suite": 1}', "out/obtained/mine.txt": "mine"},
        "out/report.json was not written by --nnx-report",
    ),
    "a report.json alone": (
        {"out/report.json": "[1, 2]"},
        "out/report.json was not written by --nnx-report",
    ),
    "a page of another tool": (
        {"out/index.html": "<!doctype html><title>coverage</title>"},
        "out/index.html was not written by --nnx-report",
    ),
    "a folder called obtained": (
        {"out/obtained/mine.txt": "mine"},
        "out/obtained was not written by --nnx-report",
    ),
    "a folder called obtained beside a report of ours": (
        {"out/report.json": '{"by": "pytest-nnxrng"}', "out/obtained/mine.txt": "mine"},
        "out/obtained was not written by --nnx-report",
    ),
    "a file called obtained": (
        {"out/report.json": '{"by": "pytest-nnxrng"}', "out/obtained": "mine"},
        "out/obtained is not a folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_ours_stays_and_is_a_usage_error(project: Project, case: str):
    files, problem = REFUSED[case]
    project.test(TEST).write(files)
    before = everything(project.path)
    run = project.run("--nnx-report=out")
    assert run.ret == 4
    run.says("--nnx-report:", problem, "name another folder")
    run.does_not_say("Traceback")
    assert everything(project.path) == before


@pytest.mark.product("a link is refused before what it leads to is looked at")
@pytest.mark.parametrize("linked", ["obtained", "report.json"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_report_s_folder_is_not_followed(project: Project, linked: str, there: bool):
    project.test(TEST).write({"out/other.txt": "mine"})
    target = project.path / "elsewhere"
    if there and linked == "obtained":
        project.write({"elsewhere/mine.txt": "mine"})
    elif there:
        project.write({"elsewhere": '{"by": "pytest-nnxrng"}'})
    (project.path / "out" / linked).symlink_to(target)
    before = everything(project.path)
    run = project.run("--nnx-report=out")
    assert run.ret == 4
    run.says(f"out/{linked} is a link", "name another folder").does_not_say("Traceback")
    assert everything(project.path) == before
    assert (project.path / "out" / linked).is_symlink()


def test_a_report_takes_the_place_of_an_earlier_one(project: Project):
    project.test(TEST).run("--nnx-report=out").came_to(failed=1)
    assert (project.path / "out/obtained/tests").is_dir()
    project.made()
    project.run("--nnx-report=out").came_to(passed=1)
    assert not (project.path / "out/obtained").exists()
    assert json.loads((project.path / "out/report.json").read_text())["by"] == "pytest-nnxrng"


def test_the_report_of_an_earlier_version_is_written_over(project: Project):
    old = json.dumps({"format": 1, "totals": {}, "findings": [], "checks": []}, indent=1)
    project.test(TEST).write({"out/report.json": old}).run("--nnx-report=out").came_to(failed=1)
    assert json.loads((project.path / "out/report.json").read_text())["checks"]


def test_a_page_that_cannot_be_drawn_does_not_cost_the_run_its_summary(project: Project):
    conftest = """
import pytest_nnxrng.page.assemble as assemble

def page(run):
    raise ValueError("no ink")

assemble.page = page
"""
    project.write({"conftest.py": conftest}).test(TEST)
    run = project.run_apart("--nnx-report=out").came_to(failed=1)  # which changes a module
    run.says(
        "A page to look at: could not be drawn (ValueError: no ink)", "The rest of out is whole"
    )
    assert json.loads((project.path / "out/report.json").read_text())["totals"]["missing"] == 1
