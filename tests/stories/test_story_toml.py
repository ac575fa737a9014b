"""Settings as pytest 9's ``[tool.pytest]`` has them: numbers, bools and tables of TOML."""

from __future__ import annotations

import pytest
from projects import Project

TOML = """
[tool.pytest]
pythonpath = ["."]
testpaths = ["tests"]
"""
native = pytest.mark.skipif(
    int(pytest.__version__.partition(".")[0]) < 9, reason="[tool.pytest] is new in pytest 9"
)


def configured(project: Project, *lines: str) -> Project:
    (project.path / "pytest.ini").unlink()
    return project.write({"pyproject.toml": TOML + "\n".join(lines)})


@native
def test_numbers_bools_and_tables_are_taken(project: Project):
    project.test(
        """
        import jax

        def test_it(rngs, pytestconfig, nnx_mesh):
            from pytest_nnxrng.hooks.options import SETTINGS
            made = pytestconfig.stash[SETTINGS]
            assert (made.seed, made.store_limit, made.process_timeout) == (7, 4096, 2.5)
            assert made.strict
            assert made.weights_tol == {"float32": 1e-3, "bfloat16": 0.5}
            assert made.outputs_tol == {"float32": 1e-4}
        """
    )
    configured(
        project,
        "nnx_seed = 7",
        "nnx_snapshot_store_limit = 4096",
        "nnx_process_timeout = 2.5",
        "nnx_strict = true",
        "nnx_weights_tol = {float32 = 1e-3, bfloat16 = 0.5}",
        'nnx_outputs_tol = ["float32 = 1e-4"]',
    )
    project.run().came_to(passed=1)


@native
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nnx_seed = true", "nnx_seed: "),
        ("nnx_seed = -1", "nnx_seed: the seed -1 is not between"),
        ("nnx_seed = [1]", "nnx_seed: "),
        ("nnx_cpu_devices = 0.5", "nnx_cpu_devices: '0.5' is not a number of CPU devices"),
        ('nnx_strict = "yes"', "nnx_strict: "),
        ("nnx_weights_tol = {flaot32 = 1e-3}", "nnx_weights_tol: 'flaot32 = 0.001' is not of"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(project: Project, line: str, told: str):
    configured(project.test("def test_it(): pass"), line)
    run = project.run()
    assert run.ret == 4, run.everything
    run.says(told).does_not_say("Traceback", "INTERNALERROR")
