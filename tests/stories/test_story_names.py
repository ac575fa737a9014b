"""Names of goldens: plain ones, those of earlier versions, those that differ by case alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from projects import Project

from pytest_nnxrng.golden.naming import Identity, former_stem

TEST = """
import jax.numpy as jnp
import pytest

class TestBlock:
    @pytest.mark.parametrize("n", [0, 1])
    def test_block(self, nnx_snapshot, n):
        nnx_snapshot.check(jnp.arange(3.0) + n)
        nnx_snapshot.check(jnp.arange(4.0) + n, "Out")

@pytest.mark.parametrize("kind", ["a b"])
def test_odd(nnx_snapshot, kind):
    nnx_snapshot.check(1.5)
    nnx_snapshot.check(jnp.ones(9) * 2.5 + jnp.arange(9), "x")
"""
NAMES = {f"TestBlock.test_block[{n}].{check}.json" for n in (0, 1) for check in ("1", "Out")}


def rename(project: Project, manifest: Path, stem: str) -> None:
    """Give a golden the name ``stem``, as an earlier version would have written it."""
    old = manifest.name.removesuffix(".json")
    values = json.loads(manifest.read_text())["values"]
    if values is not None:
        new = values.replace(old, stem)
        manifest.with_name(values).rename(manifest.with_name(new))
        manifest.write_text(manifest.read_text().replace(values, new))
    manifest.rename(manifest.with_name(f"{stem}.json"))


@pytest.fixture
def aged(project: Project) -> Project:
    """A project whose goldens bear the names that earlier versions gave them."""
    project.test(TEST).made()
    for name in [name for name in project.goldens() if name.endswith(".json")]:
        owner = json.loads((project.path / name).read_text())["owner"]
        who = Identity(owner["class"], owner["function"], owner["parameters"])
        rename(project, project.path / name, former_stem(who, owner["check"]))
    return project


def test_names_are_plain_and_have_one_hash_at_most(project: Project):
    project.test(TEST).made()
    odd = project.manifests() - NAMES
    assert project.manifests() > NAMES
    assert len(odd) == 2
    assert len({name.rpartition(".")[0].rpartition(".")[0] for name in odd}) == 1


def test_goldens_under_old_names_match_untouched(aged: Project):
    goldens, times = aged.goldens(), aged.times()
    assert all("~" in name for name in aged.manifests())
    for run in (aged.run(), aged.run("--nnx-refresh-snapshots")):
        assert run.came_to(passed=3).figures == "6 matched."
        assert aged.goldens() == goldens
        assert aged.times() == times


@pytest.mark.product("both flags go one way through workers")
@pytest.mark.parametrize("flag", ["--nnx-update-snapshots", "--nnx-move-snapshots"])
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_an_update_moves_them(aged: Project, flag: str, workers: tuple[str, ...]):
    old = aged.goldens()
    run = aged.run(flag, *workers).came_to(passed=3)
    assert run.figures == "0 matched, 6 moved."
    assert aged.manifests() > NAMES
    assert len(aged.manifests()) == 6
    assert not aged.goldens().keys() & old.keys()
    values = [data for name, data in old.items() if name.endswith(".safetensors")]
    now = [data for name, data in aged.goldens().items() if name.endswith(".safetensors")]
    assert sorted(now) == sorted(values)
    goldens = aged.goldens()
    assert aged.update().came_to(passed=3).figures == "6 matched."
    assert aged.goldens() == goldens


def test_a_change_of_a_golden_under_an_old_name_is_written_under_the_new(aged: Project):
    aged.change("tests/test_model.py", "arange(3.0)", "arange(3.0) * 2")
    aged.run().came_to(failed=2, passed=1)
    run = aged.update("-k", "block").came_to(passed=2)
    assert run.figures == "0 matched, 2 written, 2 moved."
    assert len(aged.manifests()) == 6
    assert aged.manifests() > NAMES
    aged.run().came_to(passed=3)


def test_names_that_differ_by_case_alone(project: Project):
    project.test("""
        import pytest

        @pytest.mark.parametrize("x", ["ab", "AB", "aB"])
        def test_it(nnx_snapshot, x):
            nnx_snapshot.check(float(len(x) + "AB".count(x)))
            nnx_snapshot.check(1.5, "y")
            nnx_snapshot.check(2.5, "Y")
    """).made()
    names = project.manifests()
    assert len({name.casefold() for name in names}) == len(names) == 9
    goldens = project.goldens()
    assert project.run().came_to(passed=3).figures == "9 matched."
    assert project.run("tests/test_model.py::test_it[AB]").figures == "3 matched."
    project.update("tests/test_model.py::test_it[AB]")
    assert project.goldens() == goldens


@pytest.mark.parametrize("with_values", [True, False])
def test_a_manifest_that_was_moved_by_hand_is_read_and_its_owner_mended(
    project: Project, with_values: bool
):
    body = "import jax.numpy as jnp\ndef {}(nnx_snapshot):\n    nnx_snapshot.check(jnp.arange(9.0))"
    project.test(body.format("test_old")).made()
    manifest, values = project.golden("test_old.1.json"), project.values("test_old.1")
    data = values.read_bytes()
    manifest.rename(manifest.with_name("test_new.1.json"))
    if with_values:
        values.rename(values.with_name(values.name.replace("test_old", "test_new")))
    project.test(body.format("test_new"))
    goldens = project.goldens()
    assert project.run().came_to(passed=1).figures == "1 matched."
    assert project.goldens() == goldens
    assert project.update().came_to(passed=1).figures == "0 matched, 1 moved."
    assert len(project.goldens()) == 2
    assert project.values("test_new.1").read_bytes() == data
    mended = json.loads(project.golden("test_new.1.json").read_text())
    assert mended["owner"]["function"] == "test_new"
    assert mended["values"] == project.values("test_new.1").name
    assert project.run("--nnx-prune-snapshots").came_to(passed=1).figures == "1 matched."
