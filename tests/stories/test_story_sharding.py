"""Models over a mesh of virtual devices: one golden, how they are sharded, ways of building."""

from __future__ import annotations

import json

import pytest

DEAR = "Eight devices need a process of their own; another story here shows one."

MODEL = """
import contextlib

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec as P

INIT = nnx.initializers.lecun_normal()


class MLP(nnx.Module):
    def __init__(self, din, mid, *, rngs):
        split = nnx.with_partitioning(INIT, (None, "model"))
        self.up = nnx.Linear(din, mid, kernel_init=split, rngs=rngs)
        split = nnx.with_partitioning(INIT, ("model", None))
        self.down = nnx.Linear(mid, din, kernel_init=split, rngs=rngs)


def unplaced():
    \"\"\"Variables stay where they are made: what flax 0.11 does, and 0.12 if it is told so.\"\"\"
    eager = getattr(nnx, "use_eager_sharding", None)
    return contextlib.nullcontext() if eager is None else eager(False)


def build(mesh, *, rngs, place=lambda spec: spec):
    with unplaced():
        model = MLP(8, 16, rngs=rngs)
    if mesh is not None:
        for layer, spec in ((model.up, P(None, "model")), (model.down, P("model"))):
            placed = NamedSharding(mesh, place(spec))
            layer.kernel[...] = jax.device_put(layer.kernel[...], placed)
    return model
"""

TEST = """
import jax
import models


def test_model(rngs, nnx_snapshot, nnx_mesh):
    mesh = nnx_mesh(data=2, model=4) if jax.device_count() == 8 else None
    nnx_snapshot(sharding=SHARDING).check_init(models.build, mesh, rngs=rngs)
"""


@pytest.fixture
def sharded(project):
    return project.write({"models.py": MODEL}).test(TEST.replace("SHARDING", "False"))


def test_one_golden_for_one_device_and_eight(sharded):
    sharded.made()
    goldens = sharded.goldens()
    sharded.run_apart("--nnx-cpu-devices=8").came_to(passed=1).says("1 matched")
    for name in goldens:
        (sharded.path / name).unlink()
    sharded.run_apart("--nnx-cpu-devices=8", "--nnx-update-snapshots", "-n", "2").came_to(passed=1)
    assert sharded.goldens() == goldens
    sharded.change("models.py", "layer.kernel[...], placed", "layer.kernel[...] * 2, placed")
    run = sharded.run_apart("--nnx-cpu-devices=8").came_to(failed=1)
    run.says("initializer: the values are 2 times the golden's: 2 leaves")
    assert sharded.goldens() == goldens


def test_sharding_is_recorded_when_it_is_asked_for(sharded):
    sharded.made().test(TEST.replace("SHARDING", "True"))
    run = sharded.run().came_to(failed=1)
    run.says("sharding: not in the golden, which was written without sharding=True")
    run.says("record it with --nnx-update-only=sharding")
    sharded.run("--nnx-update-only=sharding").came_to(passed=1).says("1 written")
    leaves = json.loads(sharded.golden("test_model.1.json").read_text(encoding="utf-8"))["leaves"]
    assert leaves["up.kernel"]["sharding"] == [None, "model"]
    assert leaves["up.bias"]["sharding"] == []
    assert "placed" not in leaves["up.kernel"]
    sharded.run().came_to(passed=1)
    # The other way round: what is recorded stays, and is not looked at.
    goldens = sharded.goldens()
    sharded.test(TEST.replace("SHARDING", "False"))
    sharded.change("models.py", '(None, "model")', '("model", None)')
    sharded.update().came_to(passed=1).says("1 matched")
    assert sharded.goldens() == goldens
    sharded.test(TEST.replace("SHARDING", "True"))
    run = sharded.run().came_to(failed=1)
    run.says("why sharding: annotated P(None, 'model') -> P('model'): up.kernel")


@pytest.mark.dear(DEAR)
def test_a_kernel_that_is_no_longer_split_is_named(sharded):
    sharded.test(TEST.replace("SHARDING", "True")).made()
    made_on_one = sharded.goldens()
    sharded.run_apart("--nnx-cpu-devices=8").came_to(passed=1)
    sharded.run_apart("--nnx-cpu-devices=8", "--nnx-refresh-snapshots").came_to(passed=1)
    goldens = sharded.goldens()
    leaves = json.loads(sharded.golden("test_model.1.json").read_text(encoding="utf-8"))["leaves"]
    assert leaves["up.kernel"]["placed"] == [None, "model"]
    assert goldens != made_on_one
    sharded.run().came_to(passed=1)

    sharded.change("models.py", "place(spec)", "P()")
    run = sharded.run_apart("--nnx-cpu-devices=8").came_to(failed=1)
    run.says("no longer sharded over model: placed P(None, 'model') -> P(): up.kernel")
    run.says("no longer sharded over model: placed P('model') -> P(): down.kernel")
    assert sharded.goldens() == goldens
    # A run on one device keeps what it cannot see.
    sharded.change("models.py", "model = MLP(8, 16", "model = MLP(8, 8 + 8")
    sharded.change("models.py", "lecun_normal", "he_normal")
    sharded.update().came_to(passed=1).says("1 written")
    leaves = json.loads(sharded.golden("test_model.1.json").read_text(encoding="utf-8"))["leaves"]
    assert leaves["up.kernel"]["placed"] == [None, "model"]


ALSO = """
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
import models


class Odd(nnx.Module):
    def __init__(self, *, rngs):
        key = rngs.params()
        traced = isinstance(key, jax.core.Tracer)
        self.w = nnx.Param(jax.random.normal(key, (3, 4)) * (1.5 if traced else 1))
        self.b = nnx.Param(jnp.zeros(3))


def test_jit(rngs, nnx_snapshot):
    nnx_snapshot(also="jit").check_init(nnx.Linear, 3, 4, rngs=rngs)
    assert int(rngs.params()[()].size) == 1 and int(rngs.params.count[...]) == 3


def test_odd(rngs, nnx_snapshot):
    nnx_snapshot(also="jit").check_init(Odd, rngs=rngs)
"""


def test_a_model_that_depends_on_how_it_is_built_is_not_written(project):
    project.test(ALSO.replace("int(rngs.params()[()].size) == 1 and ", "").replace("== 3", "== 2"))
    run = project.update().came_to(passed=1, failed=1)
    run.says("test_odd.1: the golden is missing; the model depends on how it is built")
    run.says("built under nnx.jit, 1 of 2 leaves differs from those of an ordinary call:")
    run.says("w: 12 of 12 elements differ")
    assert project.manifests() == {"test_jit.1.json"}
    project.run("-k", "jit").came_to(passed=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("also='jitted'", "'jitted' is not a way of building. Ways are 'jit' and 'sharded'"),
        ("also=('jit', 3)", "3 is not a way of building"),
        ("also=7", "7 is not a way of building"),
        ("also={'jit': 1}", "'jit' takes no mesh, None: int came"),
        ("also={'sharded': 8}", "'sharded' takes a jax.sharding.Mesh, or None: int came"),
        ("also='jit', abstract=True", "also=... builds the model: leave out abstract=True"),
        ("also='sharded'", "needs 2 or more devices; cpu has 1 here"),
    ],
)
def test_also_with_bad_input(project, options, told):
    project.test(
        f"""
        from flax import nnx

        def test_it(rngs, nnx_snapshot):
            nnx_snapshot({options}).check_init(nnx.Linear, 3, 4, rngs=rngs)
        """
    )
    project.update().came_to(failed=1).says(told)
    assert project.goldens() == {}


def test_also_is_for_check_init(project):
    project.test("def test_it(nnx_snapshot): nnx_snapshot(also='jit').check(1.0)")
    project.update().came_to(failed=1).says("also=... builds the model, which check_init does")


@pytest.mark.dear(DEAR)
def test_built_over_meshes(sharded):
    sharded.test(
        """
        from flax import nnx
        import models

        def build(*, rngs):
            return models.MLP(8, 16, rngs=rngs)

        def test_own(rngs, nnx_snapshot, nnx_mesh):
            with models.unplaced():
                way = {"sharded": nnx_mesh(data=2, model=4)}
                nnx_snapshot(also=way).check_init(build, rngs=rngs)
            assert int(rngs.params.count[...]) == 4

        def test_any(rngs, nnx_snapshot):
            with models.unplaced():
                nnx_snapshot(also=("jit", "sharded")).check_init(build, rngs=rngs)

        def test_unsaid(rngs, nnx_snapshot):
            nnx_snapshot(also="sharded").check_init(nnx.Linear, 8, 8, rngs=rngs)

        def test_exact(rngs, nnx_snapshot, nnx_mesh):
            with models.unplaced():
                way = {"sharded": nnx_mesh(other=8)}
                nnx_snapshot(also=way).check_init(build, rngs=rngs)
        """
    )
    run = sharded.run_apart("--nnx-cpu-devices=8", "--nnx-update-snapshots")
    run.came_to(passed=2, failed=2)
    run.says("no Variable of the model says how it is sharded")
    run.says("the model cannot be built sharded over other=8")
    assert sharded.manifests() == {"test_own.1.json", "test_any.1.json"}
