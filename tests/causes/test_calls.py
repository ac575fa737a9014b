"""Edits of forward passes: the first module that did something else is named, and how."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from .conftest import Bench, Goldens, words
from .forwards import convnet, transformer

TOKENS = jnp.arange(6).reshape(1, 6) % 11
IMAGE = jnp.linspace(-1.0, 1.0, 2 * 6 * 6).reshape(2, 6, 6, 1) ** 3


def seeded(seed: int = 0) -> nnx.Rngs:
    return nnx.Rngs(params=seed, dropout=seed + 10_000, default=seed + 20_000)


def told(bench: Bench, before: Any, after: Any) -> list[tuple[str, str]]:
    """What is said of ``after`` against a golden of ``before``: calls of a snapshot."""
    bench.write(before)
    return said(bench, after)


def said(bench: Bench, after: Any) -> list[tuple[str, str]]:
    (causes,) = bench.causes(after)
    return [(cause.word, cause.text) for cause in causes]


def lm(**edits: Any) -> Any:
    return lambda snapshot: snapshot.check_call(transformer(seeded(), **edits), TOKENS)


def net(**edits: Any) -> Any:
    return lambda snapshot: snapshot.check_call(convnet(seeded(), **edits), IMAGE)


EDITS: list[tuple[str, Any, dict[str, Any], list[tuple[str, ...]]]] = [
    ("activation", lm, {"act": nnx.silu}, [("computation", "mlp", "gelu", "silu")]),
    (
        "exact gelu",
        lm,
        {"act": lambda x: nnx.gelu(x, approximate=False)},
        [("computation", "mlp", "gelu(approximate=True) -> gelu(approximate=False)")],
    ),
    ("epsilon", lm, {"epsilon": 1e-3}, [("computation", "norm1", "epsilon 1e-06 -> 0.001")]),
    ("rate", lm, {"rate": 0.4}, [("computation", "blocks.0.mlp.drop", "rate 0.1 -> 0.4")]),
    ("rate of 1", lm, {"rate": 0.4, "block": 1}, [("computation", "blocks.1.mlp.drop", "0.4")]),
    ("mask", lm, {"mask": -1}, [("computation", "attn", "tril")]),
    ("scale", lm, {"scale": 0.5}, [("computation", "attn", "-> mul _ 0.5")]),
    ("axis", lm, {"axis": -2}, [("computation", "attn", "softmax", "axes=(2) -> ", "axes=(1)")]),
    ("precision", lm, {"precision": "highest"}, []),  # the same bits on a CPU
    ("cast", lm, {"cast": jnp.bfloat16}, [("computation", "mlp", "convert_element_type")]),
    ("no residual", lm, {"no_residual": True}, [("computation", "blocks.0", "add -> nothing")]),
    ("post norm", lm, {"post": True}, [("calls", "another order")]),
    ("skipped", lm, {"skip": True}, [("calls", "blocks.0 is no longer called")]),
    ("twice", lm, {"twice": True}, [("calls", "mlp (call 2)", "is called, too")]),
    ("no dropout", lm, {"no_drop": True}, [("calls", "drop", "no longer called")]),
    ("swapped", lm, {"swap": True}, [("computation", "attn", "on other operands")]),
    ("embedding", lm, {"embed_scale": 2.0}, [("computation", "LM computes", "mul _ 2.0")]),
    ("pool", net, {"pool": "max"}, [("computation", "Net computes", "mean -> max")]),
    ("strides", net, {"strides": 2}, [("computation", "stem.conv", "strides 1 -> 2")]),
    ("momentum", net, {"momentum": 0.5}, [("computation", "norm", "momentum 0.9 -> 0.5")]),
    ("relu", net, {"act": nnx.leaky_relu}, [("computation", "relu", "leaky_relu")]),
    (
        "two at once",
        lm,
        {"epsilon": 1e-3, "act": nnx.silu},
        [("computation", "norm1", "epsilon"), ("computation", "mlp", "silu")],
    ),
    (
        "skipped and scaled",
        lm,
        {"skip": True, "scale": 0.5},
        [("calls", "blocks.0"), ("computation", "blocks.1.attn", "mul _ 0.5")],
    ),
]


@pytest.mark.parametrize(
    ("call", "edits", "expected"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS]
)
def test_an_edit_of_the_code(
    goldens: Goldens, call: Any, edits: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    found = said(goldens.of(call, call()), call(**edits))
    assert [word for word, _ in found] == [first for first, *_ in expected], found
    for (_, text), (_, *parts) in zip(found, expected, strict=True):
        assert all(part in text for part in parts), text
        assert "computes" not in text or ".py:" in text


def check(model: Any, *args: Any, **kwargs: Any) -> Any:
    return lambda snapshot: snapshot.check_call(model, *args, **kwargs)


def test_the_same_call_has_no_cause(goldens: Goldens) -> None:
    assert said(goldens.of(lm, lm()), lm()) == []


def test_a_refactor_that_gives_the_same_is_no_cause(bench: Bench) -> None:
    assert told(bench, net(act=nnx.relu), net(act=lambda x: jnp.maximum(x, 0))) == []


def test_a_refactor_before_a_change_is_not_named(bench: Bench) -> None:
    twin = {"act": lambda x: jnp.maximum(x, 0), "pool": "max"}
    ((word, text),) = told(bench, net(act=nnx.relu), net(**twin))
    assert (word, text.startswith("Net computes otherwise: mean")) == ("computation", True), text


def test_a_model_that_was_called_before_has_other_keys(goldens: Goldens) -> None:
    model = transformer(seeded())
    model(TOKENS), model(TOKENS)
    ((word, text),) = said(goldens.of(lm, lm()), check(model, TOKENS))
    assert word == "draws"
    assert text.startswith("blocks.0.mlp.drop draws dropout#2, in the golden dropout#0: ")
    assert "the model had been called 2 times more before" in text


def test_another_seed_of_dropout(goldens: Goldens) -> None:
    rngs = nnx.Rngs(params=0, dropout=3, default=20_000)
    ((word, text),) = said(goldens.of(lm, lm()), check(transformer(rngs), TOKENS))
    assert (word, text) == ("seed", "the base keys of `dropout` are others")


def test_an_edited_weight(goldens: Goldens) -> None:
    model = transformer(seeded())
    kernel = model.blocks[1].mlp.up.kernel
    kernel[...] = kernel[...].at[0, 0].add(0.5)
    ((word, text),) = said(goldens.of(lm, lm()), check(model, TOKENS))
    assert (word, text) == ("weights", "blocks.1.mlp.up.kernel is not what the golden's call had")


def test_an_edited_weight_and_another_activation(goldens: Goldens) -> None:
    model = transformer(seeded(), act=nnx.silu)
    model.embed.embedding[...] = model.embed.embedding[...] * 1.5
    found = said(goldens.of(lm, lm()), check(model, TOKENS))
    assert [word for word, _ in found] == ["weights", "computation"], found


def test_a_model_that_differs_is_what_an_output_follows_from(bench: Bench) -> None:
    def both(snapshot: Any, seed: int = 0) -> None:
        model = snapshot.check_init(transformer, seeded(seed))
        snapshot.check_call(model, TOKENS)

    bench.write(both)
    _, causes = bench.causes(lambda snapshot: both(snapshot, 1))
    assert [cause.word for cause in causes] == ["follows", "seed"]
    assert "the model that this test checked before differs: blocks." in causes[0].text


def test_another_width(goldens: Goldens) -> None:
    found = said(goldens.of(lm, lm()), lm(width=12))
    assert {word for word, _ in found} == {"weights"}, found
    assert found[0][1] == "embed.embedding float32[11, 8] -> float32[11, 12] and 24 more leaves"


@pytest.mark.parametrize(
    ("tokens", "part"),
    [
        (TOKENS + 1, "argument 1 (int32[1, 6]) has other numbers"),
        (TOKENS[:, :4], "argument 1 int32[1, 6] -> int32[1, 4]"),
    ],
)
def test_another_input(goldens: Goldens, tokens: Any, part: str) -> None:
    found = said(goldens.of(lm, lm()), check(transformer(seeded()), tokens))
    assert found == [("inputs", part)]


def test_a_flag_of_the_call(bench: Bench) -> None:
    def call(deterministic: bool) -> Any:
        drop = nnx.Dropout(0.5, rngs=seeded())
        return check(drop, IMAGE, deterministic=deterministic)

    found = told(bench, call(True), call(False))
    assert found == [("inputs", "argument deterministic true -> false")]


def test_training_in_place_of_evaluation(goldens: Goldens) -> None:
    model = convnet(seeded())
    model.eval()
    found = said(goldens.of(net, net()), check(model, IMAGE))
    assert [word for word, _ in found] == ["computation"] * 2, found
    assert (
        "stem.norm, body.norm compute otherwise: use_running_average false -> true" in found[0][1]
    )
    assert "drop computes otherwise: deterministic false -> true" in found[1][1]


class Scanned(nnx.Module):
    """Layers under nnx.vmap and nnx.scan, and one under each of nnx.remat and nnx.jit."""

    def __init__(self, rngs: nnx.Rngs, act: Any = nnx.relu) -> None:
        make = nnx.vmap(lambda r: Layer(r, act), in_axes=0, out_axes=0, axis_size=3)
        self.layers = nnx.split_rngs(splits=3)(make)(rngs)
        self.remat = Layer(rngs, act)
        self.jit = Layer(rngs, act)
        self.rest = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.relu, lambda x: x + 1)

    def __call__(self, x: Any) -> Any:
        scan = nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        x = scan(x, self.layers)
        x = nnx.remat(lambda layer, x: layer(x))(self.remat, x)
        return self.rest(nnx.jit(lambda layer, x: layer(x))(self.jit, x))


class Layer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, act: Any) -> None:
        self.linear = nnx.Linear(4, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.act = act

    def __call__(self, x: Any) -> Any:
        return self.drop(self.act(self.linear(x)))


def test_modules_inside_of_transformations(bench: Bench) -> None:
    x = jnp.ones((2, 4))

    def call(act: Any = nnx.relu) -> Any:
        model = Scanned(seeded(), act)
        model(x)  # what JAX has cached of an earlier call is no other call
        return check(model, x)

    ((word, text),) = told(bench, call(), call(nnx.gelu))
    assert word == "computation"
    assert text.startswith("layers, remat, jit compute otherwise: act relu -> gelu")
    assert bench.causes(call()) == [()]


def test_a_cell_that_is_called_many_times(bench: Bench) -> None:
    def run(cell: nnx.Module, x: Any, act: Any) -> Any:
        for _ in range(3):
            x = act(cell(x))
        return x

    def call(act: Any) -> Any:
        return check(run, nnx.Linear(4, 4, rngs=seeded()), jnp.ones((2, 4)), act)

    found = told(bench, call(jnp.tanh), call(jnp.sin))
    assert [word for word, _ in found] == ["inputs"], found


def test_a_method_by_its_name(bench: Bench) -> None:
    class Coder(nnx.Module):
        def __init__(self, act: Any = jnp.tanh) -> None:
            self.linear = nnx.Linear(4, 4, rngs=seeded())
            self.encode_with = act

        def encode(self, x: Any) -> Any:
            return self.encode_with(self.linear(x))

    x = jnp.ones((2, 4))
    ((word, text),) = told(
        bench, check(Coder(), x, method="encode"), check(Coder(jnp.sin).encode, x)
    )
    assert (word, "encode computes otherwise: encode_with tanh -> sin" in text) == (
        "computation",
        True,
    ), text


def test_gradients(bench: Bench) -> None:
    def loss(model: Any, x: Any, stop: bool = False, scale: float = 1.0) -> Any:
        hidden = model.stem(x)
        hidden = jax.lax.stop_gradient(hidden) if stop else hidden
        return scale * jnp.mean(model.head(jnp.mean(model.body(hidden), (1, 2))) ** 2)

    def stopped(model: Any, x: Any) -> Any:
        return loss(model, x, True)

    stopped.__name__ = "loss"

    def call(function: Any) -> Any:
        return check(function, convnet(seeded()), IMAGE, grad=True)

    found = told(bench, call(loss), call(stopped))
    assert [word for word, _ in found] == ["computation"], found
    assert (
        "the gradient vanished: gradients.stem.conv.bias, gradients.stem.conv.kernel" in found[0][1]
    )


def test_a_flag_of_jax_is_proven(goldens: Goldens) -> None:
    before = jax.config.jax_threefry_partitionable
    bench = goldens.of(lm, lm())
    model = transformer(seeded())
    try:
        jax.config.update("jax_threefry_partitionable", not before)
        (causes,) = bench.causes(check(model, TOKENS))
    finally:
        jax.config.update("jax_threefry_partitionable", before)
    assert words(causes) == {"environment"}
    assert "when called under what it recorded" in causes[0].text


def test_a_call_that_does_not_repeat_itself(bench: Bench) -> None:
    count = [0.0]

    class Counts(nnx.Module):
        def __init__(self) -> None:
            self.scale = nnx.Param(jnp.ones(()))

        def __call__(self, x: Any) -> Any:
            count[0] += 1.0
            return jax.pure_callback(lambda x: x * count[0], x, x) * self.scale

    bench.write(check(Counts(), IMAGE))
    (causes,) = bench.causes(check(Counts(), IMAGE))
    assert words(causes) == {"nondeterministic"}, causes


@pytest.mark.parametrize(
    ("off", "word", "part"),
    [
        (1e-6, "rounding", "the difference grows: at least 3e-07 at noise, 3e-07 at Net"),
        (0.5, "unknown", "; noise is the first whose output moved (tests/causes/test_calls.py:"),
    ],
)
def test_what_no_record_shows(bench: Bench, off: float, word: str, part: str) -> None:
    noise = [0.0]

    class Noise(nnx.Module):
        def __call__(self, x: Any) -> Any:
            return jax.pure_callback(lambda x: x * np.float32(1.0 + noise[0]), x, x)

    class Net(nnx.Module):
        def __init__(self) -> None:
            self.scale = nnx.Param(jnp.ones(()))
            self.noise = Noise()

        def __call__(self, x: Any) -> Any:
            return self.noise(x) * self.scale

    def call(snapshot: Any) -> None:
        snapshot(tol=1e-7).check_call(Net(), IMAGE)

    bench.write(call)
    noise[0] = off
    (cause,) = bench.causes(call)[0]
    same = "every module computes what it did, from the same inputs, weights and keys"
    assert (cause.word, cause.text.startswith(same)) == (word, True), cause
    assert part in cause.text


def test_a_model_in_a_closure_is_not_traced(bench: Bench) -> None:
    def call(act: Any) -> Any:
        model = nnx.Linear(1, 1, rngs=seeded())
        return check(lambda x: act(model(x)), IMAGE)

    ((word, text),) = told(bench, call(jnp.tanh), call(jnp.sin))
    assert word == "unknown"
    assert "no model is among the arguments: give it as one" in text


def test_other_state_follows_from_the_call_that_left_it(bench: Bench) -> None:
    def calls(snapshot: Any, momentum: float = 0.9) -> None:
        model = convnet(seeded(), momentum=momentum)
        snapshot.check_call(model, IMAGE)
        model.eval()
        snapshot.check_call(model, IMAGE)

    bench.write(calls)
    first, second = bench.causes(lambda snapshot: calls(snapshot, 0.5))
    assert words(first) == {"computation"}
    assert words(second) == {"follows"}, second
    assert "an earlier call of this test left other state: body.norm.mean" in second[0].text


def test_an_optimizer_under_jit(bench: Bench) -> None:
    def train(rate: float) -> Any:
        @nnx.jit
        def step(model: Any, optimizer: Any, x: Any) -> Any:
            loss, grads = nnx.value_and_grad(lambda m, x: jnp.mean((m(x) - 1) ** 2))(model, x)
            optimizer.update(model, grads)
            return loss

        model = nnx.Linear(1, 1, rngs=seeded())
        optimizer = nnx.Optimizer(model, optax.sgd(rate), wrt=nnx.Param)
        return lambda snapshot: snapshot.check_steps(step, model, optimizer, [IMAGE, IMAGE])

    ((word, text),) = told(bench, train(0.1), train(0.2))
    assert word == "computation"
    assert "mul -0.1 _ -> mul -0.2 _" in text
    assert "step 1 of 2 is the first that moved: 0.bias, 0.kernel" in text


def test_what_cannot_be_traced_says_so(bench: Bench) -> None:
    class Reads(nnx.Module):
        def __init__(self, rate: float) -> None:
            self.scale = nnx.Param(jnp.ones(()))
            self.drop = nnx.Linear(1, 1, rngs=seeded())
            self.rate = rate

        def __call__(self, x: Any) -> Any:
            return self.drop(x) * (self.rate if float(jnp.sum(x)) > -1e9 else 1.0)

    ((word, text),) = told(bench, check(Reads(1.0), IMAGE), check(Reads(2.0), IMAGE))
    assert word == "unknown"
    assert "could not be traced (ConcretizationTypeError" in text
    assert "Reads is the first whose output moved" in text
    assert "Reads has rate 1.0 -> 2.0" in text


def train(rate: float, step: int = 99) -> Any:
    """Three steps of plain gradient descent, at another rate from ``step`` on."""

    class Descent(nnx.Module):
        def __init__(self) -> None:
            self.count = nnx.BatchStat(jnp.zeros((), jnp.int32))

        def update(self, model: Any, grads: Any) -> None:
            lr = jnp.where(self.count[...] >= step, rate, 0.1)
            new = jax.tree.map(lambda p, g: p - lr * g, nnx.state(model, nnx.Param), grads)
            nnx.update(model, new)
            self.count[...] = self.count[...] + 1

    def loss(model: Any, x: Any) -> Any:
        return jnp.mean((model(x) - 1.0) ** 2)

    def learn(model: Any, descent: Any, x: Any) -> Any:
        value, grads = nnx.value_and_grad(loss)(model, x)
        descent.update(model, grads)
        return value

    model, xs = nnx.Linear(4, 2, rngs=seeded()), [jnp.full((3, 4), i + 1.0) / 4 for i in range(3)]
    return lambda snapshot: snapshot.check_steps(learn, model, Descent(), xs)


def test_the_first_step_that_moved(bench: Bench) -> None:
    ((word, text),) = told(bench, train(0.1), train(0.1))[:1] or [("", "")]
    assert (word, text) == ("", "")
    ((word, text),) = [(c.word, c.text) for c in bench.causes(train(0.5, step=1))[0]]
    assert word == "computation"
    assert text.startswith("1.update computes otherwise: ge _ 99 -> ge _ 1"), text
    assert "step 2 of 3 is the first that moved: 0.bias, 0.kernel" in text


def test_nothing_of_the_callers_changes(bench: Bench) -> None:
    model = convnet(seeded())
    twin = convnet(seeded())
    before = {cls: dict(vars(cls)) for cls in (type(model), nnx.Linear, nnx.BatchNorm)}
    out = []
    bench.write(lambda snapshot: out.append(snapshot.check_call(model, IMAGE)))
    assert before == {cls: dict(vars(cls)) for cls in before}
    assert jnp.array_equal(out[0], twin(IMAGE))
    states = [jax.tree_util.tree_leaves(nnx.state(m)) for m in (model, twin)]
    assert str(jax.tree_util.tree_structure(states[0])) == str(
        jax.tree_util.tree_structure(states[1])
    )
    assert "_nnxrng_site" not in vars(model)
