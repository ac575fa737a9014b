"""What a golden holds, as tables."""

import json

import numpy as np
import pytest
from trees import FOLDER, leaf, model

TIED = {"aliases": {"head.kernel": "layers.2.kernel"}}


def test_leaves_stand_in_natural_order_with_draws_and_statistics(tree, nnxrng):
    tree.golden(**TIED)
    ran = nnxrng("show", f"{FOLDER}/test_a.1.json", width=120)
    assert ran.code == 0
    assert ran.lines == [
        f"{FOLDER}/test_a.1.json",
        "  check_init 1 of test_a",
        f"  4 leaves of 58 elements; values in {_values(tree)}",
        "",
        "  leaf              type   dtype    shape   draws     initializer  mean     std  min  max",
        "  layers.2.bias     Param  float32  [6]     -         cdcdcdcd     = 0",
        "  layers.2.kernel   Param  float32  [4, 6]  params#0  abababab     0     0.6019   -1    1",
        "  layers.10.bias    Param  float32  [4]     -         cdcdcdcd     = 0",
        "  layers.10.kernel  Param  float32  [6, 4]  params#2  efefefef     0     0.6019   -1    1",
        "  head.kernel is layers.2.kernel itself",
        "",
        "  stream   base key    PRNG          keys drawn",
        "  dropout  [0, 10000]  threefry2x32  none",
        "  params   [0, 0]      threefry2x32  #0 to #3",
        "",
        "  dropout  key 0 10000  no key drawn",
        "  params  key 0 0  4 keys",
        "    ├─● #0  layers.2.kernel",
        "    ├─○ #1  nothing random",
        "    ├─● #2  layers.10.kernel",
        "    └─○ #3  nothing random",
        "",
        "  made under jax 0.12.0, jax_enable_x64 false, platform cpu",
    ]


def _values(tree):
    return json.loads((tree.root / FOLDER / "test_a.1.json").read_text())["values"]


def test_narrow_screens_lose_columns_not_leaves(tree, nnxrng):
    tree.golden()
    shown = {w: nnxrng("show", f"{FOLDER}/test_a.1.json", width=w).lines for w in (80, 60, 24)}
    heads = {w: next(li for li in lines if "  leaf" in li) for w, lines in shown.items()}
    assert heads[80].split() == [
        *("leaf", "type", "dtype", "shape", "draws", "mean", "std", "min", "max")
    ]
    assert heads[60].split() == ["leaf", "type", "dtype", "shape", "draws", "mean"]
    assert heads[24].split() == ["leaf"]


def test_a_tree(tree, nnxrng):
    tree.golden()
    ran = nnxrng("show", "--tree", f"{FOLDER}/test_a.1.json")
    assert ran.lines[4:11] == [
        "  └─ layers",
        "     ├─ 2",
        "     │  ├─ bias  Param float32[6]",
        "     │  └─ kernel  Param float32[4, 6] params#0",
        "     └─ 10",
        "        ├─ bias  Param float32[4]",
        "        └─ kernel  Param float32[6, 4] params#2",
    ]


def test_an_array_and_a_number_have_no_empty_columns(tree, nnxrng):
    leaves = (leaf("", np.float32([1, 2, np.nan]), type="array"),)
    tree.golden("test_a.output", leaves, kind="value", streams={})
    ran = nnxrng("show", f"{FOLDER}/test_a.output.json")
    assert "  check output of test_a" in ran.lines
    assert ran.lines[4].split() == ["leaf", "type", "dtype", "shape", "mean", "std", "min", "max"]
    assert ran.lines[5].startswith("  (the value)  array")
    assert "stream" not in ran.out


def test_several_goldens_and_json(tree, nnxrng):
    paths = [tree.golden(), tree.golden("test_a.2")]
    assert sum(line.startswith("  check_init") for line in nnxrng("show", *paths).lines) == 2
    one, two = nnxrng("show", "--json", *paths).json
    assert one["golden"] == str(paths[0])
    assert two["leaves"]["layers.2.kernel"]["draws"] == ["params#0"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("<<<<<<< HEAD\n", "unfinished merge"),
        ('{"format": 9}', "has format 9"),
        ('{"format": 1}', "has been edited or damaged"),
        ('{"format": 1, "owner": {}, "streams": {}, "leaves": {"a": 3}}', "edited or damaged"),
        (
            '{"format": 1, "owner": {}, "streams": {}, "aliases": {}, "environment": {}, '
            '"leaves": {"a": {"shape": 3}}}',
            "edited or damaged",
        ),
    ],
)
def test_what_is_no_golden_is_one_clear_error(tree, nnxrng, text, told):
    path = tree.root / "x.json"
    path.write_text(text)
    ran = nnxrng("show", path)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.words
    assert str(path) in ran.words


def test_a_golden_that_is_not_there(tree, nnxrng):
    ran = nnxrng("show", "nowhere.json")
    assert (ran.code, ran.words) == (2, "nnxrng: there is no golden nowhere.json")


def test_hostile_names(tree, nnxrng):
    tree.golden(leaves=(leaf("a\x1b[2J.b[", np.zeros(2, np.float32)), *model()))
    for args in (["show"], ["show", "--tree"], ["show", "--keys"]):
        ran = nnxrng(*args, f"{FOLDER}/test_a.1.json")
        assert ran.code == 0
        assert "\x1b" not in ran.out


def test_a_golden_is_written_as_nnx_displays_a_model(tree, nnxrng):
    pytest.importorskip("treescope")
    path = tree.golden()
    ran = nnxrng("show", path, "--html", "model.html")
    assert ran.code == 0, ran.words
    assert "Written to model.html" in ran.words
    assert (tree.root / "model.html").read_text().startswith("<!doctype html>")
    again = nnxrng("show", path, "--html", "model.html")
    assert again.code == 2
    assert "model.html is there already" in again.words
    assert "takes one golden" in nnxrng("show", path, path, "--html", "x.html").words
