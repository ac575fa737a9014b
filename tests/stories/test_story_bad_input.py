"""Damaged goldens, wrong arguments, impossible settings: one clear error each, nothing lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import Project

ARRAY = """
import jax.numpy as jnp

def test_it(nnx_snapshot):
    nnx_snapshot.check({"a": jnp.arange(40.0), "b": jnp.arange(30.0) + SHIFT})

SHIFT = 0
"""
MANIFEST = "test_it.1.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def edited(text: str, **changes: object) -> str:
    return json.dumps({**json.loads(text), **changes})


# How a manifest is damaged; what the failure says; whether an update may write over it.
MANIFESTS: dict[str, tuple[Callable[[str], str], str, bool]] = {
    "empty": (lambda text: "", "is empty", True),
    "truncated": (lambda text: text[: len(text) // 2], "is not a whole JSON file", True),
    "conflict markers": (
        lambda text: f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> main\n",
        "conflict markers",
        True,
    ),
    "not text": (lambda text: "\udc80\udcff", "not UTF-8", True),
    "another file": (lambda text: '{"a": 1}', "is not a golden", True),
    "edited": (lambda text: edited(text, leaves=[]), "edited or damaged", True),
    "values elsewhere": (lambda text: edited(text, values="../x.safetensors"), "values", True),
    "values is a path": (lambda text: edited(text, values="/etc/passwd"), "values", True),
    "a shape of 2^80": (
        lambda text: text.replace('"shape": [40]', f'"shape": [{2**80}]'),
        "leaf a",
        True,
    ),
    "deep": (lambda text: "[" * 100_000, "is not a whole JSON file", True),
    "newer format": (lambda text: edited(text, format=99), "pip install -U pytest-nnxrng", False),
    "LFS pointer": (lambda text: POINTER, "git lfs pull", False),
}


@pytest.mark.parametrize("damage", MANIFESTS)
def test_a_damaged_manifest_fails_with_its_name_and_the_way_out(project: Project, damage: str):
    change, phrase, replaceable = MANIFESTS[damage]
    project.test(ARRAY).made()
    whole = project.goldens()
    manifest = project.golden(MANIFEST)
    text = change(manifest.read_text("utf-8"))
    manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
    damaged = project.goldens()

    run = project.run().came_to(failed=1).says(MANIFEST, phrase)
    run.does_not_say("Traceback", "INTERNALERROR")
    assert run.figures == "0 matched, 1 unreadable."
    assert project.goldens() == damaged

    run = project.update()
    if replaceable:
        run.came_to(passed=1)
        assert project.goldens() == whole
    else:
        run.came_to(failed=1).says(phrase)
        assert project.goldens() == damaged


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def other_shapes(path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(7, np.float32), "b": np.zeros((3, 10), np.float32)}, path)


def other_values(path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(40, np.float32), "b": np.zeros(30, np.float32)}, path)


def huge_header(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


VALUES: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "missing": (Path.unlink, "is missing", True),
    "empty": (lambda path: path.write_bytes(b""), "does not hold the values of b", True),
    "truncated": (shorten, "does not hold the values of b", True),
    "other shapes": (other_shapes, "float32[3, 10]", True),
    "other values": (other_values, "other values of b", True),
    "a header of 4 EiB": (huge_header, "does not hold the values of b", True),
    "LFS pointer": (lambda path: path.write_text(POINTER), "git lfs pull", False),
}


@pytest.mark.parametrize("damage", VALUES)
def test_damaged_values_are_an_error_when_they_are_needed(project: Project, damage: str):
    change, phrase, replaceable = VALUES[damage]
    project.test(ARRAY).made()
    change(project.values("test_it.1"))
    damaged = project.goldens()
    if damage in ("missing", "LFS pointer"):  # no values at all: that is told at once
        project.run().came_to(failed=1).says(phrase, "test_it.1: the golden lacks its values")
    else:
        project.run().came_to(passed=1)  # the digests decide: the values are not read

    project.change("tests/test_model.py", "SHIFT = 0", "SHIFT = 1")
    run = project.run().came_to(failed=1).says(phrase, "test_it.1")
    run.does_not_say("INTERNALERROR")
    changed = "changed" if damage == "missing" else "unreadable"
    assert run.figures == f"0 matched, 1 {changed}."
    assert project.goldens() == damaged
    if replaceable:
        project.update().came_to(passed=1)
        project.run().came_to(passed=1)
        assert len(project.goldens()) == 2
    else:
        project.update().came_to(failed=1).says(phrase)
        assert project.goldens() == damaged


def test_a_golden_of_another_test_under_this_name_is_not_written_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    """Two tests whose hashes are one, which has a chance of 2**-32."""
    from pytest_nnxrng.golden import naming

    monkeypatch.setattr(naming, "_hashed", lambda identity, exact: "same~12345678")
    project.test("""
        import pytest

        @pytest.mark.parametrize("x", ["a b", "a  b"])
        def test_it(nnx_snapshot, x):
            nnx_snapshot.check(float(len(x)))
    """)
    project.update("tests/test_model.py::test_it[a b]").came_to(passed=1)
    goldens = project.goldens()
    for run in (project.run(), project.update()):
        run.came_to(failed=1, passed=1)
        run.says("belongs to the check '1' of test_it[a b]", "same~12345678.1.json")
        assert project.goldens() == goldens


# -- writing ---------------------------------------------------------------------------


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["write_values", "dumps"])
def test_a_full_disk_fails_the_test_and_leaves_the_old_golden(project: Project, where: str):
    project.test(ARRAY).made()
    goldens = project.goldens()
    project.change("tests/test_model.py", "SHIFT = 0", "SHIFT = 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"pytest_nnxrng.golden.store.{where}", full)
        run = project.update().came_to(failed=1)
        run.says("test_it.1.json", "written", os.strerror(errno.ENOSPC))
        run.does_not_say("INTERNALERROR")
        assert "1 written" not in run.figures
    kept = project.goldens()
    assert {name: kept[name] for name in goldens} == goldens
    assert not [name for name in kept if "tmp" in name]
    project.change("tests/test_model.py", "SHIFT = 1", "SHIFT = 0").run().came_to(passed=1)
    project.change("tests/test_model.py", "SHIFT = 0", "SHIFT = 2").update().came_to(passed=1)
    assert len(project.goldens()) == 2, "nothing is left of the failed write"


def test_a_file_in_the_place_of_the_folder_is_named(project: Project):
    project.test(ARRAY).write({"tests/__nnx_snapshots__": "I am a file"})
    run = project.update().came_to(failed=1).says(os.strerror(errno.ENOTDIR), "__nnx_snapshots__")
    run.does_not_say("INTERNALERROR")
    project.run().came_to(failed=1)
    assert (project.path / "tests/__nnx_snapshots__").read_text() == "I am a file\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_named(project: Project):
    project.test(ARRAY)
    (project.path / "tests").chmod(0o555)
    try:
        project.update().came_to(failed=1).says("cannot be written")
    finally:
        (project.path / "tests").chmod(0o755)


# -- what is checked, and where ----------------------------------------------------------

CALLS = {
    "nothing": ("nnx_snapshot.check({})", "there is nothing to check"),
    "None": ("nnx_snapshot.check(None)", "nothing to check"),
    "filtered": (
        "nnx_snapshot(only=nnx.BatchStat).check(nnx.Linear(2, 2, rngs=rngs))",
        "nnx_snapshot(only=...)",
    ),
    "text": ("nnx_snapshot.check({'a': [1, 'text']})", "a.1 is a builtins.str"),
    "an object": ("nnx_snapshot.check({'a': object()})", "a is a builtins.object"),
    "strings in numpy": ("nnx_snapshot.check(np.array(['a']))", "which a golden cannot hold"),
    "objects in numpy": ("nnx_snapshot.check(np.array([None]))", "which a golden cannot hold"),
    "a huge int": ("nnx_snapshot.check({'n': 2**64})", "n is the Python int"),
    "itself": ("nnx_snapshot.check(LOOP)", "contains itself"),
    "deleted": (
        "x = jnp.ones(3); x.delete(); nnx_snapshot.check({'x': x})",
        "x has been deleted",
    ),
    "abstract": (
        "nnx_snapshot.check({'x': jax.ShapeDtypeStruct((2,), 'float32')})",
        "x is abstract",
    ),
    "one name twice": (
        "nnx_snapshot.check(1, 'a'); nnx_snapshot.check(1, 'a')",
        "two checks of test_it are named 'a'",
    ),
    "a separator": ("nnx_snapshot.check(1, 'a/b')", "has a path separator"),
    "a backslash": (r"nnx_snapshot.check(1, 'a\\b')", "has a path separator"),
    "dots": ("nnx_snapshot.check(1, '..')", "has '..'"),
    "300 characters": ("nnx_snapshot.check(1, 'a' * 300)", "has 300 characters"),
    "no text": ("nnx_snapshot.check(1, 7)", "is a int, not text"),
    "a blank name": ("nnx_snapshot.check(1, '  ')", "is empty"),
    "an empty name": ("nnx_snapshot.check(1, '')", "is empty"),
    "a number": ("nnx_snapshot.check(1, '1')", "is a number"),
    "a tracer": (
        "jax.jit(lambda x: nnx_snapshot.check({'y': x}))(jnp.ones(2))",
        "y is a tracer",
    ),
    "a tracer of grad": (
        "jax.grad(lambda x: nnx_snapshot.check(x).sum())(jnp.ones(2))",
        "is a tracer",
    ),
    "no model": (
        "nnx_snapshot.check_init(lambda rngs: jnp.ones(3), rngs)",
        "holds no nnx.Module",
    ),
    "None built": ("nnx_snapshot.check_init(lambda rngs: None, rngs)", "NoneType"),
    "negative tol": ("nnx_snapshot(tol=-1)", "nnx_snapshot(tol=...): -1 is not a tolerance"),
    "nan tol": ("nnx_snapshot(tol=float('nan'))", "nan is not a tolerance"),
    "text tol": ("nnx_snapshot(tol='a lot')", "is not a tolerance"),
    "exact and tol": ("nnx_snapshot(exact=True, tol=1e-3)", "leave out tol and atol"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_check_that_can_check_nothing_says_why(project: Project, case: str):
    call, phrase = CALLS[case]
    project.test(f"""
        import jax, jax.numpy as jnp, numpy as np, pytest
        from flax import nnx

        LOOP = []
        LOOP.append(LOOP)

        def test_it(rngs, nnx_snapshot):
            nnx_snapshot.check(jnp.ones(2), "before")
            {call}
    """)
    for run in (project.run(), project.update()):
        run.came_to(failed=1).says("SnapshotError", phrase)
        run.does_not_say("INTERNALERROR")
        assert project.goldens() == {}


def test_a_check_after_its_test_has_ended_is_an_error(project: Project):
    project.test("""
        import jax.numpy as jnp, pytest

        KEPT = []

        @pytest.fixture
        def checks_late(nnx_snapshot):
            yield
            nnx_snapshot.check(jnp.ones(2))

        def test_teardown(checks_late):
            pass

        def test_keeps(nnx_snapshot):
            KEPT.append(nnx_snapshot)

        def test_uses_another(nnx_snapshot):
            KEPT[0].check(jnp.ones(2))

        def test_builds_with_another(rngs, nnx_snapshot):
            from models import MLP
            KEPT[0].check_init(MLP, 2, 3, 2, rngs=rngs)
    """)
    for run in (project.run(), project.update()):
        run.came_to(passed=2, failed=2, errors=1)
        run.says("nnx_snapshot of test_teardown was used", "nnx_snapshot of test_keeps was used")
        assert project.goldens() == {}


def test_under_given_a_check_is_one_clear_error(project: Project):
    pytest.importorskip("hypothesis")
    project.left_out = ()
    project.test("""
        import jax.numpy as jnp
        from hypothesis import HealthCheck, given, settings, strategies

        @settings(suppress_health_check=list(HealthCheck), max_examples=5, database=None)
        @given(strategies.integers(0, 9))
        def test_it(nnx_snapshot, n):
            nnx_snapshot.check(jnp.float32(n))

        @settings(suppress_health_check=list(HealthCheck), max_examples=5, database=None)
        @given(n=strategies.integers(0, 9))
        def test_no_check(nnx_snapshot, n):
            pass
    """)
    for run in (project.run(), project.update()):
        run.came_to(failed=1, passed=1).says("hypothesis")
        assert project.goldens() == {}


def test_a_build_that_does_not_repeat_itself_is_never_written(project: Project):
    project.test("""
        import itertools
        import jax.numpy as jnp
        from flax import nnx

        COUNTER = itertools.count()

        def build(*, rngs):
            model = nnx.Linear(2, 3, rngs=rngs)
            model.bias[...] = jnp.full(3, next(COUNTER))
            return model

        def test_it(rngs, nnx_snapshot):
            nnx_snapshot.check_init(build, rngs=rngs)
    """)
    project.update().came_to(failed=1).says("does not repeat itself")
    assert project.goldens() == {}


def test_errors_of_the_build_pass_through(project: Project):
    project.test("""
        import pytest
        from flax import nnx

        def build(rngs):
            raise ZeroDivisionError("mine")

        def test_it(rngs, nnx_snapshot):
            with pytest.raises(ZeroDivisionError, match="mine"):
                nnx_snapshot.check_init(build, rngs)
    """)
    project.run().came_to(passed=1)
    project.update().came_to(passed=1)


# -- settings ----------------------------------------------------------------------------

USAGE = {
    "seed": (["--nnx-seed=abc"], [], "--nnx-seed: 'abc' is not a seed"),
    "negative seed": (["--nnx-seed=-1"], [], "is not between 0 and"),
    "big seed": ([f"--nnx-seed={2**64}"], [], "is not between 0 and"),
    "float seed": (["--nnx-seed=1.5"], [], "is not a seed"),
    "ini seed": ([], ["nnx_seed = x"], "nnx_seed: 'x' is not a seed"),
    "tolerance": ([], ["nnx_weights_tol = float32"], "nnx_weights_tol: 'float32' is not of the"),
    "dtype": ([], ["nnx_outputs_tol = int8 = 1"], "nnx_outputs_tol: 'int8 = 1' is not of the"),
    "negative": ([], ["nnx_outputs_tol = float32 = -1"], "is not a tolerance"),
    "no number": ([], ["nnx_outputs_tol = float32 = much"], "is not a tolerance"),
    "size": ([], ["nnx_snapshot_store_limit = lots"], "'lots' is not a size"),
    "folder": ([], ["nnx_snapshot_dir = a/b"], "is not the name of a folder"),
    "no such form of device": (["--nnx-device=abacus"], [], "'abacus' is not a device"),
    "no such index": (["--nnx-device=cpu:99"], [], "there is no device cpu:99"),
    "no such device": (["--nnx-device=tpu"], [], "there is no device tpu"),
    "ini device": ([], ["nnx_device = tpu"], "there is no device tpu"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_setting_that_cannot_be_used_stops_the_run_before_any_test(project: Project, case: str):
    args, ini, phrase = USAGE[case]
    project.ini(*ini).test("def test_it(rngs): print('ran')")
    run = project.run(*args)
    assert run.ret == 4
    run.says("ERROR", phrase).does_not_say("passed", "INTERNALERROR", "Traceback")
    assert len([line for line in run.everything.splitlines() if line.strip()]) < 12


def test_an_absent_device_stops_a_run_with_workers_too(project: Project):
    project.test("def test_it(rngs): pass")
    run = project.run_workers("--nnx-device=tpu")
    assert run.ret == 4
    run.says("there is no device tpu", "Available: cpu:0").does_not_say("passed", "Traceback")


MARKERS = {
    "text": ('nnx_rngs("abc")', "is not possible"),
    "nothing": ("nnx_rngs()", "needs a seed or streams"),
    "negative": ("nnx_rngs(-1)", "is not between 0 and"),
    "two": ("nnx_rngs(1, 2)", "is not possible"),
    "float": ("nnx_rngs(1.5)", "@pytest.mark.nnx_rngs"),
    "a stream's text": ('nnx_rngs(params="x")', "@pytest.mark.nnx_rngs"),
}


@pytest.mark.parametrize("case", MARKERS)
def test_a_marker_that_cannot_be_used_is_an_error_of_its_test_alone(project: Project, case: str):
    marker, phrase = MARKERS[case]
    project.test(f"""
        import pytest

        @pytest.mark.{marker}
        def test_it(rngs):
            pass

        def test_other(rngs):
            pass
    """)
    run = project.run().came_to(passed=1, errors=1).says(phrase, "nnx_rngs")
    run.does_not_say("INTERNALERROR")


def test_an_empty_list_of_causes_is_no_update_of_all_or_none(project: Project):
    project.test("def test_a():\n    pass")
    run = project.run("--nnx-update-only=")
    assert run.ret == 4
    run.says("--nnx-update-only: '' is no cause")


BROKEN = """
import jax.numpy as jnp
from models import MLP

def test_mlp(rngs, nnx_snapshot):
    nnx_snapshot.check_call(MLP(2, 3, 5, rngs=rngs), jnp.ones((1, 7)))
"""


def test_an_error_of_the_user_s_own_call_is_shown_without_ours(project: Project):
    run = project.test(BROKEN).run().came_to(failed=1)
    run.says("models.py").does_not_say("watch.py", "observed.py", "invoke.py")
