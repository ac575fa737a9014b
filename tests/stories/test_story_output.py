"""What a run prints and writes: the summary, widths, colour, JUnit, quiet and verbose."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from projects import Project

MIXED = """
import jax.numpy as jnp
from models import MLP, Net

def test_matched(rngs, nnx_snapshot):
    nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)

def test_changed(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(Net, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((2, 3, 4))) * SCALE, "output")

def test_rounded(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(1.0, 9.0) * NEAR, "rounded")

SCALE = 1
NEAR = 1.0
"""
MISSING = """

def test_missing(nnx_snapshot):
    nnx_snapshot.check(jnp.ones((3, 4)), "a-rather-long-name-for-a-check")

def test_error(nnx_snapshot):
    value = {"a_rather_long_path_of_a_leaf": {"and_longer": jnp.ones(2)}}
    nnx_snapshot.check(value, "x")
    raise ValueError("own")
"""


@pytest.fixture
def mixed(project: Project) -> Project:
    """A project whose next run has a check of each kind."""
    project.test(MIXED).made()
    project.test(MIXED + MISSING)
    return project.change("tests/test_model.py", "SCALE = 1", "SCALE = 2").change(
        "tests/test_model.py", "NEAR = 1.0", "NEAR = jnp.float32(1.000001)"
    )


def test_the_summary_counts_goldens_by_what_became_of_them(mixed: Project):
    run = mixed.run().came_to(passed=2, failed=3)
    assert run.figures == "2 matched, 1 matched by rounding, 2 missing, 1 changed."
    run.says(
        "Rounding came nearest to its tolerance at",
        "test_rounded.rounded.json",
        "1 matched only by rounding although the environment is the one recorded",
        "To write or accept them: pytest --nnx-update-snapshots",
    )
    run = mixed.update().came_to(passed=4, failed=1)
    assert "2 written" in run.figures
    assert "2 matched, 1 matched by rounding" in run.figures


def test_no_line_of_ours_is_longer_than_a_terminal_is_wide(mixed: Project):
    for args in ([], ["-v"], ["--tb=short"]):
        long = [
            line
            for line in mixed.run(*args).lines
            if len(line) > 80
            and not any(mark in line for mark in ("/", "::", "plugins: ", "hypothesis profile"))
        ]
        assert not long


def test_colour_only_where_it_is_asked_for(mixed: Project):
    plain = mixed.run("--color=no")
    assert "\x1b" not in plain.text
    assert "\x1b" not in mixed.run().text
    coloured = mixed.run("--color=yes").text
    ours = [
        line
        for line in coloured.splitlines()
        if line.startswith("\x1b") and "test_changed.output: " in line
    ]
    assert ours
    assert all("\x1b" in line for line in ours)

    def settled(text: str) -> str:
        text = text.partition("short test summary")[0]  # which pytest cuts to the width
        return re.sub(r"\d\.\d\ds|=+ | =+|0x\w+", "", re.sub(r"\x1b\[[0-9;]*m", "", text))

    assert settled(coloured) == settled(plain.text), "the same words"


def test_junit_xml_is_written_and_well_formed(mixed: Project):
    run = mixed.run("--junitxml=out.xml", "-o", "junit_logging=all")
    suite = ElementTree.parse(mixed.path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("5", "3")
    failures = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    changed, missing = failures["test_changed"], failures["test_missing"]
    assert changed is not None
    assert missing is not None
    assert "test_changed.output: forward: the model matches" in (changed.get("message") or "")
    assert "test_changed.output.json" in (changed.text or "")
    assert "pytest --nnx-update-snapshots" in (missing.text or "")
    assert run.ret == 1


@pytest.mark.parametrize("args", [["-q"], ["-qq"], ["--tb=no"], ["-rA"], ["-p", "no:terminal"]])
def test_the_ways_to_say_more_or_less(mixed: Project, args: list[str]):
    run = mixed.run(*args)
    assert run.ret == 1
    run.does_not_say("INTERNALERROR")
    silent = "no:terminal" in args
    assert ("2 matched, 1 matched by rounding, 2 missing, 1 changed." in run.text) is not silent
    assert ("  leaves  0 match, 1 differ" in run.text) is not (silent or "--tb=no" in args)
    if "-rA" in args:
        assert "PASSED tests/test_model.py::test_matched" in run.text


def test_a_line_each_where_a_line_is_asked_for(mixed: Project):
    run = mixed.run("--tb=line")
    assert [line for line in run.lines if ".py:" in line and ": test_" in line] == [
        "test_model.py:9: test_changed.output: forward: the model matches, its output does not",
        "test_model.py:19: test_missing.a-rather-long-name-for-a-check: the golden is missing",
    ]
    run.does_not_say("  leaves ", "environment: as recorded")


def test_the_short_summary_says_what_it_is_about(mixed: Project):
    lines = "\n".join(mixed.env(CI="1").run().failures)
    assert "test_changed.output: forward: the model matches, its output does not" in lines
    assert "is missing" in lines


def test_an_ordinary_model_is_no_reason_for_a_warning(project: Project):
    project.test("""
        import jax.numpy as jnp
        from models import MLP, Net

        def test_mlp(rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
            nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

        def test_net(rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(Net, rngs=rngs)
            nnx_snapshot.check(model(jnp.ones((2, 3, 4))), "output")
    """)
    project.run("-W", "error", "--nnx-update-snapshots").came_to(passed=2)
    project.run("-W", "error").came_to(passed=2)


def test_a_run_without_checks_says_nothing(project: Project):
    project.test("def test_it(rngs): pass")
    assert project.run().came_to(passed=1).summary == []
    assert "nnx snapshots" not in project.run().text


def test_a_failure_names_leaf_numbers_line_and_golden(mixed: Project):
    run = mixed.run("-k", "changed")
    run.says(
        "tests/__nnx_snapshots__/test_model/test_changed.output.json",
        "test_model.py:9: nnx_snapshot.check(model(jnp.ones((2, 3, 4))) *",
        "float32[2, 3, 8]",
        "elements differ",
        "environment: as recorded in the golden",
        "to accept: pytest --nnx-update-snapshots tests/test_model.py::test_changed",
    )


def test_github_gets_annotations_and_a_summary(mixed: Project):
    step = mixed.path / "summary.md"
    run = mixed.env(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(step)).run("--nnx-report=out")
    commands = [line for line in run.lines if line.startswith("::error ")]
    assert [line.partition("::")[2] for line in commands] == [
        "error file=test_model.py,line=9,title=nnx_snapshot%3A forward::forward: the model "
        "matches, its output does not (1 golden)",
        "error file=test_model.py,line=23,title=nnx_snapshot%3A missing::missing: there is no "
        "golden yet (2 goldens)",
    ]
    told = step.read_text(encoding="utf-8")
    assert "| **forward** the model matches, its output does not | 1 | 1 | 1 |" in told
    assert told == (mixed.path / "out" / "summary.md").read_text(encoding="utf-8")


def test_one_change_of_a_word_is_accepted_by_its_id_and_another_is_not(project: Project):
    project.test(
        """
        from models import MLP

        def test_one(rngs, nnx_snapshot):
            nnx_snapshot.check_init(MLP, 2, SIZE, 3, rngs=rngs)

        def test_two(rngs, nnx_snapshot):
            nnx_snapshot.check_init(MLP, 2, 4, WIDTH, rngs=rngs)

        SIZE, WIDTH = 4, 3
        """
    ).made()
    project.change("tests/test_model.py", "4, 3\n", "5, 2\n")
    run = project.run().came_to(failed=2)
    ids = [line for line in run.summary if line.startswith("  pytest --nnx-update-only=")]
    assert len(ids) == 2
    project.run(ids[0].split()[1]).came_to(passed=1, failed=1).says("1 written")
    project.run("--nnx-update-only=0123abcd").came_to(passed=1, failed=1).says(
        "--nnx-update-only: no change of this run is 0123abcd."
    )


def test_nothing_of_github_elsewhere(mixed: Project):
    run = mixed.run("--nnx-report=out")
    assert not [line for line in run.lines if line.startswith("::")]
    assert (mixed.path / "out" / "summary.md").is_file()


def test_one_change_is_told_once_with_and_without_workers(project: Project):
    project.write({"net.py": NET})
    project.test("""
        import os, pytest
        from net import Net

        @pytest.mark.parametrize("i", range(4))
        def test_net(i, rngs, nnx_snapshot):
            nnx_snapshot.check_init(Net, "EXTRA" in os.environ, rngs=rngs)
    """)
    project.run("--nnx-update-snapshots").came_to(passed=4)
    changed = project.env(EXTRA="1")
    for args in ([], ["-n", "2"]):
        run = changed.run(*args).came_to(failed=4)
        assert run.text.count("  why     draws: ") == 1
        assert run.text.count("the same change as in tests/test_model.py::test_net[") == 3
    coloured = changed.run("-n", "2", "--color=yes").text
    assert "\x1b[31m\x1b[1mtest_net[" in coloured or "\x1b[1m\x1b[31mtest_net[" in coloured
    assert changed.run("-v").text.count("  why     draws: ") == 4


NET = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, extra, rngs):
        self.a = nnx.Linear(2, 3, rngs=rngs)
        if extra:
            rngs.params()
        self.b = nnx.Linear(3, 2, rngs=rngs)
"""


OUTPUT = """
import jax.numpy as jnp
from models import MLP

def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 3, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.linspace(-2.0, 2.0, 8).reshape(4, 2)), "output")
"""


@pytest.mark.parametrize("start", ["run", "run_workers"])
def test_the_command_that_is_offered_writes_what_follows_too(project: Project, start: str):
    project.test(OUTPUT).made()
    project.change(
        "models.py", "        self.layer2 =", "        rngs.params()\n        self.layer2 ="
    )
    run = getattr(project, start)().came_to(failed=1)
    run.says("1 follows: not judged.", "look at what follows, too")
    (offered,) = re.findall(r"certain causes: (--nnx-update-only=\S+)", " ".join(run.summary))
    assert offered == "--nnx-update-only=draws,follows"
    half = getattr(project, start)("--nnx-update-only=draws").came_to(failed=1)
    half.says("these were not named: name the word follows, too", f"certain causes: {offered}")
    whole = getattr(project, start)(offered).came_to(passed=1)
    assert whole.figures.startswith("0 matched, 2 written.")
    assert "follows, too" not in " ".join(whole.summary)
    assert getattr(project, start)().came_to(passed=1).figures == "2 matched."
