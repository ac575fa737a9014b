"""A model as NNX's display shows it: its bytes repeat, and nothing of a user's is markup in it."""

import dataclasses
import re

import pytest
from trees import FOLDER, leaf, model

from pytest_nnxrng.golden.manifest import read
from pytest_nnxrng.page.assemble import models
from pytest_nnxrng.page.display import display, tree
from pytest_nnxrng.page.subject import Run

HOSTILE = '</script><img src=x onerror="alert(1)">'
MODULES = {"": {"class": "Net"}, "layers.2": {"class": "Linear", "use_bias": True, "rate": 0.5}}


@pytest.fixture
def golden(tree):
    return read(tree.golden(modules=MODULES))


def test_modules_and_variables_are_nested_as_the_model_is(golden):
    root = tree(golden)
    layer = root.has["layers"].has["2"]
    assert (root.name, layer.name) == ("Net", "Linear")
    assert layer.has["rate"] == 0.5
    assert layer.has["kernel"].name == "Param"
    assert layer.has["kernel"].has["draws"] == "params#0"
    assert layer.has["kernel"].has["value"].shape == (4, 6)


def test_values_that_are_not_there_are_told_by_their_form(golden):
    bare = dataclasses.replace(golden, leaves=tuple(one.but(read=None) for one in golden.leaves))
    value = tree(bare).has["layers"].has["2"].has["kernel"].has["value"]
    assert (value.name, value.has["shape"], value.has["dtype"]) == ("Array", (4, 6), "float32")


def test_the_same_model_gives_the_same_bytes(golden):
    pytest.importorskip("treescope")
    made = display(golden, "a model")
    assert made == display(golden, "a model")
    assert len(set(re.findall(r"[0-9a-f]{32}", made))) == 1
    assert "Content-Security-Policy" in made


def test_no_text_of_a_user_s_is_markup(tree):
    pytest.importorskip("treescope")
    rows = {"": {"class": HOSTILE, HOSTILE: HOSTILE}}
    leaves = model(extra=(leaf(f'["{HOSTILE}"].kernel', [1.0], (f"{HOSTILE}#1",), type=HOSTILE),))
    made = display(read(tree.golden(leaves=leaves, modules=rows)), HOSTILE)
    assert "<img" not in made
    assert "onerror=%22alert" not in made  # compressed, at most
    assert made.count("</script") == made.count("<script")


def test_a_report_has_its_models_in_a_folder_that_is_marked(tree):
    pytest.importorskip("treescope")
    from pytest_nnxrng.command.artifact import read as report

    tree.golden()
    tree.obtained()
    path = tree.report / "obtained" / FOLDER / "test_a.1.json"
    text = path.read_text().replace('"aliases"', '"modules": {"": {"class": "Net"}},\n  "aliases"')
    path.write_text(text)
    from pytest_nnxrng.golden.document import fingerprint

    tree.rows[0]["obtained"]["digest"] = fingerprint(path)
    tree.written()
    models(Run("r", tree.report, tree.root, report("r", tree.report).checks))
    assert (tree.report / "models" / FOLDER / "test_a.1.html").is_file()
    assert (tree.report / "models" / ".nnxrng-report").is_file()
