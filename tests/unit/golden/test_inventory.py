"""The goldens on disk: whose they are, which of them no check asked for, deleting one."""

import json
import os

import numpy as np
import pytest

from pytest_nnxrng.golden.inventory import (
    Folders,
    Owner,
    Survey,
    delete,
    directories_below,
    folders,
    manifests,
    parse_owner,
    read_owner,
    survey,
    values_files,
)
from pytest_nnxrng.golden.manifest import Golden, dumps
from pytest_nnxrng.golden.naming import FOLDER, Identity, folder, stem
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.run.outcomes import Check, Outcomes

ROW = {"class": "A", "function": "f", "parameters": "x", "check": "1", "kind": "value"}


# -- owners ------------------------------------------------------------------------------


def test_parse_owner():
    assert parse_owner(ROW) == Owner("A", "f", "x", "1", "value")
    assert parse_owner({**ROW, "parameters": None}).parameters is None
    assert parse_owner({**ROW, "more": 1}) == parse_owner(ROW)


@pytest.mark.parametrize("name", ["class", "function", "check", "kind"])
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_an_owner_s_field_that_is_no_text(name, value):
    with pytest.raises(ValueError, match=f'^"owner.{name}" is missing or not text$'):
        parse_owner({**ROW, name: value})


def test_an_owner_s_field_that_is_missing():
    with pytest.raises(ValueError, match=r'^"owner\.kind" is missing or not text$'):
        parse_owner({name: value for name, value in ROW.items() if name != "kind"})


@pytest.mark.parametrize("row", [None, [], "A", 1])
def test_an_owner_that_is_no_object(row):
    with pytest.raises(ValueError, match=r'^"owner" is not an object$'):
        parse_owner(row)


def test_an_owner_s_parameters_that_are_no_text():
    with pytest.raises(ValueError, match=r'^"owner\.parameters" is not text$'):
        parse_owner({**ROW, "parameters": 7})


def golden(owner, leaves=1):
    made = [Leaf(f"l{n}", "Param", (1,), "float32") for n in range(leaves)]
    return dumps(Golden(owner, {"jax": "1"}, tuple(made), {}))


OWNER = Owner("TestA", "test_f", 'a"[é]', "out", "init")


@pytest.mark.parametrize("leaves", [0, 1, 2000])
def test_an_owner_is_read_from_the_head_of_its_golden(tmp_path, leaves):
    path = tmp_path / "g.json"
    path.write_text(golden(OWNER, leaves), encoding="utf-8")
    assert read_owner(path) == OWNER
    # A golden whose rest is damaged still has its owner.
    path.write_bytes(path.read_bytes()[:400] + b"\xff\0")
    assert read_owner(path) == OWNER


def test_an_owner_over_the_edge_of_the_head_is_not_guessed(tmp_path):
    path = tmp_path / "g.json"
    path.write_text(golden(Owner("", "f", "x" * 20_000, "1", "init")), encoding="utf-8")
    assert read_owner(path) is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b'{"owner": ', b'"owner": 7', b'"owner": {"class": 1}', b"\xff" * 99),
        *(b'"owner": ' + b"[" * 16_000, b'"owner": ' + b'{"class":' * 2000),
    ],
    ids=range(8),
)
def test_an_owner_that_cannot_be_told(tmp_path, content):
    path = tmp_path / "g.json"
    path.write_bytes(content)
    assert read_owner(path) is None


def test_the_owner_of_what_is_no_file(tmp_path):
    assert read_owner(tmp_path) is None
    assert read_owner(tmp_path / "no.json") is None


# -- finding them --------------------------------------------------------------------------


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_and_manifests(tmp_path):
    at = tmp_path / FOLDER
    touch(at / "b" / "2.json", at / "a" / "x.json", at / "a" / "x.0.safetensors", at / "file.json")
    touch(at / "a" / "A.json", at / "a" / ".x.1-2.nnx-tmp")
    assert list(folders([tmp_path, tmp_path / "no"], FOLDER)) == [at / "a", at / "b"]
    assert manifests(at / "a") == [at / "a" / "A.json", at / "a" / "x.json"]
    assert manifests(at / "no") == []


def test_directories_below(tmp_path):
    wanted = [tmp_path, tmp_path / "a" / "b"]
    hidden = [tmp_path / ".git", tmp_path / FOLDER / "inner", tmp_path / "a" / ".venv"]
    for directory in (*wanted, *hidden):
        (directory / FOLDER).mkdir(parents=True)
    (tmp_path / "c").mkdir()
    assert list(directories_below([tmp_path], FOLDER)) == wanted
    assert list(directories_below([tmp_path / "no"], FOLDER)) == []


# -- survey --------------------------------------------------------------------------------


class Tree:
    """A project on disk, and what a run made of it."""

    def __init__(self, root):
        self.root, self.outcomes, self.folders = root, Outcomes(), []

    def file(self, name, source=""):
        touch(self.root / name)
        (self.root / name).write_text(source, encoding="utf-8")

    def golden(self, file, function, parameters=None, check="1", cls=""):
        directory = folder(self.root / file)
        path = directory / f"{stem(Identity(cls, function, parameters), check)}.json"
        touch(path)
        owner = Owner(cls, function, parameters, check, "value")
        path.write_text(golden(owner), encoding="utf-8")
        if directory not in self.folders:
            self.folders.append(directory)
        return path

    def ran(self, file, function, parameters=None, cls="", *, passed=True, used=(), whole=True):
        self.outcomes.collect([(file, whole, cls, function, parameters)])
        checks = [
            Check("t", path.relative_to(self.root).as_posix(), "matched", False).to_json()
            for path in used
        ]
        row = {"test": (file, cls, function, parameters), "passed": passed, "checks": checks}
        self.outcomes.add(f"{file}::{cls}::{function}[{parameters}]", row)

    def survey(self):
        return survey(self.outcomes, self.root, self.folders)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_goldens_in_use_are_not_told(tree):
    tree.file("t/test_a.py")
    path = tree.golden("t/test_a.py", "test_f")
    tree.ran("t/test_a.py", "test_f", used=[path])
    assert tree.survey() == Survey()


def test_what_is_reached_through_a_link_is_never_called_gone(tree):
    """A folder that is linked to a sibling, a linked store, a linked test folder."""
    tree.file("t/test_a.py")
    mine = tree.golden("t/test_a.py", "test_a")
    tree.ran("t/test_a.py", "test_a", used=[mine])
    store = mine.parent.parent
    (store / "test_old").symlink_to(mine.parent)
    elsewhere = tree.root / "elsewhere"
    other = tree.golden("elsewhere/x/test_b.py", "test_b")
    (store / "test_out").symlink_to(other.parent)
    (tree.root / "u").mkdir()
    (tree.root / "u" / FOLDER).symlink_to(store)
    (tree.root / "v").symlink_to(elsewhere / "x")
    (store / "test_gone").mkdir()
    (store / "test_gone" / "linked.json").symlink_to(other)
    beside = [tree.root / name for name in ("t", "u", "v")]
    tree.folders = list(folders(beside, FOLDER))
    assert len(tree.folders) == 9
    assert tree.survey() == Survey()


def test_a_linked_checkout_is_surveyed_as_any_other(tree):
    tree.file("real/t/test_a.py")
    gone = tree.golden("real/t/test_b.py", "test_b")
    (tree.root / "link").symlink_to(tree.root / "real")
    tree.root /= "link"
    tree.folders = [tree.root / "t" / FOLDER / "test_b"]
    assert tree.survey() == Survey(gone=(tree.folders[0] / gone.name,))


def test_a_golden_that_was_used_through_a_link_is_in_use(tree):
    tree.file("t/test_b.py")
    store = tree.golden("t/test_a.py", "test_a")
    (tree.root / "u").mkdir()
    (tree.root / "u" / FOLDER).symlink_to(store.parent.parent)
    tree.file("u/test_a.py")
    used = tree.root / "u" / FOLDER / "test_a" / store.name
    tree.ran("u/test_a.py", "test_a", used=[used])
    assert tree.survey() == Survey()


def test_a_golden_in_use_is_never_opened(tree, monkeypatch):
    tree.file("test_a.py")
    tree.ran("test_a.py", "test_f", used=[tree.golden("test_a.py", "test_f")])
    monkeypatch.setattr("pytest_nnxrng.golden.inventory.read_owner", None)
    assert tree.survey() == Survey()


def test_the_goldens_of_a_file_that_is_gone(tree):
    path = tree.golden("test_a.py", "test_f")
    assert tree.survey() == Survey(gone=(path,))


def test_the_goldens_of_a_function_that_is_gone(tree):
    tree.file("test_a.py", "def test_g(): ...")
    old, new = tree.golden("test_a.py", "test_f"), tree.golden("test_a.py", "test_g")
    tree.ran("test_a.py", "test_g", used=[new])
    assert tree.survey() == Survey(gone=(old,))


def test_another_check_of_a_test_that_passed(tree):
    tree.file("test_a.py", "def test_f(): ...")
    used, old = (tree.golden("test_a.py", "test_f", check=name) for name in ("new", "old"))
    tree.ran("test_a.py", "test_f", used=[used])
    assert tree.survey() == Survey(unused=(old,))


def test_a_test_that_did_not_pass_protects_its_own(tree):
    tree.file("test_a.py", "def test_f(): ...")
    tree.golden("test_a.py", "test_f", check="old")
    tree.ran("test_a.py", "test_f", passed=False)
    assert tree.survey() == Survey()


def test_a_file_that_collected_nothing_is_silent_and_protects_its_own(tree):
    tree.file("test_a.py")
    tree.golden("test_a.py", "test_f")
    assert tree.survey() == Survey(silent=(tree.root / "test_a.py",))


def test_a_function_behind_an_if_protects_its_own(tree):
    tree.file("test_a.py", "if GPU:\n    def test_f(): ...\ndef test_g(): ...")
    tree.golden("test_a.py", "test_f")
    tree.ran("test_a.py", "test_g")
    assert tree.survey() == Survey()


def test_a_golden_that_cannot_be_read_protects_itself(tree):
    path = tree.golden("test_a.py", "test_f")
    path.write_text("<<<<<<< HEAD", encoding="utf-8")
    assert tree.survey() == Survey()


def test_a_file_that_ran_in_part(tree):
    tree.file("test_a.py", "def test_f(): ...\ndef test_g(): ...")
    mine = tree.golden("test_a.py", "test_f", check="old")
    tree.golden("test_a.py", "test_g", check="old")
    tree.golden("test_a.py", "test_gone")
    tree.ran("test_a.py", "test_f", whole=False)
    assert tree.survey() == Survey(unused=(mine,))


def test_a_file_without_suffix_owns_a_folder_of_the_same_name(tree):
    tree.file("test_a")
    tree.golden("test_a", "test_f")
    assert tree.survey().silent == (tree.root / "test_a",)


def test_two_files_of_one_name_in_two_folders(tree):
    for name in ("x/test_a.py", "y/test_a.py"):
        tree.file(name, "def test_f(): ...")
    used, other = (tree.golden(f"{d}/test_a.py", "test_f") for d in "xy")
    tree.ran("x/test_a.py", "test_f", used=[used])
    tree.ran("y/test_a.py", "test_f")
    assert tree.survey() == Survey(unused=(other,))


def test_a_test_file_outside_of_rootdir(tree):
    tree.file("out/test_a.py", "def test_f(): ...")
    old = tree.golden("out/test_a.py", "test_f")
    tree.ran("../out/test_a.py", "test_f")
    (tree.root / "in").mkdir()
    assert survey(tree.outcomes, tree.root / "in", tree.folders) == Survey(unused=(old,))


# -- deleting ------------------------------------------------------------------------------


def test_delete_takes_the_manifest_and_its_values_alone(tmp_path):
    at = tmp_path / FOLDER / "test_a"
    mine = [at / "test_f.1.json", at / "test_f.1.0123abcd.safetensors"]
    mine.append(at / "test_f.1.99999999.safetensors")  # superseded, left by a killed run
    others = [
        at / name
        for name in (
            "test_f.2.json",
            "test_f.2.0123abcd.safetensors",
            "test_f.10.json",
            "test_f.10.0123abcd.safetensors",
            "test_f.1@gpu.json",
            "test_f.1@gpu.0123abcd.safetensors",
            "test_f.1.baseline.safetensors",
            "test_f.1.0123abcd.safetensors.bak",
            "test_f.1.x.0123abcd.safetensors",
            "README.md",
        )
    ]
    touch(*mine, *others)
    assert sorted(values_files(at, "test_f.1")) == sorted(mine[1:])
    delete(mine[0])
    assert sorted(at.iterdir()) == sorted(others)


def test_a_name_is_no_pattern(tmp_path):
    touch(tmp_path / "fab.1.0123abcd.safetensors", tmp_path / "f[ab].1.0123abcd.safetensors")
    assert values_files(tmp_path, "f[ab].1") == [tmp_path / "f[ab].1.0123abcd.safetensors"]


def test_deleting_the_last_golden_leaves_no_empty_folder(tmp_path):
    at = tmp_path / FOLDER / "test_a"
    touch(at / "x.json", tmp_path / "test_a.py")
    delete(at / "x.json")
    assert os.listdir(tmp_path) == ["test_a.py"]


def test_deleting_leaves_the_folder_of_another_file(tmp_path):
    at, other = tmp_path / FOLDER / "test_a" / "x.json", tmp_path / FOLDER / "test_b" / "x.json"
    touch(at, other)
    delete(at)
    assert os.listdir(tmp_path / FOLDER) == ["test_b"]


def test_the_manifest_goes_first(tmp_path, monkeypatch):
    at = tmp_path / "test_a"
    touch(at / "x.json", at / "x.0123abcd.safetensors")
    real, gone = type(at).unlink, []

    def unlink(self, missing_ok=False):
        gone.append(self.suffix)
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(type(at), "unlink", unlink)
    delete(at / "x.json")
    assert gone == [".json", ".safetensors"]


def test_owners_of_thousands_of_goldens_are_read_fast(tmp_path):
    big = golden(OWNER, 5000).encode()
    assert len(big) > 16_384 * 2
    path = tmp_path / "g.json"
    path.write_bytes(big)
    np.testing.assert_equal(read_owner(path), OWNER)


def test_a_platform_s_golden_is_not_unused_where_its_twin_was_used(tmp_path):
    folder = tmp_path / "__nnx_snapshots__" / "test_a"
    folder.mkdir(parents=True)
    (tmp_path / "test_a.py").write_text("def test_x(): ...\n")
    for name in ("test_x.1.json", "test_x.1@gpu.json", "test_x.2@gpu.json"):
        check = name.split(".")[1].partition("@")[0]
        owner = {"class": "", "function": "test_x", "parameters": None, "check": check}
        text = '{"owner": ' + json.dumps({**owner, "kind": "value"}) + "}"
        (folder / name).write_text(text)
    outcomes = Outcomes()
    outcomes.collect([("test_a.py", True, "", "test_x", None)])
    used = Check("t", "__nnx_snapshots__/test_a/test_x.1.json", "matched", failed=False)
    row = {"test": ["test_a.py", "", "test_x", None], "passed": True, "checks": [used.to_json()]}
    outcomes.add("t", row)
    found = survey(outcomes, tmp_path, [folder])
    assert [path.name for path in found.unused] == ["test_x.2@gpu.json"]


def test_folders_are_listed_once_and_told_of_what_is_written(tmp_path, monkeypatch):
    names = ["f.1.0123abcd.safetensors", "f.1.x.0123abcd.safetensors", ".f.2.77-ab.nnx-tmp"]
    for name in names:
        (tmp_path / name).touch()
    asked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(path) or scandir(path))
    listed = Folders()
    assert listed.values(tmp_path, "f.1") == [tmp_path / names[0]]
    assert listed.values(tmp_path, "f.1.x") == [tmp_path / names[1]]
    assert listed.values(tmp_path, "f.3") == []
    assert listed.leftovers(tmp_path, "f.2") == [tmp_path / names[2]]
    assert listed.leftovers(tmp_path, "f.2") == []
    listed.add(tmp_path, "f.1", "f.1.4567abcd.safetensors")
    assert listed.values(tmp_path, "f.1") == [
        tmp_path / names[0],
        tmp_path / "f.1.4567abcd.safetensors",
    ]
    assert asked == [tmp_path]


def test_the_twins_of_a_golden(tmp_path):
    names = ["f.1.json", "f.1@gpu.json", "f.1@tpu.json", "f.1@gpu.0123abcd.safetensors"]
    for name in (*names, "f.10@gpu.json", "g.f.1@gpu.json", "f.1@gpu.json.orig"):
        (tmp_path / name).touch()
    listed = Folders()
    own, gpu, tpu = (tmp_path / name for name in names[:3])
    assert listed.twins(own) == [gpu, tpu]
    assert listed.twins(gpu) == [own, tpu]


def test_a_platform_s_golden_is_not_gone_whose_twin_was_moved_to_a_test(tree):
    tree.file("test_a.py", "def test_new(): ...\n")
    old, new = tree.golden("test_a.py", "test_old"), tree.golden("test_a.py", "test_new")
    for name in (old.name, "test_dead.1.json"):
        twin = old.with_name(name.replace(".json", "@gpu.json"))
        twin.write_text(old.read_text(encoding="utf-8"), encoding="utf-8")
    old.unlink()
    tree.ran("test_a.py", "test_new")
    check = Check(
        "t",
        new.relative_to(tree.root).as_posix(),
        "matched",
        failed=False,
        elsewhere=old.relative_to(tree.root).as_posix(),
        moved=True,
    )
    row = {"test": ("test_a.py", "", "test_new", None), "passed": True, "checks": [check.to_json()]}
    tree.outcomes.add("t", row)
    assert [path.name for path in tree.survey().gone] == ["test_dead.1@gpu.json"]
