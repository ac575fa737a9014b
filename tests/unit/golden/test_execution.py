"""The section of a manifest on a call: it comes back as it went, and hostile ones are refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pytest_nnxrng.golden import execution
from pytest_nnxrng.leaf.forward import Call, Computation, Forward, numbered
from pytest_nnxrng.leaf.gist import Summary

LINEAR = Computation(
    "Linear",
    fingerprint="0123456789abcdef",
    takes=("float32[1, 4]",),
    gives=("float32[1, 4]",),
    holds={"kernel": "float32[4, 4]"},
    attributes={"use_bias": True, "dtype": None},
    operations=("mean: add _ 1.0", "mean: div", "mul", "gelu: tanh"),
)
NET = Computation("Net", "encode", "fedcba9876543210", gives=("float32[1, 4]",))
OUT = Summary("float32[1, 4]", "00112233445566aa", {"mean": 0.5, "min": -1.0}, (0.25, 1e-7, 3.0))


def forward(layers: int = 3) -> Forward:
    calls = [
        Call(f"blocks.{i}.linear", LINEAR, draws=("dropout#0",), outputs=(OUT,), depth=2)
        for i in range(layers)
    ]
    last = [Call("blocks.0.linear", LINEAR, depth=2), Call("", NET, outputs=(OUT, OUT), depth=1)]
    return Forward(
        numbered([*calls, *last]),
        {"0": "float32[1, 4] constant 1 digest 00112233445566aa", "flag": "true"},
        {f"blocks.{i}.linear.kernel": f"{i:08x} 1.5" for i in range(layers)},
        {"dropout": "0011223344556677"},
    )


def section(given: Forward) -> Any:
    return json.loads(execution.text_of(execution.dumped(given)))


def test_a_call_comes_back_as_it_went() -> None:
    assert execution.loaded(section(forward())) == forward()
    assert [c.name for c in forward().calls][-2:] == ["blocks.0.linear (call 2)", "encode"]


def test_the_same_call_gives_the_same_text() -> None:
    texts = {execution.text_of(execution.dumped(forward())) for _ in range(2)}
    assert len(texts) == 1


def test_fingerprints_of_another_scheme_do_not_compare() -> None:
    data = section(forward())
    data["scheme"] = execution.SCHEME + 1
    assert {c.computation.fingerprint for c in execution.loaded(data).calls} == {""}


def test_a_large_call_fits_and_tells_its_depth() -> None:
    kept = execution.fitting(forward(2000))
    assert kept.depth == 1
    assert len(json.dumps(section(kept))) < 1 << 16
    assert execution.loaded(section(kept)) == kept
    assert all(len(path.split(".")) < 4 for path in kept.weights)
    assert execution.regrouped(forward(2000).weights, kept.weights) == kept.weights


def test_a_depth_that_was_asked_for_is_kept() -> None:
    assert execution.fitting(forward(), 1).depth == 1
    assert execution.fitting(forward(2000), 2).depth is None
    assert execution.fitting(forward(), 5).depth is None


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ([], [], '"calls" is not an object'),
        (["scheme"], "1", 'has no "scheme"'),
        (["order"], None, "is not a list of paths"),
        (["order"], ["blocks.:Other"], "which no computation made"),
        (["order"], ["blocks"], "which no computation made"),
        (["order"], [[10**9, 0, ["a.:Linear"]]], "is not a list|holds what is neither"),
        (["computations", "Linear"], 3, "is not an object"),
        (["computations", "Linear", "class"], 3, "has no class"),
        (["computations", "Linear", "fingerprint"], "xyz", "not 16 hex digits"),
        (["computations", "Linear", "operations"], "mul", "is not a list of texts"),
        (["computations", "Linear", "holds"], {"kernel": 3}, "is not a map of texts"),
        (["computations", "Linear", "attributes"], {"rate": {}}, "holds what is no number"),
        (["outputs", "blocks.0.linear"], "float32", "is no summary of an output"),
        (["outputs", "blocks.0.linear"], [3], "are no texts"),
        (["outputs", "other"], "float32", "there is no call 'other'"),
        (["draws"], {"dropout#0": ["other"]}, "there is no call 'other'"),
        (["weights"], {"kernel": "01234567 x"}, "a digest of"),
        (["keys"], {"dropout": "0011"}, "a digest of"),
        (["depth"], -1, "is no number of levels"),
        (["depth"], True, "is no number of levels"),
        (["untraced"], 3, "is no text"),
        (["inputs"], [], "is not an object"),
    ],
)
def test_what_no_call_wrote_is_refused(path: list[str], value: Any, told: str) -> None:
    data = {"calls": copy.deepcopy(section(forward()))}
    holder: Any = data
    for key in ["calls", *path][:-1]:
        holder = holder[key]
    holder[["calls", *path][-1]] = value
    with pytest.raises(ValueError, match=told):
        execution.loaded(data["calls"])
