"""``check_same`` and ``check(against=...)``: no golden, the same verdict at the test's end."""

from __future__ import annotations

import pytest
from projects import Project


def test_a_mismatch_fails_the_test_at_its_end_and_needs_no_golden(project: Project):
    project.test(
        """
        import jax.numpy as jnp
        from models import MLP

        def test_alike(rngs_factory, nnx_snapshot):
            one, two = (MLP(4, 8, 4, rngs=rngs_factory()) for _ in range(2))
            assert nnx_snapshot.check_same(one, two) is one
            nnx_snapshot(exact=True).check_same(one, two)

        def test_unlike(rngs_factory, nnx_snapshot):
            one = MLP(4, 8, 4, rngs=rngs_factory())
            before = MLP(4, 8, 4, rngs=rngs_factory(1))
            nnx_snapshot.check_same(one, before, "untouched")
            nnx_snapshot(tol=1.0).check_same(jnp.ones(2), jnp.zeros(2))
            print("went on")
        """
    )
    run = project.run("-rP", "-rf").came_to(passed=1, failed=1)
    run.says(
        "untouched: not the same: 2 of 4 leaves differ",
        "why seed:",
        'called test_model.py:12: nnx_snapshot.check_same(one, before, "untouched")',
        "went on",
    )
    run.does_not_say("UnusedOptionsWarning")
    assert len(run.failures) == 1
    assert not project.goldens()


def test_a_golden_is_not_written_where_live_values_differ(project: Project):
    project.test(
        """
        def test_it(nnx_snapshot):
            nnx_snapshot.check(1)
            nnx_snapshot.check_same(1, 2)
        """
    )
    project.update().came_to(failed=1)
    assert not project.goldens()


@pytest.mark.parametrize("option", ["abstract=True", "sharding=True", "per_platform=True"])
def test_options_that_need_a_golden_are_refused(project: Project, option: str):
    project.test(
        f"""
        def test_it(nnx_snapshot):
            nnx_snapshot({option}).check_same(1, 1)
        """
    )
    project.run().came_to(failed=1).says("leave out abstract, also, sharding and per_platform")


def test_a_reference_takes_the_goldens_place_and_is_never_written(project: Project):
    project.test(
        """
        import numpy as np
        from models import MLP
        from pytest_nnxrng import reference

        def test_port(rngs, nnx_snapshot, tmp_path):
            model = MLP(2, 3, 2, rngs=rngs)
            weights = {f"layer{n}.w": np.asarray(getattr(model, f"layer{n}").kernel[...]).T
                       for n in (1, 2)}
            np.savez(tmp_path / "weights.npz", **weights)
            before = (tmp_path / "weights.npz").read_bytes()
            there = reference(tmp_path / "weights.npz", names=[(r"w$", "kernel")],
                              transpose="kernel")
            assert nnx_snapshot.check(model, against=there) is model
            assert (tmp_path / "weights.npz").read_bytes() == before
        """
    )
    for run in (project.run(), project.update()):
        run.came_to(failed=1).says("not in the reference: layer1.bias, layer2.bias")
    assert not project.goldens()
