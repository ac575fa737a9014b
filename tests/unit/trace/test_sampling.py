"""Chosen elements of models that are never built, against models that are: bit for bit."""

import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pytest_nnxrng.leaf.spots import chosen
from pytest_nnxrng.nnx import flatten
from pytest_nnxrng.trace import sampling
from pytest_nnxrng.trace.derivation import trace
from pytest_nnxrng.why import keystream

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
List = getattr(nnx, "List", list)
init = nnx.initializers


def rngs():
    return nnx.Rngs(params=3, dropout=4, default=5)


def evaluate(build, count=300):
    return sampling.evaluate(trace(build, (rngs(),), {}), count=count)


def check(build, count=300):
    """The reasons for leaves left out; all others must equal those of an ordinary build."""
    found, reasons = evaluate(build, count)
    built = {leaf.path: leaf for leaf in flatten.flatten(build(rngs())).leaves}
    assert found.keys() | reasons.keys() == built.keys()
    assert not found.keys() & reasons.keys()
    differ = {}
    for path, spot in found.items():
        leaf = built[path]
        want = leaf.read().reshape(leaf.size, *leaf.read().shape[len(leaf.shape) :])
        want = want[list(spot.indices)]
        assert (want.dtype, want.shape) == (spot.values.dtype, spot.values.shape), path
        assert len(spot.indices) == min(count, leaf.size), path
        if want.tobytes() != spot.values.tobytes():
            differ[path] = (want, spot.values)
    assert not differ
    return reasons


INITIALIZERS = {
    "lecun_normal": init.lecun_normal(),
    "he_uniform": init.he_uniform(),
    "glorot_normal": init.glorot_normal(),
    "glorot_uniform": init.glorot_uniform(),
    "truncated_normal": init.truncated_normal(0.02),
    "normal": init.normal(0.02),
    "variance_scaling": init.variance_scaling(2.0, "fan_avg", "normal"),
    "uniform": init.uniform(0.1),
    "zeros": init.zeros_init(),
    "ones": init.ones_init(),
    "constant": init.constant(0.3),
    "scaled": lambda key, shape, dtype: init.lecun_normal()(key, shape, dtype) * 0.37 + 0.001,
}


HALF = ["lecun_normal", "normal", "scaled"]


@pytest.mark.parametrize(
    ("dtype", "names"), [("float32", INITIALIZERS), ("bfloat16", HALF), ("float16", HALF)]
)
def test_initializers(dtype, names):
    class Model(nnx.Module):
        def __init__(self, rngs):
            for name in names:
                function = INITIALIZERS[name]
                value = function(rngs.params(), (301, 41), jnp.dtype(dtype))
                setattr(self, name, nnx.Param(value))

    assert check(Model, 1000) == {}


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(70, 87, rngs=rngs)
        self.norm = nnx.LayerNorm(70, rngs=rngs)
        self.embed = nnx.Embed(70, 87, rngs=rngs)


def vmapped(rngs):
    return nnx.split_rngs(splits=6)(nnx.vmap(Block, in_axes=0, out_axes=0))(rngs)


def scanned(rngs):
    @nnx.split_rngs(splits=5)
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0), length=5)
    def make(carry, rngs):
        return carry, Block(rngs)

    return List([make(0, rngs)[1], nnx.Linear(70, 87, rngs=rngs)])


def carried(rngs):
    """A scan that draws from one stream in all its turns: the count is carried."""
    key = rngs.params()

    def turn(count, _):
        value = init.normal(1.0)(jax.random.fold_in(key, count), (80, 70))
        return count + 2, value * (count + 1)

    count, values = jax.lax.scan(turn, jnp.uint32(1), None, length=5)
    _, backwards = jax.lax.scan(turn, count, None, length=5, reverse=True)
    return List([nnx.Param(values), nnx.Param(backwards), nnx.Param(count)])


def small(rngs):
    orthogonal = nnx.Linear(4, 4, kernel_init=init.orthogonal(), rngs=rngs)
    return List([nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.Dropout(0.5, rngs=rngs), orthogonal])


MODELS = {
    "layers": lambda rngs: List(
        [
            nnx.Conv(40, 41, (3, 3), rngs=rngs),
            nnx.MultiHeadAttention(8, 128, decode=False, rngs=rngs),
            nnx.LoRA(300, 40, 300, rngs=rngs),
            nnx.Embed(90, 80, rngs=rngs),
        ]
    ),
    "vmap": vmapped,
    "scan": scanned,
    "carry": carried,
    "jit": nnx.jit(lambda rngs: Block(rngs)),
    "small": small,
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_models(build):
    assert check(build) == {}


def moved(rngs):
    def draw():
        return init.normal(1.0)(rngs.params(), (90, 80))

    position = jnp.arange(500)[:, None] / 10000 ** (jnp.arange(0, 64, 2) / 64)
    return {
        "stack": jnp.stack([draw() for _ in range(3)]),
        "row": jnp.stack([draw(), draw()])[1],
        "concatenate": jnp.concatenate([draw(), jnp.ones((90, 5)), draw()[:, :9]], 1),
        "pad": jnp.pad(draw(), ((1, 2), (3, 0))),
        "transpose": draw().T,
        "reverse": jnp.flip(draw(), 0),
        "split": jnp.split(jnp.stack([draw()] * 4), 2)[1],
        "strided": jax.lax.slice(jnp.stack([draw()] * 4), (0, 1, 0), (4, 90, 80), (1, 1, 3)),
        "padding_index": draw().at[7].set(0),
        "update": jax.lax.dynamic_update_slice(draw(), draw()[:20, :20], (30, 70)),
        "slice": jax.lax.dynamic_slice(draw(), (30, 10), (60, 70)),
        "tril": jnp.tril(draw()),
        "eye": jnp.eye(200) * 0.5,
        "tile": jnp.tile(draw(), (2, 3)),
        "positions": jnp.concatenate([jnp.sin(position), jnp.cos(position)], -1),
        "captured": jnp.asarray(np.linspace(0, 1, 7200).reshape(90, 80)) * 3,
        "integers": jax.random.randint(rngs.params(), (9001,), 0, 1000),
        "booleans": jax.random.bernoulli(rngs.params(), 0.3, (90, 90)),
        "float8": draw().astype(jnp.float8_e4m3fn),
        "empty": jnp.zeros((0, 5)),
    }


def divided(rngs):
    """XLA multiplies by the inverse of a divisor that it sees to be broadcast."""
    x = jax.random.normal(rngs.params(), (90, 80))
    d = jax.random.uniform(rngs.params(), (80,)) + 0.5
    return {
        "vector": x / d,
        "column": x / d[:1].repeat(90)[:, None],
        "scalar": x / 3.0,
        "both": d[:, None] / d,
        "jit_scalar": jax.jit(lambda x: x * 1.37 / 0.879)(x),
        "jit_sqrt": jax.jit(lambda x, d: (x + 1.0) / jnp.sqrt(d))(x, d),
        "jit_broadcast": jax.jit(lambda x, d: x / jnp.broadcast_to(d, x.shape))(x, d),
        "fused": jax.jit(lambda x, d: x * d + d)(x, d),
        "unfused": x * d + d,
    }


_OPTIMIZED = pytest.mark.skipif(
    "optimization_level=0" in os.environ.get("XLA_FLAGS", ""),
    reason="what XLA makes of a division shows where it optimizes: XLA_FLAGS= pytest",
)


@pytest.mark.parametrize("values", [moved, pytest.param(divided, marks=_OPTIMIZED)])
def test_values_after_the_initializer(values):
    class Model(nnx.Module):
        def __init__(self, rngs):
            for name, value in values(rngs).items():
                setattr(self, name, nnx.Param(value))

    assert check(Model, 1000) == {}


@pytest.mark.parametrize("partitionable", [True, False])
def test_random_bits(partitionable):
    class Model(nnx.Module):
        def __init__(self, rngs):
            for width in (8, 16, 32):
                bits = jax.random.bits(rngs.params(), (101, 91), f"uint{width}")
                setattr(self, f"bits{width}", nnx.Param(bits))
            keys = jax.random.split(rngs.params(), 3)
            self.keys = nnx.Param(keys)
            self.stack = nnx.Param(jax.vmap(lambda k: jax.random.bits(k, (41, 43)))(keys))

    with jax.threefry_partitionable(partitionable):
        assert check(Model, 3000) == {}


def test_more_elements_than_32_bits_count():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.bits = nnx.Param(jax.random.bits(rngs.params(), ((1 << 17) + 3, (1 << 17) + 1)))
            self.kernel = nnx.Param(init.lecun_normal()(rngs.params(), (1 << 17, 1 << 17)))

    found, reasons = evaluate(Model)
    assert reasons == {}
    indices = np.array(found["bits"].indices)
    assert indices[-1] == ((1 << 17) + 3) * ((1 << 17) + 1) - 1
    data = np.asarray(jax.random.key_data(rngs().params()))[None]
    high, low = np.divmod(indices, 1 << 32)
    words = keystream._threefry(data, high.astype(np.uint32), low.astype(np.uint32))
    np.testing.assert_array_equal(found["bits"].values, (words[0] ^ words[1])[0])
    assert 0.9 < found["kernel"].values.std() * 2**8.5 < 1.1


def test_leaves_left_out_have_a_reason():
    class Model(nnx.Module):
        def __init__(self, rngs):
            key = rngs.params()
            self.orthogonal = nnx.Param(init.orthogonal()(key, (90, 80)))
            self.sorted = nnx.Param(jnp.sort(jax.random.normal(key, (9000,))))
            self.product = nnx.Param(jnp.ones((90, 3)) @ jax.random.normal(key, (3, 90)))
            self.generator = nnx.Param(jax.random.normal(jax.random.key(0, impl="rbg"), (90, 80)))
            self.counting = nnx.Param(jnp.linspace(-7.0, -2.0, 9000))
            self.fine = nnx.Param(jax.random.normal(key, (90, 80)))
            self.number = nnx.Variable(0.5)
            self.numpy = nnx.Variable(np.arange(10))

    assert check(Model) == {
        "orthogonal": "passes through qr, which is not elementwise",
        "sorted": "passes through sort, which is not elementwise",
        "product": "passes through dot_general, which is not elementwise",
        "counting": "computes with places of elements in a compiled function",
        "generator": "is drawn by another generator than threefry (key<rbg>)",
    }


def test_layers_share_what_is_compiled():
    compiled = []

    def listen(event, duration, **kwargs):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    def layers(rngs):
        return List([nnx.Linear(101, 103, rngs=rngs) for _ in range(30)])

    traced = trace(nnx.jit(layers), (rngs(),), {})
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        found, _ = sampling.evaluate(traced)
    finally:
        jax.monitoring.clear_event_listeners()
    assert len(found) == 60
    assert 0 < len(compiled) < 15


def test_paths_and_count():
    traced = trace(Block, (rngs(),), {})
    found, reasons = sampling.evaluate(traced, ["linear.kernel", "norm.scale"], count=5)
    assert {path: len(spot.values) for path, spot in found.items()} == {
        "linear.kernel": 5,
        "norm.scale": 5,
    }
    assert reasons == {}
    with pytest.raises(KeyError):
        sampling.evaluate(traced, ["no.leaf"])


def test_chosen():
    for size in [0, 1, 2, 5, 31, 32, 33, 40, 1000, 1 << 33, (1 << 62) + 1]:
        for count in [1, 2, 3, 32]:
            indices = chosen(size, count)
            assert indices.dtype == np.int64
            assert len(indices) == min(size, count)
            assert (np.diff(indices) > 0).all()
            assert not size or (indices[0] == 0 and (count < 2 or indices[-1] == size - 1))
    # Goldens rely on them: they must never change.
    assert chosen(1000, 8).tolist() == [0, 39, 302, 462, 551, 778, 971, 999]
    spread = chosen(1 << 40, 1000) / 2**40
    assert abs(spread - np.linspace(0, 1, 1000)).max() < 0.002
    assert math.isclose(spread.mean(), 0.5, abs_tol=0.01)
