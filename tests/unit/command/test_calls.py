"""A golden of `check_call`: what its modules did, as a table, as lines, and between two goldens."""

from dataclasses import replace

import numpy as np
import pytest
from trees import ENVIRONMENT, FOLDER, leaf, write

from pytest_nnxrng.leaf.forward import Call, Computation, Forward, numbered
from pytest_nnxrng.leaf.gist import summary, told

ONE = f"{FOLDER}/test_a.1.json"
ROWS = (
    summary(np.float32([[0.5, 1.5]]), "float32"),
    summary(np.float32([[2.0, 4.0]]), "float32"),
)
UP = Computation(
    "Linear",
    fingerprint="ab" * 8,
    gives=("float32[1, 2]",),
    holds={"kernel": "float32[2, 2]"},
    attributes={"dtype": None, "use_bias": True},
    operations=("dot_general", "add"),
)
DROP = Computation(
    "Dropout",
    fingerprint="cd" * 8,
    attributes={"rate": 0.1},
    operations=("bernoulli: mul _ 0.1", "bernoulli: lt"),
)
MLP = Computation("MLP", fingerprint="ef" * 8, operations=("gelu: tanh", "gelu: mul"))


def call(
    *, act=MLP, drop=DROP, count=0, twice=False, kernel="11111111 2", x=ROWS[0], gives=ROWS, **more
):
    """A call of a layer, dropout and the model that holds both."""
    up = Call("up", UP, outputs=ROWS[:1])
    calls = [up, Call("drop", drop, 0, (f"dropout#{count}",), outputs=gives), Call("", act)]
    calls[1:1] = [up] if twice else []
    return Forward(
        numbered(calls), {"1": told(x)}, {"up.kernel": kernel}, {"dropout": "0" * 16}, **more
    )


@pytest.fixture
def golden(tree):
    """Write a golden of a call: ``golden("a", call(), 1.0)``."""

    def make(side, calls, value=1.0, name=ONE, state=None, **more):
        leaves = [leaf("output", np.float32([value, 0.5]), type="array")]
        if state is not None:
            mean = np.float32([state, 0.0])
            leaves.append(leaf("state.norm.mean", mean, type="BatchStat"))
        path = tree.path / side / name
        return write(path, tuple(leaves), kind="call", streams={}, calls=calls, **more)

    return make


def test_a_call_is_a_table_in_the_order_of_execution(golden, nnxrng):
    ran = nnxrng("show", golden("a", call()), width=100)
    start = next(i for i, line in enumerate(ran.lines) if "in the order in which they end" in line)
    assert ran.lines[start:] == [
        "  the call: its modules in the order in which they end",
        "  argument 1: float32[1, 2] mean 1 std 0.5 min 0.5 max 1.5",
        "",
        "  call  by       gives                     draws      mean  std  min  max",
        "  up    Linear   float32[1, 2]                           1  0.5  0.5  1.5",
        "  drop  Dropout  float32[1, 2] and 1 more  dropout#0     1  0.5  0.5  1.5",
        "  MLP   MLP      -",
        "",
        "  Linear: use_bias true; dot_general, add",
        "  Dropout: rate 0.1; bernoulli",
        "  MLP: gelu",
        "",
        "  made under jax 0.12.0, jax_enable_x64 false, platform cpu",
    ]


def test_what_a_golden_could_not_keep_is_told(golden, nnxrng):
    step = {"output": call().inputs["1"], "up.kernel": "11111111 2"}
    calls = call(untraced="it reads a file", depth=1, steps=(step, step))
    ran = nnxrng("show", golden("a", calls))
    assert "  not traced: it reads a file" in ran.lines
    assert "  outputs are kept down to depth 1; depth=N keeps others" in ran.lines
    assert "  step 2: output float32[1, 2] mean 1 std 0.5 min 0.5 max 1.5" in ran.lines


@pytest.mark.parametrize("width", [20, 40, 80])
def test_narrow_screens_keep_the_calls(golden, nnxrng, width):
    ran = nnxrng("show", golden("a", call()), width=width)
    assert any(line.startswith("  drop") for line in ran.lines)


def test_json_has_a_row_a_call(golden, nnxrng):
    (shown,) = nnxrng("show", "--json", golden("a", call())).json
    rows = shown["calls"]["rows"]
    assert [(row["call"], row["computation"], row["draws"]) for row in rows] == [
        ("up", "Linear", []),
        ("drop", "Dropout", ["dropout#0"]),
        ("MLP", "MLP", []),
    ]
    assert rows[0]["outputs"] == [shown["calls"]["outputs"]["up"]]


def test_lines_for_git_have_an_operation_each(golden, nnxrng):
    lines = nnxrng("show", "--raw", golden("a", call())).lines
    at = lines.index("computation Dropout: rate 0.1")
    assert lines[at : at + 3] == [
        "computation Dropout: rate 0.1",
        "  bernoulli: mul _ 0.1",
        "  bernoulli: lt",
    ]
    assert "weights up.kernel: 11111111 2" in lines
    drop = next(line for line in lines if line.startswith("drop: "))
    assert drop.endswith(" draws dropout#0")
    assert f" max 1.5 {ROWS[0].digest[:8]}; " in drop


def test_an_edited_section_is_one_clear_error(golden, nnxrng):
    path = golden("a", call())
    text = path.read_text()
    path.write_text(text.replace('"drop.:Dropout"', '"drop.:Nothing"'))
    for flags in ([], ["--json"], ["--raw"]):
        ran = nnxrng("show", *flags, path)
        assert ran.code == 2
        assert "has been edited or damaged: " in ran.words
        assert "which no computation made" in ran.words


OTHER = {
    "silu": (
        call(act=replace(MLP, fingerprint="00" * 8, operations=("silu: logistic", "silu: mul"))),
        "computation: MLP computes otherwise: gelu(approximate=True) -> silu",
    ),
    "rate": (
        call(drop=replace(DROP, fingerprint="00" * 8, attributes={"rate": 0.4}), gives=ROWS[::-1]),
        "computation: drop computes otherwise: rate 0.1 -> 0.4",
    ),
    "twice": (call(twice=True), "calls: up (call 2) is called, too"),
    "weights": (
        call(kernel="22222222 2"),
        "weights: up.kernel is not what the golden's call had",
    ),
    "inputs": (call(x=ROWS[1]), "inputs: argument 1 (float32[1, 2]) has other numbers"),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_a_call_did_otherwise_is_told_as_a_failing_test_tells_it(golden, nnxrng, name):
    calls, why = OTHER[name]
    ran = nnxrng("diff", golden("a", call()), golden("b", calls, 2.0))
    assert ran.code == 1
    assert f"why {why} leaves 0 match, 1 differ" in ran.words
    assert "not proven" not in ran.words


def test_other_keys(golden, nnxrng):
    old = call()
    moved = numbered(replace(c, outputs=ROWS[1:]) if c.draws else c for c in call(count=2).calls)
    ran = nnxrng("diff", golden("a", old), golden("b", replace(old, calls=moved), 2.0))
    assert "draws: drop draws dropout#2, in the golden dropout#0: as if the model" in ran.words


def test_what_only_a_call_can_prove(golden, nnxrng):
    paths = golden("a", call()), golden("b", call(), 2.0)
    ran = nnxrng("diff", *paths)
    assert "unknown: every module computes what it did" in ran.words
    assert "not proven here: only the test itself can call the model again" in ran.words


def test_computations_under_other_flags_are_not_compared(golden, nnxrng):
    flags = {**ENVIRONMENT, "jax_enable_x64": True}
    calls = OTHER["silu"][0]
    ran = nnxrng("diff", golden("a", call()), golden("b", calls, 2.0, environment=flags))
    assert "unknown: the call could not be traced (jax_enable_x64 moved: only" in ran.words
    assert "call the model again under what the golden recorded" in ran.words


def test_state_that_an_earlier_call_left_otherwise_is_followed(golden, nnxrng, tree):
    second = ONE.replace(".1.", ".2.")
    for side, state, code in (("a", 1.0, "11111111 1"), ("b", 2.0, "22222222 1")):
        golden(side, call(act=replace(MLP, fingerprint=code[:2] * 8)), state, state=state)
        calls = replace(call(), weights={"norm.mean": code})
        golden(side, calls, state, name=second)
    ran = nnxrng("diff", "../a", "../b")
    assert "follows: an earlier call of this test left other state: norm.mean" in ran.words


def test_rows_that_are_cut_do_not_look_alike(tree, nnxrng):
    leaves = [leaf(f"encoder.layers.0.norm.{name}", [1.0, 2.0]) for name in ("scale", "bias")]
    lines = nnxrng("show", write(tree.root / ONE, tuple(leaves)), width=20).lines
    assert [line for line in lines if line.startswith("  ...")] == [
        "  ...ers.0.norm.bias",
        "  ...rs.0.norm.scale",
    ]
