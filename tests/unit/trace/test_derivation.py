"""Derivations against an oracle: perturb one draw, build again, see which leaves move."""

import contextlib
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pytest_nnxrng.nnx import flatten
from pytest_nnxrng.nnx.arguments import copy_arguments, find_rngs
from pytest_nnxrng.trace.derivation import Untraceable, advance, trace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
List = getattr(nnx, "List", list)


@contextlib.contextmanager
def perturbed(target):
    """Replace the key of draw ``target`` of the process; yields the list of draws made."""
    call, calls = nnx.RngStream.__call__, []

    @functools.wraps(call)
    def patched(self):
        key = call(self)
        calls.append(self.tag)
        if len(calls) - 1 != target:
            return key
        fold = lambda k: jax.random.fold_in(k, 12345)  # noqa: E731
        for _ in key.shape:
            fold = jax.vmap(fold)
        return fold(key)

    nnx.RngStream.__call__ = patched
    try:
        yield calls
    finally:
        nnx.RngStream.__call__ = call


def values(model):
    return {leaf.path: (leaf.read(), leaf.rng) for leaf in flatten.flatten(model).leaves}


def oracle(build, make_args):
    """Leaf -> numbers of the draws that move it, from real builds."""
    with perturbed(-1) as calls:
        base = values(build(*make_args()))
    moved = {path: set() for path in base}
    for target in range(len(calls)):
        with perturbed(target):
            other = values(build(*make_args()))
        for path, (value, _) in base.items():
            if not np.array_equal(value, other[path][0]):
                moved[path].add(target)
    return len(calls), moved


def predicted(traced):
    """Leaf -> numbers of the draws in its derivation, with what those were forked from."""

    def is_source(label, of):
        return of == label or of.startswith((f"{label}/", f"{label}#"))

    return {
        path: {
            i
            for i, draw in enumerate(traced.draws)
            if any(is_source(draw.label, label) for label in derivation.draws)
        }
        for path, derivation in traced.leaves.items()
    }


def default_rngs():
    return (nnx.Rngs(params=0, dropout=1, default=2),)


class MLP(nnx.Module):
    def __init__(self, rngs, scale=1.0, features=5):
        init = nnx.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
        self.layer1 = nnx.Linear(2, 10, kernel_init=init, rngs=rngs)
        self.norm = nnx.LayerNorm(10, rngs=rngs)
        self.layer2 = nnx.Linear(10, features, kernel_init=init, rngs=rngs)


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.LinearGeneral((2, 4), 8, axis=(-2, -1), rngs=rngs)


class Conv(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.ConvTranspose(4, 4, (2, 2), rngs=rngs)


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.lstm = nnx.LSTMCell(3, 4, rngs=rngs)
        self.gru = nnx.GRUCell(3, 4, rngs=rngs)
        self.rnn = nnx.RNN(nnx.SimpleCell(3, 4, rngs=rngs), rngs=rngs)


class VmapStack(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def stack(rngs):
            return MLP(rngs)

        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.stack = stack(rngs)
        self.last = nnx.Linear(2, 3, rngs=rngs)


class ScanStack(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        def stack(carry, rngs):
            return carry, nnx.Linear(2, 3, rngs=rngs)

        self.stack = stack(jnp.zeros(()), rngs)[1]
        self.last = nnx.Linear(2, 3, rngs=rngs)


class Jitted(nnx.Module):
    def __init__(self, rngs):
        # One function each: the oracle sees no draws of a function that is cached.
        self.first = nnx.jit(lambda rngs: nnx.Linear(2, 3, rngs=rngs))(rngs)
        self.second = nnx.jit(lambda rngs: nnx.Linear(2, 3, rngs=rngs))(rngs)


class Remat(nnx.Module):
    def __init__(self, rngs):
        kernel = jax.checkpoint(lambda key: jax.random.normal(key, (3, 4)))
        self.kernel = nnx.Param(kernel(rngs.params()))
        self.grad = nnx.Param(jax.grad(lambda k: (k**2).sum())(kernel(rngs.params())))


class Custom(nnx.Module):
    def __init__(self, rngs):
        late, early = rngs.params(), rngs.params()
        one, two = jax.random.split(rngs.params())
        rngs.params()
        self.early = nnx.Param(jax.random.normal(early, (4, 3)))
        self.late = nnx.Param(jax.random.normal(late, (4, 3)))
        self.one = nnx.Param(jax.random.normal(one, (4, 3)))
        self.two = nnx.Param(jax.random.normal(two, (4, 3)))
        self.raw = nnx.Param(jax.random.normal(jax.random.key(0), (4, 3)))
        self.both = nnx.Param(
            jax.random.normal(rngs.params(), (4, 3)) + jax.random.uniform(rngs.noise(), (4, 3))
        )
        self.linear = nnx.Linear(4, 3, rngs=rngs)
        self.again = nnx.Linear(4, 3, rngs=rngs)
        self.again.kernel = nnx.Param(jax.random.normal(rngs.params(), (4, 3)))
        self.derived = nnx.Param(self.linear.kernel[...] * 2)
        self.tied = self.linear
        self.folded = nnx.Param(jax.random.normal(jax.random.fold_in(rngs.params(), 7), (3,)))
        self.legacy = nnx.Param(jax.random.normal(jax.random.key_data(rngs.params()), (3,)))
        self.which = nnx.Param(
            jax.lax.cond(
                jax.random.bernoulli(rngs.noise()),
                lambda k: jax.random.normal(k, (64,)),
                lambda k: jax.random.uniform(k, (64,)) - 9,
                rngs.params(),
            )
        )
        self.shuffled = nnx.Param(jax.random.permutation(rngs.params(), 64))


class Shorthands(nnx.Module):
    def __init__(self, rngs):
        if hasattr(rngs.params, "normal"):
            self.normal = nnx.Param(rngs.params.normal((3, 4)))
            self.lecun = nnx.Param(rngs.lecun_normal()((3, 4)))
        rngs.params()
        self.lora = nnx.LoRA(3, 2, 4, rngs=rngs)
        self.sequential = nnx.Sequential(
            nnx.Linear(2, 3, rngs=rngs), nnx.relu, nnx.Dropout(0.1, rngs=rngs)
        )
        self.members = getattr(nnx, "Dict", dict)(
            b=nnx.Linear(2, 3, rngs=rngs), a=nnx.Linear(2, 3, rngs=rngs)
        )
        self.listed = List([nnx.Linear(2, 3, rngs=rngs) for _ in range(2)])


class Keeps(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(2, 3, rngs=rngs)
        self.rngs = rngs
        self.fork = rngs.params.fork()
        self.inner = nnx.Rngs(params=rngs.params())
        self.kernel = nnx.Param(jax.random.normal(self.fork(), (3,)))
        self.other = nnx.Param(jax.random.normal(self.inner.params(), (3,)))


class FromStream(nnx.Module):
    def __init__(self, stream, key):
        self.kernel = nnx.Param(jax.random.normal(stream(), (3,)))
        self.given = nnx.Param(jax.random.normal(key, (3,)))


def plain(rngs):
    return {"w": jax.random.normal(rngs.params(), (3,)), "b": [jnp.zeros(3)], "n": None}


MODELS = {
    "MLP": (MLP, default_rngs),
    "one shared stream": (MLP, lambda: (nnx.Rngs(0),)),
    "Attention": (Attention, default_rngs),
    "Attention on one stream": (Attention, lambda: (nnx.Rngs(0),)),
    "Conv": (Conv, default_rngs),
    "Recurrent": (Recurrent, default_rngs),
    "VmapStack": (VmapStack, default_rngs),
    "ScanStack": (ScanStack, default_rngs),
    "Jitted": (Jitted, default_rngs),
    "Remat": (Remat, default_rngs),
    "Custom": (Custom, default_rngs),
    "Shorthands": (Shorthands, default_rngs),
    "Keeps": (Keeps, default_rngs),
    "FromStream": (FromStream, lambda: (nnx.Rngs(0).default, jax.random.key(3))),
    "plain": (plain, default_rngs),
    "uint32 keys": (MLP, lambda: (nnx.Rngs(jax.random.PRNGKey(4)),)),
}


@functools.cache
def ready(name):
    """A real build, the arguments after it, and a trace."""
    build, make_args = MODELS[name]
    args = make_args()
    model = build(*args)
    return model, args, trace(build, make_args(), {})


@pytest.mark.parametrize("name", MODELS)
def test_draws_are_those_that_move_the_leaf(name):
    build, make_args = MODELS[name]
    traced = ready(name)[2]
    count, moved = oracle(build, make_args)
    assert len(traced.draws) == count
    assert predicted(traced) == moved


def fingerprints(build, *args, **kwargs):
    return {p: d.initializer for p, d in trace(build, args, kwargs).leaves.items()}


def one(build, *args):
    """The derivation of the only leaf that ``build`` returns."""
    return trace(build, args, {}).leaves[""]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("name", ["Attention", "VmapStack", "Custom"])
def test_draws_do_not_depend_on_the_generator(name, impl):
    build, make_args = MODELS[name]
    expected = trace(build, make_args(), {})
    with jax.default_prng_impl(impl):
        traced = trace(build, make_args(), {})
    assert predicted(traced) == predicted(expected)
    assert {stream.impl for stream in traced.streams.values()} == {impl}


@pytest.mark.parametrize("flag", ["jax_threefry_partitionable", "jax_enable_x64"])
def test_draws_do_not_depend_on_flags(flag):
    before = getattr(jax.config, flag)
    expected = trace(Attention, default_rngs(), {})
    jax.config.update(flag, not before)
    try:
        traced = trace(Attention, default_rngs(), {})
    finally:
        jax.config.update(flag, before)
    assert predicted(traced) == predicted(expected)


def test_the_initializer_is_the_same_for_another_seed_and_another_draw():
    class Shifted(nnx.Module):
        def __init__(self, rngs):
            self.extra = nnx.Linear(3, 3, rngs=rngs)
            self.mlp = MLP(rngs)

    expected = fingerprints(MLP, nnx.Rngs(0))
    drawn_from = nnx.Rngs(5)
    drawn_from.params()
    shifted = fingerprints(Shifted, nnx.Rngs(7, params=3))
    assert fingerprints(MLP, drawn_from) == expected
    assert {p: shifted[f"mlp.{p}"] for p in expected} == expected
    kernels = trace(Shifted, (nnx.Rngs(0),), {}).leaves["mlp.layer1.kernel"]
    assert kernels.draws == ("default#2",)
    assert kernels.proven
    assert kernels.note == ""


@pytest.mark.parametrize(
    "other",
    [
        lambda key: jax.random.normal(key, (4, 3)) * 1.01,
        lambda key: jax.random.normal(key, (3, 4)),
        lambda key: jax.random.normal(key, (4, 3), jnp.bfloat16),
        lambda key: jax.random.uniform(key, (4, 3)),
        lambda key: jax.random.normal(jax.random.split(key)[0], (4, 3)),
        lambda key: nnx.initializers.lecun_normal()(key, (4, 3)),
    ],
)
def test_another_initializer_has_another_fingerprint(other):
    base = one(lambda rngs: jax.random.normal(rngs(), (4, 3)), nnx.Rngs(0))
    changed = one(lambda rngs: other(rngs()), nnx.Rngs(0))
    assert changed.draws == base.draws == ("default#0",)
    assert changed.initializer != base.initializer


def test_fan_and_scale_of_one_percent_show():
    base = fingerprints(MLP, nnx.Rngs(0))
    scaled = fingerprints(MLP, nnx.Rngs(0), scale=1.01)
    wider = fingerprints(MLP, nnx.Rngs(0), features=6)
    assert {p for p in base if base[p] != scaled[p]} == {"layer1.kernel", "layer2.kernel"}
    assert {p for p in base if base[p] != wider[p]} == {"layer2.kernel", "layer2.bias"}


def test_halves_of_one_split_key_differ():
    def build(rngs):
        return [jax.random.normal(key, (3,)) for key in jax.random.split(rngs(), 2)]

    leaves = trace(build, (nnx.Rngs(0),), {}).leaves
    assert leaves["0"].draws == leaves["1"].draws
    assert leaves["0"].initializer != leaves["1"].initializer


def test_which_of_two_draws_stands_where_is_part_of_the_initializer():
    def build(rngs, swap):
        a, b = rngs(), rngs()
        a, b = (b, a) if swap else (a, b)
        return jax.random.normal(a, (3,)) - jax.random.normal(b, (3,))

    base, swapped = one(build, nnx.Rngs(0), False), one(build, nnx.Rngs(0), True)
    assert base.draws == swapped.draws == ("default#0", "default#1")
    assert base.initializer != swapped.initializer


def test_one_draw_used_twice_is_not_two_draws():
    def build(rngs, twice):
        a = rngs()
        b = a if twice else rngs()
        return jax.random.normal(a, (3,)) - jax.random.normal(b, (3,))

    assert one(build, nnx.Rngs(0), True).initializer != one(build, nnx.Rngs(0), False).initializer


def test_a_fingerprint_reads_through_jit():
    eager = fingerprints(lambda rngs: nnx.Linear(2, 3, rngs=rngs), nnx.Rngs(0))
    jitted = fingerprints(nnx.jit(lambda rngs: nnx.Linear(2, 3, rngs=rngs)), nnx.Rngs(0))
    assert jitted == eager


_cached = nnx.jit(lambda rngs: nnx.Linear(2, 3, rngs=rngs))


def test_draws_of_a_cached_function_are_seen_each_time():
    def build(rngs):
        return [_cached(rngs), _cached(rngs)]

    build(nnx.Rngs(0))
    first, second = (trace(build, (nnx.Rngs(0),), {}) for _ in range(2))
    assert [d.label for d in first.draws] == [f"default#{i}" for i in range(4)]
    assert first.leaves["1.kernel"].draws == ("default#2",)
    assert (second.leaves, second.draws) == (first.leaves, first.draws)


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}]
import jax
from flax import nnx
from test_derivation import MODELS, trace
for name in ("VmapStack", "Custom"):
    build, args = MODELS[name]
    for path, leaf in sorted(trace(build, args(), {{}}).leaves.items()):
        print(name, path, leaf)
"""


def test_derivations_are_the_same_in_every_process():
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    env = os.environ | {"PYTHONHASHSEED": "7"}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    expected = [
        f"{name} {path} {leaf}"
        for name in ("VmapStack", "Custom")
        for path, leaf in sorted(ready(name)[2].leaves.items())
    ]
    assert len(expected) > 20
    assert output.splitlines() == expected


def test_where_is_the_users_line_and_module_the_class_under_construction():
    traced = trace(MLP, default_rngs(), {})
    draw = next(draw for draw in traced.draws if draw.label == "params#2")
    assert "test_derivation.py:" in draw.where
    assert draw.where.endswith(": self.norm = nnx.LayerNorm(10, rngs=rngs)")
    assert (draw.stream, draw.count, draw.module) == ("params", 2, "LayerNorm")
    direct = trace(nnx.Linear, (2, 3), {"rngs": nnx.Rngs(0)}).draws[0]
    assert "direct = trace(nnx.Linear" in direct.where
    assert (direct.stream, direct.module) == ("default", "Linear")


def test_a_fold_in_of_the_users_is_no_draw():
    traced = trace(
        lambda r: jax.random.normal(jax.random.fold_in(r(), 7), (3,)), default_rngs(), {}
    )
    assert [draw.label for draw in traced.draws] == ["default#0"]
    assert traced.leaves[""].draws == ("default#0/7",)


def test_a_loop_over_counts_is_unrolled():
    def build(rngs):
        def body(count, _):
            key = jax.random.fold_in(rngs.params.key[...], count)
            return count + 2, jax.random.normal(key, (3,))

        return jax.lax.scan(body, rngs.params.count[...], None, length=3)[1]

    rngs = nnx.Rngs(params=0)
    rngs.params()
    assert one(build, rngs).draws == ("params#1", "params#3", "params#5")


def test_a_count_from_a_while_loop_is_unknown():
    def build(rngs):
        key = rngs.params.key[...]

        def body(carry):
            count, total = carry
            return count + 1, total + jax.random.normal(jax.random.fold_in(key, count), (3,))

        start = (jnp.uint32(0), jnp.zeros(3))
        return jax.lax.while_loop(lambda carry: carry[1].sum() < 9, body, start)[1]

    leaf = one(build, nnx.Rngs(params=0))
    assert leaf.draws == ("params#*",)
    assert not leaf.proven
    assert leaf.note == "the count of params#* is computed while building"


def test_dependence_goes_round_a_loop_but_not_across_it():
    def build(rngs):
        a, b = (jax.random.normal(rngs(), (3,)) for _ in range(2))

        def body(_, carry):
            x, y, z = carry
            return x * 2, y + z, z

        return list(jax.lax.fori_loop(0, 5, body, (a, jnp.zeros(3), b)))

    leaves = trace(build, (nnx.Rngs(0),), {}).leaves
    assert [leaves[p].draws for p in "012"] == [("default#0",), ("default#1",), ("default#1",)]

    def moved(rngs, dynamic):
        limit = jnp.where(rngs.noise.normal() > 0, 2, 3) if dynamic else 2
        return jax.lax.while_loop(lambda c: c[0] < limit, lambda c: (c[0] + 1, c[1] * 2), (0, 1.0))

    if hasattr(nnx.RngStream, "normal"):
        assert trace(moved, (nnx.Rngs(0), True), {}).leaves["1"].draws == ("default#0",)
        assert trace(moved, (nnx.Rngs(0), False), {}).leaves["1"].draws == ()


def test_a_captured_array_is_not_proven():
    table = np.arange(12.0, dtype=np.float32)
    leaf, same = (one(lambda rngs: jnp.asarray(table) * 2, nnx.Rngs(0)) for _ in range(2))
    assert not leaf.proven
    assert leaf.draws == ()
    assert leaf.note.startswith("depends on a ")
    assert re.search(r"array float32\[12\] captured at \S*test_derivation.py:", leaf.note)
    assert same.initializer == leaf.initializer
    table[3] += 1
    assert one(lambda rngs: jnp.asarray(table) * 2, nnx.Rngs(0)).initializer != leaf.initializer


def test_an_array_given_as_an_argument_is_proven():
    table = jnp.arange(12.0)
    leaf = one(lambda rngs, table: table * jax.random.normal(rngs(), (12,)), nnx.Rngs(0), table)
    assert leaf.proven
    assert leaf.draws == ("default#0",)
    other = one(lambda rngs, t: t * jax.random.normal(rngs(), (12,)), nnx.Rngs(0), table + 1)
    assert other.initializer != leaf.initializer


def test_raw_keys_are_named():
    def raw(rngs, seed):
        return jax.random.normal(jax.random.key(seed), (3,))

    leaf = one(raw, nnx.Rngs(0), 4)
    assert (leaf.draws, leaf.raw_key, leaf.proven) == ((), True, True)
    assert leaf.note == "raw key jax.random.key(4)"
    assert one(raw, nnx.Rngs(0), 5).initializer != leaf.initializer
    key = jax.random.key(4)
    captured = one(lambda rngs: jax.random.normal(key, (3,)), nnx.Rngs(0))
    assert captured.raw_key
    assert re.match(r"raw key captured at \S*test_derivation.py:", captured.note)
    given = one(lambda rngs, k: jax.random.normal(k, (3,)), nnx.Rngs(0), key)
    assert given.note == "raw key given as an argument"
    seeded = trace(Custom, default_rngs(), {}).leaves
    assert {p for p, leaf in seeded.items() if leaf.raw_key} == {"raw"}


def test_a_stream_made_inside_with_its_own_seed_is_a_raw_key():
    def build(rngs):
        inner = nnx.Rngs(params=3)
        return [jax.random.normal(inner.params(), (3,)) for _ in range(2)]

    traced = trace(build, (nnx.Rngs(0),), {})
    assert traced.draws == ()
    first, second = traced.leaves["0"], traced.leaves["1"]
    assert first.raw_key
    assert first.initializer != second.initializer


def test_callbacks_are_not_proven_and_prints_do_not_matter():
    def build(rngs, print_it):
        x = jax.random.normal(rngs(), (3,))
        if print_it:
            jax.debug.print("{}", x)
            return x
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((3,), jnp.float32), x)

    assert one(build, nnx.Rngs(0), True).proven
    leaf = one(build, nnx.Rngs(0), False)
    assert not leaf.proven
    assert leaf.note == "depends on a host callback or side effect (pure_callback)"
    assert leaf.draws == ("default#0",)


def test_a_host_read_is_untraceable():
    def build(rngs):
        return float(np.asarray(jax.random.normal(rngs(), ())))

    with pytest.raises(Untraceable, match=r"\ATracerArrayConversionError: [^\n]+\Z"):
        trace(build, (nnx.Rngs(0),), {})
    with pytest.raises(Untraceable, match=r"\AValueError: mine\Z"):
        trace(lambda: (_ for _ in ()).throw(ValueError("mine\ntwo")).send(None), (), {})
    with pytest.raises(Untraceable, match="belong to a JAX transformation"):
        nnx.jit(lambda rngs: trace(MLP, (rngs,), {}) and None)(nnx.Rngs(0))


@pytest.mark.parametrize("name", ["MLP", "Attention", "Conv", "VmapStack", "Keeps", "plain"])
def test_the_model_is_what_eval_shape_gives(name):
    build, make_args = MODELS[name]
    ours = nnx.split([trace(build, make_args(), {}).model])
    theirs = nnx.split([nnx.eval_shape(lambda: build(*make_args()))])
    flat, treedef = jax.tree_util.tree_flatten(ours[1])
    expected, expected_treedef = jax.tree_util.tree_flatten(theirs[1])
    assert treedef == expected_treedef
    assert [(x.shape, x.dtype) for x in flat] == [(x.shape, x.dtype) for x in expected]
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in flat)
    ours, theirs = (re.sub("0x[0-9a-f]+", "", str(split[0])) for split in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize("name", MODELS)
def test_each_array_has_a_derivation(name):
    model, _, traced = ready(name)
    concrete = flatten.flatten(model)
    assert list(traced.leaves) == [leaf.path for leaf in concrete.leaves]
    abstract = flatten.flatten(traced.model)
    assert abstract.aliases == concrete.aliases
    for a, b in zip(abstract.leaves, concrete.leaves, strict=True):
        assert (a.path, a.type, a.shape, a.dtype) == (b.path, b.type, b.shape, b.dtype)


def counts(args):
    return [
        {name: int(np.sum(stream.count[...])) for name, stream in named(rngs).items()}
        for rngs in find_rngs(args, {})
    ]


def named(rngs):
    return {"": rngs} if isinstance(rngs, nnx.RngStream) else dict(rngs.items())


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_leaves_the_rngs_alone_and_advance_moves_them_as_a_build_does(name):
    build, make_args = MODELS[name]
    _, built, _ = ready(name)
    ours = make_args()
    before = counts(ours)
    traced = trace(build, ours, {})
    assert counts(ours) == before
    advance(ours, {}, traced)
    assert counts(ours) == counts(built)
    for a, b in zip(find_rngs(ours, {}), find_rngs(built, {}), strict=True):
        assert all(
            stream.fork().key[...] == named(b)[k].fork().key[...] for k, stream in named(a).items()
        )


def test_advance_knows_counts_that_only_running_can_tell():
    def build(rngs):
        def body(state):
            return state[0] + 1, state[1] * 3

        count = jax.lax.while_loop(
            lambda state: state[1] < 50, body, (rngs.params.count[...], jnp.int32(1))
        )[0]
        rngs.params.count[...] = count
        return jax.random.normal(rngs.params(), (3,))

    rngs, other = nnx.Rngs(params=0), nnx.Rngs(params=0)
    build(other)
    traced = trace(build, (rngs,), {})
    advance((rngs,), {}, traced)
    assert counts((rngs,)) == counts((other,)) == [{"params": 5}]
    assert traced.streams["params"].end == 5


def test_streams_hold_key_and_counts():
    rngs = nnx.Rngs(params=3, noise=4)
    rngs.params()
    streams = trace(MLP, (rngs,), {}).streams
    assert list(streams) == ["params", "noise"]
    assert (streams["params"].count, streams["params"].end) == (1, 7)
    assert (streams["noise"].count, streams["noise"].end) == (0, 0)
    assert streams["params"].key == (0, 3)


def test_two_rngs_of_the_same_streams_stay_two():
    def build(a, b):
        return [jax.random.normal(r.params(), (3,)) for r in (a, b, a)]

    a, b = nnx.Rngs(params=0), nnx.Rngs(params=1)
    traced = trace(build, (a,), {"b": b})
    assert [draw.label for draw in traced.draws] == ["params#0", "params@2#0", "params#1"]
    same = trace(build, (a, a), {})
    assert [draw.label for draw in same.draws] == ["params#0", "params#1", "params#2"]


def test_rngs_are_found_wherever_they_are():
    class Holder(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs

    rngs, stream = nnx.Rngs(params=0), nnx.Rngs(1).default
    args = ({"b": [rngs], 1: None}, Holder(rngs), 3)
    assert find_rngs(args, {"stream": stream}) == [rngs, stream]
    assert find_rngs(({"a": {"x": 1, 2: 3}},), {}) == []


def test_copies_keep_aliases_and_pass_the_rest_through():
    rngs, other = nnx.Rngs(params=0, dropout=1, a=2), object()
    linear, array = nnx.Linear(2, 3, rngs=rngs), np.ones(3)
    (first, copied, config), kwargs = copy_arguments(
        (rngs, [rngs, linear], other), {"rngs": rngs, "x": array}
    )
    assert first is copied[0] is kwargs["rngs"]
    assert first is not rngs
    assert config is other
    assert kwargs["x"] is array
    assert list(first) == ["params", "dropout", "a"]
    first.params()
    copied[1].kernel[...] = jnp.zeros((2, 3))
    assert counts((rngs,)) == [{"params": 2, "dropout": 0, "a": 0}]
    assert np.any(np.asarray(linear.kernel[...]))


@pytest.mark.skipif(not hasattr(jax, "new_ref"), reason="this jax has no references")
def test_array_references_are_untraceable():
    def build(rngs):
        ref = jax.new_ref(jnp.zeros(3))
        ref[...] = jax.random.normal(rngs(), (3,))
        return ref[...]

    with pytest.raises(Untraceable, match=r"an array reference \(jax.Ref\) is used while building"):
        trace(build, (nnx.Rngs(0),), {})


def test_numbers_and_numpy_arrays_stay_what_they_are():
    def build(rngs):
        return {"a": nnx.Variable(np.arange(3)), "f": nnx.Variable(0.5), "k": nnx.Param(rngs())}

    traced = trace(build, (nnx.Rngs(0),), {})
    assert traced.model["a"].get_metadata() is not None
    kinds = {leaf.path: leaf.dtype for leaf in flatten.flatten(traced.model).leaves}
    assert (kinds["a"], kinds["f"]) == ("int64", "python float")
    assert (traced.leaves["a"].proven, traced.leaves["a"].note) == (False, "is a numpy array")
    assert traced.leaves["f"].proven
    assert traced.leaves["k"].draws == ("default#0",)


def test_axis_indices_of_a_mesh_are_proven():
    shard_map = getattr(jax, "shard_map", None)
    if shard_map is None:
        from jax.experimental.shard_map import shard_map

    spec = jax.sharding.PartitionSpec("a")

    def build(rngs):
        def shard(x, key):
            key = jax.random.fold_in(key, jax.lax.axis_index("a"))
            return x + jax.random.normal(key, x.shape)

        mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))
        mapped = shard_map(
            shard, mesh=mesh, in_specs=(spec, jax.sharding.PartitionSpec()), out_specs=spec
        )
        return mapped(jax.random.normal(rngs(), (8,)), rngs())

    leaf = one(build, nnx.Rngs(0))
    assert (leaf.draws, leaf.proven) == (("default#0", "default#1"), True)
