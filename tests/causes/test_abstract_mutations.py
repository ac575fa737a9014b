"""The same mutations where the golden, the run, or both are of a model that is never built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from pytest_nnxrng import KeyReuseWarning

from .conftest import Bench, Goldens, words
from .models import MLP, MODELS, Attention, Change
from .test_mutations import BASE, MUTATIONS, seeded

BOTH, RUN, GOLDEN = "both abstract", "golden of values", "built against spots"
MODES = {BOTH: (True, True), RUN: (False, True), GOLDEN: (True, False)}
WAYS = (
    "what is named depends on the model and what was done to it; how the golden and the run hold "
    "values, on either"
)
FLAGS = {
    "jax_threefry_partitionable": False,
    "jax_default_prng_impl": "rbg",
    "jax_random_seed_offset": 3,
}


@contextmanager
def flag(name: str, value: Any) -> Iterator[None]:
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


class Pair:
    """A model and a mode: the golden that is made, and what a changed one differs by."""

    def __init__(self, goldens: Goldens, model: Any, mode: str) -> None:
        then, self.run = MODES[mode]
        self.model = model
        self.bench = goldens.of(
            (model, then), lambda s: s(abstract=then).check_init(model, BASE, rngs=seeded())
        )

    def causes(self, change: Change, seed: int = 0) -> Any:
        def body(snapshot: Any) -> None:
            snapshot(abstract=self.run).check_init(self.model, change, rngs=seeded(seed))

        return self.bench.causes(body)[0]


CHANGES = [
    *((name, change, 0, expected) for name, change, expected in MUTATIONS),
    ("seed", BASE, 1, {"seed"}),
    ("seed and key", Change(extra_key=True), 1, {"seed", "draws"}),
]


@pytest.mark.product(WAYS, pairs=True)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("change", "seed", "expected"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_what_changed_is_named(
    goldens: Goldens, model: Any, mode: str, change: Change, seed: int, expected: set[str]
) -> None:
    if change.width != BASE.width and model in (Attention, MODELS[3]):
        expected = set()  # these have no such width
    found = Pair(goldens, model, mode).causes(change, seed)
    assert words(found) == expected, found


@pytest.mark.product(WAYS, pairs=True)
@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_a_flag_is_proven(goldens: Goldens, model: Any, mode: str, name: str) -> None:
    pair = Pair(goldens, model, mode)
    with flag(name, FLAGS[name]):
        alone = pair.causes(BASE)
        others = {
            "draws": pair.causes(Change(extra_key=True)),
            "seed": pair.causes(BASE, 1),
            "initializer": pair.causes(Change(scale=1.01)),
            "renamed": pair.causes(Change(name="tail")),
        }
    assert words(alone) == {"environment"}, alone
    for word, found in others.items():
        assert words(found) == {"environment", word}, found


@pytest.mark.parametrize("mode", MODES)
def test_a_dtype_that_a_flag_decides_is_no_cause_of_its_own(goldens: Goldens, mode: str) -> None:
    pair = Pair(goldens, MLP, mode)
    with flag("jax_enable_x64", True):  # of jax.random.normal(key, shape)
        assert words(pair.causes(BASE)) == {"environment"}
        assert words(pair.causes(Change(extra_key=True))) == {"environment", "draws"}
        assert words(pair.causes(BASE, 1)) == {"environment", "seed"}
        assert words(pair.causes(Change(dtype=jnp.bfloat16))) == {"environment", "dtype"}


def test_one_more_flag_than_what_explains_it_is_not_named(goldens: Goldens) -> None:
    pair = Pair(goldens, MLP, BOTH)
    with flag("jax_threefry_partitionable", False), flag("jax_default_matmul_precision", "highest"):
        (cause,) = pair.causes(BASE)
    assert cause.word == "environment"
    assert "jax_threefry_partitionable" in cause.text
    assert "precision" not in cause.text


def test_rounding_by_another_computation_is_told_as_such(bench: Bench) -> None:
    def build(rngs: nnx.Rngs, change: bool) -> nnx.Module:
        model = nnx.Linear(40, 40, rngs=rngs)
        if change:
            kernel = model.kernel[...]
            model.kernel[...] = jnp.where(kernel > 0, kernel * (1 + 1e-6), kernel)
        return model

    def check(snapshot: Any, change: bool) -> None:
        snapshot(abstract=True).check_init(build, seeded(), change)

    bench.write(lambda snapshot: check(snapshot, False))
    (cause,) = bench.causes(lambda snapshot: check(snapshot, True))[0]
    assert cause.text == (
        "another computation from the key to the values, though those at its spots round to the "
        "golden's: kernel"
    )


def test_two_layers_of_one_key_are_warned_of(bench: Bench) -> None:
    def build(rngs: nnx.Rngs, one: bool) -> nnx.Module:
        key = rngs.params()
        other = key if one else rngs.params()
        model = nnx.Module()
        model.a = nnx.Linear(6, 6, rngs=nnx.Rngs(params=key))
        model.b = nnx.Linear(6, 6, rngs=nnx.Rngs(params=other))
        return model

    def check(snapshot: Any, one: bool) -> None:
        snapshot(abstract=True).check_init(build, seeded(), one)

    bench.write(lambda snapshot: check(snapshot, False))  # warnings are errors here
    with pytest.warns(KeyReuseWarning, match=r"a\.kernel and b\.kernel have equal random values"):
        bench.causes(lambda snapshot: check(snapshot, True))


def test_counts_at_entry_are_no_part_of_a_fingerprint_and_yet_seen(bench: Bench) -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.linear = nnx.Linear(6, 6, rngs=rngs)
            self.rngs = rngs

    def check(snapshot: Any, drawn: int) -> None:
        rngs = seeded()
        for _ in range(drawn):
            rngs.dropout()
        snapshot(abstract=True).check_init(Net, rngs)

    bench.write(lambda snapshot: check(snapshot, 0))
    found = bench.causes(lambda snapshot: check(snapshot, 1))[0]
    assert words(found) == {"rng_state"}, found
    assert found[0].leaves == ("rngs.dropout.count",)
