"""rngs, rngs_factory, their marker, option and ini key; what pytest itself shows of them."""

from __future__ import annotations

import re

from projects import Project

STREAMS = """
import jax
import pytest
from flax import nnx

def seeds(rngs):
    # The seed of each stream, read off its key.
    found = {}
    for name, stream in rngs.items():
        data = jax.random.key_data(stream.key[...])
        found[name] = next(
            seed for base in (0, 10_000, 20_000) for seed in range(base, base + 100)
            if (jax.random.key_data(jax.random.key(seed)) == data).all()
        )
    return found

def of(seed):
    return {"params": seed, "dropout": seed + 10_000, "default": seed + 20_000}
"""


def with_streams(project: Project, text: str) -> Project:
    return project.write({"streams.py": STREAMS}).test(text)


def test_rngs_is_a_real_nnx_rngs_with_three_streams(project: Project):
    with_streams(
        project,
        """
        import jax, numpy as np
        from flax import nnx
        from streams import of, seeds

        def test_rngs(rngs):
            assert type(rngs) is nnx.Rngs
            assert seeds(rngs) == of(0)
            same = nnx.Rngs(params=0, dropout=10_000, default=20_000)
            for name in ("params", "dropout", "default", "params", "anything"):
                ours, theirs = rngs[name](), same[name]()
                assert (jax.random.key_data(ours) == jax.random.key_data(theirs)).all()

        def test_every_test_gets_a_fresh_one(rngs):
            assert all(int(stream.count[...]) == 0 for _, stream in rngs.items())
        """,
    ).run().came_to(passed=2)


def test_the_numbers_of_nnx_own_randomness_notebook(project: Project):
    project.test("""
        import jax, jax.numpy as jnp, numpy as np, pytest
        from flax import nnx
        from models import MLP

        @pytest.mark.nnx_rngs(params=0)
        def test_published(rngs):
            published = [[-0.15895452, -1.1049775, 1.2165147, 0.62828314, 0.571608]]
            output = MLP(2, 10, 5, rngs=rngs)(jnp.ones((1, 2)))
            np.testing.assert_allclose(output, published, rtol=1e-5)
            key = nnx.Rngs(params=0).params()
            assert jax.random.key_data(key).tolist() == [1797259609, 2579123966]
    """).run().came_to(passed=1)


def test_every_form_of_the_marker(project: Project):
    with_streams(
        project,
        """
        import jax, pytest
        from flax import nnx
        from streams import of, seeds

        @pytest.mark.nnx_rngs(7)
        def test_seed(rngs):
            assert seeds(rngs) == of(7)

        @pytest.mark.nnx_rngs(params=0, dropout=1)
        def test_streams(rngs):
            assert seeds(rngs) == {"params": 0, "dropout": 1}

        @pytest.mark.nnx_rngs(default=3)
        def test_one_shared_stream(rngs):
            assert seeds(rngs) == {"default": 3}

        @pytest.mark.nnx_rngs(5, params=6)
        def test_what_nnx_takes(rngs):
            assert seeds(rngs) == {"default": 5, "params": 6}

        @pytest.mark.nnx_rngs({"noise": 4})
        def test_mapping(rngs):
            assert seeds(rngs) == {"noise": 4}

        @pytest.mark.nnx_rngs(1)
        class TestInClass:
            def test_of_the_class(self, rngs):
                assert seeds(rngs) == of(1)

            @pytest.mark.nnx_rngs(2)
            def test_closest_wins(self, rngs):
                assert seeds(rngs) == of(2)
        """,
    ).run("--strict-markers").came_to(passed=7)


def test_indirect_parametrisation_and_its_goldens(project: Project):
    with_streams(
        project,
        """
        import pytest
        from streams import of, seeds
        from models import MLP

        @pytest.mark.parametrize("rngs", [0, 1, 2], indirect=True)
        def test_seed(rngs, request, nnx_snapshot):
            assert seeds(rngs) == of(request.node.callspec.params["rngs"])
            nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)

        @pytest.mark.parametrize("rngs", [{"params": 3, "noise": 4}], indirect=True)
        def test_streams(rngs):
            assert seeds(rngs) == {"params": 3, "noise": 4}
        """,
    ).update().came_to(passed=4)
    assert project.manifests() == {f"test_seed[{seed}].1.json" for seed in (0, 1, 2)}


PRECEDENCE = """
import pytest
from streams import of, seeds

@pytest.mark.nnx_rngs(3)
@pytest.mark.parametrize("rngs", [4], indirect=True)
def test_parameter(rngs):
    assert seeds(rngs) == of(4)

@pytest.mark.nnx_rngs(3)
def test_marker(rngs):
    assert seeds(rngs) == of(3)

def test_neither(rngs, rngs_factory, pytestconfig):
    wanted = int(pytestconfig.getoption("verbose") or 0)
    assert seeds(rngs) == of({seed})
    assert seeds(rngs_factory()) == of({seed})
    assert seeds(rngs_factory(7)) == of(7)
"""


def test_parameter_before_marker_before_option_before_ini(project: Project):
    with_streams(project, PRECEDENCE.replace("{seed}", "0")).run().came_to(passed=3)
    project.ini("nnx_seed = 1")
    with_streams(project, PRECEDENCE.replace("{seed}", "1")).run().came_to(passed=3)
    with_streams(project, PRECEDENCE.replace("{seed}", "2"))
    project.run("--nnx-seed=2").came_to(passed=3).says("seed 2")
    project.run("--nnx-seed", "2").came_to(passed=3)


def test_another_seed_fails_what_was_recorded_with_the_first(project: Project):
    project.test("""
        from models import MLP

        def test_mlp(rngs, nnx_snapshot):
            nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)
    """).made()
    run = project.run("--nnx-seed=1").came_to(failed=1)
    run.says("{layer1,layer2}.kernel").does_not_say("layer1.bias")


def test_the_projects_own_rngs_wins(project: Project):
    project.write({
        "tests/conftest.py": """
            import pytest
            from flax import nnx

            @pytest.fixture
            def rngs():
                return nnx.Rngs(mine=9)
        """
    })  # fmt: skip
    with_streams(
        project,
        """
        from streams import of, seeds

        def test_own(rngs, rngs_factory):
            assert seeds(rngs) == {"mine": 9}
            assert seeds(rngs_factory()) == of(0)
        """,
    ).run().came_to(passed=1)


def test_the_factory_serves_fixtures_of_every_scope(project: Project):
    with_streams(
        project,
        """
        import pytest
        from flax import nnx
        from models import MLP
        from streams import of, seeds

        @pytest.fixture(scope="session")
        def of_session(rngs_factory):
            return MLP(2, 3, 2, rngs=rngs_factory())

        @pytest.fixture(scope="module")
        def of_module(rngs_factory):
            return MLP(2, 3, 2, rngs=rngs_factory(0))

        @pytest.fixture(scope="class")
        def of_class(rngs_factory):
            rngs = rngs_factory(params=0, noise=5)
            assert seeds(rngs) == {"params": 0, "noise": 5}
            return MLP(2, 3, 2, rngs=rngs)

        @pytest.mark.parametrize("name", ["of_session", "of_module", "of_class"])
        def test_scopes(request, nnx_snapshot, name, rngs_factory):
            nnx_snapshot(only=nnx.Param).check(request.getfixturevalue(name))
            first, second = rngs_factory(), rngs_factory()
            assert first is not second
            assert type(first) is nnx.Rngs
            assert seeds(first) == of(0)
        """,
    ).update().came_to(passed=3)
    bodies = {
        name: data.partition(b'"environment"')[2].replace(name.encode(), b"")
        for name, data in project.goldens().items()
        if name.endswith(".safetensors")
    }
    assert len(bodies) == 3
    assert len({project.goldens()[name] for name in bodies}) == 1, "the same weights"


def test_a_device_fixture_names_where_tests_run(project: Project):
    project.test("""
        import jax

        def test_device(nnx_device):
            assert isinstance(nnx_device, jax.Device)
            assert jax.numpy.ones(3).devices() == {nnx_device}
    """)
    project.run().came_to(passed=1)
    project.run("--nnx-device=cpu").came_to(passed=1).says("device cpu")


def test_pytest_shows_fixtures_options_and_markers_with_their_words(project: Project):
    project.test("def test_nothing(): pass")
    fixtures = project.run("--fixtures").text
    for name in ("rngs", "rngs_factory", "nnx_device", "nnx_snapshot"):
        at = [n for n, line in enumerate(fixtures.splitlines()) if line.split(" ")[0] == name]
        assert len(at) == 1, name
        assert fixtures.splitlines()[at[0] + 1].startswith("    "), f"{name} has a docstring"
    assert "no docstring available" not in fixtures

    helped = project.run("--help")
    section = helped.text.partition("deterministic tests of Flax NNX models:")[2]
    group = section.partition("\n\n")[0]
    for option in ("update-snapshots", "refresh-snapshots", "prune-snapshots", "device", "seed"):
        assert f"--nnx-{option}" in group
    keys = re.split(r"\[pytest\] (?:configuration |ini-)options", helped.text)[1]
    together = group.count("--nnx-") + keys.count("--nnx-")
    assert helped.text.count("--nnx-") == together, "the options stand together"
    for key in ("nnx_seed", "nnx_snapshot_dir", "nnx_snapshot_store_limit", "nnx_weights_tol"):
        helped.says(key)

    markers = project.run("--markers").text
    assert "@pytest.mark.nnx_rngs(seed)" in markers


def test_switched_off_the_plugin_is_not_there(project: Project):
    project.test("def test_one(nnx_snapshot): pass")
    project.run("-p", "no:nnxrng").came_to(errors=1).says("fixture 'nnx_snapshot' not found")


def test_a_run_without_the_fixtures_imports_no_jax_and_says_nothing(project: Project):
    project.test("""
        import sys

        def test_nothing():
            loaded = {"jax", "flax", "numpy"} & set(sys.modules)
            assert not loaded
    """)
    run = project.run_fresh().came_to(passed=1)
    assert "nnx snapshots" not in run.text


def test_async_tests_have_the_same_fixtures(project: Project):
    project.write({
        "tests/conftest.py": """
            import asyncio, inspect, pytest

            @pytest.hookimpl(tryfirst=True)
            def pytest_pyfunc_call(pyfuncitem):
                # As pytest-asyncio and anyio do it.
                if not inspect.iscoroutinefunction(pyfuncitem.obj):
                    return None
                names = pyfuncitem._fixtureinfo.argnames
                given = {name: pyfuncitem.funcargs[name] for name in names}
                asyncio.run(pyfuncitem.obj(**given))
                return True
        """
    })  # fmt: skip
    project.test("""
        import asyncio
        import jax.numpy as jnp
        from models import MLP

        async def test_mlp(rngs, nnx_snapshot):
            await asyncio.sleep(0)
            model = nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)
            output = await asyncio.to_thread(model, jnp.ones((1, 2)))
            nnx_snapshot.check(output, "output")
    """)
    project.run().came_to(failed=1).says("is missing")
    project.update().came_to(passed=1)
    project.run().came_to(passed=1)
