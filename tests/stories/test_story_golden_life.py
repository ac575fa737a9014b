"""The life of a golden: missing, written, kept, contradicted, accepted, gone."""

from __future__ import annotations

import json

from projects import Project

TWO_CHECKS = """
import jax.numpy as jnp
from models import MLP, Net


def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")
"""

FOLDER = "tests/__nnx_snapshots__/test_model"


def test_a_missing_golden_fails_and_says_which_command_writes_it(project: Project):
    run = project.test(TWO_CHECKS).run().came_to(failed=1)
    run.says("test_mlp.1: the golden is missing", "test_mlp.output: the golden is missing")
    assert run.words.count("pytest --nnx-update-snapshots tests/test_model.py::test_mlp") == 1
    assert run.figures == "0 matched, 2 missing."
    assert project.goldens() == {}
    assert not (project.path / "tests/__nnx_snapshots__").exists()


def test_the_command_that_a_failure_names_works_as_it_stands(project: Project):
    project.test("""
        import pytest

        class TestIt:
            @pytest.mark.parametrize("word", ["plain", "a b'c"])
            def test_one(self, nnx_snapshot, word):
                nnx_snapshot.check(1.5)
    """)
    import shlex

    run = project.run().came_to(failed=2)
    commands = [line.split("write: ")[1] for line in run.lines if "to write: pytest" in line]
    assert len(commands) == 2
    for command in commands:
        project.run(*shlex.split(command)[1:]).came_to(passed=1)
    project.run().came_to(passed=2)


def test_each_command_that_a_summary_offers_accepts_something(project: Project):
    project.test("""
        import jax.numpy as jnp
        from flax import nnx

        def test_two(rngs, nnx_snapshot):
            nnx_snapshot.check_init(nnx.Linear, 2, 3, rngs=rngs)
            nnx_snapshot.check_init(nnx.Embed, 2, 3, rngs=rngs)

        def test_one(rngs, nnx_snapshot):
            nnx_snapshot.check_init(nnx.Linear, 2, 3, rngs=rngs)
    """)
    project.made()
    project.change("tests/test_model.py", "Embed, 2, 3", "Embed, 2, 3, dtype=jnp.float16")
    project.change("tests/test_model.py", "Linear, 2, 3", "Linear, 2, 3, use_bias=False")
    run = project.run().came_to(failed=2)
    offered = [
        line.split()[1] for line in run.lines if line.startswith("  pytest --nnx-update-only")
    ]
    assert len(offered) == 2
    for command in offered:
        before = project.goldens()
        project.run(command)
        assert project.goldens() != before, command
    project.run().came_to(passed=2)


def test_update_writes_a_manifest_and_values_beside_the_test(project: Project):
    run = project.test(TWO_CHECKS).update().came_to(passed=1)
    assert run.figures == "0 matched, 2 written."
    assert project.manifests() == {"test_mlp.1.json", "test_mlp.output.json"}
    assert {name.rpartition("/")[0] for name in project.goldens()} == {FOLDER}
    assert len(project.goldens()) == 4  # each with its values
    manifest = json.loads(project.golden("test_mlp.1.json").read_bytes())
    assert set(manifest["leaves"]) >= {
        "layer1.kernel", "layer1.bias", "layer2.kernel", "layer2.bias",
    }  # fmt: skip
    assert manifest["values"] == project.values("test_mlp.1").name


def test_nothing_is_touched_by_a_run_that_matches_nor_by_a_second_update(project: Project):
    project.test(TWO_CHECKS).made()
    goldens, times = project.goldens(), project.times()
    for run in (project.run(), project.update(), project.run("-v")):
        run.came_to(passed=1)
        assert run.figures == "2 matched."
        assert project.goldens() == goldens
        assert project.times() == times


def test_a_changed_model_fails_with_its_leaf_and_update_accepts_it(project: Project):
    project.test(TWO_CHECKS).made()
    goldens = project.goldens()
    old = project.values("test_mlp.1")
    project.change(
        "models.py",
        "self.layer2 = nnx.Linear(dmid, dout, rngs=rngs)",
        "self.layer2 = nnx.Linear(\n"
        "            dmid, dout, kernel_init=nnx.initializers.normal(0.1), rngs=rngs\n"
        "        )",
    )

    run = project.run().came_to(failed=1)
    run.says("layer2.kernel", "pytest --nnx-update-snapshots tests/test_model.py::test_mlp")
    assert run.figures == "0 matched, 2 changed."
    assert project.goldens() == goldens

    run = project.update().came_to(passed=1)
    assert run.figures == "0 matched, 2 written."
    assert not old.exists(), "the superseded values file stays"
    assert len(project.goldens()) == 4
    assert project.manifests() == {"test_mlp.1.json", "test_mlp.output.json"}
    project.run().came_to(passed=1)


def test_update_touches_only_the_golden_that_no_longer_matches(project: Project):
    project.test("""
        import jax.numpy as jnp

        def test_one(nnx_snapshot):
            nnx_snapshot.check(jnp.arange(3.0), "kept")
            nnx_snapshot.check(jnp.arange(4.0), "moved")
    """).made()
    goldens, times = project.goldens(), project.times()
    project.change("tests/test_model.py", "arange(4.0)", "arange(5.0)")
    assert project.update().came_to(passed=1).figures == "1 matched, 1 written."
    kept = {name for name in goldens if ".kept." in name}
    assert len(kept) == 2
    assert {name: project.goldens()[name] for name in kept} == {n: goldens[n] for n in kept}
    assert {name: project.times()[name] for name in kept} == {n: times[n] for n in kept}
    assert not {n for n, data in project.goldens().items() if goldens.get(n) == data} - kept


def test_a_larger_model_keeps_matching_from_run_to_run(project: Project):
    project.test("""
        import jax.numpy as jnp
        from models import Net

        def test_net(rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(Net, rngs=rngs)
            nnx_snapshot.check(model(jnp.ones((2, 3, 4))), "train")
            nnx_snapshot.check(model, "after")
            model.eval()
            nnx_snapshot.check(model(jnp.ones((2, 3, 4))), "eval")
    """).made()
    assert project.run().came_to(passed=1).figures == "4 matched."


def test_two_updates_from_nothing_make_the_same_bytes(project: Project):
    project.test(TWO_CHECKS).made()
    goldens = project.goldens()
    for name in goldens:
        (project.path / name).unlink()
    project.made()
    assert project.goldens() == goldens


def test_no_trace_of_the_machine_or_the_day_is_in_a_manifest(project: Project):
    project.test(TWO_CHECKS).made()
    text = project.golden("test_mlp.1.json").read_text("utf-8")
    assert str(project.path) not in text
    assert text.endswith("}\n")
    leaves = [line for line in text.splitlines() if line.strip().startswith('"layer1.kernel": ')]
    assert len(leaves) == 1, "one leaf a line"


def test_a_golden_is_found_from_wherever_pytest_is_started(project: Project):
    project.test(TWO_CHECKS).made()
    goldens = project.goldens()
    project.monkeypatch.chdir(project.path / "tests")
    assert project.run("test_model.py").came_to(passed=1).figures == "2 matched."
    project.change("tests/test_model.py", "MLP, 2, 10, 5", "MLP, 2, 9, 5")
    run = project.run("test_model.py").came_to(failed=1)
    run.says("to accept: pytest --nnx-update-snapshots test_model.py::test_mlp")
    project.update("test_model.py").came_to(passed=1)
    assert project.manifests() == {"test_mlp.1.json", "test_mlp.output.json"}
    assert project.goldens().keys() != goldens.keys()
    assert not (project.path / "__nnx_snapshots__").exists()


def test_a_golden_with_the_line_endings_of_windows_matches(project: Project):
    project.test(TWO_CHECKS).made()
    golden = project.golden("test_mlp.1.json")
    golden.write_bytes(golden.read_bytes().replace(b"\n", b"\r\n"))
    goldens = project.goldens()
    project.run().came_to(passed=1)
    project.update().came_to(passed=1)
    assert project.goldens() == goldens


def test_refresh_records_the_environment_anew_and_nothing_else(project: Project):
    project.test(TWO_CHECKS).made()
    whole = project.goldens()
    golden = project.golden("test_mlp.1.json")
    old = json.loads(golden.read_bytes())["environment"]["jax"]
    golden.write_text(golden.read_text("utf-8").replace(f'"jax": "{old}"', '"jax": "0.1.0"'))
    aged, times = project.goldens(), project.times()

    project.run().came_to(passed=1)
    project.update().came_to(passed=1)
    assert project.goldens() == aged, "a golden that matches is not touched by an update"

    run = project.run("--nnx-refresh-snapshots").came_to(passed=1)
    assert run.figures == "1 matched, 1 written."
    assert project.goldens() == whole
    touched = {name for name, time in project.times().items() if times[name] != time}
    assert touched
    assert all("test_mlp.1." in name for name in touched)


def test_refresh_alone_accepts_no_change_and_writes_no_missing_golden(project: Project):
    project.test(TWO_CHECKS).run("--nnx-refresh-snapshots").came_to(failed=1)
    assert project.goldens() == {}
    project.made()
    project.change("tests/test_model.py", "jnp.ones", "2 * jnp.ones")
    goldens = project.goldens()
    project.run("--nnx-refresh-snapshots").came_to(failed=1)
    assert project.goldens() == goldens


def test_the_folder_of_goldens_can_have_another_name(project: Project):
    project.ini("nnx_snapshot_dir = golden").test(TWO_CHECKS)
    project.update().came_to(passed=1)
    assert project.goldens() == {}
    made = {path.name for path in (project.path / "tests/golden/test_model").iterdir()}
    assert {"test_mlp.1.json", "test_mlp.output.json"} < made
    project.run().came_to(passed=1)


def test_classes_parameters_and_files_keep_their_goldens_apart(project: Project):
    body = """
        import jax.numpy as jnp, pytest

        def test_same(nnx_snapshot):
            nnx_snapshot.check(jnp.float32({0}))

        class TestA:
            def test_same(self, nnx_snapshot):
                nnx_snapshot.check(jnp.float32({0} + 1))

            class TestInner:
                def test_same(self, nnx_snapshot):
                    nnx_snapshot.check(jnp.float32({0} + 2))

        class TestB(TestA):
            pass

        ODD = ["a/b", "a:b", "ab", "AB", "a_b", "a-b", "a.b", "", "é" * 300]

        @pytest.mark.parametrize("x", ODD)
        def test_odd(nnx_snapshot, x):
            nnx_snapshot.check(jnp.asarray(list(x.encode()), jnp.int32))
    """
    project.test(body.format(0), "tests/test_one.py").test(body.format(5), "tests/test_two.py")
    project.change("tests/test_one.py", '""', '"0"').change("tests/test_two.py", '""', '"0"')
    project.update().came_to(passed=28)
    assert len(project.manifests()) == 14, "the same names in each folder"
    assert sum(name.endswith(".json") for name in project.goldens()) == 28
    run = project.run().came_to(passed=28)
    assert run.figures == "28 matched."


def test_the_same_life_under_workers(project: Project):
    project.test(TWO_CHECKS).test(TWO_CHECKS, "tests/test_other.py")
    alone = project.update().came_to(passed=2)
    goldens = project.goldens()
    for name in goldens:
        (project.path / name).unlink()

    run = project.run_workers("--nnx-update-snapshots").came_to(passed=2)
    assert run.summary == alone.summary
    assert project.goldens() == goldens

    project.change("models.py", "self.layer2 = nnx.Linear(dmid, dout,", "self.layer2 = nnx.Linear(dmid, dout, use_bias=False,")  # fmt: skip  # noqa: E501
    alone = project.run().came_to(failed=2)
    run = project.run_workers().came_to(failed=2)
    # Whichever worker was first tells it; the other one points there.
    run.says("layer2.bias", "to accept: pytest --nnx-update-snapshots tests/test_")
    assert run.summary == alone.summary
    assert run.failed_tests == alone.failed_tests
    assert project.goldens() == goldens


def test_what_a_test_does_to_a_numpy_array_after_its_check_changes_nothing(project: Project):
    project.test(
        """
        import numpy as np

        def test_it(nnx_snapshot):
            array = np.arange({first}, 6.0, dtype=np.float32)
            nnx_snapshot.check(array)
            array[...] = -9.0
    """.replace("{first}", "0.0")
    )
    project.update().came_to(passed=1)
    project.run().came_to(passed=1)
    project.change("tests/test_model.py", "0.0, 6.0", "0.5, 6.0")
    run = project.run().came_to(failed=1)
    run.says("the largest difference is 0.5")
    run.does_not_say("now -9")
