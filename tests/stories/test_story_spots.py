"""A model that is never built is checked at spots, and shares its golden with one that is."""

from __future__ import annotations

import json

import pytest
from projects import Project

DEAR = "Workers are shown by another story here."

MODELS = """
import jax
import jax.numpy as jnp
from flax import nnx

SCALE = 1.0
lecun = nnx.initializers.lecun_normal()


def init(key, shape, dtype, **more):
    return lecun(key, shape, dtype, **more) * SCALE


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.inner = nnx.Linear(64, 96, kernel_init=init, rngs=rngs)
        self.outer = nnx.Linear(96, 40, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class Odd(Net):
    def __init__(self, *, rngs):
        super().__init__(rngs=rngs)
        self.square = nnx.Param(nnx.initializers.orthogonal()(rngs.params(), (80, 80)))
"""

TEST = """
from models import Net, Odd


def test_net(rngs, nnx_snapshot):
    nnx_snapshot(abstract=True).check_init(Net, rngs=rngs)
"""

RECORDED = '"jax_threefry_partitionable": true'
PROVEN = "Not computed, as the keys, initializers and environment are those of the golden: 1."
SPOTTED = "Checked by spots, up to 32 elements of a leaf: 1."


@pytest.fixture
def project(project: Project) -> Project:
    return project.write({"models.py": MODELS}).test(TEST)


def concrete(project: Project) -> Project:
    return project.change("tests/test_model.py", "nnx_snapshot(abstract=True)", "nnx_snapshot")


def abstract(project: Project) -> Project:
    return project.change("tests/test_model.py", "nnx_snapshot.", "nnx_snapshot(abstract=True).")


def leaves(project: Project, name: str = "test_net.1.json"):
    return json.loads(project.golden(name).read_text(encoding="utf-8"))["leaves"]


def edit(project: Project, old: str, new: str, name: str = "test_net.1.json") -> None:
    path = project.golden(name)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def elsewhere(project: Project) -> Project:
    """Make the golden one that was recorded on another machine."""
    edit(project, '"device": "', '"device": "another ')
    return project


def test_an_abstract_golden_holds_spots_and_no_values(project: Project):
    run = project.update().came_to(passed=1)
    assert run.summary == ["0 matched, 1 written."]
    assert project.manifests() == {"test_net.1.json"}
    assert len(project.goldens()) == 1
    rows = leaves(project)
    assert all("spots" in row for row in rows.values())
    assert len(rows["inner.kernel"]["spots"]) == 5 * (32 * 4 + 4) // 4
    assert len(rows["inner.bias"]["spots"]) == 10  # zeros alone


def test_nothing_is_computed_where_all_is_as_recorded(project: Project):
    goldens = project.made().goldens()
    for run in (project.run(), project.update(), project.run("--nnx-refresh-snapshots")):
        run.came_to(passed=1).says("1 matched.", PROVEN).does_not_say("by spots", "without values")
        assert project.goldens() == goldens


def test_on_another_machine_the_spots_are_computed(project: Project):
    elsewhere(project.made())
    run = project.run().came_to(passed=1)
    run.says("1 matched.", SPOTTED).does_not_say("Not computed", "without values")


def test_a_refresh_records_the_environment_that_the_spots_match_in(project: Project):
    goldens = project.made().goldens()
    elsewhere(project).run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert project.goldens() == goldens
    project.run().came_to(passed=1).says(PROVEN)


def test_a_built_model_is_held_against_the_spots(project: Project):
    concrete(project.made())
    project.run().came_to(passed=1).says("1 matched.", SPOTTED).does_not_say("without values")
    project.change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    run = project.run("-v").came_to(failed=1)
    run.says(
        "1 differ",
        "initializer: the values are 1.01 times the golden's: inner.kernel",
        "32 of 32 spots differ",
        "5 match, 5 of these at their spots alone, 1 differ",
    )


def test_an_abstract_model_is_held_against_values(project: Project):
    elsewhere(concrete(project).made())
    project.run().came_to(passed=1).says("1 matched.").does_not_say("spots")
    abstract(project)
    project.run().came_to(passed=1).says("1 matched.", SPOTTED)
    project.change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    run = project.run("-v").came_to(failed=1)
    run.says("1 differ", "32 of 32 spots differ")


@pytest.mark.parametrize("workers", [False, True], ids=["here", "n2"])
def test_a_changed_initializer_is_named_with_its_ratio(project: Project, workers: bool):
    project.made().change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    run = project.run_workers("-v") if workers else project.run("-v")
    run.came_to(failed=1).says(
        "initializer: the values are 1.01 times the golden's: inner.kernel",
        "32 of 32 spots differ; the largest difference is",
        "ULP)",
    )
    assert run.words.count(" why ") == 1


@pytest.mark.dear(DEAR)
def test_workers_say_the_same(project: Project):
    elsewhere(project.made())
    project.run_workers().came_to(passed=1).says("1 matched.", SPOTTED)


def test_a_changed_seed_is_named(project: Project):
    project.made()
    run = project.run("--nnx-seed=7").came_to(failed=1)
    run.says("seed: another seed (", "params 0 -> 7").does_not_say("initializer:", "unknown")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("jax_threefry_partitionable", False),
        ("jax_random_seed_offset", 3),
        ("jax_default_prng_impl", "'rbg'"),
    ],
)
def test_a_flag_is_proven_without_building(project: Project, flag: str, value: object):
    project.made()
    project.write({"conftest.py": f"import jax\njax.config.update('{flag}', {value})"})
    run = project.run().came_to(failed=1)
    run.says(f"environment: {flag} ", "equal to the golden when built under what it recorded")
    run.does_not_say("seed:", "initializer:", "unknown:", "draws:", "stream:")
    assert run.words.count(" why ") == 1


def test_a_flag_and_a_scale_are_two_causes(project: Project):
    project.made().change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    project.write({"conftest.py": "import jax\njax.config.update('jax_random_seed_offset', 3)"})
    run = project.run().came_to(failed=1)
    run.says("environment: jax_random_seed_offset 0 -> 3", "initializer: ")
    run.does_not_say("seed:", "unknown:", "draws:")


def test_a_spot_edited_by_hand_is_one_clear_error(project: Project):
    spots = leaves(project.made())["inner.kernel"]["spots"]
    edited = spots[:50] + ("0" if spots[50] != "0" else "1") + spots[51:]
    edit(project, json.dumps(spots), json.dumps(edited))
    run = project.run().came_to(failed=1)
    run.says(
        "test_net.1: the golden cannot be compared",
        'leaf inner.kernel: "spots" are not those that were written: their checksum is another',
        "to write: pytest --nnx-update-snapshots",
    )
    project.update().came_to(passed=1).says("1 written.")
    assert leaves(project)["inner.kernel"]["spots"] == spots


def test_an_edited_element_of_a_built_model_is_found_at_a_spot(project: Project):
    concrete(project.made())
    project.change(
        "models.py",
        "self.dropout = nnx.Dropout(0.5, rngs=rngs)",
        "self.dropout = nnx.Dropout(0.5, rngs=rngs)\n"
        "        self.outer.kernel[...] = self.outer.kernel[...].at[0, 0].add(1.0)",
    )
    run = project.run("-v").came_to(failed=1)
    run.says("outer.kernel", "1 of 32 spots differ", "at [0, 0]: golden ")


# -- leaves that cannot be evaluated -----------------------------------------------------------


def test_leaves_without_spots_are_said(project: Project):
    project.change("tests/test_model.py", "check_init(Net", "check_init(Odd")
    run = project.update("--nnx-report=out").came_to(passed=1)
    run.says(
        "tests/__nnx_snapshots__/test_model/test_net.1.json keeps no values of 1 leaf: square "
        "(passes through "
    )
    rows = leaves(project)
    assert "spots" not in rows["square"]
    assert "spots" in rows["inner.kernel"]
    (check,) = json.loads((project.path / "out/report.json").read_text())["checks"]
    assert check["left_out"].keys() == {"square"}
    run = project.run().came_to(passed=1).says(PROVEN).does_not_say("without values")
    elsewhere(project)
    run = project.run("--nnx-report=out").came_to(passed=1)
    run.says(SPOTTED, "Checked without values, the golden or the check being abstract: 1.")
    (check,) = json.loads((project.path / "out/report.json").read_text())["checks"]
    assert check["left_out"].keys() == {"square"}
    assert (check["spotted"], check["unread"], check["proven"]) == (6, 1, 0)


# -- values that a golden holds ----------------------------------------------------------------


def test_an_abstract_update_keeps_values_that_still_match(project: Project):
    concrete(project).made()
    before = leaves(project)
    abstract(project).change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    project.update().came_to(passed=1).says("1 written.")
    after = leaves(project)
    for path, row in before.items():
        if path != "inner.kernel":
            assert after[path] == row
    assert "digest" not in after["inner.kernel"]
    assert "spots" in after["inner.kernel"]
    assert project.values("test_net.1").exists()
    project.run().came_to(passed=1).says("1 matched.")
    concrete(project).run().came_to(passed=1).says("1 matched.", SPOTTED)
    project.run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert "digest" in leaves(project)["inner.kernel"]
    project.run().came_to(passed=1).does_not_say("spots")


def test_an_abstract_refresh_leaves_values_of_another_environment(project: Project):
    goldens = elsewhere(concrete(project).made()).goldens()
    run = abstract(project).run("--nnx-refresh-snapshots").came_to(passed=1)
    run.says(
        "1 matched.",
        "test_net.1.json holds values of the environment that it was made in, which an abstract "
        "check cannot make anew: it is left as it is. Refresh it from a check without "
        "abstract=True",
    )
    assert project.goldens() == goldens
    concrete(project).run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert "another" not in project.golden("test_net.1.json").read_text()


def test_values_kept_from_another_environment_are_marked_and_never_taken_for_proof(
    project: Project,
):
    elsewhere(concrete(project).made())
    abstract(project).change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    project.update().came_to(passed=1).says("1 written.")
    rows = leaves(project)
    assert {path for path, row in rows.items() if row.get("kept")} == rows.keys() - {"inner.kernel"}
    project.run().came_to(passed=1).says(SPOTTED, PROVEN)
    concrete(project).run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert not any(row.get("kept") for row in leaves(project).values())
    project.run("--nnx-refresh-snapshots").came_to(passed=1).says("1 matched.")


def test_a_refresh_adds_spots_to_a_golden_without(project: Project):
    project.made()
    path = project.golden("test_net.1.json")
    whole = path.read_text(encoding="utf-8")
    data = json.loads(whole)
    text = whole
    for row in data["leaves"].values():
        text = text.replace(f', "spots": {json.dumps(row["spots"])}', "")
    assert "spots" not in text
    path.write_text(text, encoding="utf-8")
    project.run().came_to(passed=1).says("1 matched.", PROVEN)
    project.update().came_to(passed=1)
    assert path.read_text(encoding="utf-8") == text
    project.run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert path.read_text(encoding="utf-8") == whole


def test_a_build_that_does_not_repeat_itself_is_never_written(project: Project):
    project.change(
        "models.py",
        "self.dropout = nnx.Dropout(0.5, rngs=rngs)",
        "import os\n        self.noise = nnx.Param(jnp.asarray(list(os.urandom(16)), jnp.float32))",
    )
    run = project.update().came_to(failed=1)
    run.says("the build does not repeat itself: two calls with the same rngs gave two different")
    assert project.goldens() == {}


def test_the_spots_of_a_large_leaf_stand_beside_its_sketch(project: Project):
    concrete(project).ini("nnx_snapshot_store_limit = 1 KiB").made()
    rows = leaves(project)
    assert {"digest", "sketch", "spots"} <= rows["inner.kernel"].keys()
    assert "spots" not in rows["inner.bias"]  # the manifest holds its one value
    elsewhere(project)
    abstract(project).run().came_to(passed=1).says("1 matched.", SPOTTED)
    project.change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    project.run("-v").came_to(failed=1).says("32 of 32 spots differ")
    run = concrete(project).run("-v").came_to(failed=1)
    run.says("by the golden's sketch, its values not being stored", "golden ", "ULP)")


# -- another version of JAX ----------------------------------------------------------------------


def test_under_another_jax_spots_decide(project: Project):
    project.made()
    edit(project, '"jax": "', '"jax": "0.')
    for row in leaves(project).values():
        if "initializer" in row:
            edit(project, row["initializer"], "0123456789abcdef")
            break
    run = project.run().came_to(passed=1)
    run.says(
        "1 matched.",
        SPOTTED,
        "Recorded under another JAX, 1 of them: draws, shapes, dtypes, types, structure and spots "
        "were compared, initializers could not be.",
    ).does_not_say("Not computed")
    project.change("models.py", "SCALE = 1.0", "SCALE = 1.01")
    run = project.run().came_to(failed=1)
    run.says("initializer: the values are 1.01 times the golden's: inner.kernel")
    run.does_not_say("why unknown:", "why environment:")


def test_under_another_jax_an_unproven_difference_is_unknown(project: Project):
    project.made()
    edit(project, '"jax": "', '"jax": "0.')
    project.change("models.py", "* SCALE", "+ 0.01")
    run = project.run().came_to(failed=1)
    run.says("unknown: ", "inner.kernel", "32 of 32 spots differ")
    run.does_not_say("initializer: another", "values:")


def test_an_abstract_update_keeps_the_values_of_another_variable_type(project: Project):
    concrete(project).made()
    before = leaves(project)
    old = "self.outer = nnx.Linear(96, 40, rngs=rngs)"
    project.change(
        "models.py",
        old,
        f"{old}\n        self.outer.kernel = nnx.Cache(self.outer.kernel[...])",
    )
    abstract(project).update().came_to(passed=1).says("1 written.")
    after = leaves(project)
    assert after["outer.kernel"] == before["outer.kernel"] | {"type": "Cache"}


def test_an_abstract_update_keeps_values_that_agree_with_another_computation(project: Project):
    concrete(project).made()
    before = leaves(project)
    abstract(project).change("models.py", "* SCALE", "* SCALE * 1.0")
    run = project.run().came_to(failed=1)
    run.says(
        "initializer: another computation from the key to the values, though those at its spots "
        "are the golden's: inner.kernel"
    )
    project.update().came_to(passed=1).says("1 written.")
    after = leaves(project)
    assert after["inner.kernel"]["digest"] == before["inner.kernel"]["digest"]
    assert after["inner.kernel"]["initializer"] != before["inner.kernel"]["initializer"]
    assert after["inner.kernel"]["kept"]
    project.run().came_to(passed=1).says("1 matched.", SPOTTED, PROVEN)
    concrete(project).run("--nnx-refresh-snapshots").came_to(passed=1).says("1 written.")
    assert "kept" not in leaves(project)["inner.kernel"]
