"""The documentation tells the truth: what its commands print is what they print now."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from blocks import written
from flax import nnx
from pages import CARDS, DOCS, WRITE, told
from projects import Project
from repositories import git

DEAR = "A long page; the README's is run."


def _holds(page: Path, text: str) -> None:
    if os.environ.get(WRITE):
        page.parent.mkdir(exist_ok=True)
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
    page = DOCS.parent / "README.md"
    _holds(page, told(page, empty, whole=True, short=True))


@pytest.mark.dear(DEAR)
def test_the_tutorial(empty: Project) -> None:
    page = DOCS / "tutorial.md"
    _holds(page, told(page, empty, whole=True, short=False))


@pytest.mark.dear(DEAR)
def test_the_gallery(empty: Project) -> None:
    if not hasattr(nnx, "use_eager_sharding"):  # Flax 0.11 never shards what it makes
        off = contextlib.nullcontext
        empty.monkeypatch.setattr(nnx, "use_eager_sharding", off, raising=False)
    page, cards = DOCS / "gallery.md", dict[str, str]()
    text = told(page, empty, whole=False, short=True, shown=cards)
    _holds(page, text)
    for word, card in cards.items():
        _holds(CARDS / f"{word}.html", card)


def test_the_refactors_of_the_examples(empty: Project) -> None:
    folder = DOCS.parent / "examples" / "refactor"
    empty.write({path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")})
    git(empty.path, "add", "--all")
    git(empty.path, "commit", "--quiet", "--message", "as it was")
    for diff, said in {
        "tidy": "4 the same",
        "sorted": "keys are drawn from `params` in another order (down before norm)",
    }.items():
        git(empty.path, "apply", str(folder / f"{diff}.diff"))
        empty.run("--nnx-against=HEAD").says(said)
        git(empty.path, "checkout", "--quiet", "encoder.py")


def test_the_blocks_of_python(project: Project) -> None:
    project.ini("filterwarnings =", "    error::pytest_nnxrng.SnapshotWarning")
    count = written(project)
    run = project.update()
    assert run.ret == 0, run.everything
    assert run.outcomes["passed"] >= count > 12
