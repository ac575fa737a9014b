"""The documentation tells the truth: what its commands print is what they print now."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from blocks import written
from flax import nnx
from pages import DOCS, WRITE, told
from projects import Project
from repositories import git

DEAR = "A long page; the README's is run."


def _holds(page: Path, project: Project, whole: bool = True, short: bool = True) -> None:
    text = told(page, project, whole=whole, short=short)
    if os.environ.get(WRITE):
        page.write_text(text, encoding="utf-8")
    assert _roughly(page.read_text(encoding="utf-8")) == _roughly(text)


def _roughly(text: str) -> str:
    """Without what another processor or pytest may give: a float's last digits, digests."""
    text = re.sub(r"-?\d+\.\d{4,}", lambda found: f"{float(found[0]):.2g}", text)
    text = re.sub(r"(?m)^(FAILED \S+).*", r"\1", text)  # pytest 8.0 cuts the reason elsewhere
    text = re.sub(r"\.[0-9a-f]{8}\.safetensors", ".safetensors", text)
    return re.sub(r" *\([\d,]+ ULP\)", "", text)


@pytest.fixture
def empty(project: Project) -> Project:
    """A project without the models of other stories, in a git repository."""
    (project.path / "models.py").unlink()
    git(project.path, "init", "--quiet", "--initial-branch=main")
    return project


def test_the_readme(empty: Project) -> None:
    _holds(DOCS.parent / "README.md", empty)


@pytest.mark.dear(DEAR)
def test_the_tutorial(empty: Project) -> None:
    _holds(DOCS / "tutorial.md", empty, short=False)


@pytest.mark.dear(DEAR)
def test_the_gallery(empty: Project) -> None:
    if not hasattr(nnx, "use_eager_sharding"):  # Flax 0.11 never shards what it makes
        off = contextlib.nullcontext
        empty.monkeypatch.setattr(nnx, "use_eager_sharding", off, raising=False)
    _holds(DOCS / "gallery.md", empty, whole=False)


def test_the_blocks_of_python(project: Project) -> None:
    project.ini("filterwarnings =", "    error::pytest_nnxrng.SnapshotWarning")
    count = written(project)
    run = project.update()
    assert run.ret == 0, run.everything
    assert run.outcomes["passed"] >= count > 12
