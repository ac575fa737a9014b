"""Builders as people have them: wherever their keys come from, these are found."""

from __future__ import annotations

import json

import pytest
from projects import Project

BUILDERS = """
import dataclasses
import functools
import types
import jax
from flax import nnx
from models import MLP

SEED = 3

@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    rngs: nnx.Rngs

class Factory:
    def __init__(self, rngs):
        self.rngs = rngs

    def build(self, width):
        return MLP(2, width, 5, rngs=self.rngs)

def of_config(config):
    return MLP(2, config.width, 5, rngs=config.rngs)

def of_nested(config):
    return of_config(config["model"])

def of_seed(seed):
    return MLP(2, 10, 5, rngs=nnx.Rngs(params=seed))

def of_key(key):
    return MLP(2, 10, 5, rngs=nnx.Rngs(key))

def of_itself():
    return MLP(2, 10, 5, rngs=nnx.Rngs(SEED))

def with_default(rngs):
    def build(width=10, *, rngs=rngs):
        return MLP(2, width, 5, rngs=rngs)
    return build
"""
TEST = """
import functools, types
import jax
from flax import nnx
import builders
from builders import *
from models import MLP

def test_it(rngs, nnx_snapshot):
    nnx_snapshot(OPTIONS).check_init(CALL)
    assert int(rngs.params.count[...]) == COUNT
"""
WITH_RNGS = {
    "partial": "functools.partial(MLP, 2, 10, 5, rngs=rngs)",
    "partial of a partial": "functools.partial(functools.partial(MLP, 2, rngs=rngs), 10), 5",
    "partial that is overridden": "functools.partial(MLP, 2, 10, rngs=None), 5, rngs=rngs",
    "lambda": "lambda: MLP(2, 10, 5, rngs=rngs)",
    "lambda with an argument": "lambda width: MLP(2, width, 5, rngs=rngs), 10",
    "dataclass": "of_config, Config(10, rngs)",
    "namespace in a dict": "of_nested, {'model': types.SimpleNamespace(width=10, rngs=rngs)}",
    "method": "Factory(rngs).build, 10",
    "default": "with_default(rngs)",
    "default in a lambda": "lambda rngs=rngs: MLP(2, 10, 5, rngs=rngs)",
}
WITHOUT = {
    "seed": ("of_seed, seed=3", "of_seed, seed=4", "key(3)", "key(4)"),
    "key": ("of_key, jax.random.key(3)", "of_key, jax.random.key(4)", "key(3)", "key(4)"),
    "legacy key": (
        "of_key, jax.random.PRNGKey(3)",
        "of_key, jax.random.PRNGKey(4)",
        "key(3)",
        "key(4)",
    ),
    "its own": ("of_itself", "of_itself, *setattr(builders, 'SEED', 4) or ()", "key(3)", "key(4)"),
}


def script(call: str, count: int, options: str = "") -> str:
    text = TEST.replace("CALL", call).replace("COUNT", str(count))
    return text.replace("OPTIONS", options)


@pytest.mark.product("rngs are found before it is known whether the model is built")
@pytest.mark.parametrize("options", ["", "abstract=True"])
@pytest.mark.parametrize("name", WITH_RNGS)
def test_rngs_are_found_wherever_they_are(project: Project, name: str, options: str):
    project.write({"builders.py": BUILDERS}).test(script(WITH_RNGS[name], 4, options)).made()
    data = json.loads(project.golden("test_it.1.json").read_text())
    draws = {path: leaf["draws"] for path, leaf in data["leaves"].items() if "kernel" in path}
    assert draws == {"layer1.kernel": ["params#0"], "layer2.kernel": ["params#2"]}
    assert data["streams"]["params"]["end"] == 4
    assert project.run().came_to(passed=1).figures.startswith("1 matched")
    project.change("models.py", "self.layer1 = ", "rngs.params(); self.layer1 = ")
    project.change("tests/test_model.py", "== 4", "== 5")
    project.run().came_to(failed=1).says("why draws: 1 more key is drawn from `params`")


@pytest.mark.product("rngs are found before it is known whether the model is built")
@pytest.mark.parametrize("options", ["", "abstract=True"])
@pytest.mark.parametrize("name", WITHOUT)
def test_keys_of_a_builders_own_are_followed(project: Project, name: str, options: str):
    call, other, old, new = WITHOUT[name]
    project.write({"builders.py": BUILDERS}).test(script(call, 0, options))
    project.update().came_to(passed=1).does_not_say("Warning")
    data = json.loads(project.golden("test_it.1.json").read_text())
    assert data["leaves"]["layer1.kernel"]["draws"] == [f"{old}#0"]
    project.run().came_to(passed=1)
    project.change("models.py", "self.layer1 = ", "rngs.params(); self.layer1 = ")
    project.run().came_to(failed=1).says(f"1 more key is drawn from `{old}`")
    project.change("models.py", "rngs.params(); ", "").test(script(other, 0, options))
    project.run().came_to(failed=1).says(f"drawn from `{new}`, in the golden from `{old}`")


REFUSED = {
    "MLP(2, 10, 5, rngs=rngs)": "check_init builds a model, and was given one that is built: a MLP "
    "came. Give it the class and its arguments",
    "nnx.state(MLP(2, 10, 5, rngs=rngs))": "State came, which cannot be called",
    "{'a': 1}": "dict came, which cannot be called. Check a value with nnx_snapshot.check(value)",
    "None": "NoneType came, which cannot be called",
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_no_builder_has_a_message_of_its_own(project: Project, call: str):
    project.write({"builders.py": BUILDERS}).test(script(call, 4))
    project.run().came_to(failed=1).says(REFUSED[call])


def test_a_second_stream_keeps_the_names_of_those_among_the_arguments(project: Project):
    call = "lambda *, rngs, _=nnx.Rngs(params=9): MLP(2, 10, 5, rngs=rngs), rngs=rngs"
    project.write({"builders.py": BUILDERS}).test(script(call, 4)).made()
    data = json.loads(project.golden("test_it.1.json").read_text())
    assert data["leaves"]["layer1.kernel"]["draws"] == ["params#0"]
