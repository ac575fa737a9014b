"""Real NNX values and pytrees -> leaves: names, types, shapes, dtypes, elements, aliases."""

import collections
import enum
import os
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_nnxrng.leaf.paths import path_string
from pytest_nnxrng.nnx.flatten import UnsupportedValue, flatten, is_node

# flax 0.11 and jax 0.6 warn of what they themselves use.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def rows(value, only=None):
    """Path -> (type, dtype, shape)."""
    return {leaf.path: (leaf.type, leaf.dtype, leaf.shape) for leaf in flatten(value, only).leaves}


def names(value, only=None):
    return [leaf.path for leaf in flatten(value, only).leaves]


def message(value, only=None):
    with pytest.raises(UnsupportedValue) as caught:
        flatten(value, only)
    return str(caught.value)


# -- arrays and pytrees ------------------------------------------------------------------


def test_an_array_is_a_leaf_without_a_name():
    array = jnp.arange(6, dtype=jnp.float32).reshape(2, 3)
    (leaf,) = flatten(array).leaves
    assert (leaf.path, leaf.type, leaf.dtype, leaf.shape) == ("", "array", "float32", (2, 3))
    np.testing.assert_array_equal(leaf.read(), array)


def test_a_numpy_array_is_read_where_it_lies():
    array = np.arange(6.0)
    (leaf,) = flatten(array).leaves
    assert np.shares_memory(leaf.read(), array)
    assert not leaf.fetched


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::2],
        np.arange(3, dtype=">f4"),
        np.float32(2.5),
        np.asfortranarray(np.ones((2, 3), ml_dtypes.bfloat16)),
    ],
    ids=["transposed", "every other", "big-endian", "a scalar", "Fortran"],
)
def test_what_is_not_as_digests_want_it_is_copied_when_it_is_read(array):
    (leaf,) = flatten(array).leaves
    read = leaf.read()
    assert read.flags.c_contiguous
    assert read.dtype.isnative
    assert (read.shape, leaf.fetched) == (array.shape, isinstance(array, np.ndarray))
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (True, "python bool", np.bool_),
        (7, "python int", np.int64),
        (-(2**63), "python int", np.int64),
        (0.1, "python float", np.float64),
        (1j, "python complex", np.complex128),
    ],
)
def test_python_numbers(value, dtype, stored):
    (leaf,) = flatten(value).leaves
    assert (leaf.path, leaf.type, leaf.dtype, leaf.shape) == ("", "scalar", dtype, ())
    assert leaf.read().dtype == stored
    assert leaf.read().item() == value


class Point(NamedTuple):
    x: object
    y: object


def test_pytrees_are_named_by_their_keys():
    value = {"a": [1, (2.0, jnp.ones(3))], "b": Point(np.int8(1), None), "c": {}}
    assert rows(value) == {
        "a.0": ("scalar", "python int", ()),
        "a.1.0": ("scalar", "python float", ()),
        "a.1.1": ("array", "float32", (3,)),
        "b.x": ("array", "int8", ()),
    }


@pytest.mark.parametrize("value", [None, [], {}, (), [None, [[]]], Point(None, ())])
def test_what_holds_no_leaves(value):
    assert flatten(value).leaves == ()


def test_leaves_come_in_the_order_of_their_names():
    value = {"b": 1, "a": 2, "c": list(range(11))}
    assert names(value) == sorted(names(value))
    assert names(value)[:2] == ["a", "b"]


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int4",
        "uint4",
        "int8",
        "uint64",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "complex64",
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_dtypes_of_jax_arrays(dtype, shape):
    array = jnp.ones(shape, "uint32" if dtype == "uint64" else dtype)
    (leaf,) = flatten(array).leaves
    assert (leaf.dtype, leaf.shape) == (array.dtype.name, shape)
    assert (leaf.read().dtype, leaf.read().shape) == (array.dtype, shape)
    assert leaf.read().flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3),
        np.arange(3, dtype=">i4"),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6.0)[::-2],
        np.ones((2, 0), ml_dtypes.bfloat16),
        np.arange(3).astype(ml_dtypes.int4),
        np.float64(0.5),
        np.bool_(True),
    ],
)
def test_numpy_arrays_and_scalars(array):
    (leaf,) = flatten(array).leaves
    assert (leaf.dtype, leaf.shape) == (array.dtype.name, array.shape)
    assert leaf.type == "array"
    read = leaf.read()
    np.testing.assert_array_equal(read, array)
    assert read.flags.c_contiguous
    assert read.dtype.isnative


def test_a_numpy_int64_stays_one_with_x64_off():
    assert rows({"n": np.int64(2**40)}) == {"n": ("array", "int64", ())}


def test_an_abstract_array_has_nothing_to_read():
    (leaf,) = flatten(jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)).leaves
    assert (leaf.dtype, leaf.shape, leaf.read) == ("bfloat16", (2, 3), None)


IMPLS = {"threefry2x32": "fry", "rbg": "rbg", "unsafe_rbg": "urbg"}


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_typed_keys(impl, shape):
    keys = jax.random.split(jax.random.key(1, impl=impl), shape)
    (leaf,) = flatten({"k": keys}).leaves
    assert (leaf.dtype, leaf.shape) == (f"key<{IMPLS[impl]}>", shape)
    assert leaf.read().dtype == np.uint32
    np.testing.assert_array_equal(leaf.read(), jax.random.key_data(keys))


def test_a_raw_key_is_an_array():
    assert rows(jax.random.PRNGKey(0)) == {"": ("array", "uint32", (2,))}


@pytest.mark.skipif(not hasattr(jax, "new_ref"), reason="this JAX has no jax.Ref")
def test_a_ref_is_what_it_holds_now():
    ref = jax.new_ref(jnp.zeros(3))
    (leaf,) = flatten({"r": ref}).leaves
    ref[...] = jnp.ones(3)
    assert (leaf.path, leaf.type, leaf.dtype, leaf.shape) == ("r", "array", "float32", (3,))
    np.testing.assert_array_equal(leaf.read(), np.zeros(3))


# -- NNX ---------------------------------------------------------------------------------


def rngs():
    return nnx.Rngs(params=0, dropout=1)


def test_linear():
    model = nnx.Linear(2, 3, rngs=rngs())
    assert rows(model) == {
        "bias": ("Param", "float32", (3,)),
        "kernel": ("Param", "float32", (2, 3)),
    }
    kernel = next(leaf for leaf in flatten(model).leaves if leaf.path == "kernel")
    np.testing.assert_array_equal(kernel.read(), model.kernel[...])
    assert not kernel.rng
    assert flatten(model).aliases == {}


def test_batch_norm():
    assert rows(nnx.BatchNorm(3, rngs=rngs())) == {
        "bias": ("Param", "float32", (3,)),
        "mean": ("BatchStat", "float32", (3,)),
        "scale": ("Param", "float32", (3,)),
        "var": ("BatchStat", "float32", (3,)),
    }


def test_dropout_keeps_rng_state():
    model = nnx.Dropout(0.5, rngs=rngs())
    found = flatten(model).leaves
    assert found
    assert all(leaf.rng for leaf in found)
    assert {leaf.type for leaf in found} == {"RngKey", "RngCount"}
    assert {leaf.dtype for leaf in found} == {"key<fry>", "uint32"}


def test_rngs_that_a_model_keeps():
    found = {leaf.path: leaf for leaf in flatten(rngs()).leaves}
    assert list(found) == ["dropout.count", "dropout.key", "params.count", "params.key"]
    assert all(leaf.rng for leaf in found.values())
    key = found["params.key"]
    assert (key.type, key.dtype, key.shape) == ("RngKey", "key<fry>", ())
    np.testing.assert_array_equal(key.read(), jax.random.key_data(jax.random.key(0)))
    drawn = rngs()
    drawn.params()
    assert {leaf.path: leaf for leaf in flatten(drawn).leaves}["params.count"].read() == 1


def test_multi_head_attention():
    model = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs())
    assert {name: row for name, row in rows(model).items() if row[0] == "Param"} == {
        f"{name}.{part}": ("Param", "float32", shape)
        for name in ("key", "out", "query", "value")
        for part, shape in {
            "bias": (4,) if name == "out" else (2, 2),
            "kernel": (2, 2, 4) if name == "out" else (4, 2, 2),
        }.items()
    }
    cached = nnx.MultiHeadAttention(2, 4, decode=True, rngs=rngs())
    cached.init_cache((1, 3, 4))
    assert rows(cached)["cache_index"] == ("Cache", "int32", ())


def test_lstm_cell():
    found = rows(nnx.LSTMCell(2, 3, rngs=rngs()), nnx.Param)
    kernels = {name: row for name, row in found.items() if name.endswith("kernel")}
    assert len(kernels) == 8
    assert set(kernels.values()) == {("Param", "float32", (2, 3)), ("Param", "float32", (3, 3))}


HOSTILE = ["a.b", "", "0", "__metadata__", "größe", "\n", "[", '"', "\u200b"]


def test_hostile_keys_of_a_dict_are_told_apart():
    value = {key: jnp.full(1, number) for number, key in enumerate(HOSTILE)}
    found = {leaf.path: leaf.read()[0] for leaf in flatten(value).leaves}
    assert found == {path_string((key,)): number for number, key in enumerate(HOSTILE)}
    assert all(name.isprintable() and name != "__metadata__" for name in found)


@pytest.mark.skipif(not hasattr(nnx, "Dict"), reason="this Flax has no nnx.Dict")
def test_hostile_keys_of_a_module_s_dict():
    class Model(nnx.Module):
        def __init__(self):
            self.parts = nnx.Dict({key: nnx.Param(jnp.zeros(1)) for key in HOSTILE if key})

    assert names(Model()) == sorted(path_string(("parts", key)) for key in HOSTILE if key)


@pytest.mark.skipif(not hasattr(nnx, "List"), reason="this Flax has no nnx.List")
def test_a_list_of_modules():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(1, 1, rngs=rngs) for _ in range(2)])

    assert names(Model(rngs())) == [
        "layers.0.bias",
        "layers.0.kernel",
        "layers.1.bias",
        "layers.1.kernel",
    ]


def test_static_attributes_are_no_leaves():
    class Model(nnx.Module):
        def __init__(self):
            self.width, self.rate, self.name, self.act = 3, 0.5, "x", jax.nn.relu
            self.w = nnx.Param(jnp.zeros(1))

    assert names(Model()) == ["w"]


def test_a_bare_array_of_a_module_is_a_leaf():
    class Model(nnx.Module):
        def __init__(self):
            self.table = jnp.arange(3)

    assert rows(Model()) == {"table": ("array", "int32", (3,))}


class Custom(nnx.Variable):
    pass


class Deeper(Custom):
    pass


def test_variables_are_named_by_their_type():
    class Model(nnx.Module):
        def __init__(self):
            self.a, self.b = Custom(jnp.zeros(1)), Deeper(np.int64(3))
            self.c, self.d = nnx.Variable(1.5), nnx.Cache(7)

    assert rows(Model()) == {
        "a": ("Custom", "float32", (1,)),
        "b": ("Deeper", "int64", ()),
        "c": ("Variable", "python float", ()),
        "d": ("Cache", "python int", ()),
    }


def test_a_variable_that_holds_a_pytree():
    variable = nnx.Variable({"a": [jnp.zeros(2), 1], "b.c": (np.ones(1),)})
    assert rows({"v": variable}) == {
        "v.a.0": ("Variable", "float32", (2,)),
        "v.a.1": ("Variable", "python int", ()),
        'v["b.c"].0': ("Variable", "float64", (1,)),
    }


def test_a_variable_by_itself():
    assert rows(nnx.Param(jnp.zeros(2))) == {"": ("Param", "float32", (2,))}


@pytest.mark.filterwarnings("ignore:Variable hooks are deprecated")
def test_a_variable_s_value_is_not_changed_by_its_hooks():
    variable = nnx.Param(jnp.zeros(1), on_get_value=lambda variable, value: value + 1)
    np.testing.assert_array_equal(flatten(variable).leaves[0].read(), [0])


def test_what_is_read_is_what_was_there():
    model = nnx.Linear(1, 1, rngs=rngs())
    found = {leaf.path: leaf for leaf in flatten(model).leaves}
    before = np.asarray(model.kernel[...])
    model.kernel[...] = jnp.zeros((1, 1))
    np.testing.assert_array_equal(found["kernel"].read(), before)
    assert before != 0


def test_an_optimizer():
    optimizer = nnx.Optimizer(nnx.Linear(2, 1, rngs=rngs()), optax.adam(1e-3), wrt=nnx.Param)
    found = rows(optimizer)
    assert found["step"][1:] == ("uint32", ())
    assert {name.partition(".")[0] for name in found} <= {"step", "opt_state", "model"}
    moments = [name for name in found if name.endswith("kernel") and "opt_state" in name]
    assert len(moments) == 2
    assert {found[name][1:] for name in moments} == {("float32", (2, 1))}


def test_metrics():
    metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
    metrics.update(logits=jnp.eye(2), labels=jnp.array([0, 0]), loss=jnp.ones(2))
    found = {leaf.path: leaf for leaf in flatten(metrics).leaves}
    assert list(found) == ["accuracy.count", "accuracy.total", "loss.count", "loss.total"]
    assert found["accuracy.total"].read() == 1
    assert found["loss.count"].read() == 2


@pytest.mark.parametrize("only", [None, nnx.Param])
def test_a_state_has_the_leaves_of_its_model(only):
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(2, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)

    model = Model(rngs())
    assert rows(nnx.state(model), only) == rows(model, only)
    assert names(nnx.state(model, nnx.Param), only) == names(model, nnx.Param)


def test_an_abstract_model():
    model = nnx.eval_shape(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert rows(model) == rows(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert all(leaf.read is None for leaf in flatten(model).leaves)


def test_a_module_that_is_no_pytree():
    try:

        class Model(nnx.Module, pytree=False):
            def __init__(self, rngs):
                self.part, self.w = nnx.Linear(1, 1, rngs=rngs), nnx.Param(jnp.zeros(2))
                self.parts = [nnx.Param(jnp.zeros(3)), 5]
                self.width, self.names = 7, ["x"]
    except TypeError:
        pytest.skip("this Flax knows pytrees only")
    expected = {
        "part.bias": ("Param", "float32", (1,)),
        "part.kernel": ("Param", "float32", (1, 1)),
        "parts.0": ("Param", "float32", (3,)),
        "w": ("Param", "float32", (2,)),
    }
    if hasattr(nnx, "List"):  # before it, numbers in a node's plain lists were static
        expected["parts.1"] = ("scalar", "python int", ())
    assert rows(Model(rngs())) == expected


def test_a_sharded_variable_says_how():
    names = ("data", None)
    for name in ("out_sharding", "sharding_names", "sharding"):  # of Flax then and now
        variable = nnx.Param(jnp.zeros((2, 2)), eager_sharding=False, **{name: names})
        assert flatten(variable).leaves[0].sharding == ("data",)
    assert flatten(nnx.Param(jnp.zeros(2))).leaves[0].sharding == ()


@pytest.mark.parametrize(
    ("value", "node"),
    [
        (lambda: nnx.Linear(1, 1, rngs=nnx.Rngs(0)), True),
        (lambda: nnx.Rngs(0), True),
        (lambda: nnx.metrics.Average(), True),
        (lambda: nnx.Param(jnp.zeros(1)), False),
        (lambda: {"a": 1}, False),
        (lambda: jnp.zeros(1), False),
        (lambda: None, False),
    ],
)
def test_what_is_a_node(value, node):
    assert is_node(value()) is node


# -- aliases -----------------------------------------------------------------------------


class Tied(nnx.Module):
    def __init__(self):
        self.embed = nnx.Param(jnp.ones((2, 3)))
        self.head = self.embed


def test_a_tied_parameter_is_one_leaf_and_an_alias():
    found = flatten(Tied())
    assert names(Tied()) == ["embed"]
    assert found.aliases == {"head": "embed"}


class Shared(nnx.Module):
    def __init__(self, rngs):
        self.a = nnx.Linear(1, 1, rngs=rngs)
        self.b = self.a
        self.c = nnx.Linear(1, 1, rngs=rngs)


def test_a_shared_module_is_one_alias():
    found = flatten(Shared(rngs()))
    assert found.aliases == {"b": "a"}
    assert [leaf.path for leaf in found.leaves] == ["a.bias", "a.kernel", "c.bias", "c.kernel"]


def test_a_module_shared_between_the_parts_of_a_pytree():
    part = nnx.Linear(1, 1, rngs=rngs())
    assert flatten([part, {"x": part}]).aliases == {"1.x": "0"}


class Filed(nnx.Module):
    """Files its layers under their ids, as the NNX models of Keras do."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(4)])
        # Filled from the back, so that the order of ids is not the order of the dictionary.
        self.filed = nnx.data({id(layer): layer for layer in reversed(self.layers)})
        self.alone = nnx.data({id(x): x for x in [nnx.Param(jnp.zeros(3))]})


@pytest.mark.skipif(not hasattr(nnx, "List"), reason="this Flax has no nnx.List")
def test_objects_filed_under_their_ids_are_named_by_their_place():
    flat = flatten(Filed(nnx.Rngs(0)))
    assert {a: b for a, b in flat.aliases.items() if a.startswith("filed")} == {}
    assert [leaf.path for leaf in flat.leaves if leaf.path.startswith(("alone", "filed"))] == [
        'alone["id 0"]',
        *(f'filed["id {n}"].{name}' for n in range(4) for name in ("bias", "kernel")),
    ]
    assert flat.aliases == {f"layers.{n}": f'filed["id {3 - n}"]' for n in range(4)}


def test_equal_arrays_are_no_aliases():
    array = jnp.zeros(2)
    assert names([array, array]) == ["0", "1"]
    assert flatten({"a": nnx.Param(array), "b": nnx.Param(array)}).aliases == {}


def test_a_module_that_knows_its_parent_ends():
    class Child(nnx.Module):
        def __init__(self, parent):
            self.parent, self.w = parent, nnx.Param(jnp.zeros(1))

    class Parent(nnx.Module):
        def __init__(self):
            self.child = Child(self)

    found = flatten(Parent())
    assert [leaf.path for leaf in found.leaves] == ["child.w"]
    assert found.aliases == {"child.parent": ""}
    assert names(Parent(), nnx.Param) == ["child.w"]


# -- only ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "left"),
    [
        (None, ["bias", "kernel", "mean", "n", "scale", "var"]),
        (..., ["bias", "kernel", "mean", "n", "scale", "var"]),
        (nnx.Param, ["bias", "kernel", "scale"]),
        (nnx.BatchStat, ["mean", "var"]),
        (nnx.Not(nnx.Param), ["mean", "n", "var"]),
        ((nnx.BatchStat, nnx.PathContains("kernel")), ["kernel", "mean", "var"]),
        (nnx.PathContains("n"), ["n"]),
        (lambda path, value: path[-1] == "n", ["n"]),
        (nnx.Cache, []),
        (nnx.Nothing(), []),
    ],
)
def test_only(only, left):
    value = {
        "kernel": nnx.Param(jnp.zeros(1)),
        "bias": nnx.Param(jnp.zeros(1)),
        "scale": nnx.Param(jnp.zeros(1)),
        "mean": nnx.BatchStat(jnp.zeros(1)),
        "var": nnx.BatchStat(jnp.zeros(1)),
        "n": 1,
    }
    assert names(value, only) == left


def test_only_reaches_below_modules():
    assert names(Shared(rngs()), nnx.PathContains("c")) == ["c.bias", "c.kernel"]


def test_aliases_are_those_of_what_is_left():
    tied = {"a": Tied(), "n": nnx.BatchStat(jnp.zeros(1))}
    assert flatten(tied, nnx.BatchStat).aliases == {}
    assert flatten(tied, nnx.Param).aliases == {"a.head": "a.embed"}


def test_a_tied_parameter_that_is_left_out_first_is_checked_where_it_is_let_in():
    found = flatten(Tied(), nnx.PathContains("head"))
    assert [leaf.path for leaf in found.leaves] == ["head"]
    assert found.aliases == {}


def test_a_shared_module_that_is_left_out_first_is_checked_where_it_is_let_in():
    found = flatten(Shared(rngs()), nnx.PathContains("b"))
    assert [leaf.path for leaf in found.leaves] == ["b.bias", "b.kernel"]
    assert found.aliases == {}


def test_a_shared_module_is_tied_variable_by_variable_under_a_filter():
    found = flatten(Shared(rngs()), nnx.Param)
    assert found.aliases == {"b.bias": "a.bias", "b.kernel": "a.kernel"}


# -- errors --------------------------------------------------------------------------------


def test_a_tracer():
    said = []

    @jax.jit
    def traced(x):
        said.append(message({"layers": [x]}))
        return x

    traced(jnp.ones((2, 3)))
    assert said[0].startswith("layers.0 is a tracer (")
    assert "float32[2,3]" in said[0]
    assert said[0].endswith(
        "): the check was called inside a JAX transformation (jit, grad, vmap, ...). "
        "Return the value and check it outside."
    )


def test_a_tracer_in_a_variable():
    said = []

    @nnx.jit
    def traced(model):
        said.append(message(model))

    traced(nnx.Linear(1, 1, rngs=rngs()))
    assert " is a tracer (" in said[0]


def test_a_deleted_array():
    array = jnp.ones(3)
    array.delete()
    assert message([array]) == (
        "0 has been deleted or donated to a jitted function; check it before it is donated."
    )


CANNOT = (
    "which a golden cannot hold. It holds arrays, Python numbers, and NNX nodes and pytrees of "
    "them; leave this out with nnx_snapshot(only=...)."
)


class Opaque:
    pass


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", "builtins.str"),
        (b"bytes", "builtins.bytes"),
        (Opaque(), f"{__name__}.Opaque"),
        (Color.RED, f"{__name__}.Color"),
        ({1, 2}, "builtins.set"),
        (np.array([None]), "numpy.ndarray of dtype object"),
        (np.array(["x"]), "numpy.ndarray of dtype <U1"),
        (np.datetime64("2020-01-01"), "numpy.datetime64 of dtype datetime64[D]"),
        (np.zeros(1, [("a", "i4")]), "numpy.ndarray of dtype [('a', '<i4')]"),
    ],
    ids=range(9),
)
def test_what_a_golden_cannot_hold(value, kind):
    assert message({"a": value}) == f"a is a {kind}, {CANNOT}"
    assert message(value) == f"the value is a {kind}, {CANNOT}"


def test_what_a_variable_cannot_hold():
    assert message({"v": nnx.Variable(["x"])}) == f"v.0 is a builtins.str, {CANNOT}"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**100])
def test_a_huge_python_int(value):
    assert message([value]) == f"0 is the Python int {value}, which does not fit in 64 bits"


def test_what_only_leaves_out_is_not_looked_at():
    array = jnp.ones(1)
    array.delete()
    assert names({"a": array, "b": 1}, nnx.PathContains("b")) == ["b"]


def test_containers_that_contain_themselves():
    loop = [1.0]
    loop.append(loop)
    assert message(loop) == "1 contains itself"
    assert message({"a": (loop,)}) == "a.0.1 contains itself"
    knot = {}
    knot["a"] = ({"b": knot},)
    assert message(knot) == "a.0.b contains itself"
    held = [1.0]
    variable = nnx.Variable(held)
    held.append(held)
    assert message({"v": variable}) == "v.1 contains itself"
    assert names([[1], [1]]) == ["0.0", "1.0"]


def test_keys_that_jax_cannot_sort():
    assert message({"x": {1: 1, "a": 2}}).startswith("x cannot be flattened: ")


@jax.tree_util.register_pytree_with_keys_class
class Twins:
    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey("w")
        return [(key, jnp.zeros(1)), (key, jnp.ones(1))], None

    def tree_flatten(self):
        return (jnp.zeros(1), jnp.ones(1)), None

    @classmethod
    def tree_unflatten(cls, data, children):
        return cls()


def test_two_leaves_of_one_name_are_never_stored_as_one():
    assert message({"t": Twins()}) == (
        "two leaves are named t.w: a pytree type gives both the same key"
    )


@jax.tree_util.register_pytree_node_class
class Plain:
    def tree_flatten(self):
        return (jnp.zeros(1), 2), None

    @classmethod
    def tree_unflatten(cls, data, children):
        return cls()


def test_a_pytree_without_keys_is_numbered():
    assert rows({"p": Plain()}) == {
        "p.0": ("array", "float32", (1,)),
        "p.1": ("scalar", "python int", ()),
    }


def test_ordered_and_default_dicts():
    value = [collections.OrderedDict(b=1, a=2), collections.defaultdict(int, c=3)]
    assert names(value) == ["0.a", "0.b", "1.c"]


# -- path_string ---------------------------------------------------------------------------


class Word(str, enum.Enum):  # noqa: UP042
    RED = "red"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), ""),
        (("layers", 0, "kernel"), "layers.0.kernel"),
        ((0,), "0"),
        (("0",), '["0"]'),
        (("a.b", "c"), '["a.b"].c'),
        (("a", ""), 'a[""]'),
        (("a", "é"), 'a["é"]'),
        (("__metadata__",), '["__metadata__"]'),
        (("a", "\n"), r'a["\n"]'),
        ((-1,), "-1"),
        ((True,), '[bool:"True"]'),
        ((1.5, "a"), '[float:"1.5"].a'),
        ((("a", 1),), "[tuple:\"('a', 1)\"]"),
        ((Word.RED, Color.RED), "red.1"),
    ],
)
def test_path_string(path, name):
    assert path_string(path) == name


keys = (
    st.text(st.sampled_from("ab0.[]\"'\\: _é\n"), max_size=4)
    | st.text(max_size=3)
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False).filter(lambda x: x)
    | st.tuples(st.integers(0, 2), st.text(max_size=2))
)
paths = st.lists(keys, max_size=3).map(tuple)


def exactly(path):
    return [(type(key), key) for key in path]


@settings(deadline=None, max_examples=500)
@given(paths, paths)
@example((), ("",))
@example(("a", "b"), ("a.b",))
@example(("a", 0), ("a", "0"))
@example((1,), (True,))
@example(("[x]",), ("x",))
@example(('a["b"]',), ("a", "b"))
@example(("a\n",), ("a",))
def test_no_two_paths_share_a_name(one, other):
    assert (path_string(one) == path_string(other)) is (exactly(one) == exactly(other))


@settings(deadline=None)
@given(paths)
def test_a_name_is_printable_and_can_be_encoded(path):
    name = path_string(path)
    assert name.isprintable()
    name.encode()
    assert name != "__metadata__"


def test_a_shared_node_without_leaves_ties_nothing():
    class Act(nnx.Module):
        def __call__(self, x):
            return x

    class Two(nnx.Module):
        def __init__(self, rngs):
            self.a = self.b = Act()
            self.linear = nnx.Linear(2, 2, rngs=rngs)

    assert flatten(Two(nnx.Rngs(0))).aliases == {}


def test_what_lies_on_several_devices_is_fetched():
    code = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from pytest_nnxrng.nnx.flatten import flatten
spread = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), P("x"))
value = {"host": np.ones(4), "one": jax.numpy.ones(4), "two": jax.device_put(np.ones(4), spread)}
print({leaf.path: leaf.fetched for leaf in flatten(value).leaves})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{'host': False, 'one': False, 'two': True}"
