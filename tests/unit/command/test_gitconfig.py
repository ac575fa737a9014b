"""What git shows of a golden once it is told how."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from trees import FOLDER, STREAMS, leaf, model

import pytest_nnxrng
from pytest_nnxrng.command.gitconfig import ATTRIBUTES, SETTINGS

MORE = {**STREAMS, "params": {**STREAMS["params"], "end": 6}}


@pytest.fixture
def repository(tree, tmp_path, monkeypatch):
    """A repository with a golden in a commit, and the command on PATH."""
    (tree.root / ".git").rmdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "global"))
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest_nnxrng.__file__).parent.parent))
    tool = tmp_path / "bin" / "nnxrng"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest_nnxrng "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    git(tree, "init", "-q")
    git(tree, "config", "user.email", "a@example.com")
    git(tree, "config", "user.name", "a")
    (tree.root / ".gitattributes").write_text(f"{ATTRIBUTES}\n")
    tree.golden()
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "x")
    new = leaf("layers.3.kernel", model()[0].read() * 3, ("params#2",), "ab" * 8)
    tree.golden(leaves=model(second="params#4", seed=0.5, extra=(new,)), streams=MORE)
    return tree


def git(tree, *args):
    done = subprocess.run(
        ["git", *args], cwd=tree.root, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_git_diff_shows_rows_and_the_draw_that_came(repository, nnxrng):
    ran = nnxrng("git-config")
    assert ran.code == 0
    assert f"  {ATTRIBUTES}" in ran.lines
    shown = git(repository, "diff", "--", f"{FOLDER}/test_a.1.json").splitlines()
    assert "+  draw: layers.3.kernel" in shown
    assert "   draw: layers.10.kernel" in shown
    assert any(line.startswith("+layers.3.kernel: Param float32[4, 6]") for line in shown)
    assert not any("digest" in line for line in shown)


def test_git_difftool_tells_the_causes(repository, nnxrng):
    nnxrng("git-config")
    shown = git(repository, "difftool", "--tool=nnxrng", "--no-prompt", "--", "tests/*.json")
    assert "added: layers.3.kernel" in shown
    assert "2 more keys are drawn from `params` before layers.10.kernel" in " ".join(shown.split())


def test_where_the_command_is_gone_git_diff_shows_the_manifest(repository, nnxrng, monkeypatch):
    nnxrng("git-config")
    # What a shell answers for a command it cannot find; another `nnxrng` may be on PATH.
    (repository.path / "bin" / "nnxrng").write_text("#!/bin/sh\nexit 127\n")
    assert '"layers.3.kernel"' in git(repository, "diff", "--", f"{FOLDER}/test_a.1.json")


@pytest.mark.parametrize("scope", [[], ["--global"]])
def test_what_is_set_is_taken_out_again(repository, nnxrng, scope):
    before = git(repository, "config", "--list")
    assert nnxrng("git-config", *scope).code == 0
    assert nnxrng("git-config", *scope).code == 0  # twice is once
    listed = git(repository, "config", "--list")
    assert all(f"{name.lower()}=" in listed.lower() for name in SETTINGS)
    assert nnxrng("git-config", *scope, "--undo").code == 0
    assert git(repository, "config", "--list") == before
    assert nnxrng("git-config", *scope, "--undo").code == 0


def test_json_and_trouble(tree, nnxrng, monkeypatch):
    (tree.root / ".git").rmdir()
    ran = nnxrng("git-config")
    assert ran.code == 2
    assert "git config --local failed" in ran.words
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tree.path / "global"))
    assert nnxrng("git-config", "--global", "--json").json["attributes"] == ATTRIBUTES
    monkeypatch.setenv("PATH", "")
    assert "git is not installed" in nnxrng("git-config").words
