"""Static state of modules: what changes what a model computes, and shows in no leaf."""

from __future__ import annotations

import json

import pytest
from projects import Project

NET = """
import functools
import jax
import jax.numpy as jnp
from flax import nnx

class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.rate = 0.1
        self.act = nnx.relu
        self.conv = nnx.Conv(4, 4, (3, 3), strides=1, padding="SAME", rngs=rngs)
        self.norm = nnx.LayerNorm(4, use_bias=False, rngs=rngs)
        self.stats = nnx.BatchNorm(4, rngs=rngs)
        self.up = nnx.Linear(4, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.1)

class Net(nnx.Module):
    SCALE = 2
    def __init__(self, *, rngs):
        self.block = Block(rngs=rngs)
        self.head = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.relu)
"""
CHECK = """
from net import Net

def test_net(rngs, nnx_snapshot):
    nnx_snapshot(OPTIONS).check(Net(rngs=rngs))
"""
INIT = """
from net import Net

def test_net(rngs, nnx_snapshot):
    nnx_snapshot(OPTIONS).check_init(Net, rngs=rngs)
"""
CHANGES = {
    "an attribute": ("self.rate = 0.1", "self.rate = 0.2", "rate 0.1 -> 0.2: block"),
    "an activation": ("self.act = nnx.relu", "self.act = nnx.tanh", "act relu -> tanh: block"),
    "strides": ("strides=1", "strides=2", "strides 1 -> 2: block.conv"),
    "padding": ('"SAME"', '"VALID"', "padding SAME -> VALID: block.conv"),
    "epsilon": (
        "use_bias=False",
        "use_bias=False, epsilon=0.1",
        "epsilon 1e-06 -> 0.1: block.norm",
    ),
    "another class": (
        "LayerNorm(4, use_bias=False",
        "RMSNorm(4",
        "class LayerNorm -> RMSNorm: block.norm",
    ),
    "momentum": ("BatchNorm(4", "BatchNorm(4, momentum=0.5", "momentum 0.99 -> 0.5: block.stats"),
    "compute dtype": (
        "self.up = nnx.Linear(4, 4",
        "self.up = nnx.Linear(4, 4, dtype=jnp.bfloat16",
        "dtype unset -> bfloat16: block.up",
    ),
    "a rate": ("Dropout(0.1)", "Dropout(0.5)", "rate 0.1 -> 0.5: block.drop"),
    "a constant of a class": ("SCALE = 2", "SCALE = 3", "SCALE 2 -> 3: the value"),
    "a function in a sequence": (
        "rngs=rngs), nnx.relu)",
        "rngs=rngs), nnx.gelu)",
        "layers.1 relu -> gelu: head",
    ),
    "a module without leaves": (
        "self.drop = nnx.Dropout(0.1)",
        "pass",
        "removed Dropout: block.drop",
    ),
}


@pytest.fixture
def project_of_kind(project: Project, request: pytest.FixtureRequest) -> Project:
    text = CHECK if request.param == "check" else INIT
    options = "abstract=True" if request.param == "abstract" else ""
    return project.write({"net.py": NET}).test(text.replace("OPTIONS", options))


@pytest.mark.product("static state is read from a finished model, a build and a trace, once each")
@pytest.mark.parametrize("project_of_kind", ["check", "init", "abstract"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_static_state_fails_with_a_cause_of_its_own(
    project_of_kind: Project, change: str
):
    old, new, told = CHANGES[change]
    project = project_of_kind.made().change("net.py", old, new)
    goldens = project.goldens()
    run = project.run("--nnx-report=out").came_to(failed=1)
    run.says("test_net.1: static: ", f"why static: {told}", "0 differ")
    assert project.goldens().items() >= goldens.items()
    (check,) = json.loads((project.path / "out/report.json").read_text())["checks"]
    assert [cause["word"] for cause in check["causes"]] == ["static"]
    assert check["modules"]
    assert not check["differences"]

    project.run("--nnx-update-only=static").came_to(passed=1)
    run = project.run().came_to(passed=1)
    assert run.figures == "1 matched."


def test_a_golden_from_before_matches_untouched_until_a_refresh_records_the_static_state(
    project: Project,
):
    project.write({"net.py": NET}).test(CHECK.replace("OPTIONS", "")).made()
    whole = project.goldens()
    manifest = project.golden("test_net.1.json")
    data = json.loads(manifest.read_text())
    assert data.pop("modules")["block.drop"] == DROPOUT
    manifest.write_text(json.dumps(data))
    before = project.goldens()

    for run in (project.run(), project.update()):
        run.came_to(passed=1)
        run.says("kept the static state of modules", ": 1. --nnx-refresh-snapshots records it")
        assert project.goldens() == before
    project.change("net.py", "Dropout(0.1)", "Dropout(0.5)").run().came_to(passed=1)
    project.change("net.py", "Dropout(0.5)", "Dropout(0.1)")

    run = project.run("--nnx-refresh-snapshots").came_to(passed=1)
    assert run.figures == "0 matched, 1 written."
    assert project.goldens() == whole
    project.run().came_to(passed=1).does_not_say("static state")


DROPOUT = {
    "class": "Dropout",
    "broadcast_dims": [],
    "deterministic": False,
    "rate": 0.1,
    "rng_collection": "dropout",
    "rngs": None,
}


def test_static_false_leaves_static_state_out(project: Project):
    project.write({"net.py": NET}).test(CHECK.replace("OPTIONS", "static=False")).made()
    assert "modules" not in json.loads(project.golden("test_net.1.json").read_text())
    project.change("net.py", "Dropout(0.1)", "Dropout(0.5)")
    project.run().came_to(passed=1).does_not_say("static state")


def test_static_false_does_not_look_at_what_a_golden_holds(project: Project):
    project.write({"net.py": NET}).test(CHECK.replace("OPTIONS", "")).made()
    goldens = project.goldens()
    project.change("net.py", "Dropout(0.1)", "Dropout(0.5)").run().came_to(failed=1)
    project.change("tests/test_model.py", "nnx_snapshot()", "nnx_snapshot(static=False)")
    for run in (project.run(), project.update(), project.run("--nnx-refresh-snapshots")):
        run.came_to(passed=1).does_not_say("static state")
    assert project.goldens() == goldens


def test_objects_that_no_text_can_hold_are_passed_over(project: Project):
    project.write({"net.py": OBJECTS}).test(CHECK.replace("OPTIONS", "")).made()
    rows = json.loads(project.golden("test_net.1.json").read_text())["modules"]
    assert rows == {"": {"class": "Net", "config.dropout": 0.1, "config.dtype": "bfloat16"}}
    # Other ids, another folder, another order of a set: in a process of its own.
    project.run_apart().came_to(passed=1)


OBJECTS = """
import collections, dataclasses, itertools, pathlib
import jax.numpy as jnp
from flax import nnx

class Thing:
    pass

@dataclasses.dataclass(frozen=True)
class Config:
    dropout: float = 0.1
    dtype: object = jnp.bfloat16
    thing: object = Thing()

COUNT = itertools.count()

class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.kernel = nnx.Param(rngs.params.uniform((4,)) if hasattr(rngs.params, "uniform")
                                else jnp.ones(4))
        self.thing = Thing()
        self.folder = pathlib.Path.cwd()
        self.file = str(pathlib.Path.cwd() / "vocabulary.txt")
        self.words = {"a", "b", "c"}
        self.name = f"net_{next(COUNT)}"
        self.config = Config()
"""


def test_a_module_that_came_or_went_with_its_leaves_is_told_by_these(project: Project):
    project.write({"net.py": NET}).test(CHECK.replace("OPTIONS", "")).made()
    project.change("net.py", "self.up =", "self.lift =")
    run = project.run().came_to(failed=1)
    run.says("why renamed: block.up -> block.lift").does_not_say("why static")


def test_a_change_in_a_module_that_has_another_path_now_is_told(project: Project):
    project.write({"net.py": NET}).test(CHECK.replace("OPTIONS", "")).made()
    project.change("net.py", "self.block =", "self.part =")
    project.run().came_to(failed=1).says("why renamed: ").does_not_say("why static")
    project.change("net.py", "Dropout(0.1)", "Dropout(0.5)")
    project.run("--nnx-update-only=renamed").came_to(failed=1).says(
        "why renamed: ", "why static: rate 0.1 -> 0.5: part.drop"
    )
    project.run("--nnx-update-only=renamed,static").came_to(passed=1)


def test_an_output_that_follows_from_a_static_change_says_so(project: Project):
    project.write({"net.py": NET}).test(OUTPUT).made()
    project.change(
        "net.py",
        "self.head = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.relu)",
        "self.head = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.tanh)",
    )
    run = project.run().came_to(failed=1)
    run.says("static: layers.1 relu -> tanh: head", "why follows: the model that this test checked")
    project.run("--nnx-update-only=static,follows").came_to(passed=1)
    assert project.run().figures == "2 matched."


OUTPUT = """
import jax.numpy as jnp
from net import Net

def test_net(rngs, nnx_snapshot):
    net = nnx_snapshot.check_init(Net, rngs=rngs)
    nnx_snapshot.check(net.head(jnp.arange(4.0)[None]))
"""
