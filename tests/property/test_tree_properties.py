"""Generated trees, by way of a golden on disk: equal is what numpy, bit by bit, and JAX say."""

import tempfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.passes import digested, kept
from pytest_nnxrng.nnx.flatten import flatten

EXACT = Tolerance({}, exact=True)
VALUES = "x.1.0123abcd.safetensors"
DTYPES = [np.dtype(n) for n in ("float32", "float16", "int32", "uint8", "bool", "complex64")]
DTYPES.append(np.dtype(ml_dtypes.bfloat16))

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3).flatmap(
        lambda shape: st.binary(
            min_size=(size := int(np.prod(shape)) * dtype.itemsize), max_size=size
        ).map(lambda raw: _array(raw, dtype, shape))
    )
)
scalars = st.booleans() | st.integers(-9, 9) | st.floats(width=32)
trees = st.recursive(
    arrays | scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["a", "b", "a.b", "0", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


def _array(raw, dtype, shape):
    if dtype.kind == "b":
        return (np.frombuffer(raw, np.uint8) > 127).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape).copy()


@st.composite
def alike(draw, tree):
    """The tree, perhaps with a leaf of another value, dtype or shape, or in another structure."""
    leaves, structure = jax.tree.flatten(tree)
    how = draw(st.sampled_from(["same", "bit", "dtype", "shape", "other", "tree"]))
    if how == "tree" or (how != "same" and not leaves):
        return draw(trees)
    if how != "same":
        at = draw(st.integers(0, len(leaves) - 1))
        leaves[at] = _changed(draw, leaves[at], how)
    return jax.tree.unflatten(structure, leaves)


def _changed(draw, leaf, how):
    if not isinstance(leaf, np.ndarray):
        return draw(scalars)
    if how == "bit" and leaf.nbytes and leaf.dtype != bool:
        raw = bytearray(leaf.tobytes())
        raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
        return np.frombuffer(bytes(raw), leaf.dtype).reshape(leaf.shape)
    if how == "dtype" and leaf.dtype.itemsize == 4:
        return leaf.view(np.int32 if leaf.dtype == np.float32 else np.float32)
    if how == "shape":
        return leaf.reshape(leaf.shape[::-1])
    return draw(arrays)


def equal(one, other):
    """The peers' word: the same structure, and each leaf the same to the bit, -0.0 and NaN, too."""
    (a, structure), (b, theirs) = jax.tree.flatten(one), jax.tree.flatten(other)
    return structure == theirs and all(map(_same, a, b))


def _same(x, y):
    if type(x) is not type(y):
        return False
    x, y = np.asarray(x), np.asarray(y)
    return (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def golden(tree, directory, limit):
    """The leaves of a tree, written to a golden and read."""
    flat = flatten(tree)
    leaves = kept(digested(flat.leaves), limit)
    write_values(directory / VALUES, [leaf for leaf in leaves if leaf.stored and leaf.read])
    made = Golden(Owner("", "x", None, "1", "value"), {}, leaves, flat.aliases, values=VALUES)
    path = directory / "x.1.json"
    path.write_text(dumps(made), encoding="utf-8")
    return read(path)


@settings(deadline=None, max_examples=150)
@given(trees.flatmap(lambda tree: st.tuples(st.just(tree), alike(tree))), st.sampled_from([0, 999]))
@example((np.array([1, np.nan], np.float16),) * 2, 0)  # NaN shows in one of two extremes alone
@example((np.array([1, -np.nan], ml_dtypes.bfloat16),) * 2, 0)
def test_a_golden_matches_what_is_equal_and_nothing_else(pair, limit):
    one, other = pair
    ours = flatten(other)
    with tempfile.TemporaryDirectory() as name:
        held = golden(one, Path(name), limit)
        found = compare(held.leaves, digested(ours.leaves), EXACT, (held.aliases, ours.aliases))
    if equal(one, other):
        assert found.matches, found.differences
    elif found.matches:
        # A golden has leaves and their paths: of what has no leaf, and of a list beside a tuple,
        # it tells nothing.
        leaves = [[(leaf.path, leaf.type, leaf.digest) for leaf in digested(flatten(t).leaves)]
                  for t in pair]  # fmt: skip
        assert leaves[0] == leaves[1]
        assert jax.tree.structure(one) != jax.tree.structure(other)
