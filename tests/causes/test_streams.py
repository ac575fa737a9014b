"""Keys that are not the given streams', and builds that cannot be traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from .conftest import Bench, words
from .test_mutations import seeded


def build(how: str, rngs: nnx.Rngs) -> nnx.Module:
    model = nnx.Module()
    model.first = nnx.Linear(4, 6, rngs=rngs)
    if how == "inner":
        model.last = nnx.Linear(6, 5, rngs=nnx.Rngs(0))
    elif how == "key":
        model.last = nnx.Linear(6, 5, rngs=rngs)
        kernel = nnx.initializers.lecun_normal()(jax.random.key(7), (6, 5))
        model.last.kernel = nnx.Param(kernel)
    else:
        model.last = nnx.Linear(6, 5, rngs=rngs)
    return model


@pytest.mark.filterwarnings("ignore::pytest_nnxrng.FixedSeedWarning")
@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize(("how", "line"), [("inner", "rngs=nnx.Rngs(0)"), ("key", "random.key(7)")])
def test_a_key_that_is_fixed_in_the_code(bench: Bench, how: str, line: str, abstract: bool) -> None:
    def check(snapshot: Any, how: str) -> None:
        snapshot(abstract=abstract).check_init(build, how, seeded())

    bench.write(lambda snapshot: check(snapshot, "shared"))
    (cause,) = bench.causes(lambda snapshot: check(snapshot, how))[0]
    assert (cause.word, cause.leaves) == ("stream", ("last.kernel",))
    assert cause.text.startswith(
        "drawn from a key that is fixed in the code, in the golden from `params`: last.kernel"
    )
    lines = Path(__file__).read_text().splitlines()
    number = 1 + next(i for i, text in enumerate(lines) if line in text)
    assert cause.text.endswith(f"test_streams.py:{number})")
    bench.write(lambda snapshot: check(snapshot, how))
    (cause,) = bench.causes(lambda snapshot: check(snapshot, "shared"))[0]
    assert cause.text == (
        "drawn from `params`, in the golden from a key that is fixed in the code: last.kernel"
    )


def host(rngs: nnx.Rngs, extra: bool = False, edit: bool = False) -> nnx.Module:
    """A build that reads values on the host, which no trace survives."""
    if extra:
        rngs.params()
    model = nnx.Module()
    model.first = nnx.Linear(8, 16, rngs=rngs)
    init = nnx.initializers.orthogonal()
    model.last = nnx.Linear(16, 16, kernel_init=init, rngs=rngs)
    if float(model.first.kernel[...].sum()) > 1e9:
        raise ValueError
    if edit:
        model.first.kernel[...] = model.first.kernel[...].at[0, 0].add(1.0)
    return model


def shared(seed: int) -> nnx.Rngs:
    return nnx.Rngs(default=seed)


@pytest.mark.parametrize(
    ("rngs", "change", "expected", "text"),
    [
        (lambda: seeded(1), {}, "seed", "params 0 -> 1"),
        (seeded, {"extra": True}, "draws", "`params`"),
        (seeded, {"edit": True}, "values", "first.kernel"),
        (lambda: nnx.Rngs(params=5, dropout=10_000, default=20_000), {}, "stream", "params 0 -> 5"),
    ],
    ids=["seed", "key", "edit", "stream"],
)
def test_a_build_that_cannot_be_traced(
    bench: Bench, rngs: Any, change: Any, expected: str, text: str
) -> None:
    bench.write(lambda snapshot: snapshot.check_init(host, seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(host, rngs(), **change))[0]
    assert words(found) == {expected}, found
    assert any(text in cause.text for cause in found), found


def test_a_stream_that_is_not_there_is_not_named(bench: Bench) -> None:
    def bare(rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        values = jnp.asarray(float(jax.random.key_data(rngs.carry())[0]) * jnp.arange(1.0, 41.0))
        model.weight = nnx.Param(values % 7.0)
        return model

    bench.write(lambda snapshot: snapshot.check_init(bare, nnx.Rngs(carry=0)))
    found = bench.causes(lambda snapshot: snapshot.check_init(bare, nnx.Rngs(carry=4)))[0]
    assert not any(name in cause.text for cause in found for name in ("params", "default"))
    found = bench.causes(lambda snapshot: snapshot.check_init(host, nnx.Rngs(carry=0, default=1)))
    assert not any("params" in cause.text for cause in found[0])


def test_one_element_of_many_is_an_edit(bench: Bench) -> None:
    def many(rngs: nnx.Rngs, edit: bool) -> nnx.Module:
        model = nnx.Linear(300, 300, rngs=rngs)
        if float(model.kernel[0, 0]) > 1e9:
            raise ValueError
        if edit:
            model.kernel[...] = model.kernel[...].at[7, 9].add(1.0)
        return model

    bench.write(lambda snapshot: snapshot.check_init(many, shared(0), False))
    (cause,) = bench.causes(lambda snapshot: snapshot.check_init(many, shared(0), True))[0]
    assert cause.word == "values"


GLOBAL = nnx.Rngs(0)


class Shares(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, own: nnx.Rngs = nnx.Rngs(3)) -> None:  # noqa: B008
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.last = nnx.Linear(3, 3, rngs=own)


def shares_a_default(rngs: nnx.Rngs) -> nnx.Module:
    return Shares(rngs)


def shares_a_global(rngs: nnx.Rngs) -> nnx.Module:
    model = nnx.Module()
    model.first = nnx.Linear(3, 3, rngs=rngs)
    model.last = nnx.Linear(3, 3, rngs=GLOBAL)
    return model


@pytest.mark.filterwarnings("ignore::pytest_nnxrng.FixedSeedWarning")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (shares_a_default, "the default of the argument own of Shares.__init__"),
        (shares_a_global, "GLOBAL is a global nnx.Rngs"),
    ],
)
def test_an_rngs_that_outlives_a_build_is_named(bench: Bench, make: Any, text: str) -> None:
    def good(rngs: nnx.Rngs) -> nnx.Module:
        return Shares(rngs, nnx.Rngs(8))

    bench.write(lambda snapshot: snapshot.check_init(good, seeded()))
    (cause,) = bench.causes(lambda snapshot: snapshot.check_init(make, seeded()))[0]
    assert (cause.word, cause.leaves) == ("nondeterministic", ("last.kernel",))
    assert "different models: last.kernel; " in cause.text
    assert text in cause.text
    assert "test_streams.py:" in cause.text
