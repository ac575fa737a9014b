"""Draws recovered from values alone: real layers, every dtype, both threefrys, no false hits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pytest_nnxrng.leaf.dtypes import dtype_of
from pytest_nnxrng.nnx import flatten
from pytest_nnxrng.why import keystream, likelihood
from pytest_nnxrng.why.keystream import DRAWN, THREEFRY, Keys
from pytest_nnxrng.why.recovery import FALSE_ALARM, Stream, recover, recover_seed, seed_streams

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
init = nnx.initializers
STREAMS = seed_streams(0)
NORMAL = init.normal()
X64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
ORIGINAL = {"jax_threefry_partitionable": False}


def fixture_rngs(seed=0):
    return nnx.Rngs(params=seed, dropout=seed + 10_000, default=seed + 20_000)


@functools.cache
def net(seed=0, dtype=jnp.float32):
    return Net(fixture_rngs(seed), dtype)


def weights(model):
    """The leaves with more than one value, by path."""
    found = {leaf.path: leaf.read() for leaf in flatten.flatten(model).leaves if not leaf.rng}
    return {path: array for path, array in found.items() if len(np.unique(array)) > 1}


def labels(model, streams=STREAMS, **kwargs):
    found = weights(model)
    origins = recover(list(found.values()), streams, **kwargs)
    return {path: o and o.label for path, o in zip(found, origins, strict=True)}


def draw(count, initializer=NORMAL, shape=(16, 32), dtype="float32", stream="params"):
    key = jax.random.wrap_key_data(np.array(STREAMS[stream].key, np.uint32))
    return np.array(initializer(jax.random.fold_in(key, count), shape, dtype))


def one(array, **kwargs):
    (origin,) = recover([array], STREAMS, **kwargs)
    return origin


class TestKeystream:
    """Our threefry is jax.random's."""

    @pytest.mark.parametrize("partitionable", [True, False])
    @pytest.mark.parametrize("shape", [(1,), (7,), (11, 4)])
    def test_words_are_those_of_uniform(self, shape, partitionable):
        with jax.threefry_partitionable(partitionable):
            key = jax.random.fold_in(jax.random.key(2**31 + 7), 5)
            drawn = {
                dtype: jax.random.uniform(key, shape, dtype) for dtype in DRAWN if "64" not in dtype
            }
            halves = {n: jax.random.key_data(jax.random.split(key, n)) for n in (1, 2, 3, 6)}
        roots = Keys(
            THREEFRY,
            partitionable,
            ["k"],
            np.array([keystream.seed_key(2**31 + 7, THREEFRY)], np.uint32),
        )
        keys = keystream.fold(roots, 6, "#").take(np.array([5]))
        assert keys.labels == ["k#5"]
        positions = np.arange(math.prod(shape))
        for dtype, sample in drawn.items():
            words = keystream.words(keys, shape, positions, dtype)
            expected = np.asarray(sample, np.float64).reshape(1, -1) * 2.0 ** DRAWN[dtype][1]
            np.testing.assert_array_equal(words, expected)
        for n, data in halves.items():
            np.testing.assert_array_equal(keystream.split(keys, n, n).data, data)

    @pytest.mark.parametrize("partitionable", [True, False])
    def test_float64(self, partitionable):
        with X64(True), jax.threefry_partitionable(partitionable):
            sample = np.asarray(jax.random.uniform(jax.random.key(3), (3, 5), "float64"))
        keys = Keys(THREEFRY, partitionable, ["k"], np.array([[0, 3]], np.uint32))
        words = keystream.words(keys, (3, 5), np.arange(15), "float64")
        np.testing.assert_array_equal(words[0], np.floor(sample.ravel() * 2.0**32))

    def test_a_huge_leaf_costs_a_few_words(self):
        keys = Keys(THREEFRY, True, ["k"], np.array([[0, 3]], np.uint32))
        far = np.array([0, 2**33])
        assert keystream.words(keys, (2**34,), far, "float32").shape == (1, 2)


class Net(nnx.Module):
    def __init__(self, rngs, dtype=jnp.float32):
        self.embed = nnx.Embed(50, 16, param_dtype=dtype, rngs=rngs)
        self.conv = nnx.Conv(3, 8, (3, 3), param_dtype=dtype, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, param_dtype=dtype, rngs=rngs)
        self.linear = nnx.Linear(16, 8, bias_init=init.uniform(), param_dtype=dtype, rngs=rngs)


NET = {
    "embed.embedding": "params#0",
    "conv.kernel": "params#1",
    "attention.query.kernel": "params#3",
    "attention.key.kernel": "params#5",
    "attention.value.kernel": "params#7",
    "attention.out.kernel": "params#9",
    "linear.kernel": "params#11",
    "linear.bias": "params#12",
}


class TestLayers:
    def test_each_leaf_of_a_real_model(self):
        assert labels(net()) == NET

    def test_in_bfloat16(self):
        found = labels(net(dtype=jnp.bfloat16))
        assert found.pop("linear.bias") is None  # eight elements of eight bits: too little
        assert found == {path: label for path, label in NET.items() if path != "linear.bias"}

    def test_the_one_stream_of_plain_rngs_has_the_keys_of_params(self):
        assert labels(nnx.Linear(4, 4, rngs=nnx.Rngs(0))) == {"kernel": "params#0"}
        assert labels(nnx.Linear(4, 4, rngs=nnx.Rngs(20_000))) == {"kernel": "default#0"}

    @pytest.mark.parametrize("seed", [1, 9_999])
    def test_another_seed_gives_nothing(self, seed):
        assert set(labels(net(seed)).values()) == {None}

    @pytest.mark.parametrize("partitionable", [True, False])
    def test_a_stack_and_a_fork(self, partitionable):
        def build(rngs):
            return nnx.Linear(6, 8, bias_init=init.normal(), rngs=rngs)

        stack = nnx.split_rngs(splits=3)(nnx.vmap(build))
        with jax.threefry_partitionable(partitionable):
            rngs = fixture_rngs()
            rngs.params()
            assert labels(stack(rngs), counts=8) == {"kernel": "params#1/0", "bias": "params#1/1"}
            forked = rngs.fork()
            assert labels(build(forked), counts=8) == {
                "kernel": "params#2/0",
                "bias": "params#2/1",
            }

    @pytest.mark.parametrize("partitionable", [True, False])
    def test_keys_split_by_hand(self, partitionable):
        with jax.threefry_partitionable(partitionable):
            rngs = fixture_rngs()
            _, second = jax.random.split(rngs.params())
            stacked = jax.vmap(lambda key: jax.random.normal(key, (5, 5)))(
                jax.random.split(rngs.params(), 4)
            )
            found = recover(
                [np.array(jax.random.normal(second, (5, 5))), np.array(stacked)], STREAMS
            )
        assert [origin.label for origin in found] == ["params#0/1", "params#1/split"]
        assert [origin.stacked for origin in found] == [False, True]

    def test_under_the_flag_of_the_golden(self):
        with jax.threefry_partitionable(False):
            model = Net(fixture_rngs())
        assert set(labels(model).values()) == {None}
        assert labels(model, flags=ORIGINAL) == NET
        assert jax.config.jax_threefry_partitionable

    def test_another_generator(self):
        streams = seed_streams(0, "rbg")
        key = jax.random.fold_in(jax.random.key(0, impl="rbg"), 3)
        leaf = np.array(jax.random.normal(key, (7, 5)))
        fork = np.array(jax.random.uniform(jax.random.fold_in(key, 1), (7, 5)))
        found = recover([leaf, fork], streams, counts=4)
        assert [origin.label for origin in found] == ["params#3", "params#3/1"]
        assert recover([leaf], {"params": Stream("no-such-generator", (0,))}) == [None]
        assert recover([leaf], {"params": Stream("rbg", (1, 2))}) == [None]


FAMILIES = {
    "normal": init.normal(0.02),
    "truncated_normal": init.lecun_normal(),
    "uniform": init.glorot_uniform(),
}


class TestValues:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        ("drawn", "cast"),
        [
            ("float32", None),
            ("float16", None),
            ("bfloat16", None),
            ("float32", "float16"),
            ("float32", "bfloat16"),
            ("bfloat16", "float32"),
        ],
    )
    def test_dtypes_drawn_and_cast(self, family, drawn, cast):
        array = draw(17, FAMILIES[family], dtype=drawn)
        origin = one(array.astype(cast or drawn))
        assert (origin.label, origin.family, origin.share) == ("params#17", family, 1.0)
        assert origin.false_alarm < 1e-100

    @pytest.mark.parametrize(
        "name", ["float8_e4m3fn", "float8_e5m2", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"]
    )
    def test_what_only_a_cast_makes(self, name):
        dtype = dtype_of(name)
        assert one(draw(3, init.normal(1.0), (64, 32)).astype(dtype)).label == "params#3"
        other = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
        assert one(other.astype(dtype)) is None

    def test_float64(self):
        with X64(True):
            assert one(draw(4, dtype="float64")).label == "params#4"

    def test_scale_and_shift(self):
        origin = one(draw(5, init.normal(0.02)))
        assert origin.scale == pytest.approx(0.02, rel=1e-6)
        assert origin.shift == pytest.approx(0, abs=1e-8)
        origin = one(-1.01 * draw(5, init.normal(0.02)))
        assert (origin.label, origin.scale) == ("params#5", pytest.approx(-0.0202, rel=1e-6))
        origin = one(draw(5, init.uniform(0.5)))  # from 0 to 0.5
        assert (origin.scale, origin.shift) == pytest.approx((0.25, 0.25), rel=1e-6)

    def test_a_monotone_function_of_no_family(self):
        for array in (np.exp(3 * draw(5, init.normal(1.0))), -(draw(6, init.normal(1.0)) ** 3)):
            origin = one(array)
            assert (origin.family, origin.scale, origin.share) == ("monotone", None, 1.0)

    @pytest.mark.parametrize("n", [8, 9, 12])
    def test_few_elements(self, n):
        assert one(draw(7, shape=(n,))).label == "params#7"

    def test_noise_and_edits(self):
        array = draw(8, init.normal(1.0))
        random = np.random.default_rng(1)
        noisy = one(array + 1e-6 * random.standard_normal(array.shape))
        assert (noisy.label, noisy.share, noisy.family) == ("params#8", 1.0, "normal")
        edited = array.copy()
        edited[3, 5] = 1e6
        edited[4, 5] = np.nan
        origin = one(edited)
        assert (origin.label, origin.share) == ("params#8", 1 - 2 / 512)
        assert origin.scale == pytest.approx(1, rel=1e-6)
        half = np.where(
            random.random(array.shape) < 0.5, array, random.standard_normal(array.shape)
        )
        origin = one(half)
        assert origin.label == "params#8"
        assert 0.4 < origin.share < 0.6

    def test_what_became_of_a_draw(self):
        """Moved by half a standard deviation, all of it: still known, and seen to be moved."""
        array = draw(8, NORMAL, shape=(64, 32))
        origin = one(array + 0.005 * np.random.default_rng(1).standard_normal(array.shape))
        assert (origin.label, origin.family) == ("params#8", "monotone")
        assert origin.share < 0.2

    def test_padding(self):
        array = draw(9, shape=(40, 128))
        array[0] = 0
        origin = one(array)
        assert origin.label == "params#9"
        assert origin.share == pytest.approx(1 - 1 / 40, abs=0.01)

    @pytest.mark.parametrize(
        "array",
        [
            np.ones((4, 4), np.float32),
            np.tile(np.arange(7, dtype=np.float32), 9),
            np.full((64,), np.nan, np.float32),
            np.arange(64, dtype=np.int32),
            np.zeros((0, 3), np.float32),
            np.zeros((3, 0), np.float32),
            np.float32(1.5).reshape(()),
            np.arange(4096, dtype=np.float32).reshape(64, 64),
            np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32),
            np.eye(32, dtype=np.float32),
            np.ones(8, bool),
            np.linspace(0, 1, 32).astype(np.complex64),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )
    def test_no_draw_no_origin(self, array):
        assert one(array) is None

    def test_nothing_to_do(self):
        assert recover([], STREAMS) == []
        assert recover([draw(1)], {}) == [None]


class TestSeed:
    def test_found_among_many(self):
        seed, origins = recover_seed(list(weights(net(41)).values()))
        assert seed == 41
        assert [origin.label for origin in origins] == list(dict(sorted(NET.items())).values())

    def test_not_there(self):
        assert recover_seed(list(weights(net(99)).values())) is None


class TestNullModel:
    """The bounds hold: an unrelated key is as good as `chance` in at most that share of trials."""

    @pytest.mark.parametrize("kept", [23, 7])
    @pytest.mark.parametrize("n", [8, 20, 100])
    def test_bounds(self, n, kept):
        random = np.random.default_rng([n, kept])
        trials, best = 800, []
        for _ in range(trials):
            x = np.sort(random.standard_normal(n)).round(3)
            words = random.integers(0, 2**kept, n).astype(np.uint32)
            dtype = np.dtype(np.float32)
            best.append(likelihood.match(x, words, kept, dtype, 1e-7).log_chance)
        for chance in (0.3, 0.1, 0.01):
            hits = sum(b <= math.log(chance) for b in best)
            assert hits <= trials * chance + 3 * math.sqrt(trials * chance)

    def test_the_rank_bound_of_a_perfect_order_is_close_to_exact(self):
        bounds = likelihood._rank_bounds(np.arange(20, dtype=np.uint32), np.arange(20.0))
        assert -math.lgamma(21) <= bounds[0] <= -math.lgamma(21) + 1
        assert bounds[1] == 0

    def test_unrelated_leaves(self):
        random = np.random.default_rng(5)
        arrays = [
            random.standard_normal(shape).astype(dtype)
            for shape in ((8,), (10,), (5, 5), (40, 40))
            for dtype in ("float32", "float16")
            for _ in range(5)
        ]
        assert recover(arrays, STREAMS) == [None] * len(arrays)
        assert FALSE_ALARM <= 1e-9
