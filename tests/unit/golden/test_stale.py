"""What killed runs left goes; what a living one makes, or anybody may still need, stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pytest_nnxrng.golden.inventory import Folders, Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.stale import clean, is_stale, temporary_beside
from pytest_nnxrng.golden.store import stage
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf

OTHER = "0000aaaa"  # what another values file is named by


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "goldens" / "test_a"


def put(folder, name, number=1.0):
    array = np.array([number, 0.5], np.float32)
    leaf = Leaf("l", "Param", (2,), "float32", digest=digest(array), read=lambda: array)
    path = folder / f"{name}.json"
    stage(path, Golden(Owner("", "t", None, "1", "value"), {}, (leaf,), {}), Folders()).commit()
    return path


def a_dead_process():
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return int(done.stdout)


def cleaned(folder, **options):
    return sorted(path.name for path in clean([folder], folder.parents[1], **options))


def listing(folder):
    return sorted(os.listdir(folder))


def test_nothing_goes_where_nothing_was_left(folder):
    put(folder, "f.1")
    before = listing(folder)
    assert cleaned(folder, whole=True) == []
    assert listing(folder) == before


def test_superseded_values_go(folder):
    put(folder, "f.1")
    before = listing(folder)
    (folder / f"f.1.{OTHER}.safetensors").touch()
    assert cleaned(folder) == [f"f.1.{OTHER}.safetensors"]
    assert listing(folder) == before


def test_values_without_a_manifest_go_when_asked_to_prune(folder):
    put(folder, "f.1")
    before = listing(folder)
    alone = f"g.1.{OTHER}.safetensors"
    (folder / alone).touch()
    assert cleaned(folder) == []
    assert cleaned(folder, whole=True) == [alone]
    assert listing(folder) == before


def test_a_folder_that_holds_nothing_else_goes_too(folder):
    folder.mkdir(parents=True)
    (folder / f"g.1.{OTHER}.safetensors").touch()
    cleaned(folder, whole=True)
    assert not folder.parent.exists()


def test_values_that_another_manifest_names_stay(folder):
    """A golden that was renamed by hand, whose values still have the name that they had."""
    path = put(folder, "f.1")
    path.rename(folder / "h.1.json")
    before = listing(folder)
    assert cleaned(folder, whole=True) == []
    (values,) = folder.glob("f.1.*.safetensors")
    values.rename(values.with_name(values.name.replace("f.1", "h.1")))
    assert cleaned(folder, whole=True) == []
    assert len(listing(folder)) == len(before)


@pytest.mark.parametrize("text", ["", "{", "<<<<<<< ours", '{"format": 99}'])
def test_nothing_goes_beside_a_manifest_that_cannot_be_read(folder, text):
    put(folder, "f.1")
    (folder / "g.1.json").write_text(text)
    for name in ("f.1", "g.1", "x"):
        (folder / f"{name}.{OTHER}.safetensors").touch()
    before = listing(folder)
    assert cleaned(folder, whole=True) == []
    assert listing(folder) == before


def test_files_that_are_not_ours_stay(folder):
    put(folder, "f.1")
    for name in ("README.md", "f.1.safetensors", f"f.1.{OTHER}.npz", "f.1.baseline.safetensors",
                 f".f.1.{a_dead_process()}.nnx-tmp", ".f.1.nnx-tmp", "x.nnx-tmp"):  # fmt: skip
        (folder / name).touch()
    (folder / f"f.1.{OTHER}.safetensors").mkdir()
    before = listing(folder)
    assert cleaned(folder, whole=True) == []
    assert listing(folder) == before


def test_temporary_files_of_the_dead_go_and_those_of_the_living_stay(folder):
    put(folder, "f.1")
    mine = temporary_beside(folder, "f.1")
    dead = mine.name.replace(f".{os.getpid()}-", f".{a_dead_process()}-")
    assert dead != mine.name
    for name in (mine.name, dead):
        (folder / name).touch()
    assert cleaned(folder) == [dead]
    assert mine.exists()


def test_a_folder_of_the_dead_goes_with_the_files_that_a_library_made_in_it(folder):
    put(folder, "f.1")
    mine = temporary_beside(folder, "f.1")
    dead = folder / mine.name.replace(f".{os.getpid()}-", f".{a_dead_process()}-")
    for made in (mine, dead):
        made.mkdir()
        (made / ".tmpAb1Cd2").write_bytes(b"half")
    assert cleaned(folder) == [dead.name]
    assert (mine / ".tmpAb1Cd2").exists(), "its process is alive"


def test_a_folder_of_the_dead_that_holds_a_folder_is_somebodys(folder):
    put(folder, "f.1")
    name = temporary_beside(folder, "f.1").name.replace(f".{os.getpid()}-", f".{a_dead_process()}-")
    (folder / name / "kept").mkdir(parents=True)
    (folder / name / "kept" / "notes.txt").touch()
    assert cleaned(folder) == []
    assert (folder / name / "kept" / "notes.txt").exists()
    put(folder, "f.1")
    assert (folder / name / "kept" / "notes.txt").exists(), "nor does it stop a golden"


def test_a_link_of_the_name_of_a_folder_goes_alone(folder, tmp_path):
    put(folder, "f.1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "notes.txt").touch()
    name = temporary_beside(folder, "f.1").name.replace(f".{os.getpid()}-", f".{a_dead_process()}-")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert cleaned(folder) == [name]
    assert (tmp_path / "elsewhere" / "notes.txt").exists()


def test_those_of_another_host_stay_for_a_day(folder):
    folder.mkdir(parents=True)
    here = temporary_beside(folder, "f.1")
    pid, _, rest = here.name.removeprefix(".f.1.").partition("-")
    theirs = folder / f".f.1.{a_dead_process()}-{'0' * 8}{rest[8:]}"
    theirs.touch()
    assert pid == str(os.getpid())
    assert not is_stale(theirs)
    then = time.time() - 25 * 3600
    os.utime(theirs, (then, then))
    assert is_stale(theirs)


def test_a_folder_behind_a_link_is_left_alone(folder, tmp_path):
    put(folder, "f.1")
    (folder / f"f.1.{OTHER}.safetensors").touch()
    link = tmp_path / "project" / "test_a"
    link.parent.mkdir()
    link.symlink_to(folder)
    assert clean([link], tmp_path / "project") == []
    assert (folder / f"f.1.{OTHER}.safetensors").exists()


def test_a_folder_that_is_gone_is_no_trouble(tmp_path):
    assert clean([tmp_path / "none"], tmp_path) == []
    assert not Path(tmp_path / "none").exists()
