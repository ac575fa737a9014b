"""Where tests run: named devices, several of them, marks, absent ones, one golden for all.

Two CPU devices stand for two accelerators. JAX has started in this process with one, so
runs with several have processes of their own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import pytest
from projects import Project, Run

from pytest_nnxrng.device import resolve

DEAR = (
    "Needs a process of its own, where JAX has not started; other stories here show such "
    "a run, tests/unit/device the parts."
)

GPU = Path("/dev/nvidia0").exists()
TWO = ("--nnx-cpu-devices=2", "--nnx-device=cpu:0,cpu:1")

TESTS = """
    import jax
    import jax.numpy as jnp
    import pytest
    from models import MLP

    def test_mlp(rngs, nnx_snapshot):
        model = nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)
        nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

    @pytest.mark.parametrize("n", [1, 2])
    def test_n(nnx_snapshot, n):
        nnx_snapshot.check(jnp.arange(n))

    @pytest.mark.parametrize("name", ["", "cpu:1", "a-cpu:0"])
    def test_odd(nnx_snapshot, name):
        nnx_snapshot.check(jnp.arange(3))

    def test_plain():
        pass
"""


def names(run: Run) -> list[str]:
    """The tests that ``-v`` lists, without their file."""
    words = [word for line in run.lines for word in line.split() if ".py::" in word]
    return sorted(dict.fromkeys(word.rpartition("::")[2] for word in words))


def same_as_on_one_device(project: Project) -> dict[str, bytes]:
    project.test(TESTS).update("--nnx-device=cpu").came_to(passed=7)
    goldens = project.goldens()
    for name in goldens:
        (project.path / name).unlink()
    return goldens


def stripped(goldens: dict[str, bytes]) -> dict[str, bytes]:
    """Goldens without what depends on how many devices the process has."""
    return {
        n: data.replace(b'"device_count": 2', b'"device_count": 1') for n, data in goldens.items()
    }


# -- several devices -----------------------------------------------------------------------


def test_each_test_that_uses_the_fixtures_runs_on_each_device(project: Project):
    alone = same_as_on_one_device(project)
    run = project.run_apart(*TWO, "-v", "--nnx-update-snapshots").came_to(passed=13)
    assert "nnxrng: devices cpu:0, cpu:1, 2 CPU devices" in run.text
    assert {"test_mlp[cpu:0]", "test_mlp[cpu:1]", "test_n[1-cpu:0]", "test_plain"} <= set(
        names(run)
    )
    assert {"test_odd[-cpu:1]", "test_odd[cpu:1-cpu:0]", "test_odd[a-cpu:0-cpu:0]"} <= set(
        names(run)
    )
    assert stripped(project.goldens()) == stripped(alone), "devices are no part of a golden's name"
    run.says("7 written").does_not_say("missing", "unused")
    project.run_apart(*TWO).came_to(passed=13).says("14 matched").does_not_say("unused")
    project.run().came_to(passed=7).says("7 matched").does_not_say("unused")


def test_one_device_changes_no_test_id(project: Project):
    project.test(TESTS)
    run = project.run("-v", "--nnx-device=cpu", "--nnx-update-snapshots").came_to(passed=7)
    assert "test_mlp" in names(run)
    assert "test_n[1]" in names(run)
    run.says("nnxrng: device cpu")


def test_the_header_and_all(project: Project):
    project.test(TESTS).update()
    run = project.run("-v", "--nnx-device=all").came_to(passed=7).says("nnxrng: device cpu")
    assert "test_mlp" in names(run), "all is one device here"


FIXTURES = """
    import asyncio
    import threading
    import jax
    import jax.numpy as jnp
    import pytest
    from models import MLP

    def where():
        (device,) = jnp.ones(3).devices()
        return device

    @pytest.fixture(scope="session")
    def of_session(rngs_factory):
        return where(), MLP(2, 3, 2, rngs=rngs_factory())

    @pytest.fixture(scope="module")
    def of_module(nnx_device):
        return where()

    @pytest.fixture
    def of_function(of_session):
        return where()

    @pytest.fixture(autouse=True)
    def of_all():
        return where()

    def test_scopes(nnx_device, of_session, of_module, of_function, of_all):
        assert {of_session[0], of_module, of_function, of_all, where()} == {nnx_device}
        (device,) = of_session[1].layer1.kernel[...].devices()
        assert device == nnx_device

    def test_threads_and_loops(nnx_device):
        found = []
        thread = threading.Thread(target=lambda: found.append(where()))
        thread.start()
        thread.join()

        async def work():
            found.append(where())
            found.append(await asyncio.to_thread(where))

        asyncio.run(work())
        assert set(found) == {nnx_device}

    def test_ids(nnx_device, request):
        assert request.node.name == f"test_ids[cpu:{nnx_device.id}]"

    def test_without_fixtures():
        assert where() == jax.devices()[0]
"""


@pytest.mark.parametrize("more", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_fixtures_of_any_scope_are_set_up_under_the_device(project: Project, more: list[str]):
    project.test(FIXTURES).run_apart(*TWO, *more).came_to(passed=7)


@pytest.mark.dear(DEAR)
def test_in_any_order(project: Project):
    project.test(FIXTURES).write({"conftest.py": """
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.name)
            items[:] = items[::2] + items[1::2][::-1]
    """})  # fmt: skip
    project.run_apart(*TWO).came_to(passed=7)


@pytest.mark.dear(DEAR)
def test_methods_of_unittest_and_getfixturevalue_run_on_the_first(project: Project):
    project.test("""
        import unittest
        import jax
        import jax.numpy as jnp
        import pytest

        class TestOld(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def give(self, nnx_device):
                self.device = nnx_device

            def test_method(self):
                assert self.device == jax.devices()[1]
                assert jnp.ones(3).devices() == {self.device}

        def test_asks(request):
            request.getfixturevalue("nnx_snapshot").check(jnp.ones(3))
            assert request.getfixturevalue("nnx_device") == jax.devices()[1]

        def test_new(nnx_device):
            pass
    """)
    devices = ("--nnx-cpu-devices=2", "--nnx-device=cpu:1,cpu:0")
    run = project.run_apart(*devices, "--nnx-update-snapshots").came_to(passed=4)
    run.says("Run on one device alone, of cpu:1, cpu:0: 2.")
    assert project.manifests() == {"test_asks.1.json"}
    run = project.run_apart(*devices, "-n", "2").came_to(passed=4)
    run.says("Run on one device alone, of cpu:1, cpu:0: 2.", "1 matched")


@pytest.mark.dear(DEAR)
def test_a_test_may_choose_its_devices_itself(project: Project):
    project.test("""
        import jax
        import jax.numpy as jnp
        import pytest

        @pytest.mark.parametrize("nnx_device", ["cpu:1", "cpu"], indirect=True)
        def test_indirect(nnx_device, nnx_snapshot):
            assert isinstance(nnx_device, jax.Device)
            assert jnp.ones(3).devices() == {nnx_device}
            nnx_snapshot.check(jnp.ones(3))

        @pytest.mark.parametrize("nnx_device", ["cpu:1"])
        def test_direct(nnx_device, nnx_snapshot):
            assert nnx_device == "cpu:1"
            assert jnp.ones(3).devices() == {jax.devices()[1]}
            nnx_snapshot.check(jnp.ones(3))

        @pytest.mark.parametrize("nnx_device", ["tpu"], indirect=True)
        def test_absent(nnx_device):
            pass

        @pytest.mark.parametrize("nnx_device", ["abacus", 7, "cpu,cpu:1"], indirect=True)
        def test_bad(nnx_device):
            pass

        def test_after():
            assert jnp.ones(3).devices() == {jax.devices()[0]}
    """)
    for chosen in (["--nnx-cpu-devices=2"], TWO):
        run = project.run_apart(*chosen, "--nnx-update-snapshots", "-ra")
        run.came_to(passed=4, skipped=1, errors=3)
        run.says("there is no device tpu", "'abacus' is not a device", "7 is not one device")
        found = {name.partition("~")[0] for name in project.manifests()}
        assert found == {"test_indirect[cpu-1]", "test_indirect[cpu].1.json", "test_direct[cpu-1]"}


@pytest.mark.dear(DEAR)
def test_a_project_that_parametrises_the_fixture_keeps_its_ids(project: Project):
    project.write({"conftest.py": """
        import jax
        import pytest

        @pytest.fixture(params=[0, 1], scope="session")
        def nnx_device(request):
            return jax.devices()[request.param]
    """}).test("""
        import jax.numpy as jnp

        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.ones(3))
    """)  # fmt: skip
    project.run_apart(*TWO, "--nnx-update-snapshots").came_to(passed=2)
    assert project.manifests() == {"test_it[0].1.json", "test_it[1].1.json"}


# -- who writes ----------------------------------------------------------------------------

WRITES = """
    import jax.numpy as jnp
    import pytest

    SCALE = 1.0

    @pytest.mark.parametrize("n", range(4))
    def test_n(nnx_snapshot, nnx_device, n):
        nnx_snapshot.check(jnp.arange(3.0) * SCALE + (nnx_device.id if n == 3 else 0))
"""


@pytest.mark.dear(DEAR)
@pytest.mark.parametrize("order", ["listed", "reversed", "workers"])
def test_only_the_first_device_writes_in_whatever_order(project: Project, order: str):
    project.test(WRITES)
    more = ["-n", "2"] if order == "workers" else []
    if order == "reversed":
        project.write({"conftest.py": "def pytest_collection_modifyitems(items): items.reverse()"})
    run = project.run_apart(*TWO, *more, "--nnx-update-snapshots").came_to(passed=8)
    run.says("4 written")
    first = project.goldens()
    assert len(project.manifests()) == 4
    assert not any("@" in name for name in first)
    if order == "reversed":
        run.says("4 left to another device", "4 left to cpu:0. Run again without --nnx-update")

    run = project.run_apart(*TWO, *more).came_to(passed=7, failed=1)
    assert "test_n[3-cpu:1]" in "".join(run.failed_tests)
    run.says("--nnx-device=cpu:1", "--nnx-cpu-devices=2").says("7 matched, 1 changed")
    assert project.goldens() == first

    project.change("tests/test_model.py", "SCALE = 1.0", "SCALE = 2.0")
    project.run_apart(*TWO, *more, "--nnx-update-snapshots").came_to(passed=8).says("4 written")
    project.run_apart(*TWO, *more, "-k", "not 3").came_to(passed=6).says("6 matched")


@pytest.mark.dear(DEAR)
def test_the_command_that_a_failure_ends_with_accepts_it(project: Project):
    project.test(WRITES).run_apart(*TWO, "--nnx-update-snapshots")
    run = project.run_apart(*TWO).came_to(passed=7, failed=1)
    (line,) = {line for line in run.lines if "to accept: pytest" in line}
    assert line.split("pytest ", 1)[1] == (
        "--nnx-update-snapshots --nnx-device=cpu:1 --nnx-cpu-devices=2 "
        "'tests/test_model.py::test_n[3]'"
    )
    args = line.split("pytest ", 1)[1].replace("'", "").split()
    project.run_apart(*args).came_to(passed=1).says("1 written")


# -- markers -------------------------------------------------------------------------------


def test_a_marker_restricts_a_test(project: Project):
    project.test("""
        import pytest
        import jax.numpy as jnp

        @pytest.mark.nnx_device("gpu", "tpu")
        def test_accelerator(nnx_snapshot):
            nnx_snapshot.check(jnp.ones(3))

        @pytest.mark.nnx_device("cpu:1")
        def test_second(nnx_device):
            assert nnx_device.id == 1

        @pytest.mark.nnx_device("cpu", "gpu")
        def test_here(rngs):
            pass

        @pytest.mark.nnx_device("cuda")
        def test_without_fixtures():
            pass

        @pytest.mark.nnx_device("gpu")
        class TestClass:
            @pytest.mark.nnx_device("cpu")
            def test_closest(self, rngs):
                pass
    """)
    run = project.run("-ra", "-m", "nnx_device").came_to(passed=2, skipped=3)
    run.says("for gpu, tpu (@pytest.mark.nnx_device), and this is cpu", "for cpu:1 (@pytest.mark")
    assert "tests/test_model.py" in "".join(line for line in run.lines if "for cuda" in line)
    run = project.run_apart(*TWO, "-ra").came_to(passed=5, skipped=4)
    assert run.does_not_say("unused")


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("nnx_device", "@pytest.mark.nnx_device takes the names of devices"),
        ("nnx_device()", "@pytest.mark.nnx_device takes the names of devices"),
        ("nnx_device(platform='gpu')", "takes the names of devices"),
        ("nnx_device('abacus')", "@pytest.mark.nnx_device: 'abacus' is not a device"),
        ("nnx_device('cpu', 'all')", "'all' is not one device"),
        ("nnx_device('cpu,gpu')", "'cpu,gpu' is not one device"),
        ("nnx_device(['cpu'])", "is not one device"),
        ("nnx_device(0)", "0 is not one device"),
    ],
)
def test_a_marker_that_names_no_device_is_an_error_of_its_test(
    project: Project, marker: str, said: str
):
    project.test(f"""
        import pytest

        @pytest.mark.{marker}
        def test_it(rngs):
            pass

        def test_other(rngs):
            pass
    """)
    run = project.run().came_to(passed=1, errors=1).says(said)
    run.does_not_say("INTERNALERROR")


# -- absent devices ------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_an_absent_device_stops_the_run_and_says_why(project: Project, workers: list[str]):
    project.test("def test_it(rngs): print('ran')")
    run = project.run("--nnx-device=cpu,gpu,tpu", *workers)
    assert run.ret == 4
    run.says(
        "ERROR: --nnx-device: there is no device gpu: ",
        "; there is no device tpu: ",
        "Available: cpu:0. To skip its tests: --nnx-device-missing=skip",
    )
    run.does_not_say("passed", "Traceback", "INTERNALERROR", "created")


@pytest.mark.dear(DEAR)
@pytest.mark.parametrize(
    ("platforms", "args"),
    [
        ("cuda", []),
        ("cpu", ["--nnx-device=cpu"]),
        ("cpu", ["--nnx-device=cpu:1", "--nnx-cpu-devices=2"]),
        ("cpu", ["--nnx-device=all"]),
        ("cpu", ["--nnx-device=gpu", "--nnx-device-missing=skip"]),
    ],
)
def test_the_controller_of_workers_asks_jax_for_nothing_without_need(
    project: Project, platforms: str, args: list[str]
):
    def probe(names: object) -> str:
        raise AssertionError(names)

    project.test("def test_it(): pass").env(JAX_PLATFORMS=platforms)
    project.monkeypatch.setattr(resolve, "probe", probe)
    project.run_workers(*args).came_to(passed=1)


REASONS = {
    "": "there is no such hardware: none of /dev/nvidia0",
    "cpu": "JAX_PLATFORMS=cpu hides it: unset it, or name cuda in it, too",
    "cuda,cpu": "there is no such hardware: none of /dev/nvidia0",
    "cuda": "there is no such hardware: none of /dev/nvidia0",
}


@pytest.mark.dear(DEAR)
@pytest.mark.skipif(GPU, reason="there is a GPU")
@pytest.mark.parametrize("platforms", REASONS)
def test_whatever_jax_platforms_says_no_run_is_on_the_cpu_in_silence(
    project: Project, platforms: str
):
    project.test("def test_it(rngs): pass").env(JAX_PLATFORMS=platforms)
    run = project.run_apart("--nnx-device=cuda")
    assert run.ret == 4
    run.says("there is no device cuda", REASONS[platforms]).does_not_say("passed", "Traceback")
    assert len([line for line in run.everything.splitlines() if line.strip()]) < 12


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_a_default_device_that_does_not_start_is_a_clear_error(project: Project):
    project.test("def test_it(rngs): pass").env(JAX_PLATFORMS="cuda")
    run = project.run_apart().came_to(errors=1)
    run.says("JAX starts on no device (JAX_PLATFORMS=cuda): there is no such hardware")


def test_absent_devices_may_be_skipped(project: Project):
    project.test(TESTS).update()
    goldens = project.goldens()
    run = project.run("--nnx-device=cpu,tpu", "--nnx-device-missing=skip", "-v", "-ra")
    run.came_to(passed=7, skipped=6).says("nnxrng: devices cpu, tpu (missing)")
    run.says("there is no device tpu").does_not_say("unused")
    assert "test_mlp[tpu]" in names(run)
    run = project.ini("nnx_device_missing = skip").run("--nnx-device=tpu", "-ra")
    run.came_to(passed=1, skipped=6)
    run.says("nnxrng: device tpu (missing)", "there is no device tpu").does_not_say("unused")
    project.run_workers("--nnx-device=tpu").came_to(passed=1, skipped=6)
    run = project.run("--nnx-device=tpu", "--nnx-update-snapshots", "--nnx-prune-snapshots")
    run.came_to(passed=1, skipped=6)
    assert project.goldens() == goldens, "what runs elsewhere survives"


def test_a_command_runs_where_the_device_of_the_run_is_absent(project: Project):
    project.test(
        """
        import pytest
        from models import MLP

        @pytest.mark.parametrize("nnx_device", ["cpu:0"], indirect=True)
        def test_here(nnx_device, rngs, nnx_snapshot):
            nnx_snapshot.check_init(MLP, 2, 3, 5, rngs=rngs)
        """
    )
    run = project.run("--nnx-device=tpu", "--nnx-device-missing=skip").came_to(failed=1)
    assert "--nnx-device=tpu --nnx-device-missing=skip" in run.words
    args = run.words.split("to write: pytest ", 1)[1].split("::test_here")[0].split()
    project.run(*args[:-1]).came_to(passed=1).says("1 written")


def test_a_cpu_that_is_not_there_can_be_had(project: Project):
    run = project.test("def test_it(rngs): pass").run("--nnx-device=cpu:3")
    assert run.ret == 4
    run.says("there is no device cpu:3: cpu has 1, counted from 0; for more: --nnx-cpu-devices=4")
    run = project.run("--nnx-device=tpu", "--fixtures")
    assert run.ret == 0, "what is but listed needs no device"


def test_a_word_for_missing_that_is_none(project: Project):
    run = project.test("def test_it(): pass").run("--nnx-device-missing=ignore")
    assert run.ret == 4
    run.says("--nnx-device-missing: 'ignore' is neither fail nor skip")


BAD = [
    "cpu,",
    ",cpu",
    "cpu,,gpu",
    "cpu,cpu",
    "cpu,cpu:0",
    "abacus",
    "CPU",
    "cpu:-1",
    "cpu:99999999999",
    "cpu, gpu",
    " cpu",
    "gpu:",
    "gpu:x",
    "gpu:1.5",
    "gpu:01",
    "all,cpu",
    "all:1",
    "",
    ":1",
]


@pytest.mark.parametrize("text", BAD)
def test_text_that_names_no_device_is_one_usage_error(project: Project, text: str):
    run = project.test("def test_it(rngs): pass").run(f"--nnx-device={text}")
    assert run.ret == 4
    run.says("ERROR: --nnx-device: ").does_not_say("passed", "Traceback", "INTERNALERROR")
    assert len([line for line in run.everything.splitlines() if line.strip()]) < 8


# -- unused goldens and devices --------------------------------------------------------------


@pytest.mark.dear(DEAR)
def test_goldens_of_other_devices_survive_pruning(project: Project):
    project.test(
        TESTS
        + """
    @pytest.mark.nnx_device("cpu:1")
    def test_there(nnx_snapshot):
        nnx_snapshot.check(jnp.arange(5))

    def test_gone(nnx_snapshot):
        nnx_snapshot.check(jnp.arange(6))
    """
    )
    project.run_apart(*TWO, "--nnx-update-snapshots").came_to(passed=16, skipped=1)
    own = project.golden("test_mlp.output.json")
    own.with_name("test_mlp.output@gpu.json").write_bytes(own.read_bytes())
    project.change("tests/test_model.py", "def test_gone", "def gone")
    goldens = project.goldens()
    run = project.run("--nnx-prune-snapshots").came_to(passed=7, skipped=1)
    run.says("1 deleted")
    assert {n for n in goldens if n not in project.goldens() and "test_gone" not in n} == set()
    run = project.run_apart(*TWO, "--nnx-prune-snapshots").came_to(passed=14, skipped=1)
    run.does_not_say("deleted", "unused")


# -- values on other devices -----------------------------------------------------------------


@pytest.mark.dear(DEAR)
def test_a_value_on_another_device_is_worth_a_warning(project: Project):
    project.test("""
        import jax
        import jax.numpy as jnp
        from flax import nnx
        from models import MLP

        def test_array(nnx_snapshot):
            nnx_snapshot.check(jax.device_put(jnp.ones(3), jax.devices()[1]))

        def test_model(nnx_snapshot, rngs):
            model = MLP(2, 3, 2, rngs=rngs)
            kernel = jax.device_put(model.layer1.kernel[...], jax.devices()[1])
            model.layer1.kernel = nnx.Param(kernel)
            nnx_snapshot.check(model)

        def test_host(nnx_snapshot):
            nnx_snapshot.check(jax.device_get(jax.device_put(jnp.ones(3), jax.devices()[1])))

        def test_mesh(nnx_snapshot, nnx_mesh):
            sharding = jax.sharding.NamedSharding(nnx_mesh(a=2), jax.sharding.PartitionSpec("a"))
            nnx_snapshot.check(jax.device_put(jnp.ones(4), sharding))
    """)
    run = project.run_apart("--nnx-cpu-devices=2", "--nnx-update-snapshots").came_to(passed=4)
    run.says(
        "WrongDeviceWarning: the value: on cpu:1, while cpu:0 is under test",
        "WrongDeviceWarning: layer1.kernel: on cpu:1, while cpu:0 is under test",
    )
    assert run.text.count("WrongDeviceWarning: ") == 2
    ini = ["filterwarnings = error::pytest_nnxrng.WrongDeviceWarning"]
    project.ini(*ini).run_apart("--nnx-cpu-devices=2").came_to(passed=2, failed=2)


# -- JAX that has started too early ----------------------------------------------------------


def test_what_comes_too_late_for_jax_is_a_usage_error(project: Project):
    project.test("def test_it(rngs): pass").ini("nnx_gpu_deterministic = true")
    jax.devices()  # JAX has started in this process
    run = project.run("--nnx-device=cpu,gpu")
    assert run.ret == 4
    run.says("XLA_FLAGS must be set before JAX starts, and JAX has started already")
    run.does_not_say("passed", "Traceback")
    run = project.ini().run("--nnx-cpu-devices=3")
    assert run.ret == 4
    run.says("--nnx-cpu-devices=3: JAX has started already, with 1 of them")
    project.run_workers("--nnx-cpu-devices=3").came_to(passed=1)
    project.ini("nnx_matmul_precision = float32").run().came_to(passed=1)


def test_a_precision_reaches_a_jax_that_is_imported_already(project: Project):
    project.test("""
        import jax

        def test_it(rngs):
            assert jax.config.jax_default_matmul_precision == "float32"
    """).ini("nnx_matmul_precision = float32")
    project.run().came_to(passed=1)


@pytest.mark.dear(DEAR)
def test_a_worker_whose_device_does_not_start_says_so_in_its_tests(project: Project):
    project.test("def test_it(rngs): pass").write({"conftest.py": """
        import os

        if "PYTEST_XDIST_WORKER" in os.environ:
            import jax

            jax.config.update("jax_platforms", "cuda")
    """})  # fmt: skip
    run = project.run_apart("-n", "2", "--nnx-device=cpu").came_to(errors=1)
    run.says("there is no device cpu: JAX_PLATFORMS=cuda hides it").does_not_say("crashed")


def test_nothing_that_was_set_outlives_the_run(project: Project):
    project.test("def test_it(rngs): pass").ini("nnx_matmul_precision = float32")
    names = ("JAX_DEFAULT_MATMUL_PRECISION", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    before = {name: os.environ.get(name) for name in names}
    project.run().came_to(passed=1)
    assert {name: os.environ.get(name) for name in names} == before


# -- precision and platforms -----------------------------------------------------------------


def recorded(project: Project, name: str) -> dict[str, object]:
    found = json.loads(project.golden(name).read_text(encoding="utf-8"))
    return dict(found["environment"])


@pytest.mark.dear(DEAR)
def test_the_precision_of_matmuls_is_set_and_recorded(project: Project):
    project.test("""
        import jax
        import jax.numpy as jnp

        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.ones(3))
            print("precision", jax.config.jax_default_matmul_precision)
    """).ini("nnx_matmul_precision = float32")
    project.run_apart("--nnx-update-snapshots", "-s").came_to(passed=1).says("precision float32")
    assert recorded(project, "test_it.1.json")["jax_default_matmul_precision"] == "float32"
    project.run_apart("-n", "2").came_to(passed=1)
    project.env(JAX_DEFAULT_MATMUL_PRECISION="highest")
    project.run_apart("-s").came_to(passed=1).says("precision highest")


def test_a_precision_that_jax_does_not_know(project: Project):
    run = project.ini("nnx_matmul_precision = tf32").test("def test_it(): pass").run()
    assert run.ret == 4
    run.says("nnx_matmul_precision: 'tf32' is not a precision. default, high, highest")


@pytest.mark.dear(DEAR)
def test_the_precision_that_moved_a_build_is_named(project: Project):
    project.test("""
        import jax
        from flax import nnx
        from models import MLP

        def build(*args, rngs):
            model = MLP(*args, rngs=rngs)
            if jax.config.jax_default_matmul_precision != "float32":
                model.layer1.kernel = nnx.Param(model.layer1.kernel[...] * 1.001)
            return model

        def test_it(nnx_snapshot, rngs):
            model = nnx_snapshot.check_init(build, 2, 3, 2, rngs=rngs)
            nnx_snapshot.check(model(jax.numpy.ones((1, 2))), "output")
    """).ini("nnx_matmul_precision = float32")
    project.run_apart("--nnx-update-snapshots").came_to(passed=1)
    run = project.ini().run_apart().came_to(failed=1)
    run.says("environment: jax_default_matmul_precision float32 -> unset: layer1.kernel, equal to")


@pytest.mark.dear(DEAR)
def test_an_output_that_moved_names_what_changed_around_it(project: Project):
    project.test("""
        import jax
        from models import MLP

        def test_it(nnx_snapshot, rngs):
            model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
            scale = 1.0 if jax.config.jax_default_matmul_precision == "float32" else 1.001
            nnx_snapshot.check(model(jax.numpy.ones((1, 2))) * scale, "output")
    """).ini("nnx_matmul_precision = float32")
    project.run_apart("--nnx-update-snapshots").came_to(passed=1)
    run = project.ini().run_apart().came_to(failed=1)
    run.says(
        "the model matches; the environment or the forward pass moved "
        "(jax_default_matmul_precision float32 -> unset)"
    )


def on_gpu(project: Project, name: str, **environment: object) -> None:
    """Make a golden one that a GPU made, as far as its manifest tells."""
    path = project.golden(name)
    text = path.read_text(encoding="utf-8")
    assert '"platform": "cpu"' in text
    more = "".join(f'"{key}": "{value}",\n  ' for key, value in environment.items())
    path.write_text(text.replace('"platform": "cpu"', f'{more}"platform": "gpu"'), encoding="utf-8")


def test_outputs_of_another_platform_have_a_tolerance_for_that(project: Project):
    project.test("""
        import jax.numpy as jnp

        SCALE = 1.0

        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.arange(1.0, 4.0) * SCALE)
    """).made()
    path = "tests/test_model.py"
    project.change(path, "SCALE = 1.0", "SCALE = 1.00005")
    project.run().came_to(failed=1).says("1 changed")
    on_gpu(project, "test_it.1.json")
    project.run().came_to(passed=1).says("1 matched by rounding")
    project.change(path, "SCALE = 1.00005", "SCALE = 1.004")
    project.run().came_to(passed=1).says("1 matched by rounding")
    project.ini("nnx_across_tol = float32 = 1e-4").run().came_to(failed=1)
    project.change(path, "SCALE = 1.004", "SCALE = 1.00005").run().came_to(passed=1)
    project.ini("nnx_strict = true").run().came_to(passed=1)
    project.ini("nnx_outputs_tol = float32 = 1e-7").run().came_to(passed=1)
    project.ini("nnx_across_tol = float32 = 0").run().came_to(failed=1)
    run = project.ini("nnx_across_tol = int8 = 1").run()
    assert run.ret == 4
    run.says("nnx_across_tol: 'int8 = 1' is not of the form")


def test_weights_of_another_platform_are_held_to_the_same_tolerance(project: Project):
    project.test("""
        from models import MLP

        def test_it(nnx_snapshot, rngs):
            nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)
    """).made()
    on_gpu(project, "test_it.1.json")
    project.run().came_to(passed=1)
    project.change("models.py", "self.layer1 = nnx.Linear(din, dmid, rngs=rngs)", (
        "self.layer1 = nnx.Linear(din, dmid, rngs=rngs); "
        "self.layer1.kernel = nnx.Param(self.layer1.kernel[...] * 1.00005)"
    ))  # fmt: skip
    project.run().came_to(failed=1)


@pytest.mark.dear(DEAR)
def test_deterministic_gpus_need_a_gpu_that_was_asked_for(project: Project):
    project.test("""
        import os

        def test_it(rngs):
            print("flags", os.environ.get("XLA_FLAGS", "none"))
    """).ini("nnx_gpu_deterministic = true")
    project.run_apart("-s").came_to(passed=1).says("flags none")
    args = ["-s", "--nnx-device=cpu,gpu", "--nnx-device-missing=skip"]
    run = project.run_apart(*args).came_to(passed=1, skipped=1)
    run.says("flags --xla_gpu_deterministic_ops=true")


@pytest.mark.dear(DEAR)
def test_workers_share_the_memory_of_a_gpu(project: Project):
    project.test("""
        import os

        def test_it(record_property):
            print("preallocate", os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "unset"))
            assert False
    """)
    project.run_apart().came_to(failed=1).says("preallocate unset")
    project.run_apart("-n", "2").came_to(failed=1).says("preallocate false")
    project.env(XLA_PYTHON_CLIENT_PREALLOCATE="true")
    project.run_apart("-n", "2").came_to(failed=1).says("preallocate true")
    project.monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    project.env(XLA_PYTHON_CLIENT_MEM_FRACTION=".4")
    project.run_apart("-n", "2").came_to(failed=1).says("preallocate unset")


@pytest.mark.dear(DEAR)
def test_gpus_are_spread_over_workers(project: Project):
    project.test("""
        import os
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_it(n):
            worker = os.environ["PYTEST_XDIST_WORKER"]
            print(worker, "sees", os.environ.get("CUDA_VISIBLE_DEVICES"))
            assert False
    """).env(CUDA_VISIBLE_DEVICES="4,5,7")
    args = ["-n", "2", "--nnx-device-missing=skip"]
    run = project.run_apart(*args, "--nnx-device=gpu").came_to(failed=8)
    run.says("gw0 sees 4,7", "gw1 sees 5")
    run = project.run_apart(*args, "--nnx-device=gpu:1").came_to(failed=8)
    run.says("gw0 sees 4,5,7").does_not_say("sees 4,7")
