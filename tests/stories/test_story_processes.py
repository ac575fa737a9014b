"""Tests that run in two processes under jax.distributed, each holding half of a model."""

from __future__ import annotations

import json

import pytest

from tests.stories.processes import CONFTEST, run

DEAR = "Starts two processes that start JAX together, as other stories here do."

MODEL = """
import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P


class MLP(nnx.Module):
    def __init__(self, din, mid, *, rngs):
        self.up = nnx.Linear(din, mid, rngs=rngs)
        self.down = nnx.Linear(mid, din, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.up(x)))


SPLIT = {("up", "kernel"): P(None, "model"), ("down", "kernel"): P("model", None)}


def sharded(mesh, *, rngs):
    \"\"\"The MLP with its kernels split over all devices of all processes.\"\"\"
    model = MLP(8, 64, rngs=rngs)
    for (layer, name), spec in SPLIT.items():
        variable = getattr(getattr(model, layer), name)
        whole = np.asarray(variable[...])
        variable[...] = jax.make_array_from_callback(
            whole.shape, NamedSharding(mesh, spec), lambda index: whole[index]
        )
    return model
"""

TEST = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import models


def mesh():
    return Mesh(np.array(jax.devices()), ("model",))


def test_model(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(models.sharded, mesh(), rngs=rngs)
    assert jax.process_count() < 2 or not model.up.kernel[...].is_fully_addressable
    nnx_snapshot.check(jax.jit(lambda m, x: m(x))(model, jnp.ones((2, 8))), "output")


def test_small(rngs, nnx_snapshot):
    nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))
"""


@pytest.fixture
def hosts(project):
    project.write({"conftest.py": CONFTEST, "models.py": MODEL, "tests/test_model.py": TEST})
    return project


def test_goldens_are_written_by_one_process_and_checked_by_all(hosts):
    first = run(hosts.path)
    for end in first:
        assert (end.ret, end.outcomes) == (1, {"failed": 2}), end.text
        end.says("test_model.1: the golden is missing")
    assert hosts.goldens() == {}

    written = run(hosts.path, "--nnx-update-snapshots", "--nnx-report=out")
    for end in written:
        assert (end.ret, end.outcomes) == (0, {"passed": 2}), end.text
        end.says("0 matched, 3 written.")
    both = goldens = hosts.goldens()
    assert len([name for name in goldens if name.endswith(".json")]) == 3
    report = json.loads((hosts.path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["totals"]["written"] == 3

    for end in run(hosts.path):
        assert (end.ret, end.outcomes) == (0, {"passed": 2}), end.text
        end.says("3 matched")
    # One process alone, its model whole on one device, has the same golden.
    for name in goldens:
        (hosts.path / name).unlink()
    hosts.run_apart("--nnx-update-snapshots").came_to(passed=2)
    weights = [name for name in goldens if "output" not in name]
    assert weights
    goldens = hosts.goldens()
    assert {n: goldens[n] for n in weights} == {n: both[n] for n in weights}

    # A mismatch in one shard fails in all. Elements that process 1 alone holds.
    hosts.change(
        "models.py",
        "        whole = np.asarray(variable[...])",
        "        whole = np.array(variable[...])\n        whole[-1, -1] += 0.5",
    )
    for end in run(hosts.path):
        assert (end.ret, end.outcomes) == (1, {"failed": 1, "passed": 1}), end.text
        end.says("2 match, 2 differ").says("at [63, 7]: golden ")
        end.says("1 of 512 elements differ").says("1 more leaf that differs")
    assert hosts.goldens() == goldens
    for end in run(hosts.path, "--nnx-update-snapshots"):
        assert (end.ret, end.outcomes) == (0, {"passed": 2}), end.text
        end.says("1 matched, 2 written.")


@pytest.mark.dear(DEAR)
def test_what_fails_in_one_process_fails_in_all_and_writes_nothing(hosts):
    hosts.test(
        """
        import jax
        import models

        def test_body(rngs, nnx_snapshot):
            nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))
            if jax.process_index() == 1:
                raise ValueError("only here")

        def test_before_a_check(rngs, nnx_snapshot):
            if jax.process_index() == 1:
                raise ValueError("too early")
            nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))

        def test_other_values(rngs_factory, nnx_snapshot):
            rngs = rngs_factory(jax.process_index())
            nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))

        def test_other_structure(rngs, nnx_snapshot):
            nnx_snapshot.check(models.MLP(2, 3 + jax.process_index(), rngs=rngs))

        def test_skipped_in_one(rngs, nnx_snapshot):
            nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))
            if jax.process_index() == 1:
                import pytest
                pytest.skip("not here")

        def test_good(rngs, nnx_snapshot):
            nnx_snapshot.check(models.MLP(2, 3, rngs=rngs))
        """
    )
    first, second = run(hosts.path, "--nnx-update-snapshots")
    assert first.ret == second.ret == 1, first.text + second.text
    assert first.outcomes == {"failed": 5, "passed": 1}, first.text
    assert second.outcomes == {"failed": 4, "passed": 1, "skipped": 1}, second.text
    first.says("process 1 of 2 failed: ValueError: only here")
    first.says("process 1 of 2 is at its end (ValueError: too early)")
    for end in (first, second):
        end.says("up.kernel: process 1 of 2 holds other values than process 0")
        end.says("process 1 of 2 checks a value of another structure")
    first.says("process 1 of 2 failed: Skipped: not here")
    assert hosts.manifests() == {"test_good.1.json"}


@pytest.mark.dear(DEAR)
def test_processes_that_run_other_tests_are_stopped(hosts):
    first, second = run(hosts.path, "--nnx-update-snapshots", more={1: ["-k", "small"]})
    assert first.ret == second.ret == 1, first.text + second.text
    for end in (first, second):
        end.says("All processes must run the same tests in the same order")
    first.says("process 1 of 2 is at check '1' of test_model.py::test_small")
    assert hosts.goldens() == {}


@pytest.mark.dear(DEAR)
def test_processes_started_with_other_options(hosts):
    first, second = run(hosts.path, "-k", "small", more={0: ["--nnx-update-snapshots"]})
    assert first.ret == second.ret == 1, first.text + second.text
    first.says("process 1 of 2 was started with other options")
    assert hosts.goldens() == {}


@pytest.mark.dear(DEAR)
def test_a_process_that_is_killed_leaves_the_goldens_whole(hosts):
    assert all(end.ret == 0 for end in run(hosts.path, "--nnx-update-snapshots"))
    goldens = hosts.goldens()
    hosts.ini("nnx_process_timeout = 30")
    hosts.test(
        TEST.replace(
            "check_init(models.sharded, mesh(), rngs=rngs)",
            "check_init(models.sharded, mesh(), rngs=nnx.Rngs(7))",
        )
        .replace(
            "def test_small",
            "    if jax.process_index() == 1:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n\n\ndef test_small",
        )
        .replace(
            "import jax\n", "import os\nimport signal\n\nimport jax\nfrom flax import nnx\n", 1
        )
    )
    first, second = run(hosts.path, "--nnx-update-snapshots")
    assert second.ret == -9, second.text
    assert first.ret not in (0, None), first.text
    first.says("process 0 of 2 has lost another one").says("Nothing is written")
    assert hosts.goldens() == goldens
