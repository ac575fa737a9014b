"""A golden that is moved takes those of single platforms along, where they are its own."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from pytest_nnxrng.golden import relocate
from pytest_nnxrng.golden.inventory import Folders, Owner
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.golden.relocate import stage_along, stage_move
from pytest_nnxrng.golden.store import stage
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf

OLD = Owner("", "test_old", None, "1", "value")
NEW = replace(OLD, function="test_new")


def golden(path, number, owner=OLD):
    array = np.array([number, 0.5], np.float32)
    leaf = Leaf("l", "Param", (2,), "float32", digest=digest(array), stored=True, read=array.copy)
    stage(path, Golden(owner, {"jax": "1"}, (leaf,), {})).commit()
    return path


def number(path):
    (leaf,) = read(path).leaves
    return leaf.read()[0]


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "goldens" / "test_a"
    golden(folder / "test_old.1@gpu.json", 2)
    return golden(folder / "test_old.1.json", 1)


@pytest.fixture
def new(tmp_path):
    return tmp_path / "goldens" / "test_b" / "test_new.1.json"


def move(source, target, *, keep=False, owner=NEW):
    return stage_move(source, target, owner, Folders(), keep=keep)


def manifests(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".json"))


def test_all_platforms_move(old, new):
    golden(old.with_name("test_old.1@tpu.json"), 3)
    move(old, new).commit()
    assert manifests(new.parent) == [
        "test_new.1.json",
        "test_new.1@gpu.json",
        "test_new.1@tpu.json",
    ]
    assert [number(new.parent / name) for name in manifests(new.parent)] == [1, 2, 3]
    assert read(new.with_name("test_new.1@gpu.json")).owner == NEW
    assert len(os.listdir(new.parent)) == 6
    assert not old.parent.exists()


def test_of_one_platform_s_own_the_shared_one_and_the_others_move(old, new):
    golden(old.with_name("test_old.1@tpu.json"), 3)
    source = old.with_name("test_old.1@gpu.json")
    move(source, new.with_name("test_new.1@gpu.json")).commit()
    assert [number(new.parent / name) for name in manifests(new.parent)] == [1, 2, 3]
    assert not old.parent.exists()


def test_all_stay_beside_where_they_are_kept(old, new):
    before = {name: (old.parent / name).read_bytes() for name in os.listdir(old.parent)}
    move(old, new, keep=True).commit()
    assert [number(new.parent / name) for name in manifests(new.parent)] == [1, 2]
    assert {name: (old.parent / name).read_bytes() for name in os.listdir(old.parent)} == before


def test_a_golden_under_its_new_name_already_has_its_owners_mended(old):
    move(old, old).commit()
    assert [number(old.parent / name) for name in manifests(old.parent)] == [1, 2]
    assert {read(old.parent / name).owner for name in manifests(old.parent)} == {NEW}


def test_what_is_another_s_or_unreadable_or_a_link_stays(old, new, tmp_path):
    theirs = golden(old.with_name("test_old.1@tpu.json"), 3, replace(OLD, function="test_c"))
    damaged = old.with_name("test_old.1@rocm.json")
    damaged.write_text("{")
    link = old.with_name("test_old.1@metal.json")
    elsewhere = golden(tmp_path / "x" / "g.json", 4)
    link.symlink_to(elsewhere)
    other = golden(old.with_name("test_old.2@gpu.json"), 5, replace(OLD, check="2"))
    move(old, new).commit()
    assert manifests(new.parent) == ["test_new.1.json", "test_new.1@gpu.json"]
    assert manifests(old.parent) == sorted(one.name for one in (theirs, damaged, link, other))
    assert number(elsewhere) == 4


def test_none_is_moved_over_another(old, new):
    there = golden(new.with_name("test_new.1@gpu.json"), 7, NEW)
    move(old, new).commit()
    assert number(there) == 7
    assert manifests(old.parent) == ["test_old.1@gpu.json"]


def test_one_that_lacks_its_values_lets_nothing_move(old, new):
    (values,) = old.parent.glob("test_old.1@gpu.*.safetensors")
    values.unlink()
    with pytest.raises(FileNotFoundError, match="@gpu"):
        move(old, new)
    assert not new.parent.exists()
    assert manifests(old.parent) == ["test_old.1.json", "test_old.1@gpu.json"]


def test_one_that_another_process_moves_meanwhile_is_left_to_it(old, new, monkeypatch):
    twin = old.with_name("test_old.1@gpu.json")

    def move_first(path, golden, dumped=relocate.readdressed):
        if path == twin:
            twin.unlink()
        return dumped(path, golden)

    monkeypatch.setattr(relocate, "readdressed", move_first)
    move(old, new).commit()
    assert manifests(new.parent) == ["test_new.1.json"]


def test_one_whose_owner_is_right_already_is_not_written_again(old):
    before = {name: (old.parent / name).stat().st_mtime_ns for name in os.listdir(old.parent)}
    assert stage_along(old, old, OLD, Folders()) == ()
    assert {n: (old.parent / n).stat().st_mtime_ns for n in os.listdir(old.parent)} == before


def test_discarding_leaves_no_trace(old, new):
    before = sorted(os.listdir(old.parent))
    move(old, new).discard()
    assert sorted(os.listdir(old.parent)) == before
    assert not new.parent.exists()


def test_a_move_that_fails_leaves_each_golden_whole(old, new, monkeypatch):
    staged = move(old, new)
    staged.path = new.with_name("no") / "folder" / "test_new.1.json"
    staged.path.parent.parent.write_text("a file")
    with pytest.raises(OSError, match="no"):
        staged.commit()
    assert number(old) == 1
    found = [p for p in (old.with_name("test_old.1@gpu.json"), new.with_name("test_new.1@gpu.json"))
             if p.exists()]  # fmt: skip
    assert [number(path) for path in found] == [2]
    assert not [name for name in os.listdir(new.parent) if name.endswith(".nnx-tmp")]


def test_a_run_that_moves_many_lists_their_folder_once(old, new, monkeypatch):
    for check in range(2, 6):
        golden(old.with_name(f"test_old.{check}.json"), check, replace(OLD, check=str(check)))
    asked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(path) or scandir(path))
    folders = Folders()
    for check in range(1, 6):
        source, target = (
            one.with_name(one.name.replace(".1.", f".{check}.")) for one in (old, new)
        )
        along = stage_along(source, target, replace(NEW, check=str(check)), folders)
        assert [one.path.name for one in along] == ["test_new.1@gpu.json"] * (check == 1)
    assert asked.count(old.parent) == 1


def test_the_text_of_one_keeps_what_it_recorded(old, new):
    source = old.with_name("test_old.1@gpu.json")
    before = json.loads(source.read_text())
    move(old, new).commit()
    after = json.loads(new.with_name("test_new.1@gpu.json").read_text())
    assert {k for k in before if before[k] != after[k]} == {"owner", "values"}
