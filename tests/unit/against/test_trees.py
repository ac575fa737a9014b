"""The tree of a commit, made beside a repository: submodules, shallow clones, and no trace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_nnxrng.against import git, worktree
from pytest_nnxrng.run.settings import BadSetting

NAMES = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")


def _git(where: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *NAMES, *words], cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    return committed(folder, **files)


def committed(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "A commit")
    return folder


def trace(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def made(top: Path, name: str, tree: Path) -> list[str]:
    found = git.revision(name, top)
    return worktree.make(found.top, found.commit, tree, found.label)


def test_a_tree_leaves_no_trace_and_runs_no_hook(tmp_path: Path):
    top = committed(repository(tmp_path / "top", a="1"), a="2")
    hook = top / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    (top / "a.py").write_text("3")
    _git(top, "stash")
    (top / "a.py").write_text("4")
    before = trace(top)
    assert made(top, "HEAD~1", tmp_path / "tree") == []
    assert (tmp_path / "tree/a.py").read_text() == "1"
    assert _git(tmp_path / "tree", "rev-parse", "HEAD") == _git(top, "rev-parse", "HEAD~1")
    assert trace(top) == before
    assert not (tmp_path / "ran").exists()


def test_within_a_hook_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    top = repository(tmp_path / "top", a="1")
    other = repository(tmp_path / "other", b="1")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    made(top, "main", tmp_path / "tree")
    assert (tmp_path / "tree/a.py").exists()


def test_a_linked_worktree_and_a_clone_that_borrows(tmp_path: Path):
    top = repository(tmp_path / "top", a="1")
    _git(top, "worktree", "add", "--quiet", "--detach", "../linked")
    _git(tmp_path, "clone", "--quiet", "--shared", "top", "clone")
    for name in ("linked", "clone"):
        assert made(tmp_path / name, "HEAD", tmp_path / f"tree-{name}") == []
        assert (tmp_path / f"tree-{name}/a.py").read_text() == "1"


def test_submodules_are_at_the_commits_of_the_revision(tmp_path: Path):
    inner = repository(tmp_path / "inner", b="1")
    top = repository(tmp_path / "top", a="1")
    _git(top, "submodule", "--quiet", "add", str(inner), "third")
    committed(top)
    committed(inner, b="2")
    _git(top / "third", "pull", "--quiet")
    committed(top)
    before = trace(top)
    assert made(top, "HEAD~1", tmp_path / "tree") == []
    assert (tmp_path / "tree/third/b.py").read_text() == "1"
    assert trace(top) == before


def test_a_submodule_that_is_not_here_is_told(tmp_path: Path):
    inner = repository(tmp_path / "inner", b="1")
    top = repository(tmp_path / "top", a="1")
    _git(top, "submodule", "--quiet", "add", str(inner), "third")
    committed(top)
    _git(tmp_path, "clone", "--quiet", "top", "clone")
    short = _git(inner, "rev-parse", "HEAD")[:7]
    (told,) = made(tmp_path / "clone", "HEAD", tmp_path / "tree")
    assert told.startswith(f"The submodule third is at {short} in HEAD (")
    assert f"git -C third fetch origin {short}" in told


def test_what_lfs_keeps_is_filled_in_as_far_as_it_is_here(tmp_path: Path):
    top = repository(tmp_path / "top", a="1")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4\n"
    here, absent = "ab" * 32, "cd" * 32
    (top / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    for name, oid in (("here", here), ("absent", absent)):
        (top / f"{name}.bin").write_text(pointer.format(oid))
    (top / "plain.bin").write_text("no pointer")
    committed(top)
    held = top / ".git/lfs/objects" / here[:2] / here[2:4] / here
    held.parent.mkdir(parents=True)
    held.write_text("data")
    before = trace(top)
    (told,) = made(top, "main", tmp_path / "tree")
    assert told.startswith("absent.bin of main (")
    assert told.endswith("found a pointer there. To fetch it: git lfs fetch origin main")
    assert (tmp_path / "tree/here.bin").read_text() == "data"
    assert (tmp_path / "tree/absent.bin").read_text() == pointer.format(absent)
    assert (tmp_path / "tree/plain.bin").read_text() == "no pointer"
    assert trace(top) == before


def test_a_shallow_clone_says_so(tmp_path: Path):
    top = committed(repository(tmp_path / "top", a="1"), a="2")
    _git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{top}", "clone")
    clone = tmp_path / "clone"
    with pytest.raises(BadSetting, match=r"'HEAD~1' is no commit of .*\. This clone is shallow"):
        git.revision("HEAD~1", clone)
    assert made(clone, "HEAD", tmp_path / "tree") == []
    _git(top, "branch", "side")
    with pytest.raises(BadSetting, match="This clone is shallow"):
        git.revision("side", clone)


def test_a_branch_that_only_the_remote_has(tmp_path: Path):
    top = repository(tmp_path / "top", a="1")
    _git(top, "branch", "side")
    _git(tmp_path, "clone", "--quiet", str(top), "clone")
    with pytest.raises(BadSetting, match=r"There is origin/side: --nnx-against=origin/side"):
        git.revision("side", tmp_path / "clone")


def test_no_commit_at_all_and_no_ancestor_in_common(tmp_path: Path):
    _git(tmp_path, "init", "--quiet", "new")
    with pytest.raises(BadSetting, match="It has no commits yet"):
        git.revision("main", tmp_path / "new")
    top = repository(tmp_path / "top", a="1")
    _git(top, "checkout", "--quiet", "--orphan", "other")
    committed(top, b="1")
    with pytest.raises(BadSetting, match="main and HEAD have no commit in common"):
        git.revision("merge-base:main", top)


def test_a_partial_clone_whose_files_were_not_fetched(tmp_path: Path):
    top = committed(repository(tmp_path / "top", a="1"), a="2")
    _git(top, "config", "uploadpack.allowFilter", "true")
    _git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{top}", "clone")
    with pytest.raises(BadSetting, match="This is a partial clone"):
        made(tmp_path / "clone", "HEAD~1", tmp_path / "tree")


def test_labels():
    named = git.Revision("main", "a1b2c3d4e5", Path("/x"))
    assert named.label == "main (a1b2c3d)"
    assert named._replace(name="a1b2").label == "a1b2c3d"


def test_a_folder_that_a_killed_run_left_is_removed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(worktree.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(worktree.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(worktree, "_YOUNG", -1.0)
    left = tmp_path / f"{worktree.PREFIX}left"
    left.mkdir()
    (left / "lock").touch()
    mine = worktree.Folder()
    other = worktree.Folder()
    assert not left.exists()
    assert mine.path.exists()
    mine.remove()
    other.remove()
    assert list(tmp_path.iterdir()) == []
