"""References from elsewhere: files, names, transposed weights, and what has no partner."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from pytest_nnxrng import BadReference, assert_same, compare, reference

NAMES = [(r"^layers\.(\d+)\.fc", r"blocks.\1.linear"), (r"\.weight$", ".kernel")]


LIST = getattr(nnx, "List", list)  # flax 0.11 takes plain lists


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(3, 4, rngs=rngs)


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.blocks = LIST([Block(rngs), Block(rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


@pytest.fixture
def model() -> Model:
    return Model(nnx.Rngs(0))


def torchlike(model: Model) -> dict[str, np.ndarray]:
    """The weights as torch keeps them: other names, kernels transposed."""
    found = {}
    for number, block in enumerate(model.blocks):
        found[f"layers.{number}.fc.weight"] = np.ascontiguousarray(block.linear.kernel[...].T)
        found[f"layers.{number}.fc.bias"] = np.asarray(block.linear.bias[...])
    return found


def port(source: object, **more: object):
    return reference(source, **{"names": NAMES, "transpose": r"kernel$", **more})


def one_file(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    save_file(weights, folder / "model.safetensors")
    return folder / "model.safetensors"


def folder_of_one(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    one_file(folder, weights)
    return folder


def shards(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    places = {name: f"model-{n % 2 + 1:05}.safetensors" for n, name in enumerate(weights)}
    for file in set(places.values()):
        save_file({n: weights[n] for n, f in places.items() if f == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def index_itself(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    return shards(folder, weights) / "model.safetensors.index.json"


def npz(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "model.npz", **weights)
    return folder / "model.npz"


def mapping(folder: Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return weights


@pytest.mark.parametrize("save", [one_file, folder_of_one, shards, index_itself, npz, mapping])
def test_a_port_is_held_against_the_weights(save, model: Model, tmp_path: Path):
    source = save(tmp_path, torchlike(model))
    assert_same(model, port(source))
    model.blocks[1].linear.kernel[...] += 1
    found = compare(model, port(source))
    assert [difference.path for difference in found.differences] == ["blocks.1.linear.kernel"]


def test_weights_that_are_not_transposed_are_told_by_their_shape(model: Model):
    found = compare(model, port(torchlike(model), transpose=()))
    assert {difference.kinds for difference in found.differences} == {("shape",)}


def test_a_function_for_what_needs_more(model: Model):
    weights = {name: array * 2 for name, array in torchlike(model).items()}
    assert not compare(model, port(weights))
    assert_same(model, port(weights, change=lambda path, array: array / 2))


def test_bfloat16_weights_are_compared_as_the_floats_of_the_model(model: Model, tmp_path: Path):
    weights = {n: a.astype(ml_dtypes.bfloat16) for n, a in torchlike(model).items()}
    source = port(one_file(tmp_path, weights))
    assert not compare(model, source)
    assert_same(model, source, tol=0.02)


def test_what_has_no_partner_is_listed(model: Model):
    weights = torchlike(model)
    del weights["layers.0.fc.bias"]
    weights["lm_head.weight"] = np.ones((2, 2), np.float32)
    found = compare(model, port(weights))
    assert found.comparison.matches
    assert not found
    assert str(found).splitlines()[1:] == [
        "  not in the reference: blocks.0.linear.bias",
        "  only there: lm_head.kernel",
    ]


def test_where_nothing_has_a_partner_nothing_was_compared(model: Model):
    found = compare(model, reference(torchlike(model)))
    assert not found
    assert str(found).startswith("nothing was compared: no leaf has a partner\n  not in the ref")


def test_what_is_the_same_when_transposed_is_told(model: Model):
    def told(source: object) -> str:
        return " ".join(str(compare(model, source, only=nnx.Param)).split())

    both = "the same with their last two axes swapped"
    kernels = "blocks.{0..1}.linear.kernel why"
    assert f"{both} (name them in transpose): {kernels}" in told(
        port(torchlike(model), transpose=())
    )
    ours = {name: np.asarray(array).T for name, array in torchlike(model).items()}
    assert f"{both} (leave them out of transpose): {kernels}" in told(port(ours))
    other = {name: array * 2 for name, array in torchlike(model).items()}
    assert "swapped" not in told(port(other, transpose=()))


def test_a_name_may_be_left_out(model: Model):
    weights = {**torchlike(model), "rotary.inv_freq": np.ones(2, np.float32)}
    rename = [(re.compile(pattern), instead) for pattern, instead in NAMES]

    def names(theirs: str) -> str | None:
        for pattern, instead in rename:
            theirs = pattern.sub(instead, theirs)
        return None if theirs.startswith("rotary") else theirs

    assert_same(model, port(weights, names=names))


def test_an_orbax_checkpoint(model: Model, tmp_path: Path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert_same(model, reference(tmp_path / "step"), only=nnx.Param)
    model.blocks[0].linear.bias[...] += 1
    assert not compare(model, reference(tmp_path / "step"), only=nnx.Param)


# -- what cannot be read -------------------------------------------------------------------------


class Boom:
    def __reduce__(self):
        return os._exit, (3,)


def test_nothing_is_unpickled(tmp_path: Path):
    np.savez(tmp_path / "bad.npz", a=np.array([Boom()], dtype=object))
    with pytest.raises(BadReference, match="allow_pickle=False"):
        reference(tmp_path / "bad.npz")
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(BadReference, match="Nothing is unpickled"):
        reference(tmp_path / "model.pt")


def broken(folder: Path) -> Path:
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0no json")
    return folder / "model.safetensors"


def index_of(row: object):
    def write(folder: Path) -> Path:
        save_file({"a": np.ones(1, np.float32)}, folder / "one.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(row))
        return folder

    return write


def twice(folder: Path) -> Path:
    for name in ("one", "two"):
        save_file({"a": np.ones(1, np.float32)}, folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (broken, "cannot be read"),
        (lambda folder: folder / "none.safetensors", "cannot be read|is not there"),
        (lambda folder: folder / "none", "is not there"),
        (index_of([]), 'it has no "weight_map"'),
        (index_of({"weight_map": {"a": 3}}), 'it has no "weight_map"'),
        (index_of({"weight_map": {"a": "../one.safetensors"}}), "is not a file beside it"),
        (index_of({"weight_map": {"a": "two.safetensors"}}), "which is not there"),
        (index_of({"weight_map": {"b": "one.safetensors"}}), "which does not"),
        (twice, "a is in another file beside it, too"),
        (lambda folder: folder, "is no Orbax checkpoint|install orbax-checkpoint"),
        (lambda folder: {"a": "text"}, "a: <U4 is no dtype"),
    ],
)
def test_what_is_no_reference(tmp_path: Path, source, told: str):
    with pytest.raises(BadReference, match=told):
        reference(source(tmp_path))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"names": [("a|b", "c")]}, "names: a and b both become c"),
        ({"names": {"z": "a"}}, "names: 'z' is not there; it holds a, b"),
        ({"names": [("(", "c")]}, r"names: '\(' is not a pattern"),
        ({"names": [("a", r"\1")]}, "cannot take the place of a match"),
        ({"transpose": "("}, "transpose: '\\(' is not a pattern"),
    ],
)
def test_names_that_lead_nowhere(options, told: str):
    with pytest.raises(BadReference, match=told):
        reference({"a": jnp.ones(1), "b": jnp.ones(1)}, **options)


def test_a_vector_cannot_be_transposed():
    with pytest.raises(BadReference, match="a: transpose names it, and it has 1 axes"):
        compare({"a": jnp.ones(1)}, reference({"a": jnp.ones(1)}, transpose="a"))


@pytest.mark.parametrize(
    ("ours", "theirs", "note"),
    [("ab", "a", "not in the reference: b"), ("a", "ab", "only there: b")],
)
def test_what_one_side_lacks_is_not_the_same(ours: str, theirs: str, note: str):
    sides = ({name: jnp.ones(2) for name in names} for names in (ours, theirs))
    mine, other = sides
    found = compare(mine, reference(other))
    assert not found
    assert found.notes == (note,)
    assert found.comparison.matches
