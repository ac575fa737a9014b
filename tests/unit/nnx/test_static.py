"""Modules -> rows: which attributes a text can hold, and which are passed over."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pytest_nnxrng.leaf.forward import Modules
from pytest_nnxrng.nnx import static
from pytest_nnxrng.nnx.flatten import flatten


def read(value: object, only: object = None) -> Modules:
    return static.modules(value, flatten(value, only), narrowed=only is not None)


class Holder(nnx.Module):
    def __init__(self, value: object) -> None:
        self.held = value


def row(value: object) -> dict[str, object]:
    """What is recorded of a module that holds ``value``, its class aside."""
    found = dict(read(Holder(value)).rows[""])
    assert found.pop("class") == "Holder"
    return found


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Pair(NamedTuple):
    rate: float
    function: object


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 3
    inner: object = None


class Callable:
    def __call__(self) -> None: ...


SIMPLE = {
    "int": (3, 3),
    "float": (0.1, 0.1),
    "bool": (True, True),
    "text": ("SAME", "SAME"),
    "tuple": ((1, (2, None)), [1, [2, None]]),
    "list": ([1, 2], [1, 2]),
    "infinity": (float("inf"), "inf"),
    "nan": (float("nan"), "nan"),
    "complex": (1 + 2j, "(1+2j)"),
    "enum": (Color.RED, "Color.RED"),
    "int enum": (Number.ONE, "Number.ONE"),
    "precision": (jax.lax.Precision.HIGHEST, "Precision.HIGHEST"),
    "jnp dtype": (jnp.bfloat16, "bfloat16"),
    "numpy type": (np.float32, "float32"),
    "dtype": (np.dtype("int8"), "int8"),
    "class": (nnx.Param, "Param"),
    "function": (nnx.relu, "relu"),
    "partial": (
        functools.partial(nnx.gelu, approximate=False),
        "partial(gelu, approximate=false)",
    ),
    "partial of a thing": (functools.partial(nnx.gelu, object()), "partial(gelu, ...)"),
    "functions": ((nnx.relu, nnx.tanh), ["relu", "tanh"]),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_what_a_text_can_hold_is_recorded(name: str):
    value, expected = SIMPLE[name]
    assert row(value) == {"held": expected}


PASSED_OVER = {
    "object": object(),
    "callable object": Callable(),
    "set": {"a", "b"},
    "absolute path": "/home/somebody/vocabulary.txt",
    "path on windows": "C:\\data\\vocabulary.txt",
    "huge int": 1 << 70,
    "None": None,
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_no_text_can_hold_is_passed_over(name: str):
    assert row(PASSED_OVER[name]) == {}


def test_what_lies_in_dicts_dataclasses_and_lists_has_a_path_of_its_own():
    value = Config(inner={"a b": Color.RED, "x": object()})
    assert row(value) == {"held.width": 3, 'held.inner["a b"]': "Color.RED"}
    assert row(Pair(0.5, nnx.relu)) == {"held.rate": 0.5}
    assert row([1, object(), nnx.relu]) == {"held.0": 1, "held.2": "relu"}


def test_what_is_long_is_told_by_its_beginning_and_a_digest():
    (text,) = row(list(range(1000))).values()
    assert text.startswith("[0, 1, 2, ")
    assert "4890 characters, sha256 " in text
    assert row(list(range(1000))) != row([*range(999), 0])
    vocabulary = {f"word {n}": n for n in range(1000)}
    (text,) = row(vocabulary).values()
    assert len(text) < 100
    assert row({**vocabulary, "word 500": 0}) != row(vocabulary)


def test_what_contains_itself_ends():
    value: list[object] = [object(), 1]
    value.append(value)
    reader = static._Reader(flatten(Holder(1)))
    found: dict[str, object] = {}
    reader._within(".held", "held", value, found, False)
    assert found == {"held.1": 1}


class Base(nnx.Module):
    rate = 0.5
    act = staticmethod(nnx.relu)
    dtype = jnp.bfloat16
    _hidden = 3
    labels = ("a", "b")

    @staticmethod
    def helper() -> None: ...

    @property
    def wide(self) -> int:
        return 3

    def method(self) -> None: ...


class Derived(Base):
    rate = 0.25


def test_constants_of_a_users_class_count_and_its_methods_do_not():
    expected = {"act": "relu", "dtype": "bfloat16", "labels": ["a", "b"], "rate": 0.25}
    assert dict(read(Derived()).rows[""]) == {"class": "Derived", **expected}
    model = Derived()
    model.rate = 0.75
    assert read(model).rows[""]["rate"] == 0.75


def test_data_is_no_static_attribute():
    model = Holder(nnx.Param(jnp.ones(3)))
    model.array = jnp.ones(2)
    if hasattr(nnx, "data"):
        model.number = nnx.data(0.5)
    assert dict(read(model).rows[""]) == {"class": "Holder"}


def test_modules_are_named_as_their_leaves_are():
    rngs = nnx.Rngs(0)

    class Net(nnx.Module):
        def __init__(self) -> None:
            layers = [nnx.Linear(1, 1, rngs=rngs), nnx.relu, nnx.Dropout(0.5)]
            self.layers = nnx.List(layers) if hasattr(nnx, "List") else layers
            self.tied = self.layers[0]
            self.rngs = rngs

    found = read({"a b": [Net()]})
    assert sorted(found.rows) == ['["a b"].0', '["a b"].0.layers.0', '["a b"].0.layers.2']
    assert found.rows['["a b"].0'] == {"class": "Net", "layers.1": "relu"}
    assert found.library == {'["a b"].0.layers.0', '["a b"].0.layers.2'}


def test_of_a_narrowed_check_the_modules_that_hold_what_is_let_through():
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.linear = nnx.Linear(1, 1, rngs=rngs)
            self.dropout = nnx.Dropout(0.5)

    assert sorted(read(Net(nnx.Rngs(0)), nnx.Param).rows) == ["", "linear"]


@pytest.mark.parametrize("value", [jnp.ones(2), {"a": 1.0}, [np.ones(2)], 3])
def test_a_value_without_modules_has_none(value: object):
    assert read(value).rows == {}


def test_a_state_of_a_model_has_no_modules():
    assert read(nnx.state(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))).rows == {}


def test_initializers_of_flax_and_functions_under_their_own_names_are_left_out():
    found = read(nnx.Linear(1, 1, rngs=nnx.Rngs(0))).rows[""]
    assert not {"kernel_init", "bias_init", "promote_dtype", "dot_general"} & found.keys()
    assert found["use_bias"] is True
    assert found["dtype"] is None  # Flax's None is kept, to be told from what it does not know

    def other(*args: object, **kwargs: object) -> None: ...

    model = nnx.Linear(1, 1, dot_general=other, rngs=nnx.Rngs(0))
    assert read(model).rows[""]["dot_general"].endswith("other")
