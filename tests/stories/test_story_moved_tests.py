"""A moved file, a renamed test, class or parameter takes its goldens along."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable

import pytest
from projects import Project

TEST = """
import jax.numpy as jnp
import pytest
from models import MLP

class TestNet:
    @pytest.mark.parametrize("width", [3, 4])
    def test_mlp(self, rngs, nnx_snapshot, width):
        model = nnx_snapshot.check_init(MLP, 2, width, 5, rngs=rngs)
        nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

def test_stays(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(5.0))
"""
FILE = "tests/test_model.py"


def move_file(project: Project) -> None:
    (project.path / "tests/unit").mkdir()
    shutil.move(project.path / FILE, project.path / "tests/unit/test_nets.py")


def unclassed(project: Project) -> None:
    head, rest = TEST.split("class TestNet:\n")
    method, rest = rest.split("\n\n", 1)
    project.test(head + textwrap.dedent(method).replace("self, ", "") + "\n\n" + rest)


def renamed(old: str, new: str) -> Callable[[Project], object]:
    return lambda project: project.change(FILE, old, new)


MOVES = {
    # What is done, how many tests are left as they were, and whether the old tests are gone.
    "a file": (move_file, 0, True),
    "a test": (renamed("def test_mlp", "def test_perceptron"), 1, True),
    "a class": (renamed("TestNet", "TestPerceptron"), 1, True),
    "parameters": (renamed("[3, 4]", '[3, 4], ids=["narrow", "wide"]'), 1, False),
    "a class that is none any more": (unclassed, 1, True),
}


@pytest.mark.product("workers report a moved golden as one process does, whatever moved")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("case", MOVES)
def test_a_run_says_whose_golden_it_equals_and_moves_it_when_asked(
    project: Project, case: str, workers: tuple[str, ...]
):
    change, stay, is_gone = MOVES[case]
    project.test(TEST).made()
    old = project.goldens()
    change(project)
    missing = 5 if not stay else 4

    run = project.run(*workers)
    run.came_to(failed=3 - stay, passed=stay)
    assert run.figures.startswith(f"{stay} matched, {missing} missing.")
    fate = "whose test is gone" if is_gone else "whose test no longer has these parameters"
    run.says("is missing", "equals", fate, "to move: pytest --nnx-move-snapshots")
    run.does_not_say("Unused", "to write:")
    assert project.goldens() == old

    run = project.run("--nnx-prune-snapshots", *workers)
    run.says("deletes nothing", f"goldens are missing ({missing})")
    assert project.goldens() == old

    run = project.run("--nnx-move-snapshots", *workers).came_to(passed=3)
    assert (
        run.figures == f"{stay} matched, {missing} moved."
        if stay
        else f"0 matched, {missing} moved."
    )
    new = project.goldens()
    assert len(new) == len(old)
    assert sorted(d for n, d in new.items() if n.endswith(".safetensors")) == sorted(
        d for n, d in old.items() if n.endswith(".safetensors")
    )
    assert project.run("--nnx-prune-snapshots").came_to(passed=3).figures == "5 matched."
    assert project.goldens() == new


def recorded(manifest: bytes) -> dict[str, object]:
    """What a manifest holds, but for whose it is and the name of its values."""
    return {k: v for k, v in json.loads(manifest).items() if k not in ("owner", "values")}


def test_an_update_moves_byte_for_byte_and_tells_it(project: Project):
    project.test(TEST).made()
    aged = project.golden("TestNet.test_mlp[3].1.json")
    aged.write_text(aged.read_text().replace('"jaxlib": "', '"jaxlib": "0.0.'))
    old = {n: recorded(d) for n, d in project.goldens().items() if n.endswith(".json")}
    project.change(FILE, "def test_mlp", "def test_other")
    assert project.update().came_to(passed=3).figures == "1 matched, 4 moved."
    new = {n: recorded(d) for n, d in project.goldens().items() if n.endswith(".json")}
    assert {n.replace("test_other", "test_mlp"): row for n, row in new.items()} == old


def test_an_update_leaves_the_golden_of_a_parameter_that_may_come_back(project: Project):
    body = """
        import jax.numpy as jnp, pytest

        @pytest.mark.parametrize("device", {})
        def test_it(nnx_snapshot, device):
            nnx_snapshot.check(jnp.arange(7.0))
    """
    project.test(body.format(["cpu", "gpu"])).made()
    project.test(body.format(["cpu", "tpu"]))
    old = project.goldens()
    assert project.update().came_to(passed=2).figures == "1 matched, 1 moved, 1 unused."
    assert {name: project.goldens()[name] for name in old} == old
    assert len(project.manifests()) == 3


def test_a_renamed_test_whose_model_changed_is_compared_with_its_golden(project: Project):
    project.test(TEST.replace("nnx_snapshot.check(model", "(model")).made()
    project.change(FILE, "def test_mlp", "def test_other")
    project.change(
        "models.py",
        "self.layer2 = ",
        "self.norm = nnx.LayerNorm(dmid, rngs=rngs)\n        self.layer2 = ",
    )
    old = project.goldens()
    for flag in ((), ("--nnx-move-snapshots",)):
        run = project.run(*flag).came_to(failed=2, passed=1)
        run.says("beside", "TestNet.test_mlp[3].1.json, whose test is gone", "draws:")
        assert project.goldens() == old
    project.update().came_to(passed=3)
    assert {name: project.goldens()[name] for name in old} == old
    assert project.run("--nnx-prune-snapshots").came_to(passed=3).figures == "3 matched, 2 deleted."
    project.run().came_to(passed=3)


def test_equal_goldens_are_told_apart_by_whose_they_were(project: Project):
    body = """
        import jax.numpy as jnp, pytest

        @pytest.mark.parametrize("n", range(4))
        def {}(nnx_snapshot, n):
            nnx_snapshot.check(jnp.arange(7.0))
            nnx_snapshot.check(jnp.arange(7.0), "again")
    """
    project.test(body.format("test_old")).made()
    names = project.manifests()
    project.test(body.format("test_new"))
    run = project.run("--nnx-move-snapshots", "-n", "2").came_to(passed=4)
    assert run.figures == "0 matched, 8 moved."
    assert project.manifests() == {name.replace("old", "new") for name in names}
    project.run().came_to(passed=4)


def test_a_test_that_is_new_takes_nobodys_golden(project: Project):
    project.test(TEST).made()
    old = project.goldens()
    project.change(FILE, "def test_stays", "def test_new(nnx_snapshot):\n    nnx_snapshot.check(7.5)\n\ndef test_stays")  # fmt: skip  # noqa: E501
    run = project.run().came_to(failed=1, passed=3)
    run.says("test_new.1: the golden is missing").does_not_say("equals", "beside", "to move")
    assert project.goldens() == old


ARRAY = """
import jax.numpy as jnp

def test_old(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(7.0))
"""


def another_platform_s(project: Project, stem: str) -> None:
    """Lay a golden of a GPU beside the shared one."""
    manifest, held = project.golden(f"{stem}.json"), project.values(stem)
    number = held.name.split(".")[-2]
    text = manifest.read_text().replace(f'"{stem}.{number}', f'"{stem}@gpu.{number}')
    text = text.replace('"platform": "cpu"', '"platform": "gpu"')
    manifest.with_name(f"{stem}@gpu.json").write_text(text)
    held.with_name(f"{stem}@gpu.{number}.safetensors").write_bytes(held.read_bytes())


@pytest.mark.product("the flag decides that goldens move, the file where to")
@pytest.mark.parametrize("flag", ["--nnx-move-snapshots", "--nnx-update-snapshots"])
@pytest.mark.parametrize("file", [FILE, "tests/unit/test_arrays.py"])
def test_the_goldens_of_other_platforms_move_along(project: Project, flag: str, file: str):
    project.test(ARRAY).made()
    another_platform_s(project, "test_old.1")
    old = project.goldens()
    (project.path / "tests/unit").mkdir()
    project.change(FILE, "test_old", "test_new")
    shutil.move(project.path / FILE, project.path / file)
    run = project.run(flag).came_to(passed=1)
    assert run.figures == "0 matched, 1 moved."
    run.says("test_new.1@gpu.json moved along")
    new = project.goldens()
    home = f"{file.rpartition('/')[0]}/__nnx_snapshots__/{file.rpartition('/')[2][:-3]}"
    placed = {
        f"{home}/{name.rpartition('/')[2].replace('test_old', 'test_new')}": data
        for name, data in old.items()
    }
    assert set(new) == set(placed)
    for name, data in placed.items():
        if name.endswith(".json"):
            assert recorded(new[name]) == recorded(data)
            owner = json.loads(new[name])["owner"]
            assert owner["function"] == "test_new"
            assert f"{home}/{json.loads(new[name])['values']}" in new
        else:
            assert new[name] == data
    assert project.run("--nnx-prune-snapshots").came_to(passed=1).figures == "1 matched."
    assert project.goldens() == new


def test_a_platform_s_own_golden_wins_and_takes_the_shared_one_along(project: Project):
    project.test(ARRAY).made()
    for path in (project.golden("test_old.1.json"), project.values("test_old.1")):
        own = path.with_name(path.name.replace("test_old.1", "test_old.1@cpu"))
        own.write_bytes(path.read_bytes().replace(b'"test_old.1.', b'"test_old.1@cpu.'))
    shared = project.golden("test_old.1.json")
    shared.write_text(shared.read_text().replace('"platform": "cpu"', '"platform": "gpu"'))
    project.run().came_to(passed=1)
    old = project.goldens()
    project.change(FILE, "test_old", "test_new")
    run = project.run().came_to(failed=1)
    run.says("test_old.1@cpu.json, whose test is gone", "to move: pytest --nnx-move-snapshots")
    assert project.goldens() == old
    run = project.run("--nnx-move-snapshots").came_to(passed=1)
    run.says("test_new.1.json moved along")
    new = project.goldens()
    assert set(new) == {name.replace("test_old", "test_new") for name in old}
    assert project.run("--nnx-prune-snapshots").came_to(passed=1).figures == "1 matched."
    assert project.goldens() == new


def test_goldens_of_single_platforms_alone_move(project: Project):
    project.test(ARRAY.replace("nnx_snapshot.check", "nnx_snapshot(per_platform=True).check"))
    project.made()
    assert project.manifests() == {"test_old.1@cpu.json"}
    project.change(FILE, "test_old", "test_new")
    assert project.run("--nnx-move-snapshots").came_to(passed=1).figures == "0 matched, 1 moved."
    assert project.manifests() == {"test_new.1@cpu.json"}
    project.run("--nnx-prune-snapshots").came_to(passed=1).does_not_say("deleted", "unused")


def test_a_renamed_test_that_is_written_anew_takes_other_platforms_goldens_along(project: Project):
    project.test(ARRAY).made()
    another_platform_s(project, "test_old.1")
    gpu = recorded(project.golden("test_old.1@gpu.json").read_bytes())
    project.change(FILE, "test_old", "test_new")
    project.change(FILE, "arange(7.0)", "arange(7.0) + 1")
    old = project.goldens()
    project.update().came_to(passed=1)
    assert {name: project.goldens()[name] for name in old} == old
    run = project.run("--nnx-prune-snapshots").came_to(passed=1)
    assert run.figures == "1 matched, 2 deleted."
    assert project.manifests() == {"test_new.1.json", "test_new.1@gpu.json"}
    assert recorded(project.golden("test_new.1@gpu.json").read_bytes()) == gpu
