"""What a report holds that is not accepted, change by change."""

import pytest
from trees import FOLDER, cause, model


@pytest.fixture
def several(tree):
    for name in ("test_a.1", "test_b.1", "test_b.output", "test_c.1"):
        tree.golden(name)
    for name in ("test_a.1", "test_b.1"):
        tree.obtained(name)
    tree.obtained("test_b.output", causes=[])
    tree.obtained("test_c.1", causes=[cause(), cause("added", "tail.kernel")])
    return tree.obtained("test_d.1")


def test_each_change_is_told_once_with_its_goldens_and_its_command(several, nnxrng):
    ran = nnxrng("pending", "../out")
    assert ran.code == 1
    assert ran.lines == [
        "../out: 5 goldens pending, by 4 changes.",
        "",
        "[1] draws: 1 more key (3 goldens, 3 leaves)",
        "    see model.py:3",
        f"    {FOLDER}/test_a.1.json",
        f"    {FOLDER}/test_b.1.json",
        f"    {FOLDER}/test_c.1.json  (and by [2])",
        "    nnxrng accept ../out --cause 1",
        "",
        "[2] added: tail.kernel (1 golden, 1 leaf)",
        "    see model.py:3",
        f"    {FOLDER}/test_c.1.json  (and by [1])",
        "    nnxrng accept ../out --cause 1,2",
        "",
        "[3] follows: from draws: 1 more key (1 golden, 4 leaves)",
        f"    {FOLDER}/test_b.output.json",
        "    nnxrng accept ../out --cause 3",
        "",
        "[4] missing: there is no golden yet (1 golden, 4 leaves)",
        f"    {FOLDER}/test_d.1.json",
        "    nnxrng accept ../out --cause 4",
    ]


def test_numbers_stay_when_something_is_accepted(several, nnxrng):
    before = nnxrng("pending", "../out", "--json").json["changes"]
    assert nnxrng("accept", "../out", "--cause", "1").code == 0
    ran = nnxrng("pending", "../out")
    assert "3 goldens pending, by 4 changes; 2 accepted." in ran.words
    assert nnxrng("pending", "../out", "--json").json["changes"] == before
    assert nnxrng("accept", "../out", "--all").code == 0
    ran = nnxrng("pending", "../out")
    assert (ran.code, ran.lines) == (0, ["../out: 0 goldens pending; 5 accepted."])


def test_what_follows_from_another_tests_model_says_so(tree, nnxrng):
    tree.golden("test_a.output")
    of = "the model that test_b checked before differs"
    tree.obtained("test_a.output", causes=[cause("follows", of)])
    assert f"[1] follows: {of} (1 golden, 1 leaf)" in " ".join(
        nnxrng("pending", tree.report).out.split()
    )


def test_what_cannot_be_accepted_is_listed_apart(several, nnxrng):
    several.golden("test_a.1", leaves=model(seed=5.0))
    ran = nnxrng("pending", "../out")
    assert "4 goldens pending, by 4 changes; 1 refused." in ran.words
    assert ran.lines[-4:-1] == [
        "Refused:",
        f"  {FOLDER}/test_a.1.json",
        "    the golden here is not the one that the run compared with. Run the test",
    ]


def test_json_names_tests_states_and_ids(several, nnxrng):
    told = nnxrng("pending", "../out", "--json").json
    assert told["reports"] == ["../out"]
    (golden,) = [row for row in told["goldens"] if row["golden"].endswith("test_c.1.json")]
    assert golden == {
        "golden": f"{FOLDER}/test_c.1.json",
        "state": "pending",
        "reason": "",
        "tests": ["tests/test_a.py::test_c"],
        "changes": [1, 2],
    }
    assert [len(change["id"]) for change in told["changes"]] == [8, 8, 8, 8]


def test_the_default_is_a_folder_that_is_named_so(several, nnxrng):
    assert "there is no report nnx-report" in nnxrng("pending").words
    several.report.rename(several.root / "nnx-report")
    ran = nnxrng("pending")
    assert ran.lines[0] == "nnx-report: 5 goldens pending, by 4 changes."
    assert "    nnxrng accept nnx-report --cause 1" in ran.lines


def test_a_report_of_an_older_version_holds_nothing_to_accept(tree, nnxrng):
    tree.golden()
    tree.obtained(obtained=None)
    ran = nnxrng("pending", "../out")
    assert (ran.code, ran.lines) == (0, ["../out: 0 goldens pending."])


def test_a_long_list_is_cut_and_counted(tree, nnxrng):
    for n in range(12):
        tree.golden(f"test_a.{n}")
        tree.obtained(f"test_a.{n}")
    ran = nnxrng("pending", "../out")
    assert "    ... and 4 more" in ran.lines
    shown = [line.rpartition("/")[2] for line in ran.lines if line.endswith(".json")]
    assert shown == [f"test_a.{n}.json" for n in range(8)]  # 2 before 10
    assert "[1] draws: 1 more key (12 goldens, 12 leaves)" in ran.lines
