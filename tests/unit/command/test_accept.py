"""Accepting what a run obtained: what is selected is written, whole; anything odd is refused."""

import json
import os
import shutil
import stat
import zipfile

import pytest
from trees import FOLDER, cause, model, write

from pytest_nnxrng.command import accept
from pytest_nnxrng.golden.document import fingerprint
from pytest_nnxrng.golden.manifest import read

ONE = f"{FOLDER}/test_a.1.json"


@pytest.fixture
def moved(tree):
    """One golden that moved, by one cause."""
    tree.golden()
    return tree.obtained()


def refuses(ran, tree, before, *told, code=2):
    assert ran.code == code, ran.words
    assert tree.files() == before
    for text in told:
        assert text in ran.words


# -- what is written ---------------------------------------------------------------------------


def test_a_golden_is_replaced_by_what_the_run_obtained(moved, nnxrng):
    old = read(moved.root / ONE)
    ran = nnxrng("accept", moved.report, "--all")
    assert ran.code == 0
    assert "Wrote 1 golden." in ran.words
    assert fingerprint(moved.root / ONE) == fingerprint(moved.report / "obtained" / ONE)
    new = read(moved.root / ONE)
    assert [leaf.read().tolist() for leaf in new.leaves]  # its values are there, and whole
    assert new.values != old.values
    assert not (moved.root / FOLDER / old.values).exists()
    assert {path.suffix for path in (moved.root / FOLDER).iterdir()} == {".json", ".safetensors"}


def test_a_new_golden_is_written_to_a_folder_that_was_not_there(tree, nnxrng):
    tree.obtained()
    ran = nnxrng("accept", tree.report, "--cause", "missing")
    assert ran.code == 0
    assert read(tree.root / ONE).owner.function == "test_a"


def test_a_zip_is_accepted_like_its_folder(moved, nnxrng):
    for top in ("", "nnx-report/"):
        ran = nnxrng("accept", moved.zipped(top=top), "--all")
        assert ran.code == 0, ran.words
    assert "1 stood there already" in ran.words
    assert fingerprint(moved.root / ONE) == fingerprint(moved.report / "obtained" / ONE)


def test_a_dry_run_writes_nothing_and_says_what_it_would(moved, nnxrng):
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all", "--dry-run")
    refuses(ran, moved, before, "draws: 1 more key", ONE, "Would write 1 golden", code=1)


def test_without_a_selection_nothing_is_written(moved, nnxrng):
    before = moved.files()
    refuses(
        nnxrng("accept", moved.report), moved, before, "--cause, --test, --golden, --from or --all"
    )


def test_it_works_below_the_root_directory(moved, nnxrng, monkeypatch):
    monkeypatch.chdir(moved.root / "tests")
    assert nnxrng("accept", moved.report, "--all").code == 0
    assert fingerprint(moved.root / ONE) == fingerprint(moved.report / "obtained" / ONE)


def test_json_says_what_was_written_and_left(moved, nnxrng):
    moved.golden("test_a.2")
    moved.obtained("test_a.2", causes=[cause("values", "an edit")])
    told = nnxrng("accept", moved.report, "--cause", "draws", "--json").json
    assert told["written"] == [ONE]
    assert told["left"] == [f"{FOLDER}/test_a.2.json"]
    assert told["refused"] == {}


# -- what is selected --------------------------------------------------------------------------


@pytest.fixture
def several(tree):
    """Goldens that moved by one cause, by two, by another of the same word, and an output."""
    for name in ("test_a.1", "test_a.2", "test_b[x].1", "test_b[x].output"):
        tree.golden(name)
    tree.obtained("test_a.1")
    tree.obtained("test_a.2", causes=[cause(), cause("values", "an edit")])
    tree.obtained("test_b[x].1", causes=[cause(text="2 fewer keys")])
    return tree.obtained("test_b[x].output", causes=[])


def names(tree, before):
    changed = {name for name, data in tree.files().items() if before.get(name) != data}
    return {n.rpartition("/")[2].removesuffix(".json") for n in changed if n.endswith(".json")}


@pytest.mark.parametrize(
    ("selection", "written"),
    [
        (["--all"], {"test_a.1", "test_a.2", "test_b[x].1", "test_b[x].output"}),
        (["--cause", "draws"], {"test_a.1", "test_b[x].1"}),
        (["--cause", "draws,values"], {"test_a.1", "test_a.2", "test_b[x].1"}),
        (["--cause", "draws", "--cause", "values"], {"test_a.1", "test_a.2", "test_b[x].1"}),
        (["--cause", "draws,follows"], {"test_a.1", "test_b[x].1", "test_b[x].output"}),
        (["--cause", "1"], {"test_a.1"}),
        (["--cause", "draws: 2 fewer keys"], {"test_b[x].1"}),
        (["--cause", "2 fewer keys"], {"test_b[x].1"}),
        (["--test", "test_a"], {"test_a.1", "test_a.2"}),
        (["--test", "tests/test_a.py::test_b"], {"test_b[x].1", "test_b[x].output"}),
        (["--test", "test_b[x]"], {"test_b[x].1", "test_b[x].output"}),
        (["--test", "tests/test_a.py", "--cause", "1"], {"test_a.1"}),
        (["--golden", "*.output"], {"test_b[x].output"}),
        (["--golden", "test_b[x].1", "--golden", "test_a.2"], {"test_b[x].1", "test_a.2"}),
        (["--golden", f"{FOLDER}/test_a.*"], {"test_a.1", "test_a.2"}),
        (["--golden", "*.1", "--test", "test_b"], {"test_b[x].1"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_selection_writes_what_it_names_and_nothing_else(several, nnxrng, selection, written):
    before = several.files()
    ran = nnxrng("accept", several.report, *selection)
    assert ran.code == 0, ran.words
    assert names(several, before) == written


def test_what_followed_from_what_is_accepted_is_told_to_stay_behind(several, nnxrng):
    ran = nnxrng("accept", several.report, "--test", "test_b", "--cause", "draws")
    assert ran.code == 0
    told = " ".join(ran.out.split())
    assert (
        "1 golden followed from what was written, and stayed as before. A run would now call them "
        "`forward`: their model matches, and they do not. If they are right: nnxrng accept "
    ) in told
    command = told.partition("If they are right: nnxrng ")[2].split()[:4]
    ran = nnxrng(*command)
    assert (ran.code, "stayed as before" in ran.out) == (0, False)


def test_a_selection_of_nothing_is_not_called_a_success(several, nnxrng):
    before = several.files()
    ran = nnxrng("accept", several.report, "--cause", "seed")
    refuses(ran, several, before, "Nothing in the report is of this selection", code=1)


def test_a_selection_of_a_part_of_what_moved_says_what_the_rest_is(several, nnxrng):
    before = several.files()
    told = (
        "Nothing is of this selection alone: 1 golden moved by something else, too, which must be "
        "named with it: --cause 1,"
    )
    for more in ((), ("--dry-run",)):
        ran = nnxrng("accept", several.report, "--cause", "values", *more)
        refuses(ran, several, before, told, code=1)
    number = ran.words.partition("--cause ")[2].split(".")[0]
    assert nnxrng("accept", several.report, "--cause", number).code == 0
    assert names(several, before) == {"test_a.1", "test_a.2"}


@pytest.mark.parametrize("text", ["99", "drawss", "draws,,values", "0"])
def test_a_cause_that_there_is_none_of(several, nnxrng, text):
    before = several.files()
    refuses(nnxrng("accept", several.report, "--cause", text), several, before, "--cause: ")


def test_each_change_can_be_accepted_by_its_id(several, nnxrng):
    before = several.files()
    listed = nnxrng("pending", several.report, "--json").json["changes"]
    (change,) = [change for change in listed if change["text"] == "2 fewer keys"]
    assert nnxrng("accept", several.report, "--cause", change["id"]).code == 0
    assert names(several, before) == {"test_b[x].1"}


# -- what is refused ---------------------------------------------------------------------------


def edit(tree, **obtained):
    """Change what the report says of its only check."""
    tree.rows[-1]["obtained"].update(obtained)
    return tree.written()


@pytest.mark.parametrize(
    "place",
    [
        "../outside/__nnx_snapshots__/test_a/test_a.1.json",
        "tests/__nnx_snapshots__/../../../test_a.1.json",
        "/tmp/__nnx_snapshots__/test_a/test_a.1.json",
        "C:/__nnx_snapshots__/test_a/test_a.1.json",
        "tests\\..\\..\\test_a.1.json",
        "tests/\0/test_a.1.json",
        "",
    ],
)
@pytest.mark.parametrize("key", ["target", "path"])
def test_a_path_that_leaves_the_tree(moved, nnxrng, key, place):
    before = moved.files()
    ran = nnxrng("accept", edit(moved, **{key: place}).report, "--all")
    refuses(ran, moved, before, "leaves the tree")


def test_a_path_that_is_no_goldens(moved, nnxrng):
    before = moved.files()
    for place in ("tests/test_a.py", "conftest.json", ".github/workflows/x.json"):
        refuses(nnxrng("accept", edit(moved, target=place).report, "--all"), moved, before, place)


def test_a_golden_under_another_goldens_name(moved, nnxrng):
    other = moved.golden("test_a.2")
    path = other.relative_to(moved.root).as_posix()
    moved.rows[-1]["golden"] = path
    edit(moved, target=path, against=fingerprint(other))
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all")
    refuses(ran, moved, before, "belongs to the check '1' of test_a")


def test_a_link_in_the_tree(moved, nnxrng):
    elsewhere = moved.path / "elsewhere"
    shutil.move(moved.root / FOLDER, elsewhere)
    (moved.root / FOLDER).symlink_to(elsewhere)
    before = sorted(path.name for path in elsewhere.iterdir())
    ran = nnxrng("accept", moved.report, "--all")
    assert ran.code == 2
    assert "is a link" in ran.words
    assert sorted(path.name for path in elsewhere.iterdir()) == before


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_link_in_the_report(moved, nnxrng, suffix):
    (file,) = (moved.report / "obtained" / FOLDER).glob(f"*{suffix}")
    file.rename(moved.path / "real")
    file.symlink_to(moved.path / "real")
    before = moved.files()
    refuses(nnxrng("accept", moved.report, "--all"), moved, before, "is a link")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}\n", "its run was killed, or has not ended. Run pytest --nnx-report again"),
        ('{"format": 1, "checks": [', "is not whole"),
        ("", "is not whole"),
        ('{"format": 99, "checks": []}', "has format 99; this pytest-nnxrng reads formats up to 1"),
        ('{"checks": []}', 'has no "format"'),
        ('{"format": 1}', '"checks" is no list'),
        ('{"format": 1, "checks": [3]}', "has been edited or damaged"),
        ('{"format": 1, "checks": [{"test": 1}]}', '"test" is missing or not text'),
        ("[" * 100_000, "is not whole"),
    ],
)
def test_a_report_that_is_none(moved, nnxrng, text, told):
    (moved.report / "report.json").write_text(text)
    before = moved.files()
    for verb in (["accept", moved.report, "--all"], ["pending", moved.report]):
        refuses(nnxrng(*verb), moved, before, told)


def test_a_folder_that_is_no_report(moved, nnxrng):
    before = moved.files()
    refuses(nnxrng("accept", moved.root, "--all"), moved, before, "holds no report.json")
    refuses(nnxrng("accept", "nowhere", "--all"), moved, before, "there is no report nowhere")
    refuses(nnxrng("accept", moved.root / ONE, "--all"), moved, before, "nor a zip")


def test_an_artifact_made_against_other_goldens(moved, nnxrng):
    moved.golden(leaves=model(seed=7.0))
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all")
    refuses(ran, moved, before, ONE, "not the one that the run compared with")


def test_a_golden_that_vanished_since(moved, nnxrng):
    (moved.root / ONE).unlink()
    before = moved.files()
    refuses(nnxrng("accept", moved.report, "--all"), moved, before, "compared with is gone")


def test_a_golden_that_came_since(tree, nnxrng):
    tree.obtained()
    tree.golden(leaves=model(seed=7.0))
    before = tree.files()
    refuses(nnxrng("accept", tree.report, "--all"), tree, before, "come to be there since")


def test_line_endings_make_no_other_golden(moved, nnxrng):
    path = moved.root / ONE
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert nnxrng("accept", moved.report, "--all").code == 0


@pytest.mark.parametrize("where", ["tree", "report"])
def test_what_changes_while_a_person_decides(moved, nnxrng, monkeypatch, where):
    there = (moved.root if where == "tree" else moved.report / "obtained") / ONE
    whole = accept.damaged

    def meanwhile(wanted):
        found = whole(wanted)
        write(there, model(seed=7.0))
        return found

    monkeypatch.setattr(accept, "damaged", meanwhile)
    ran = nnxrng("accept", moved.report, "--all")
    assert ran.code == 2
    assert "it changed while it was being accepted" in ran.words
    assert fingerprint(moved.root / ONE) != fingerprint(moved.report / "obtained" / ONE)


def test_another_repositorys_report(moved, nnxrng):
    (moved.root / "tests" / "test_a.py").unlink()
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all")
    refuses(ran, moved, before, "there is no tests/test_a.py here")


def test_an_obtained_golden_that_is_not_the_one_that_the_run_wrote(moved, nnxrng):
    write(moved.report / "obtained" / ONE, model(seed=3.0))
    before = moved.files()
    refuses(nnxrng("accept", moved.report, "--all"), moved, before, "not the one that the run")
    (moved.report / "obtained" / ONE).unlink()
    refuses(nnxrng("accept", moved.report, "--all"), moved, before, "holds no obtained/")


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_values_that_are_not_whole(moved, nnxrng, damage):
    (values,) = (moved.report / "obtained" / FOLDER).glob("*.safetensors")
    if damage == "gone":
        values.unlink()
    elif damage == "cut":
        values.write_bytes(values.read_bytes()[:-9])
    else:
        data = bytearray(values.read_bytes())
        data[-1] ^= 1
        values.write_bytes(data)
    before = moved.files()
    refuses(nnxrng("accept", moved.report, "--all"), moved, before, "in the report, ")


def test_two_artifacts_that_disagree(moved, nnxrng):
    other = moved.path / "other"
    shutil.copytree(moved.report, other)
    there = write(other / "obtained" / ONE, model(seed=9.0))
    document = json.loads((other / "report.json").read_text())
    document["checks"][0]["obtained"]["digest"] = fingerprint(there)
    (other / "report.json").write_text(json.dumps(document))
    before = moved.files()
    ran = nnxrng("accept", moved.report, other, "--all")
    refuses(ran, moved, before, "obtained different things. Accept one of them")
    assert nnxrng("accept", other, "--all").code == 0


def test_two_artifacts_that_agree_are_one(moved, nnxrng):
    other = moved.path / "other"
    shutil.copytree(moved.report, other)
    assert "Wrote 1 golden." in nnxrng("accept", moved.report, other, "--all").words


def test_one_that_is_refused_keeps_all_from_being_written(moved, nnxrng):
    moved.golden("test_a.2")
    moved.obtained("test_a.2")
    moved.golden("test_a.2", leaves=model(seed=7.0))
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all")
    refuses(ran, moved, before, "Nothing was written", "--keep-going")
    ran = nnxrng("accept", moved.report, "--all", "--keep-going")
    assert ran.code == 2
    assert "Wrote 1 golden, refused 1." in ran.words
    assert names(moved, before) == {"test_a.1"}


@pytest.mark.parametrize(
    "why", ["its build does not repeat itself", "its test fails otherwise, too"]
)
def test_what_no_update_would_write_is_left(tree, nnxrng, why):
    tree.golden()
    tree.obtained(withheld=why)
    before = tree.files()
    ran = nnxrng("accept", tree.report, "--all")
    assert tree.files() == before
    assert why in ran.words
    assert why in nnxrng("pending", tree.report).words


def test_another_platforms_golden_stands_beside_the_shared_one(tree, nnxrng):
    shared = tree.golden().read_bytes()
    tree.obtained("test_a.1@gpu", golden="test_a.1")
    assert nnxrng("accept", tree.report, "--all").code == 0
    assert (tree.root / ONE).read_bytes() == shared
    assert read(tree.root / FOLDER / "test_a.1@gpu.json").owner.check == "1"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anything")
def test_a_folder_that_cannot_be_written(moved, nnxrng):
    (moved.root / FOLDER).chmod(stat.S_IRUSR | stat.S_IXUSR)
    before = moved.files()
    try:
        refuses(nnxrng("accept", moved.report, "--all"), moved, before, "cannot be written")
    finally:
        (moved.root / FOLDER).chmod(0o755)


def test_a_write_that_fails_leaves_the_old_golden(moved, nnxrng, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_nnxrng.golden.relocate.shutil.copyfile", full)
    before = moved.files()
    ran = nnxrng("accept", moved.report, "--all")
    refuses(ran, moved, before, "cannot be written: No space left on device")


# -- zips --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.json", "/evil.json", "a/../../evil.json", "C:\\evil.json"]
)
def test_a_zip_that_leaves_its_folder(moved, nnxrng, name):
    path = moved.zipped()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), "{}")
    before = moved.files()
    refuses(nnxrng("accept", path, "--all"), moved, before, "leaves the tree")


def test_a_zip_with_a_link(moved, nnxrng):
    path = moved.zipped()
    entry = zipfile.ZipInfo("obtained/link.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    before = moved.files()
    refuses(nnxrng("accept", path, "--all"), moved, before, "is a link or device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_holds_a_file_twice(moved, nnxrng):
    path = moved.zipped()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("REPORT.json", "{}")
    before = moved.files()
    refuses(nnxrng("accept", path, "--all"), moved, before, "holds a file twice")


def test_a_zip_that_is_cut(moved, nnxrng):
    path = moved.zipped()
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    before = moved.files()
    refuses(nnxrng("accept", path, "--all"), moved, before)
    path.write_bytes(data[:300])
    refuses(nnxrng("accept", path, "--all"), moved, before, "nor a zip")


def test_a_zip_of_several_reports_or_none(moved, nnxrng):
    path = moved.zipped()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/report.json", "{}")
    before = moved.files()
    refuses(nnxrng("accept", path, "--all"), moved, before, "holds more than one report.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "")
    refuses(nnxrng("accept", path, "--all"), moved, before, "holds no report.json")


def test_a_zip_that_would_fill_the_disk(moved, nnxrng, monkeypatch):
    monkeypatch.setattr("pytest_nnxrng.command.artifact._LARGEST", 1000)
    before = moved.files()
    refuses(nnxrng("accept", moved.zipped(), "--all"), moved, before, "it is no report")


def test_a_golden_that_is_called_so_comes_before_what_it_is_a_glob_of(tree, nnxrng):
    for name in ("test_a[1].1", "test_a1.1"):
        tree.golden(name)
        tree.obtained(name)
    ran = nnxrng("accept", tree.report, "--golden", f"{FOLDER}/test_a[1].1.json")
    assert ran.code == 0, ran.words
    assert "Wrote 1 golden, left 1 pending." in ran.words
    assert "test_a[1].1.json" in ran.words
