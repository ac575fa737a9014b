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
    "epsilon": ("use_bias=False", "use_bias=False, epsilon=0.1", "epsilon 1e-06 -> 0.1: block.norm"),
    "another class": (
        "LayerNorm(4, use_bias=False",
        "RMSNorm(4",
        "class LayerNorm -> RMSNorm: block.norm",
    ),
    "momentum": ("BatchNorm(4", "BatchNorm(4, momentum=0.5", "momentum 0.99 -> 0.5: block.stats"),
    "compute dtype": (
        "self.up = nnx.Linear(4, 4",
        "self.up = nnx.Linear(4, 4, dtype=jnp.bfloat16",
        "dtype - -> bfloat16: block.up",
    ),
    "a rate": ("Dropout(0.1)", "Dropout(0.5)", "rate 0.1 -> 0.5: block.drop"),
    "a constant of a class": ("SCALE = 2", "SCALE = 3", "SCALE 2 -> 3: the value"),
    "a function in a sequence": (
        "rngs=rngs), nnx.relu)",
        "rngs=rngs), nnx.gelu)",
        "layers.1 relu -> gelu: head",
    ),
    "a module without leaves": ("self.drop = nnx.Dropout(0.1)", "pass", "removed block.drop"),
}


@pytest.fixture(params=["check", "init", "abstract"])
def project_of_kind(project: Project, request: pytest.FixtureRequest) -> Project:
    text = CHECK if request.param == "check" else INIT
    options = "abstract=True" if request.param == "abstract" else ""
    return project.write({"net.py": NET}).test(text.replace("OPTIONS", options))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_static_state_fails_with_a_cause_of_its_own(
    project_of_kind: Project, change: str
):
    old, new, told = CHANGES[change]
    project = project_of_kind.made().change("net.py", old, new)
    goldens = project.goldens()
    run = project.run("--nnx-report=out").came_to(failed=1)
    run.says("differs in the static state of 1 module", f"why static: {told}")
    assert project.goldens() == goldens
    (check,) = json.loads((project.path / "out/report.json").read_text())["checks"]
    assert [cause["word"] for cause in check["causes"]] == ["static"]
    assert check["modules"] and not check["differences"]

    project.run("--nnx-update-only=static").came_to(passed=1)
    run = project.run().came_to(passed=1)
    assert run.figures == "1 matched."
