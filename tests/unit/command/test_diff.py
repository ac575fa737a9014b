"""Why goldens differ: two files, two trees, a report, revisions of git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import ENVIRONMENT, FOLDER, STREAMS, leaf, model, write

import pytest_nnxrng

ONE = f"{FOLDER}/test_a.1.json"
OUTPUT = f"{FOLDER}/test_a.output.json"
MORE = {**STREAMS, "params": {**STREAMS["params"], "end": 5}}
SEEDED = {**STREAMS, "params": {**STREAMS["params"], "key": [0, 7]}}


def output(value):
    return (leaf("", np.float32([value, 0.5]), type="array"),)


def shifted(label="params#3"):
    """The model with the second kernel drawn anew, from another key."""
    first, bias, second, other = model()
    ramp = np.linspace(3, 7, 24, dtype=np.float32).reshape(6, 4) ** 2
    return first, bias, leaf(second.path, ramp, (label,), second.initializer), other


@pytest.fixture
def sides(tree):
    """Write both sides' goldens: ``sides({name: leaves}, {name: leaves})``."""

    def make(old, new, name=ONE, **more):
        for side, leaves in (("a", old), ("b", new)):
            if leaves is not None:
                fields = {key: value for key, value in more.items() if side == "b"}
                write(tree.path / side / name, leaves, **fields)
        return f"../a/{name}", f"../b/{name}"

    return make


def whys(ran):
    """The causes that were told, with lines joined."""
    text = " ".join(ran.out.split())
    return [part.partition(" leaves ")[0].strip() for part in text.split(" why ")[1:]]


# -- two goldens -------------------------------------------------------------------------------


def test_one_key_more_is_named_as_a_failing_test_names_it(sides, nnxrng):
    ran = nnxrng("diff", *sides(model(), shifted(), streams=MORE))
    assert ran.code == 1
    assert whys(ran) == [
        "draws: 1 more key is drawn from `params` before layers.10.kernel: layers.10.kernel moved"
    ]
    assert ran.lines[-2:] == ["  leaves  3 match, 1 differ", "1 golden changed."]


def test_another_seed(sides, nnxrng):
    ran = nnxrng("diff", *sides(model(), shifted("params#2"), streams=SEEDED))
    assert whys(ran) == ["stream: another base key of the stream (params 0 -> 7): layers.10.kernel"]


def test_an_initializer_that_scales(sides, nnxrng):
    first, bias, second, other = model()
    scaled = leaf(second.path, second.read() * 2, second.draws, "99" * 8)
    ran = nnxrng("diff", *sides(model(), (first, bias, scaled, other)))
    assert whys(ran) == ["initializer: the values are 2 times the golden's: layers.10.kernel"]


def test_what_came_and_what_went(sides, nnxrng):
    tail = leaf("tail.kernel", np.ones((2, 3), np.float32))
    assert whys(nnxrng("diff", *sides(model(), model(extra=(tail,))))) == ["added: tail.kernel"]
    assert whys(nnxrng("diff", *sides(model(extra=(tail,)), model()))) == ["removed: tail.kernel"]


def test_what_only_a_test_can_prove_is_said_to_be_not_proven(sides, nnxrng):
    paths = sides(model(), shifted("params#2"), environment={**ENVIRONMENT, "jax": "0.13.0"})
    ran = nnxrng("diff", *paths)
    assert whys(ran)[0].startswith("unknown: nothing is proven (the keys are the same; init")
    assert "not proven here: only the test itself can build the model again" in ran.words
    assert "  under   jax 0.12.0 -> 0.13.0" in ran.lines


def test_numbers_are_shown_of_what_no_cause_explains(sides, nnxrng):
    ran = nnxrng("diff", *sides(output(1), output(3), OUTPUT), width=120)
    line = "    the value  1 of 2 elements differ, by 2 at most (allowed 1e-05): at [0] 1 -> 3"
    assert line in ran.lines


def test_what_is_explained_is_listed_when_asked_for(sides, nnxrng):
    paths = sides(model(), shifted(), streams=MORE)
    assert "elements differ" not in nnxrng("diff", *paths).out
    ran = nnxrng("diff", "-v", *paths)
    assert "layers.10.kernel 24 of 24 elements differ" in ran.words
    assert "moved #2 -> #3 layers.10.kernel" in ran.words
    assert "more #2 nothing random" in ran.words


def test_the_same_is_no_difference(sides, nnxrng):
    ran = nnxrng("diff", *sides(model(), model()))
    assert (ran.code, ran.lines) == (0, ["1 golden the same."])


def test_rounding_is_no_difference(sides, nnxrng):
    ran = nnxrng("diff", *sides(output(1), output(1 + 2e-6), OUTPUT))
    assert ran.code == 0
    assert ran.lines[-1] == "1 golden the same but for rounding."


def test_another_environment_alone_is_no_difference(sides, nnxrng):
    ran = nnxrng("diff", *sides(model(), model(), environment={**ENVIRONMENT, "jax": "0.13.0"}))
    assert (ran.code, ran.lines) == (0, ["1 golden the same."])


def test_large_leaves_are_told_apart_by_their_sketches(tree, nnxrng):
    ramp = np.linspace(-1, 1, 400_000, dtype=np.float32)
    noise = ramp * np.float32(1 + 1e-7)
    for side, values in (("a", ramp), ("b", ramp * 2), ("c", noise)):
        write(tree.path / side / ONE, (leaf("w", values, (), "ab" * 8),))
    assert list((tree.path / "a").rglob("*.safetensors")) == []
    ran = nnxrng("diff", "../a/" + ONE, "../b/" + ONE)
    assert ran.code == 1
    assert "the values are 2 times the golden's" in ran.words
    assert nnxrng("diff", "../a/" + ONE, "../c/" + ONE).code == 0


def test_json_has_the_rows_of_a_report(sides, nnxrng):
    ran = nnxrng("diff", "--json", *sides(model(), shifted(), streams=MORE))
    assert ran.code == 1
    (row,) = ran.json["goldens"]
    assert row["status"] == "different"
    assert [c["word"] for c in row["causes"]] == ["draws"]
    assert [d["leaf"] for d in row["differences"]] == ["layers.10.kernel"]
    assert row["differences"][0]["obtained"]["draws"] == ["params#3"]


# -- trees -------------------------------------------------------------------------------------


@pytest.fixture
def trees(sides):
    sides(model(), shifted(), streams=MORE)
    sides(output(1), output(3), OUTPUT)
    sides(model(), model(), f"{FOLDER}/test_b.1.json")
    sides(output(1), output(3), f"{FOLDER}/test_b.output.json")
    sides(model(), None, f"{FOLDER}/test_gone.1.json")
    sides(None, model(), f"{FOLDER}/test_new.1.json")


@pytest.mark.usefixtures("trees")
def test_two_trees(nnxrng):
    ran = nnxrng("diff", "../a", "../b")
    assert ran.code == 1
    assert ran.lines[-1] == "3 goldens changed, 1 added, 1 removed, 1 the same."
    assert whys(ran) == [
        "draws: 1 more key is drawn from `params` before layers.10.kernel: layers.10.kernel moved",
        "follows: the model that this test checked before differs: the value from draws: 1 more "
        "key from `params` before layers.10.kernel",
        "forward: the model matches, its output does not: the value",
    ]
    assert "  only in ../a" in ran.lines
    assert "  only in ../b" in ran.lines


@pytest.mark.usefixtures("trees")
def test_an_output_alone_knows_of_the_model_beside_it(nnxrng):
    ran = nnxrng("diff", "../a/" + OUTPUT, "../b/" + OUTPUT)
    assert " from draws: 1 more key" in whys(ran)[0]
    assert ran.lines[-1] == "1 golden changed."


def test_one_change_in_many_goldens_is_told_in_full_once(sides, nnxrng):
    for n in range(3):
        sides(model(), shifted(), f"{FOLDER}/test_a.{n}.json", streams=MORE)
    told = whys(nnxrng("diff", "../a", "../b"))
    assert told[0].endswith("layers.10.kernel moved")
    assert told[1:] == ["as test_a.0: draws: 1 more key from `params` before layers.10.kernel"] * 2


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere"], "there is no nowhere"),
        (["nowhere", "tests"], "there is no nowhere"),
        (["nowhere", "tests", "."], "nowhere is neither a file nor a revision of git"),
        (["../a", "../a/" + ONE], "is a folder, and the other side is none"),
        (["../a/" + ONE, "nowhere"], "there is no nowhere"),
        (["../a", "../empty"], "there are no goldens"),
    ],
)
def test_what_cannot_be_compared(sides, tree, nnxrng, args, told):
    sides(model(), model())
    (tree.path / "empty").mkdir()
    shutil.rmtree(tree.path / "b")
    if args == ["../a", "../empty"]:
        shutil.rmtree(tree.path / "a")
        (tree.path / "a").mkdir()
    ran = nnxrng("diff", *args)
    assert ran.code == 2
    assert told in ran.words


def test_a_damaged_golden_is_trouble_and_others_are_compared(trees, tree, nnxrng):
    (tree.path / "b" / ONE).write_text("{", encoding="utf-8")
    ran = nnxrng("diff", "../a", "../b")
    assert ran.code == 2
    assert "test_a.1.json: is not a whole JSON file" in ran.words
    assert "1 cannot be compared" in ran.words


@pytest.mark.parametrize("lfs", [True, False])
def test_values_that_are_not_here_leave_the_digests(sides, tree, nnxrng, lfs):
    paths = sides(output(1), output(3), OUTPUT)
    (values,) = (tree.path / "a" / FOLDER).glob("*.safetensors")
    values.unlink()
    if lfs:
        values.write_text("version https://git-lfs.github.com/spec/v1\n")
    ran = nnxrng("diff", *paths)
    assert ran.code == 1
    assert "the values of the golden are not here: digests alone were compared" in ran.words


# -- a report ----------------------------------------------------------------------------------


@pytest.fixture
def reported(tree):
    tree.golden("test_a.1")
    tree.golden("test_a.output", output(1), kind="value")
    tree.obtained("test_a.1", shifted())
    tree.obtained("test_a.output", output(3), causes=[])
    return tree


def test_a_report_has_the_causes_that_the_run_proved(reported, nnxrng):
    for side in ("../out", reported.zipped()):
        ran = nnxrng("diff", side)
        assert ran.code == 1
        assert whys(ran) == [
            "draws: 1 more key (see model.py:3)",
            "it follows from the model: draws: 1 more key",
        ]


def test_a_report_of_other_goldens_is_compared_anew(reported, nnxrng):
    reported.golden("test_a.1", model(seed=3.0))
    assert "see model.py:3" not in nnxrng("diff", "../out").out


def test_what_a_report_holds_anew(tree, nnxrng):
    tree.obtained("test_a.1")
    ran = nnxrng("diff", "../out")
    assert (ran.code, ran.lines[1]) == (1, "  only in ../out")


def test_what_is_accepted_is_the_same(reported, nnxrng):
    assert nnxrng("accept", "../out", "--all").code == 0
    ran = nnxrng("diff", "../out")
    assert (ran.code, ran.lines) == (0, ["2 goldens the same."])


# -- revisions ---------------------------------------------------------------------------------


@pytest.fixture
def history(tree):
    """Two commits; in the second one key more is drawn, and then a third state in the tree."""
    shutil.rmtree(tree.root / ".git")

    def git(*args):
        subprocess.run(["git", *args], cwd=tree.root, check=True, capture_output=True)

    git("init", "-q")
    git("config", "user.email", "a@example.com")
    git("config", "user.name", "a")
    tree.golden("test_a.output", output(1), kind="value")
    for leaves, streams in ((model(), STREAMS), (shifted(), MORE)):
        tree.golden("test_a.1", leaves, streams=streams)
        git("add", "-A")
        git("commit", "-qm", "x")
    tree.golden("test_a.1", model(seed=2.0))
    return tree


MOVED = "draws: 1 more key is drawn from `params` before layers.10.kernel: layers.10.kernel moved"


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    "args",
    [
        ["HEAD~1", "HEAD"],
        ["HEAD~1", "HEAD", "--", "tests"],
        ["HEAD~1", "HEAD", "--", ONE],
        [f"HEAD~1:{ONE}", f"HEAD:{ONE}"],
        [f"HEAD~1:./{ONE}", f"HEAD:{ONE}"],
    ],
    ids=" ".join,
)
def test_two_revisions(nnxrng, args):
    ran = nnxrng("diff", *args)
    assert ran.code == 1, ran.words
    assert whys(ran) == [MOVED]
    assert "not here" not in ran.words


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    "args", [["HEAD", "tests"], ["tests"], [f"HEAD:{ONE}", ONE], ["HEAD", ONE], [ONE]], ids=" ".join
)
def test_a_revision_and_what_is_here(nnxrng, args):
    ran = nnxrng("diff", *args)
    assert ran.code == 1, ran.words
    assert "1 golden changed" in ran.lines[-1]
    assert "not here" not in ran.words


def test_a_folder_below_the_top(history, nnxrng, monkeypatch):
    monkeypatch.chdir(history.root / "tests")
    assert whys(nnxrng("diff", "HEAD~1", "HEAD")) == [MOVED]
    assert "1 golden changed, 1 the same." in nnxrng("diff", "HEAD", ".").lines
    assert nnxrng("diff", "HEAD", "__nnx_snapshots__").code == 1


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["HEAD:nothing.json", ONE], "git has no HEAD:nothing.json"),
        (["nothing", "HEAD"], "there is no nothing"),
        (["nothing", "HEAD", "."], "nothing is neither a file nor a revision of git"),
        (["HEAD", "HEAD", "--", "nothing"], "there are no goldens in HEAD and HEAD"),
        (["--output=x:y", ONE], "unrecognized"),
    ],
)
def test_revisions_that_there_are_none_of(nnxrng, capsys, args, told):
    if told == "unrecognized":
        with pytest.raises(SystemExit):
            nnxrng("diff", *args)
        assert told in capsys.readouterr().err
        return
    ran = nnxrng("diff", *args)
    assert ran.code == 2
    assert told in ran.words


def test_show_knows_revisions_too(history, nnxrng):
    ran = nnxrng("show", f"HEAD~1:{ONE}")
    assert ran.lines[0] == f"HEAD~1:{ONE}"
    assert "params#2" in ran.out


def test_without_git(history, nnxrng, monkeypatch):
    monkeypatch.setenv("PATH", "")
    ran = nnxrng("diff", f"HEAD:{ONE}", ONE)
    assert (ran.code, ran.words) == (2, "nnxrng: git is not installed, or not on PATH")


# -- what it loads -----------------------------------------------------------------------------


def test_goldens_that_record_their_draws_need_no_jax(sides, tree):
    sides(model(), shifted(), streams=MORE)
    environ = {**os.environ, "PYTHONPATH": str(Path(pytest_nnxrng.__file__).parent.parent)}
    command = [sys.executable, "-X", "importtime", "-m", "pytest_nnxrng", "diff", "../a", "../b"]
    done = subprocess.run(
        command, cwd=tree.root, env=environ, capture_output=True, text=True, check=False
    )
    assert "1 more key is drawn" in done.stdout, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert "numpy" in loaded
    assert loaded & {"jax", "flax", "pytest", "rich"} == set()


def test_files_that_are_no_goldens_are_called_so(tree, nnxrng):
    for name in ("model.py", "test_a.1.0123abcd.safetensors"):
        (tree.root / name).write_bytes(b"\xff\x00")
    ran = nnxrng("diff", tree.root / "model.py", tree.root / "test_a.1.0123abcd.safetensors")
    assert ran.code == 2
    assert "safetensors is no golden: the name of a manifest ends in .json" in ran.words
    assert "Restore it" not in ran.words, "there is nothing to restore"
