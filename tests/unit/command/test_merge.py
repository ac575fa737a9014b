"""The reports of several jobs as one, and where the jobs differ."""

import json
import shutil

import pytest
from trees import FOLDER, Tree, cause, model

ONE = f"{FOLDER}/test_a.1.json"


@pytest.fixture
def job(tree, tmp_path):
    """Make a job's report: ``job("a", jax="0.12", moved=("test_a.1",))``."""
    for name in ("test_a.1", "test_a.2"):
        tree.golden(name)

    def make(name, *, moved=("test_a.1",), seed=0.5, text="1 more key", **run):
        other = Tree(tmp_path / f"job-{name}")
        shutil.rmtree(other.root)
        shutil.copytree(tree.root, other.root)
        for golden in moved:
            leaves = model(second="params#3", seed=seed)
            other.obtained(golden, leaves, causes=[cause(text=text)])
        other.rows.append(
            {
                "test": "tests/test_a.py::test_b",
                "golden": f"{FOLDER}/test_b.1.json",
                "status": "matched",
                "failed": False,
            }
        )
        other.written(run=run, unused=["only", name], gone=[])
        shutil.move(other.report, tree.root / name)
        return name

    return make


def test_what_every_job_has_is_told_once(job, nnxrng):
    ran = nnxrng("report", job("a", jax="0.12"), job("b", jax="0.11"))
    assert ran.code == 1
    assert ran.out.count("draws: 1 more key") == 1
    assert "only" not in ran.out
    assert ran.lines[:3] == [
        "job  matched  changed",
        "a          1        1",
        "b          1        1",
    ]


def test_what_one_version_has_is_told_to_be_its_own(job, nnxrng):
    old, new = job("a", jax="0.11"), job("b", jax="0.12", moved=("test_a.1", "test_a.2"))
    ran = nnxrng("report", old, new, job("c", jax="0.12", text="2 fewer keys"))
    assert "draws: 2 fewer keys (1 golden, 1 leaf), only in c" in ran.words
    ran = nnxrng("report", old, job("d", jax="0.13", text="another order"))
    assert "draws: another order (1 golden, 1 leaf), only under jax 0.13" in ran.words
    assert "draws: 1 more key (1 golden, 1 leaf), only under jax 0.11" in ran.words


def test_a_merged_report_is_one_that_every_verb_takes(job, tree, nnxrng):
    names = [job("a", moved=("test_a.1",), jax="0.11"), job("b", moved=("test_a.2",), jax="0.12")]
    ran = nnxrng("report", *names, "-o", "all")
    assert ran.code == 1
    document = json.loads((tree.root / "all" / "report.json").read_text())
    assert document["totals"]["changed"] == 2
    assert document["totals"]["matched"] == 1  # the same check in both jobs
    assert document["unused"] == ["only"]
    assert [row["name"] for row in document["jobs"]] == ["a", "b"]
    assert document["run"] == {}
    assert nnxrng("accept", "all", "--all").code == 0
    for name, golden in (("a", "test_a.1"), ("b", "test_a.2")):
        path = f"{FOLDER}/{golden}.json"
        there = tree.root / name / "obtained" / path
        assert (tree.root / path).read_bytes() == there.read_bytes()


def test_jobs_that_disagree_are_told_and_can_accept_nothing(job, tree, nnxrng):
    before = (tree.root / ONE).read_bytes()
    ran = nnxrng("report", job("a"), job("b", seed=9.0), "-o", "all")
    assert ran.code == 2
    assert f"{ONE}: a and b obtained different things" in ran.words
    nnxrng("accept", "all", "--all")
    assert (tree.root / ONE).read_bytes() == before


def test_a_folder_that_is_there_is_not_written_over(job, tree, nnxrng):
    before = tree.files()
    ran = nnxrng("report", job("a"), "-o", "tests")
    assert ran.code == 2
    assert "tests is there already" in ran.words
    assert {name: data for name, data in tree.files().items() if name in before} == before


def test_a_report_of_all_that_matches_is_no_difference(job, nnxrng):
    ran = nnxrng("report", job("a", moved=()))
    assert (ran.code, ran.lines) == (0, ["job  matched", "a          1"])


def test_json_is_the_merged_report(job, nnxrng):
    told = nnxrng("report", "--json", job("a", jax="0.11"), job("b", jax="0.12", moved=())).json
    (finding,) = told["findings"]
    assert (finding["jobs"], finding["only"]) == (["a"], "only under jax 0.11")
    assert told["format"] == 1


# -- the page ----------------------------------------------------------------------------------


def test_the_page_of_a_report_is_drawn_again(job, nnxrng, tree):
    job("a", jax="0.12")
    ran = nnxrng("report", "a", "--page", "again.html")
    assert ran.code == 1, ran.words
    html = (tree.root / "again.html").read_text()
    assert "nnxrng accept a --cause" in html
    assert not (tree.root / "a" / "models").exists()  # a report is not written to by looking at it
    again = nnxrng("report", "a", "--page", "again.html")
    assert again.code == 2
    assert "again.html is there already" in again.words


def test_a_merged_report_has_its_page(job, nnxrng, tree):
    job("a", jax="0.12")
    job("b", jax="0.11", moved=("test_a.2",))
    nnxrng("report", "a", "b", "--output", "both")
    html = (tree.root / "both" / "index.html").read_text()
    assert "2 of 3 goldens moved, by 1 change" in html
    assert "nnxrng accept both --cause" in html


def test_the_page_of_several_reports_needs_them_merged(job, nnxrng, tree):
    job("a")
    job("b")
    ran = nnxrng("report", "a", "b", "--page", "x.html")
    assert ran.code == 2
    assert "Merge several with --output DIR, which draws them" in ran.words
    assert not (tree.root / "x.html").exists()
