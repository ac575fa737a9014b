"""Which files of a project are its tests, and how they are laid over another tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_nnxrng.against import overlay
from pytest_nnxrng.against.git import ask
from pytest_nnxrng.against.overlay import Suite

DEFAULT = Suite(("test_*.py", "*_test.py"), frozenset({"checks/look.py"}), frozenset({"checks/in"}))


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("test_model.py", True),
        ("pkg/layers/attention_test.py", True),
        ("pkg/layers/attention.py", False),
        ("tests/helpers.py", True),
        ("tests/data/weights.npz", True),
        ("test/helpers.py", True),
        ("pkg/tests/helpers.py", True),
        ("unit_tests/helpers.py", True),
        ("conftest.py", True),
        ("pkg/conftest.py", True),
        ("pkg/testing/helpers.py", False),
        ("src/contests/model.py", False),
        ("latest/model.py", False),
        ("checks/look.py", True),
        ("checks/other.py", False),
        ("checks/in/deep/other.py", True),
        ("models.py", False),
    ],
)
def test_what_counts_as_tests(path: str, is_test: bool):
    assert DEFAULT.holds(path) is is_test


def test_patterns_with_folders():
    assert Suite(("checks/*.py",)).holds("a/checks/b.py")
    assert not Suite(("checks/*.py",)).holds("a/other/b.py")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_present_tests_take_the_place_of_the_trees(tmp_path: Path):
    top, tree = tmp_path / "top", tmp_path / "tree"
    tests = {"tests/test_a.py": "now", "tests/helpers.py": "now", "tests/alike.py": "one"}
    write(top, {**tests, "models.py": "now", ".gitignore": "_version.py\n.venv/\n"})
    write(top, {"pkg/_version.py": "made", ".venv/x.py": "", "tests/__gold__/test_a/t.json": "{}"})
    write(tree, {"tests/test_a.py": "then", "tests/helpers.py": "then", "tests/alike.py": "one"})
    write(tree, {"tests/test_gone.py": "then", "models.py": "then"})
    for folder in (top, tree):
        ask(folder, "init", "--quiet")
        ask(folder, "add", "--all")
    (top / "tests/test_new.py").write_text("untracked")
    assert overlay.lay(top, tree, Suite(), "__gold__") == ["tests/helpers.py"]
    assert {path: (tree / path).read_text() for path in overlay.listed(tree)} == {
        "tests/test_a.py": "now",
        "tests/helpers.py": "now",
        "tests/alike.py": "one",
        "tests/test_new.py": "untracked",
        "models.py": "then",
        "pkg/_version.py": "made",
    }
