"""Virtual CPU devices and meshes: sharded models on a laptop.

JAX has started in this process, with one device: these runs have processes of their own.
"""

from __future__ import annotations

import os

import pytest
from projects import Project

DEAR = "Another way to start JAX in a process of its own; other stories here show one."

COUNTS = """
    import jax

    def test_count(nnx_device):
        print(len(jax.devices("cpu")), "devices")
        assert len(jax.devices("cpu")) == 4
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_virtual_cpu_devices_are_there_in_every_process(project: Project, workers: list[str]):
    project.test(COUNTS)
    run = project.run_apart("--nnx-cpu-devices=4", *workers).came_to(passed=1)
    run.says("nnxrng: 4 CPU devices")
    project.ini("nnx_cpu_devices = 4").run_apart(*workers).came_to(passed=1)
    project.run_apart("--nnx-cpu-devices=2", *workers).came_to(failed=1).says("2 devices")


@pytest.mark.dear(DEAR)
def test_a_conftest_that_starts_jax_starts_it_with_them(project: Project):
    project.test(COUNTS).write({"conftest.py": "import jax\njax.devices()"})
    project.run_apart("--nnx-cpu-devices=4").came_to(passed=1)


@pytest.mark.dear(DEAR)
def test_jax_imported_but_not_started_gets_them(project: Project):
    project.test(COUNTS).write({"early.py": "import jax"}).env(PYTHONPATH=_with(project))
    project.run_apart("-p", "early", "--nnx-cpu-devices=4").came_to(passed=1)


@pytest.mark.dear(DEAR)
def test_a_plugin_that_a_conftest_names_sets_them_too(project: Project):
    project.test(COUNTS).write({"conftest.py": "pytest_plugins = ['pytest_nnxrng.plugin']"})
    project.env(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1").ini("nnx_cpu_devices = 4")
    project.run_apart().came_to(passed=1)


@pytest.mark.dear(DEAR)
def test_a_conftest_that_asks_for_others_is_overruled(project: Project):
    text = "import jax\njax.config.update('jax_num_cpu_devices', 2)"
    project.test(COUNTS).write({"conftest.py": text})
    project.run_apart("--nnx-cpu-devices=4").came_to(passed=1)


def test_jax_started_too_early_is_a_usage_error(project: Project):
    project.test(COUNTS).write({"early.py": "import jax\njax.devices()"})
    project.env(PYTHONPATH=_with(project))
    run = project.run_apart("-p", "early", "--nnx-cpu-devices=4")
    assert run.ret == 4
    run.says("--nnx-cpu-devices=4: JAX has started already, with 1 of them", "-p")
    run.does_not_say("passed", "Traceback")


def _with(project: Project) -> str:
    return os.pathsep.join([str(project.path), os.environ.get("PYTHONPATH", "")])


MESHES = """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import pytest
    from jax.sharding import NamedSharding, PartitionSpec as P
    from models import MLP

    def test_axes(nnx_mesh, nnx_device):
        mesh = nnx_mesh(data=2, model=4)
        assert isinstance(mesh, jax.sharding.Mesh)
        assert mesh.axis_names == ("data", "model")
        assert mesh.devices.shape == (2, 4)
        assert mesh.devices.flat[0] == nnx_device
        assert len(set(mesh.devices.flat)) == 8
        assert nnx_mesh(model=4, data=2).axis_names == ("model", "data")

    @pytest.fixture(scope="session")
    def mesh(nnx_mesh):
        return nnx_mesh(data=4)

    def test_sharded(mesh, rngs, nnx_snapshot):
        model = nnx_snapshot.check_init(MLP, 4, 8, 4, rngs=rngs)
        x = jax.device_put(jnp.arange(32.0).reshape(8, 4) / 32, NamedSharding(mesh, P("data")))
        y = model(x)
        assert len(y.sharding.device_set) == 4
        nnx_snapshot.check(y, "output")
"""


def test_a_mesh_over_virtual_devices(project: Project):
    project.test(MESHES)
    project.run_apart("--nnx-cpu-devices=8", "--nnx-update-snapshots").came_to(passed=2)
    project.run_apart("--nnx-cpu-devices=8").came_to(passed=2).says("2 matched")
    project.run_apart("--nnx-cpu-devices=8", "-n", "2").came_to(passed=2).says("2 matched")
    run = project.run_apart("--nnx-cpu-devices=4", "-ra").came_to(passed=1, skipped=1)
    run.says("nnx_mesh(data=2, model=4) needs 8 devices; cpu has 4 here. A CPU has as many")


def test_too_few_devices_skip_with_the_way_out(project: Project):
    run = project.test(MESHES).run("-ra").came_to(skipped=2)
    run.says("nnx_mesh(data=2, model=4) needs 8 devices; cpu has 1 here")
    run.says("nnx_mesh(data=4) needs 4 devices", "pytest --nnx-cpu-devices=4")


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("", "nnx_mesh(): a mesh needs axes: nnx_mesh(data=2, model=4)"),
        ("data=0", "nnx_mesh(data=0): 0 is not the size of an axis"),
        ("data=-1", "nnx_mesh(data=-1): -1 is not the size of an axis"),
        ("data=True", "True is not the size of an axis"),
        ("data='2'", "'2' is not the size of an axis"),
    ],
)
def test_a_mesh_that_cannot_be(project: Project, axes: str, said: str):
    project.test(f"def test_it(nnx_mesh): nnx_mesh({axes})").run().came_to(failed=1).says(said)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "", " ", "1e3", "99999999999", "1025"])
def test_a_number_of_devices_that_cannot_be(project: Project, text: str):
    run = project.test("def test_it(): pass").run(f"--nnx-cpu-devices={text}")
    if not text:  # as if it was not given
        run.came_to(passed=1)
        return
    assert run.ret == 4
    run.says(f"--nnx-cpu-devices: {text!r} is not a number of CPU devices").does_not_say("passed")
