"""Labelled mutations: the causes named are those that are true, and no others."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from pytest_nnxrng import KeyReuseWarning

from .conftest import Bench, Goldens, words
from .models import MLP, MODELS, Attention, Change

BASE = Change()


def seeded(seed: int = 0) -> nnx.Rngs:
    return nnx.Rngs(params=seed, dropout=seed + 10_000, default=seed + 20_000)


def of(goldens: Goldens, model: Any) -> Bench:
    """Where the golden of a model as it was is."""
    return goldens.of(model, lambda snapshot: snapshot.check_init(model, BASE, rngs=seeded()))


def init(goldens: Goldens, model: Any, change: Change, rngs: nnx.Rngs) -> Any:
    bench = of(goldens, model)
    return bench.causes(lambda snapshot: snapshot.check_init(model, change, rngs=rngs))[0]


MUTATIONS: list[tuple[str, Change, set[str]]] = [
    ("nothing", BASE, set()),
    ("extra key", Change(extra_key=True), {"draws"}),
    ("stream", Change(stream="default"), {"stream", "draws"}),
    ("scale by 1 %", Change(scale=1.01), {"initializer"}),
    ("dtype", Change(dtype=jnp.bfloat16), {"dtype"}),
    ("shape", Change(width=16), {"shape"}),
    ("rename", Change(name="tail"), {"renamed"}),
    ("added layer", Change(extra_layer=True), {"added", "draws"}),
    ("variable type", Change(variable=nnx.BatchStat), {"variable_type"}),
    ("key and scale", Change(extra_key=True, scale=1.5), {"draws", "initializer"}),
    ("type and dtype", Change(variable=nnx.Cache, dtype=jnp.float16), {"variable_type", "dtype"}),
    ("rename and key", Change(name="tail", extra_key=True), {"renamed", "draws"}),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("change", "expected"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS]
)
def test_check_init_names_what_changed(
    goldens: Goldens, model: Any, change: Change, expected: set[str]
) -> None:
    found = init(goldens, model, change, seeded())
    if change.width != BASE.width and model in (Attention, MODELS[3]):
        expected = set()  # these have no such width
    assert words(found) == expected, found


@pytest.mark.product("a dtype rounds alike, whether values or spots show it")
@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float16])
def test_another_initializer_is_no_ratio(bench: Bench, dtype: Any, abstract: bool) -> None:
    def build(init: Any, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        for i in range(4):
            layer = nnx.Linear(16, 16, kernel_init=init, param_dtype=dtype, rngs=rngs)
            setattr(model, f"layer{i}", layer)
        return model

    def check(snapshot: Any, init: Any) -> None:
        snapshot(abstract=abstract).check_init(build, init, seeded())

    lecun = nnx.initializers.lecun_normal()
    bench.write(lambda snapshot: check(snapshot, lecun))
    (cause,) = bench.causes(lambda snapshot: check(snapshot, nnx.initializers.normal(0.02)))[0]
    assert cause.text == "another computation from the key to the values: 4 leaves"
    (cause,) = bench.causes(lambda snapshot: check(snapshot, nnx.initializers.he_normal()))[0]
    assert cause.text.startswith("the values are 1.41"), cause


def test_what_was_never_constant_is_not_called_so(bench: Bench) -> None:
    def build(drawn: bool, rngs: nnx.Rngs) -> nnx.Module:
        layer = nnx.Linear(4, 4, rngs=rngs)
        if not drawn:
            layer.kernel[...] = jnp.linspace(0.0, 1.177, 16).reshape(4, 4)
        return layer

    bench.write(lambda snapshot: snapshot.check_init(build, False, seeded()))
    (cause,) = bench.causes(lambda snapshot: snapshot.check_init(build, True, seeded()))[0]
    assert cause.text == "random now, from no key in the golden: kernel"


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_is_one_cause(goldens: Goldens, model: Any) -> None:
    found = init(goldens, model, BASE, seeded(1))
    assert words(found) == {"seed"}, found
    assert "params 0 -> 1" in found[0].text


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_and_a_key_are_two(goldens: Goldens, model: Any) -> None:
    found = init(goldens, model, Change(extra_key=True), seeded(1))
    assert words(found) == {"seed", "draws"}, found


def test_one_stream_with_another_base_key(bench: Bench) -> None:
    def check(snapshot: Any, seed: int) -> None:
        snapshot.check_init(MLP, BASE, rngs=nnx.Rngs(params=seed, dropout=1))

    bench.write(lambda snapshot: check(snapshot, 0))
    found = bench.causes(lambda snapshot: check(snapshot, 5))[0]
    assert words(found) == {"stream"}, found


def test_swapped_layers_draw_in_another_order(goldens: Goldens) -> None:
    found = init(goldens, MLP, Change(swap=True), seeded())
    assert words(found) == {"draws"}, found
    assert len(found) == 1
    assert "another order" in found[0].text


def test_keys_that_are_no_longer_split(bench: Bench) -> None:
    def stack(rngs: nnx.Rngs, split: bool) -> nnx.Linear:
        @nnx.vmap(in_axes=0 if split else None, axis_size=3)
        def layers(rngs: nnx.Rngs) -> nnx.Linear:
            return nnx.Linear(6, 6, rngs=rngs)

        return nnx.split_rngs(splits=3)(layers)(rngs) if split else layers(rngs)

    bench.write(lambda snapshot: snapshot.check_init(stack, seeded(), True))
    with pytest.warns(KeyReuseWarning, match="the 3 slices of kernel are equal"):
        found = bench.causes(lambda snapshot: snapshot.check_init(stack, seeded(), False))[0]
    assert "no longer split or forked first" in found[0].text, found
    assert words(found) <= {"draws", "initializer"}


def test_untied_parameters(goldens: Goldens) -> None:
    assert words(init(goldens, Attention, Change(tied=False), seeded())) == {"aliasing"}


def test_keys_drawn_before_the_build(goldens: Goldens) -> None:
    rngs = seeded()
    rngs.params()
    rngs.params()
    found = init(goldens, MLP, BASE, rngs)
    assert words(found) == {"draws"}, found
    assert "before this build began" in found[0].text


def test_an_edit_in_the_constructor(goldens: Goldens) -> None:
    found = init(goldens, MLP, Change(edit=True), seeded())
    assert words(found) <= {"initializer", "values"}, found
    assert found


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("jax_threefry_partitionable", False),
        ("jax_default_prng_impl", "rbg"),
        ("jax_random_seed_offset", 3),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_a_flag_is_proven(goldens: Goldens, model: Any, flag: str, value: Any) -> None:
    of(goldens, model)  # before the flag
    before = getattr(jax.config, flag)
    jax.config.update(flag, value)
    try:
        found = init(goldens, model, BASE, seeded())
        with_key = init(goldens, model, Change(extra_key=True), seeded())
        with_seed = init(goldens, model, BASE, seeded(1))
    finally:
        jax.config.update(flag, before)
    assert words(found) == {"environment"}, found
    assert words(with_key) == {"environment", "draws"}, with_key
    assert words(with_seed) == {"environment", "seed"}, with_seed


def test_x64_moves_the_cell_of_an_lstm(goldens: Goldens) -> None:
    of(goldens, Attention)  # before the flag
    jax.config.update("jax_enable_x64", True)
    try:
        found = init(goldens, Attention, BASE, seeded())
    finally:
        jax.config.update("jax_enable_x64", False)
    assert words(found) == {"environment"}, found


@pytest.mark.parametrize("abstract", [False, True])
def test_a_build_that_does_not_repeat_itself(bench: Bench, abstract: bool) -> None:
    import itertools

    counter = itertools.count(1)

    def build(rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Linear(4, 4, rngs=rngs)
        model.kernel[...] = model.kernel[...] + next(counter)
        return model

    def good(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Linear(4, 4, rngs=rngs)

    bench.write(lambda snapshot: snapshot(abstract=abstract).check_init(good, seeded()))
    found = bench.causes(lambda s: s(abstract=abstract).check_init(build, seeded()))[0]
    assert words(found) == {"nondeterministic"}, found


class TestOutputs:
    x = jnp.linspace(-1, 1, 8).reshape(2, 4)

    def check(self, change: Change, forward: Any, seed: int = 0) -> Any:
        def body(snapshot: Any) -> None:
            model = snapshot.check_init(MLP, change, rngs=seeded(seed))
            y = model.head(model.second(forward(model.first(self.x))))
            snapshot.check(y, "output")

        return body

    def test_a_forward_pass(self, bench: Bench) -> None:
        bench.write(self.check(BASE, nnx.relu))
        model, output = bench.causes(self.check(BASE, nnx.gelu))
        assert words(model) == set()
        assert words(output) == {"forward"}

    def test_an_output_of_another_model_follows(self, bench: Bench) -> None:
        bench.write(self.check(BASE, nnx.relu))
        model, output = bench.causes(self.check(BASE, nnx.relu, seed=1))
        assert words(model) == {"seed"}
        assert words(output) == {"follows"}

    @pytest.mark.parametrize("change", [Change(name="tail"), Change(variable=nnx.BatchStat)])
    def test_an_output_moved_by_itself_if_no_leaf_did(self, bench: Bench, change: Change) -> None:
        def body(change: Change, times: float) -> Any:
            def check(snapshot: Any) -> None:
                model = snapshot.check_init(MLP, change, rngs=seeded())
                snapshot.check(times * model.second(model.first(self.x)), "output")

            return check

        bench.write(body(BASE, 1.0))
        model, output = bench.causes(body(change, 1.5))
        assert words(model) <= {"renamed", "variable_type"}
        assert words(output) == {"forward"}

    @pytest.mark.parametrize(("then", "now"), [((None, "x"), ("x", None)), (None, ("x", None))])
    def test_other_metadata_of_a_sharding(self, bench: Bench, then: Any, now: Any) -> None:
        known = "out_sharding" if hasattr(nnx, "use_eager_sharding") else "sharding_names"

        def body(names: Any) -> Any:
            metadata = {} if names is None else {known: names, "eager_sharding": False}

            def check(snapshot: Any) -> None:
                snapshot(sharding=True).check(nnx.Param(jnp.ones((2, 4)), **metadata))

            return check

        bench.write(body(then))
        assert words(*bench.causes(body(now))) == {"sharding"}

    def test_gradients_follow_from_a_model_or_from_its_loss(self, bench: Bench) -> None:
        def body(seed: int, power: int) -> Any:
            def check(snapshot: Any) -> None:
                model = snapshot.check_init(MLP, BASE, rngs=seeded(seed))

                def loss(model: Any) -> Any:
                    return (model.first(self.x) ** power).sum()

                snapshot.check(nnx.grad(loss)(model), "gradients")

            return check

        bench.write(body(0, 2))
        assert [words(found) for found in bench.causes(body(1, 2))] == [{"seed"}, {"follows"}]
        assert [words(found) for found in bench.causes(body(0, 4))] == [set(), {"forward"}]

    def test_a_model_that_differs_is_no_rounding_of_its_output(self, bench: Bench) -> None:
        def body(scale: float) -> Any:
            def check(snapshot: Any) -> None:
                model = snapshot.check_init(MLP, Change(scale=scale), rngs=seeded())
                y = model.head(model.second(model.first(self.x)))
                snapshot.check(1e4 + 0.01 * y, "output")

            return check

        bench.write(body(1e-6))
        _, output = bench.causes(body(1.0))
        assert words(output) <= {"follows"}


class TestFinishedModels:
    """``check`` sees no constructor: the draws are recovered from the values."""

    def check(self, change: Change, seed: int = 0, edit: Any = None) -> Any:
        def body(snapshot: Any) -> None:
            model = MLP(change, rngs=seeded(seed))
            if edit is not None:
                edit(model)
            snapshot.check(model)

        return body

    def base(self, goldens: Goldens) -> Bench:
        return goldens.of("finished", self.check(BASE))

    @pytest.mark.parametrize(
        ("change", "seed", "expected"),
        [
            (BASE, 0, set()),
            (BASE, 3, {"seed"}),
            (Change(extra_key=True), 0, {"draws"}),
            (Change(scale=1.01), 0, {"initializer"}),
            (Change(dtype=jnp.bfloat16), 0, {"dtype"}),
            (Change(name="tail"), 0, {"renamed"}),
        ],
        ids=["nothing", "seed", "extra key", "scale", "dtype", "rename"],
    )
    def test_what_the_values_tell(
        self, goldens: Goldens, change: Change, seed: int, expected: set[str]
    ) -> None:
        bench = self.base(goldens)
        found = bench.causes(self.check(change, seed))[0]
        assert words(found) == expected, found

    @pytest.mark.parametrize("name", ["float4_e2m1fn", "float6_e2m3fn", "float8_e5m2"])
    def test_leaves_that_were_cast_to_a_few_bits(self, bench: Bench, name: str) -> None:
        def check(snapshot: Any, seed: int, drawn: int) -> None:
            rngs = seeded(seed)
            for _ in range(drawn):
                rngs.params()
            values = jax.random.normal(rngs.params(), (64, 64))
            snapshot.check(nnx.State({"w": nnx.Param(values.astype(getattr(jnp, name)))}))

        if not hasattr(jnp, name):
            pytest.skip("this JAX has no such dtype")
        try:
            jnp.zeros(2).astype(getattr(jnp, name))
        except jax.errors.JaxRuntimeError:  # jax 0.10 names float6, and XLA there has none
            pytest.skip("this JAX names the dtype and cannot cast to it")
        bench.write(lambda snapshot: check(snapshot, 0, 0))
        assert words(bench.causes(lambda snapshot: check(snapshot, 3, 0))[0]) == {"seed"}
        assert words(bench.causes(lambda snapshot: check(snapshot, 0, 2))[0]) == {"draws"}

    def test_a_flag(self, goldens: Goldens) -> None:
        bench = self.base(goldens)
        jax.config.update("jax_threefry_partitionable", False)
        try:
            found = bench.causes(self.check(BASE))[0]
        finally:
            jax.config.update("jax_threefry_partitionable", True)
        assert words(found) == {"environment"}, found

    def test_what_nothing_explains_has_its_line(self, bench: Bench) -> None:
        def triple(model: Any) -> None:
            model.custom.weight[...] = jnp.arange(20.0).reshape(4, 5) * (3 if edited else 1)

        edited = False
        bench.write(self.check(BASE, edit=triple))
        edited = True
        found = bench.causes(self.check(Change(extra_layer=True), edit=triple))[0]
        assert words(found) == {"added", "draws", "unknown"}, found
        (unknown,) = [cause for cause in found if cause.word == "unknown"]
        assert unknown.leaves == ("custom.weight",)

    def test_an_orthogonal_leaf_is_likely_drawn_by_the_same(self, bench: Bench) -> None:
        def check(snapshot: Any, seed: int) -> None:
            rngs = seeded(seed)
            init = nnx.initializers.orthogonal()
            model = nnx.Module()
            model.plain = nnx.Linear(8, 8, rngs=rngs)
            model.ortho = nnx.Linear(8, 8, kernel_init=init, rngs=rngs)
            snapshot.check(model)

        bench.write(lambda snapshot: check(snapshot, 0))
        found = bench.causes(lambda snapshot: check(snapshot, 3))[0]
        assert [(c.word, c.leaves) for c in found] == [
            ("seed", ("plain.kernel",)),
            ("seed", ("ortho.kernel",)),
        ]
        assert "likely the same" in found[1].text
        assert found[1].accepted_as == "unknown"

    @pytest.mark.parametrize(
        ("then", "now", "told"),
        [
            ("zeros_init", "ones_init", "constant 1 now, 0 in the golden"),
            ("normal", "zeros_init", "constant now, random in the golden"),
        ],
    )
    def test_constants_tell(self, bench: Bench, then: str, now: str, told: str) -> None:
        def check(snapshot: Any, name: str) -> None:
            init = getattr(nnx.initializers, name)()
            snapshot.check(nnx.Linear(4, 4, kernel_init=init, rngs=seeded()))

        bench.write(lambda snapshot: check(snapshot, then))
        (cause,) = bench.causes(lambda snapshot: check(snapshot, now))[0]
        assert (cause.word, cause.text) == ("initializer", f"{told}: kernel")

    def test_a_state_that_a_call_moved(self, bench: Bench) -> None:
        def check(snapshot: Any, calls: int) -> None:
            model = nnx.BatchNorm(4, rngs=seeded())
            for _ in range(calls):
                model(jnp.arange(8.0).reshape(2, 4))
            snapshot.check(model)

        bench.write(lambda snapshot: check(snapshot, 0))
        for calls in (1, 3):
            found = bench.causes(lambda snapshot, n=calls: check(snapshot, n))[0]
            assert words(found) == {"values"}, found
            assert "what a BatchStat holds" in found[0].text

    def test_an_edited_element(self, goldens: Goldens) -> None:
        def edit(model: Any) -> None:
            model.second.kernel[...] = model.second.kernel[...].at[0, 0].add(1.0)

        bench = self.base(goldens)
        found = bench.causes(self.check(BASE, edit=edit))[0]
        assert words(found) == {"values"}, found

    def test_training_is_unknown(self, goldens: Goldens) -> None:
        def train(model: Any) -> None:
            for path in (model.first, model.second, model.head):
                noise = jax.random.normal(jax.random.key(99), path.kernel.shape)
                path.kernel[...] = path.kernel[...] * 0.5 + 0.3 * noise

        bench = self.base(goldens)
        assert words(bench.causes(self.check(BASE, edit=train))[0]) == {"unknown"}

    @pytest.mark.parametrize(
        ("change", "seed", "expected"),
        [
            (Change(scale=1.001), 0, {"initializer"}),
            (Change(name="tail", extra_key=True), 0, {"renamed", "draws"}),
            (Change(name="tail"), 3, {"renamed", "seed"}),
        ],
        ids=["a scale of 0.1 %", "rename and key", "rename and seed"],
    )
    def test_what_the_values_tell_of_what_moved(
        self, goldens: Goldens, change: Change, seed: int, expected: set[str]
    ) -> None:
        bench = self.base(goldens)
        found = bench.causes(self.check(change, seed))[0]
        assert words(found) == expected, found

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("jax_threefry_partitionable", False),
            ("jax_random_seed_offset", 3),
            ("jax_default_prng_impl", "rbg"),
        ],
    )
    def test_a_flag_beside_another_cause(self, goldens: Goldens, flag: str, value: Any) -> None:
        bench = self.base(goldens)
        before = getattr(jax.config, flag)
        jax.config.update(flag, value)
        try:
            alone = bench.causes(self.check(BASE))[0]
            found = {
                "seed": bench.causes(self.check(BASE, 1))[0],
                "draws": bench.causes(self.check(Change(extra_key=True)))[0],
                "renamed": bench.causes(self.check(Change(name="tail")))[0],
            }
        finally:
            jax.config.update(flag, before)
        assert words(alone) == {"environment"}, alone
        for word, causes in found.items():
            assert words(causes) == {"environment", word}, causes

    def test_a_dtype_that_x64_decides(self, goldens: Goldens) -> None:
        bench = self.base(goldens)
        jax.config.update("jax_enable_x64", True)
        try:
            found = bench.causes(self.check(BASE))[0]
            narrow = bench.causes(self.check(Change(dtype=jnp.bfloat16)))[0]
        finally:
            jax.config.update("jax_enable_x64", False)
        (cause,) = found
        assert cause.word == "environment"
        assert "whose dtype this decides" in cause.text
        assert words(narrow) == {"environment", "dtype"}, narrow

    @pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
    def test_the_keys_that_a_model_holds(self, bench: Bench, impl: str) -> None:
        class Net(nnx.Module):
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.linear = nnx.Linear(6, 6, rngs=rngs)
                for _ in range(11):
                    rngs.params()
                self.nested = nnx.Linear(6, 6, rngs=nnx.Rngs(params=rngs.params()))
                self.dropout = nnx.Dropout(0.5, rngs=rngs)

        bench.write(lambda snapshot: snapshot.check(Net(seeded())))
        jax.config.update("jax_default_prng_impl", impl)
        try:
            found = bench.causes(lambda snapshot: snapshot.check(Net(seeded())))[0]
        finally:
            jax.config.update("jax_default_prng_impl", "threefry2x32")
        assert words(found) <= {"environment", "unknown"}, found
        assert "environment" in words(found)

    @pytest.mark.parametrize("back", [False, True])
    def test_keys_that_are_forked_first(self, bench: Bench, back: bool) -> None:
        def check(snapshot: Any, forked: bool) -> None:
            rngs = seeded()
            model = nnx.Module()
            model.first = nnx.Linear(6, 6, rngs=rngs)
            if forked:
                rngs = nnx.Rngs(params=rngs.params())
            model.second = nnx.Linear(6, 6, rngs=rngs)
            snapshot.check(model)

        bench.write(lambda snapshot: check(snapshot, back))
        (cause,) = bench.causes(lambda snapshot: check(snapshot, not back))[0]
        assert cause.word == "draws"
        assert "split or forked first" in cause.text


TIED = [
    ("first last", "first", {"removed"}, "last (tied to first)"),
    ("first last", "last", {"removed"}, "first (tied to last)"),
    ("first", "first last", {"added"}, "last (tied to first)"),
    ("first last", "first tail", {"renamed"}, "last -> tail"),
    ("first last", "last zone", {"renamed"}, "first -> zone"),
    ("first last mid", "last mid zone", {"renamed"}, "first -> zone"),
    ("first last mid", "mid", {"removed"}, "2 leaves: first (tied to mid), last (tied to mid)"),
    ("first last", "first mid zone", {"removed", "added"}, "last (tied to first)"),
    ("first last", "first|last", {"aliasing"}, "last was tied to first, now it is not"),
    ("first|last", "first last", {"aliasing"}, "last was not tied, now to first"),
]


@pytest.mark.parametrize("through", ["check", "check_init"])
@pytest.mark.parametrize(("then", "now", "expected", "told"), TIED)
def test_names_of_one_layer(
    bench: Bench, through: str, then: str, now: str, expected: set[str], told: str
) -> None:
    class Named(nnx.Module):
        """Layers, each under all of its names."""

        def __init__(self, names: str, *, rngs: nnx.Rngs) -> None:
            for tied in names.split("|"):
                layer = nnx.Linear(4, 4, rngs=rngs)
                for name in tied.split():
                    setattr(self, name, layer)

    def body(names: str) -> Any:
        if through == "check":
            return lambda snapshot: snapshot.check(Named(names, rngs=seeded()))
        return lambda snapshot: snapshot.check_init(Named, names, rngs=seeded())

    bench.write(body(then))
    found = bench.causes(body(now))[0]
    assert words(found) == expected, found
    assert any(told in cause.text for cause in found), found
    assert bench.causes(body(then))[0] == ()


class TestLargeLeaves:
    """Leaves whose values the golden does not store: their spots tell the draws."""

    def check(self, change: Change, seed: int = 0) -> Any:
        return lambda snapshot: snapshot.check(MLP(change, rngs=seeded(seed)))

    @pytest.mark.parametrize(
        ("change", "seed", "expected"),
        [
            (BASE, 0, set()),
            (BASE, 3, {"seed"}),
            (Change(extra_key=True), 0, {"draws"}),
            (Change(swap=True), 0, {"draws"}),
            (Change(scale=1.01), 0, {"initializer"}),
            (Change(extra_key=True, name="tail"), 0, {"draws", "renamed"}),
            (Change(edit=True), 0, {"values"}),
        ],
        ids=["nothing", "seed", "extra key", "swapped", "scale", "key and name", "edit"],
    )
    def test_what_the_spots_tell(
        self, bench: Bench, change: Change, seed: int, expected: set[str]
    ) -> None:
        bench.settings = bench.settings._replace(store_limit=0)
        bench.write(self.check(BASE))
        found = bench.causes(self.check(change, seed))[0]
        assert words(found) == expected, found
