"""Writing a golden: a killed or failing run leaves the old one or the new, nothing between."""

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Folders, Owner
from pytest_nnxrng.golden.manifest import Golden, read, settled
from pytest_nnxrng.golden.store import stage
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf

OWNER = Owner("", "test_f", None, "1", "value")


def made(*numbers, stored=True):
    leaves = []
    for place, number in enumerate(numbers):
        # Of floats that are not stored a golden keeps more than its digest.
        array = np.array([number, 0.5] if stored else [number, 5], np.float32 if stored else int)
        leaves.append(
            Leaf(
                f"l{place}",
                "Param",
                (2,),
                array.dtype.name,
                digest=digest(array),
                stored=stored,
                read=lambda array=array: array,
            )
        )
    return Golden(OWNER, {"jax": "1"}, tuple(leaves), {})


def numbers(path):
    return [leaf.read()[0] for leaf in read(path).leaves]


def listing(directory):
    return sorted(os.listdir(directory))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "goldens" / "test_a" / "test_f.1.json"


def test_staging_shows_nothing(path):
    stage(path, made(1)).commit()
    before = listing(path.parent)
    staged = stage(path, made(2))
    assert numbers(path) == [1]
    (new,) = set(listing(path.parent)) - set(before)
    assert new.startswith(f".test_f.1.{os.getpid()}-")
    assert new.endswith(".nnx-tmp")
    staged.discard()


def test_commit(path):
    stage(path, made(1, 2)).commit()
    values = read(path).values
    assert listing(path.parent) == sorted(["test_f.1.json", values])
    assert numbers(path) == [1, 2]


def test_a_name_of_values_is_made_of_their_digests(path):
    stage(path, made(1)).commit()
    first = read(path).values
    stage(path, made(1)).commit()
    assert read(path).values == first
    stage(path, made(2)).commit()
    assert read(path).values != first


def test_a_commit_replaces_and_takes_superseded_values_away(path):
    stage(path, made(1)).commit()
    orphan = path.parent / "test_f.1.0000aaaa.safetensors"
    orphan.touch()
    others = ["test_f.10.json", "test_f.10.0000aaaa.safetensors", "test_f.1.baseline.safetensors"]
    others += ["README.md", "test_f.1@gpu.0000aaaa.safetensors", ".hidden"]
    for name in others:
        (path.parent / name).touch()
    stage(path, made(2)).commit()
    assert numbers(path) == [2]
    assert listing(path.parent) == sorted(["test_f.1.json", read(path).values, *others])


def test_a_run_that_writes_many_lists_their_folder_once(path, monkeypatch):
    asked, scandir, folders = [], os.scandir, Folders()
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(path) or scandir(path))
    for number in range(5):
        stage(path.with_name(f"test_f.{number}.json"), made(number), folders).commit()
    stage(path.with_name("test_f.3.json"), made(9), folders).commit()
    assert asked == [path.parent]
    assert len([name for name in listing(path.parent) if name.startswith("test_f.3.")]) == 2
    assert numbers(path.with_name("test_f.3.json")) == [9]


def test_a_golden_without_values_has_one_file_alone(path):
    stage(path, made(1)).commit()
    stage(path, made(1, stored=False)).commit()
    assert listing(path.parent) == ["test_f.1.json"]
    assert read(path).values is None
    assert read(path).leaves[0].read is None


def test_no_arrays_are_held_while_the_test_runs_on(path):
    golden = made(1, 2)
    readers = [weakref.ref(leaf.read) for leaf in golden.leaves]
    staged = stage(path, golden)
    del golden
    gc.collect()
    assert [reader() for reader in readers] == [None, None]
    staged.discard()


def test_discarding_leaves_no_trace(path, tmp_path):
    stage(path, made(1)).discard()
    stage(path, made(1, stored=False)).discard()
    assert listing(tmp_path) == []


def test_discarding_leaves_the_old_golden_and_what_else_is_there(path):
    stage(path, made(1)).commit()
    (path.parent / "README.md").touch()
    before = listing(path.parent)
    staged = stage(path, made(2))
    staged.discard()
    staged.discard()
    assert listing(path.parent) == before
    assert numbers(path) == [1]


def test_values_then_manifest_then_the_old_values_go(path, monkeypatch):
    stage(path, made(1)).commit()
    old = read(path).values
    staged = stage(path, made(2))
    seen = []
    replace, unlink = Path.replace, Path.unlink

    def replaced(self, target):
        seen.append(("replace", Path(target).suffix, numbers(path)[0]))
        return replace(self, target)

    def unlinked(self, missing_ok=False):
        if self.exists():
            seen.append(("unlink", self.name, numbers(path)[0]))
        return unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "unlink", unlinked)
    staged.commit()
    assert seen == [
        ("replace", ".safetensors", 1),
        ("replace", ".json", 1),
        ("unlink", old, 2),
    ]


@pytest.mark.parametrize("fails", [".safetensors", ".json"])
def test_a_commit_that_fails_leaves_the_old_golden_readable(path, monkeypatch, fails):
    stage(path, made(1)).commit()
    staged = stage(path, made(2))
    replace = Path.replace

    def broken(self, target):
        if Path(target).suffix == fails:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(OSError, match="No space left"):
            staged.commit()
    assert numbers(path) == [1]
    assert [name for name in listing(path.parent) if "tmp" in name] == []
    # The orphan, if any, goes with the next commit.
    stage(path, made(3)).commit()
    assert numbers(path) == [3]
    assert listing(path.parent) == sorted(["test_f.1.json", read(path).values])


def test_a_first_commit_that_fails_leaves_no_golden(path, tmp_path, monkeypatch):
    staged = stage(path, made(1))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        staged.commit()
    assert listing(tmp_path) == []


def test_staging_that_fails_leaves_no_trace(path, monkeypatch):
    stage(path, made(1)).commit()
    before = listing(path.parent)

    def full(target, leaves):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_nnxrng.golden.store.write_values", full)
    with pytest.raises(OSError, match="No space left"):
        stage(path, made(2))
    assert listing(path.parent) == before


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "goldens").touch()
    with pytest.raises(OSError, match="goldens"):
        stage(tmp_path / "goldens" / "test_a" / "x.json", made(1))


def test_a_folder_that_another_process_found_empty_and_removed_is_made_again(path):
    staged = stage(path, made(1, stored=False))
    other = stage(path.with_name("test_g.1.json"), made(1, stored=False))
    other.discard()
    assert not path.parent.exists()
    staged.commit()
    assert read(path).owner == OWNER


def a_dead_process():
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return int(done.stdout)


def test_leftovers_of_dead_processes_go(path):
    path.parent.mkdir(parents=True)
    dead = a_dead_process()
    mine = f".test_f.1.{dead}-12345678.nnx-tmp"
    kept = [
        f".test_f.1.{os.getpid()}-12345678.nnx-tmp",  # this process, another attempt
        f".test_f.1.{os.getppid()}-12345678.nnx-tmp",  # another worker, alive
        f".test_f.2.{dead}-12345678.nnx-tmp",  # another golden's
        f".test_f.1.x.{dead}-12345678.nnx-tmp",
        f"test_f.1.{dead}-12345678.nnx-tmp",
        ".test_f.1.text-12345678.nnx-tmp",
        ".test_f.1.²-12345678.nnx-tmp",
        f".test_f.1.{10**30}-12345678.nnx-tmp",
        ".test_f.1.nnx-tmp",
    ]
    for name in (mine, *kept):
        (path.parent / name).touch()
    stage(path, made(1)).commit()
    assert listing(path.parent) == sorted(["test_f.1.json", read(path).values, *kept])


def test_a_killed_run_leaves_the_old_golden(path):
    stage(path, made(1)).commit()
    code = (
        "import os, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from test_store import made, stage\n"
        "stage(Path(sys.argv[1]), made(2)); os._exit(9)"
    )
    here = [str(Path(__file__).parent)]
    done = subprocess.run([sys.executable, "-c", code, str(path), *here], check=False)
    assert done.returncode == 9
    assert numbers(path) == [1]
    assert len(listing(path.parent)) == 3
    stage(path, made(3)).commit()
    assert listing(path.parent) == sorted(["test_f.1.json", read(path).values])


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_gives(path, umask):
    before = os.umask(umask)
    try:
        stage(path, made(1)).commit()
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o666 & ~umask}, modes


@pytest.mark.parametrize("mode", [0o640, 0o664, 0o600])
def test_an_update_keeps_the_mode_of_the_files_before(path, mode):
    stage(path, made(1)).commit()
    for file in path.parent.iterdir():
        file.chmod(mode)
    stage(path, made(2)).commit()
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert len(modes) == 2
    assert set(modes.values()) == {mode}, modes


def test_values_that_a_golden_did_not_have_get_the_mode_of_its_manifest(path):
    stage(path, made(1, stored=False)).commit()
    path.chmod(0o640)
    stage(path, made(2)).commit()
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o640}


def test_runs_that_update_one_tree_never_leave_a_manifest_without_its_values(path):
    def run(number):
        for turn in range(15):
            stage(path, made(number, turn), Folders()).commit()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (path.parent / read(path).values).exists()
    assert len(numbers(path)) == 2


def test_the_same_bytes_in_another_shape_have_another_name(path):
    array = np.arange(6, dtype=np.float32)

    def shaped(*shape):
        values = array.reshape(shape)
        leaf = Leaf("l", "Param", shape, "float32", digest=digest(values), read=lambda: values)
        return Golden(OWNER, {"jax": "1"}, (leaf,), {})

    names = set()
    for shape in ((6,), (2, 3), (3, 2)):
        stage(path, shaped(*shape)).commit()
        names.add(read(path).values)
    assert len(names) == 3


def test_values_that_another_run_took_away_are_missed_before_the_manifest_names_them(path):
    stage(path, made(1)).commit()
    staged = stage(path, made(1))
    staged.discard()
    staged.temporary, staged.values = None, read(path).values
    (path.parent / staged.values).unlink()
    before = path.read_bytes()
    with pytest.raises(OSError, match="another run has taken its values away meanwhile"):
        staged.commit()
    assert path.read_bytes() == before


def test_an_interrupt_while_values_are_written_leaves_nothing(path, monkeypatch):
    def interrupted(target, leaves):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_nnxrng.golden.store.write_values", interrupted)
    path.parent.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        stage(path, made(2))
    assert listing(path.parent) == []


def test_a_reader_is_told_that_another_run_replaced_what_it_reads(path):
    stage(path, made(1)).commit()
    before = read(path)
    stage(path, made(2)).commit()
    with pytest.raises(GoldenError, match="was replaced by another run while this one read it"):
        before.leaves[0].read()
    golden, lacks = settled(path)
    assert lacks is None
    assert golden.leaves[0].read()[0] == 2


def test_a_reader_that_comes_between_two_updates_gets_the_newer_golden(path, monkeypatch):
    stage(path, made(1)).commit()
    numbers, lacking = iter(range(2, 9)), manifest.lacking

    def replaced_meanwhile(path, golden):
        if (number := next(numbers)) < 7:
            stage(path, made(number)).commit()
        return lacking(path, golden)

    monkeypatch.setattr(manifest, "lacking", replaced_meanwhile)
    golden, lacks = settled(path)
    assert lacks is None
    assert golden.leaves[0].read()[0] == 6


def test_values_that_are_really_missing_are_told_as_such(path):
    stage(path, made(1)).commit()
    golden = read(path)
    (path.parent / golden.values).unlink()
    assert "is missing" in str(settled(path)[1])
    with pytest.raises(GoldenError, match="is missing"):
        golden.leaves[0].read()
