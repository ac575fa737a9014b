"""Runs that see only a part: no live golden may be lost; what is unused; what is pruned.

A peer's update flag destroyed live goldens in seven of these situations.
"""

from __future__ import annotations

import subprocess

import pytest
from projects import Project

# What a test does beyond the ordinary is chosen by the environment variable SITUATION.
TEST_A = """
import os

import jax.numpy as jnp
import subprocess

import pytest
from models import MLP

SITUATION = os.environ.get("SITUATION", "")
DEVICES = ["cpu"] if SITUATION == "absent" else ["cpu", "gpu"]

def test_first(rngs, nnx_snapshot):
    assert SITUATION != "first fails"
    nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)

@pytest.mark.parametrize("width", [1, 2])
def test_width(nnx_snapshot, width):
    nnx_snapshot.check(jnp.arange(width))

@pytest.mark.slow
def test_skips(nnx_snapshot):
    if SITUATION == "skips":
        pytest.skip("not today")
    nnx_snapshot.check(jnp.arange(3))

def test_early(nnx_snapshot):
    if SITUATION == "fails early":
        raise RuntimeError
    nnx_snapshot.check(jnp.arange(3), "early")

def test_if(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(1), "always")
    if SITUATION != "behind an if":
        nnx_snapshot.check(jnp.arange(2), "sometimes")

@pytest.mark.parametrize("device", DEVICES)
def test_device(nnx_snapshot, device):
    nnx_snapshot.check(jnp.arange(2), device)

def test_crash(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(6))
    if SITUATION == "crash":
        os._exit(1)
"""
TEST_B = """
import jax.numpy as jnp
import numpy as np

class TestNet:
    def test_method(self, nnx_snapshot):
        nnx_snapshot.check(np.float32(1.5))

    def test_other(self, nnx_snapshot):
        nnx_snapshot.check({"a": jnp.ones(2), "b": 3})

def test_same(nnx_snapshot):
    nnx_snapshot.check(2.5)
"""
COUNT = 13


@pytest.fixture
def suite(project: Project) -> Project:
    """A suite of 13 goldens, all written and matching."""
    project.ini("markers = slow")
    project.test(TEST_A, "tests/test_a.py").test(TEST_B, "tests/test_b.py").made()
    assert sum(name.endswith(".json") for name in project.goldens()) == COUNT
    return project


SITUATIONS = {
    "unchanged": ("", []),
    "-x, the first test fails": ("first fails", ["-x"]),
    "the first test fails": ("first fails", []),
    "-k": ("", ["-k", "width"]),
    "-k that selects nothing": ("", ["-k", "no_such_test"]),
    "-m": ("", ["-m", "slow"]),
    "--collect-only": ("", ["--collect-only"]),
    "--deselect": ("", ["--deselect", "tests/test_a.py::test_first"]),
    "a node id": ("", ["tests/test_a.py::test_if"]),
    "a node id with parameters": ("", ["tests/test_a.py::test_width[1]"]),
    "a class": ("", ["tests/test_b.py::TestNet"]),
    "a file": ("", ["tests/test_b.py"]),
    "--ignore": ("", ["--ignore", "tests/test_a.py"]),
    "a test skips": ("skips", []),
    "a test fails before its check": ("fails early", []),
    "a check behind an if": ("behind an if", []),
    "parameters from absent devices": ("absent", []),
    "a node id, behind an if": ("behind an if", ["tests/test_a.py::test_if"]),
}


@pytest.mark.parametrize("flag", ["--nnx-update-snapshots", "--nnx-prune-snapshots"])
def test_no_live_golden_is_lost(suite: Project, flag: str):
    # All in one story: the suite is made once, and no situation may cost it a byte.
    goldens, times = suite.goldens(), suite.times()
    lost = {}
    for name, (situation, args) in SITUATIONS.items():
        suite.env(SITUATION=situation)
        run = suite.run(flag, *args)
        if suite.goldens() != goldens or suite.times() != times:
            lost[name] = (sorted(goldens.keys() ^ suite.goldens().keys()), run.text)
        for path, data in goldens.items():
            (suite.path / path).write_bytes(data)
        times = suite.times()
    assert not lost
    suite.env(SITUATION="").run().came_to(passed=12)


@pytest.mark.parametrize("flag", ["--nnx-update-snapshots", "--nnx-prune-snapshots"])
def test_no_live_golden_is_lost_when_a_worker_dies(suite: Project, flag: str):
    goldens = suite.goldens()
    run = suite.env(SITUATION="crash").run_workers(flag)
    assert run.ret != 0
    run.says("test_crash")
    assert suite.goldens() == goldens
    if flag == "--nnx-prune-snapshots":
        run.says("deletes nothing", "crashed")


def test_a_killed_run_leaves_the_old_goldens_and_the_next_cleans_up(suite: Project):
    goldens = suite.goldens()
    suite.change("tests/test_a.py", "arange(6)", "arange(7)")
    suite.env(SITUATION="crash").run_apart("--nnx-update-snapshots", "-k", "crash")
    left = suite.goldens()
    assert {name: left.get(name) for name in goldens} == goldens
    assert len(left) == len(goldens) + 1, "the values made ready in the killed run"
    suite.env(SITUATION="").update().came_to(passed=12)
    assert len(suite.goldens()) == len(goldens)
    assert not [name for name in suite.goldens() if "tmp" in name]


# -- pruning ---------------------------------------------------------------------------


def test_prune_deletes_what_belongs_to_deleted_functions_and_nothing_else(suite: Project):
    goldens = suite.goldens()
    suite.change("tests/test_a.py", "def test_early(", "def helper_early(")
    run = suite.run()
    assert run.unused == {n for n in goldens if "/test_early.early.json" in n}
    run.says("pytest --nnx-prune-snapshots")
    assert suite.goldens() == goldens
    suite.run("--nnx-prune-snapshots").says("1 deleted", "test_early.early.json")
    gone = {name for name in goldens if "/test_early." in name}
    assert len(gone) == 2, "the manifest and its values"
    assert suite.goldens() == {n: data for n, data in goldens.items() if n not in gone}
    assert suite.run("--nnx-prune-snapshots").came_to(passed=11).summary == ["12 matched."]


def test_prune_deletes_what_belongs_to_a_deleted_class(suite: Project):
    goldens = suite.goldens()
    text = TEST_B.partition("class TestNet")[0] + TEST_B[TEST_B.index("def test_same") :]
    suite.test(text, "tests/test_b.py").run("--nnx-prune-snapshots").says("2 deleted")
    assert suite.goldens() == {n: data for n, data in goldens.items() if "/TestNet." not in n}


def test_prune_deletes_what_belongs_to_a_deleted_file(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    run = suite.run()
    assert run.unused == {n for n in goldens if "/test_b/" in n and n.endswith(".json")}
    suite.run("--nnx-prune-snapshots").says("3 deleted")
    assert suite.goldens() == {n: data for n, data in goldens.items() if "/test_b/" not in n}
    assert not (suite.path / "tests/__nnx_snapshots__/test_b").exists()


def test_prune_serves_a_suite_whose_last_test_is_gone(suite: Project):
    for name in ("test_a.py", "test_b.py"):
        (suite.path / "tests" / name).unlink()
    suite.run("--nnx-prune-snapshots").says(f"{COUNT} deleted")
    assert suite.goldens() == {}


def test_prune_finds_the_goldens_of_a_folder_without_tests_left(suite: Project):
    suite.test("def test_one(nnx_snapshot): nnx_snapshot.check(1)", "tests/deep/down/test_c.py")
    suite.made()
    (suite.path / "tests/deep/down/test_c.py").unlink()
    suite.run("--nnx-prune-snapshots").says("1 deleted")
    assert not (suite.path / "tests/deep/down/__nnx_snapshots__").exists()
    assert sum(name.endswith(".json") for name in suite.goldens()) == COUNT


def test_prune_deletes_the_last_method_of_a_class_whose_name_lives_in_another(project: Project):
    project.test("""
        class TestA:
            def test_same(self, nnx_snapshot):
                nnx_snapshot.check(1)

        class TestB:
            def test_same(self, nnx_snapshot):
                nnx_snapshot.check(2)
    """).made()
    project.test("""
        class TestB:
            def test_same(self, nnx_snapshot):
                nnx_snapshot.check(2)
    """)
    project.run("--nnx-prune-snapshots").came_to(passed=1).says("1 deleted")
    assert len(project.manifests()) == 1
    assert all(name.startswith("TestB.") for name in project.manifests())


@pytest.mark.parametrize(
    ("alive", "gone"),
    [
        (  # a function that another machine defines
            "import os\nif '{on}':\n    def test_it(nnx_snapshot):\n        nnx_snapshot.check(1)",
            "{on}",
        ),
        (  # a class that another machine defines, with its tests in a base class
            "from base import Base\nif '{on}':\n    class TestHere(Base):\n        pass",
            "{on}",
        ),
        (  # tests that a function makes
            "from base import make\nif '{on}':\n    test_made = make()",
            "{on}",
        ),
        (  # a class that does so for one method
            "class TestHere:\n    if '{on}':\n        def test_it(self, nnx_snapshot):\n"
            "            nnx_snapshot.check(1)\n    def test_always(self): pass",
            "{on}",
        ),
    ],
)
def test_prune_spares_what_is_written_down_and_only_not_collected_here(
    project: Project, alive: str, gone: str
):
    project.write({
        "base.py": """
            class Base:
                def test_inherited(self, nnx_snapshot):
                    nnx_snapshot.check(1)

            def make():
                def test_made(nnx_snapshot):
                    nnx_snapshot.check(1)
                return test_made
        """
    })  # fmt: skip
    rest = "\n\ndef test_other(nnx_snapshot): nnx_snapshot.check(2)"
    project.test(alive.replace(gone, "yes") + rest).made()
    goldens = project.goldens()
    assert len(goldens) == 4
    project.test(alive.replace(gone, "") + rest)
    project.run("--nnx-prune-snapshots")
    assert project.goldens() == goldens


def test_a_test_renamed_by_its_parameters_alone_is_listed_and_never_pruned(suite: Project):
    goldens = suite.goldens()
    suite.change("tests/test_a.py", "[1, 2]", "[1]")
    listed = {n for n in goldens if "/test_width[2].1.json" in n}
    assert suite.run().unused == listed
    assert suite.run("--nnx-prune-snapshots").unused == listed
    assert suite.goldens() == goldens


REFUSED = {
    "-k": ["-k", "width"],
    "-m": ["-m", "slow"],
    "--deselect": ["--deselect", "tests/test_a.py::test_first"],
    "a node id": ["tests/test_a.py::test_first", "tests/test_b.py"],
    "--lf": ["--lf"],
    "--ff": ["--ff"],
    "--sw": ["--sw"],
    "--sw-skip": ["--sw-skip"],
    "--ignore": ["--ignore", "tests/test_a.py"],
    "--ignore-glob": ["--ignore-glob", "*_a.py"],
    "-x": ["-x"],
    "--maxfail": ["--maxfail=2"],
    "--collect-only": ["--collect-only"],
}


def test_prune_refuses_a_run_that_does_not_see_everything(suite: Project):
    (suite.path / "tests/test_b.py").unlink()
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").write_text(TEST_B.replace("TestNet", "TestNew"))
    for name, args in REFUSED.items():
        run = suite.run("--nnx-prune-snapshots", *args)
        assert run.ret == 4, f"{name}: {run.everything}"
        run.says("--nnx-prune-snapshots deletes nothing here", "pytest --nnx-prune-snapshots")
        run.says(name.removesuffix("-skip").replace("-x", "-x/--maxfail").split(" ")[0])
        assert "passed" not in run.text, "no test is run for nothing"
        assert suite.goldens() == goldens, name


def test_prune_refuses_options_from_the_ini_file_and_the_environment(suite: Project):
    (suite.path / "tests/test_b.py").unlink()
    goldens = suite.goldens()
    suite.env(PYTEST_ADDOPTS="-k width")
    assert suite.run("--nnx-prune-snapshots").says("-k leaves tests out").ret == 4
    suite.env(PYTEST_ADDOPTS="").ini("markers = slow", "addopts = -m slow")
    ini = suite.path / "pytest.ini"
    ini.write_text(ini.read_text().replace("addopts = --strict-markers --strict-config\n", ""))
    assert suite.run("--nnx-prune-snapshots").says("-m leaves tests out").ret == 4
    assert suite.goldens() == goldens


def test_prune_refuses_after_a_collection_error(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    suite.test("import no_such_module_here", "tests/test_broken.py")
    run = suite.run("--nnx-prune-snapshots")
    assert run.ret in (2, 4)
    run.says("deletes nothing", "test_broken.py could not be collected")
    assert suite.goldens() == goldens
    run = suite.run("--nnx-prune-snapshots", "--continue-on-collection-errors")
    assert run.ret in (1, 4)
    run.says("deletes nothing", "test_broken.py could not be collected")
    assert suite.goldens() == goldens


def test_prune_refuses_when_a_file_that_has_goldens_collected_nothing(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    suite.change("tests/test_a.py", "import os", "import pytest\npytest.importorskip('no_such')")
    run = suite.run("--nnx-prune-snapshots").says("deletes nothing", "tests/test_a.py")
    assert run.ret == 4
    assert suite.goldens() == goldens


def test_prune_refuses_a_folder_that_conftest_keeps_out(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    suite.write({"tests/conftest.py": "collect_ignore = ['test_a.py']"})
    suite.test("def test_other(): pass", "tests/test_c.py")
    run = suite.run("--nnx-prune-snapshots").says("deletes nothing", "tests/test_a.py")
    assert run.ret == 4
    assert suite.goldens() == goldens


def test_prune_refuses_a_run_that_is_stopped(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    suite.change("tests/test_a.py", 'assert SITUATION != "first fails"', "pytest.exit('stop')")
    run = suite.run("--nnx-prune-snapshots")
    assert run.ret != 0
    assert suite.goldens() == goldens


def test_prune_deletes_although_a_test_fails_but_never_a_failing_tests_golden(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    run = suite.env(SITUATION="fails early").run("--nnx-prune-snapshots")
    assert run.ret == 1
    left = {n: data for n, data in goldens.items() if "/test_b/" not in n}
    assert suite.goldens() in (left, goldens)
    assert suite.goldens() == left or "deletes nothing" in run.words


def test_update_never_prunes(suite: Project):
    goldens = suite.goldens()
    (suite.path / "tests/test_b.py").unlink()
    suite.update().came_to(passed=9)
    assert suite.goldens() == goldens


def test_prune_spares_what_is_not_a_golden(suite: Project):
    suite.write({
        "tests/__nnx_snapshots__/test_b/README.md": "mine",
        "tests/__nnx_snapshots__/test_b/mine.json": '{"a": 1}',
        "tests/__nnx_snapshots__/notes.json": "{}",
    })  # fmt: skip
    (suite.path / "tests/test_b.py").unlink()
    suite.run("--nnx-prune-snapshots").says("3 deleted")
    left = {name.rpartition("/")[2] for name in suite.goldens() if "/test_a/" not in name}
    assert left == {"README.md", "mine.json", "notes.json"}


# -- unused goldens ----------------------------------------------------------------------


def test_unused_goldens_are_named_and_do_not_fail_the_run(suite: Project):
    goldens = suite.goldens()
    run = suite.env(SITUATION="behind an if").run().came_to(passed=12)
    (name,) = [n for n in goldens if "/test_if.sometimes.json" in n]
    assert run.unused == {name}
    assert run.figures == "12 matched, 1 unused."
    assert suite.env(SITUATION="").run().unused == set()


@pytest.mark.parametrize(
    "name",
    [name for name in SITUATIONS if "absent" not in name and "behind an if" not in name],
)
def test_goldens_of_tests_that_did_not_pass_are_not_called_unused(suite: Project, name: str):
    situation, args = SITUATIONS[name]
    assert suite.env(SITUATION=situation).run(*args).unused == set()


def test_a_node_id_lists_what_its_own_test_left_unused(suite: Project):
    run = suite.env(SITUATION="behind an if").run("tests/test_a.py::test_if").came_to(passed=1)
    assert {name.rpartition("/")[2] for name in run.unused} == {"test_if.sometimes.json"}


def test_every_golden_is_listed_of_a_function_that_is_gone_and_long_lists_are_cut(
    project: Project,
):
    project.test("""
        import pytest

        @pytest.mark.parametrize("n", range(20))
        def test_many(nnx_snapshot, n):
            nnx_snapshot.check(n)

        def test_stays(nnx_snapshot):
            nnx_snapshot.check(1)
    """).made()
    project.change("tests/test_model.py", "def test_many", "def many")
    run = project.run()
    assert run.figures == "1 matched, 20 unused."
    assert "more" in "".join(run.summary)
    assert len(run.summary) < 22, "eight goldens, each with its values, and a count of the others"


def test_unused_and_pruned_are_the_same_under_workers(suite: Project):
    suite.change("tests/test_a.py", "def test_early(", "def helper_early(")
    suite.env(SITUATION="behind an if")
    alone = suite.run().came_to(passed=11)
    assert len(alone.unused) == 2
    run = suite.run_workers("--nnx-prune-snapshots").came_to(passed=11)
    run.says("1 deleted", "test_early.early.json")
    assert not [name for name in suite.goldens() if "test_early" in name]
    assert len([name for name in suite.goldens() if name.endswith(".json")]) == COUNT - 1
    assert {name.rpartition("/")[2] for name in run.unused} >= {"test_if.sometimes.json"}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_nothing_is_pruned_through_a_link(suite: Project, workers: tuple[str, ...]):
    store = suite.path / "tests/__nnx_snapshots__"
    (store / "test_linked").symlink_to(store / "test_a")
    outside = suite.path / "outside"
    outside.mkdir()
    for file in (store / "test_b").iterdir():
        (outside / file.name).write_bytes(file.read_bytes())
    (store / "test_out").symlink_to(outside)
    (suite.path / "tests/other").mkdir()
    (suite.path / "tests/other/__nnx_snapshots__").symlink_to(store)
    suite.test("def test_x(): pass", "tests/other/test_x.py")
    goldens, kept = suite.goldens(), sorted(outside.iterdir())
    run = suite.run("--nnx-prune-snapshots", *workers).came_to(passed=13)
    assert run.unused == set()
    assert suite.goldens() == goldens
    assert sorted(outside.iterdir()) == kept


def test_tests_made_in_a_loop_keep_their_goldens(project: Project):
    project.test("""
        import os

        def make(n):
            def test(nnx_snapshot):
                nnx_snapshot.check(float(n))
            return test

        for n in range(int(os.environ.get("TESTS", "3"))):
            globals()[f"test_{n}"] = make(n)
    """).made()
    goldens = project.goldens()
    run = project.env(TESTS="2").run("--nnx-prune-snapshots").came_to(passed=2)
    assert run.unused == set()
    assert project.goldens() == goldens


@pytest.mark.parametrize("where", ["", "tests", "tests/sub"])
def test_the_command_for_unused_goldens_can_be_pasted(project: Project, where: str):
    body = """
        import jax.numpy as jnp, pytest

        @pytest.mark.parametrize("x", {})
        def test_it(nnx_snapshot, x):
            nnx_snapshot.check(jnp.arange(4.0))
    """
    project.test(body.format(["a", "b'c", "d"])).made()
    subprocess.run(["git", "init", "-q"], cwd=project.path, check=True)
    subprocess.run(["git", "add", "."], cwd=project.path, check=True)
    named = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *named, "commit", "-qm", "1"], cwd=project.path, check=True)
    project.test(body.format(["a"]))
    here = project.path / where
    here.mkdir(exist_ok=True)
    project.monkeypatch.chdir(here)
    run = project.run("--rootdir", project.path, project.path / "tests").came_to(passed=1)
    start = run.summary.index("Unused: their tests passed without them. To remove them:")
    command = "\n".join(run.summary[start + 1 :])
    assert command.count("safetensors") == command.count(".json") == 2
    subprocess.run(["sh", "-e", "-c", command], cwd=here, check=True)
    assert len(project.goldens()) == 2
    assert project.run(project.path / "tests").figures == "1 matched."
