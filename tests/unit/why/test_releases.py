"""Moves that releases of JAX and Flax are known for: named where they fit, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.why.cause import Cause, Evidence
from pytest_nnxrng.why.diagnose import diagnose
from pytest_nnxrng.why.releases import CAUSES, LEAVES, named


def leaf(values, dtype="float32", type="Param", **more):
    array = np.asarray(values, dtype)
    return Leaf("w", type, array.shape, dtype, digest=digest(array), read=lambda: array, **more)


def told(old, new, *changes):
    comparison = compare((old,), (new,), Tolerance({"*": 1e-5}), ({}, {}))
    (cause,) = diagnose(Evidence("init", comparison, {"w": old}, {"w": new}, changes=changes))
    return cause


JAX, FLAX = ("jax", "0.6.0", "0.12.0.1"), ("flax", "0.10.2", "0.12.12")
SHORT = leaf(range(20), "int8"), leaf(range(20, 40), "int8")
ZEROS = leaf(np.zeros(20), statistics={"constant": 0.0}), leaf(np.arange(1.0, 21))
LORA = (leaf(np.arange(1.0, 21), type="LoRAParam"), leaf(np.arange(20.0)[::-1], type="LoRAParam"))


@pytest.mark.parametrize(
    ("both", "change", "release"),
    [
        (SHORT, JAX, "JAX 0.7.2: jax.random.randint draws other integers of 8 and 16 bits"),
        (SHORT, ("jax", "0.7.2", "0.7.1"), "JAX 0.7.2: jax.random.randint"),
        (ZEROS, JAX, "JAX 0.11.0: jnp.empty is no longer zeros"),
        (ZEROS[::-1], ("jax", "0.12.0", "0.10.2"), "JAX 0.11.0: jnp.empty"),
        (LORA, FLAX, "Flax 0.10.3: nnx.LoRA has other initializers"),
    ],
)
def test_what_values_alone_tell_is_likely(both, change, release):
    cause = told(*both, change)
    assert cause.text.startswith(f"likely {release}")
    assert (cause.word, cause.accepted_as) == ("environment", "unknown")


@pytest.mark.parametrize(
    ("both", "change"),
    [
        (SHORT, ("jax", "0.7.2", "0.12.0")),
        (SHORT, ("jax", "0.6.0", "0.7.1")),
        (SHORT, ("flax", "0.6.0", "0.12.0")),
        ((leaf(range(20), "int32"), leaf(range(20, 40), "int32")), JAX),
        (ZEROS[::-1], JAX),
        ((leaf(range(1, 21)), leaf(range(20, 0, -1))), JAX),
        (LORA, ("flax", "0.11.0", "0.12.12")),
    ],
)
def test_what_does_not_fit_is_not_named(both, change):
    assert "likely" not in told(*both, change).text


def test_who_drew_a_key_and_what_flag_was_set_are_proven():
    key = "1 more key is drawn from `default` by drop (Dropout)"
    drawn = Cause("draws", ("w",), f"{key}: w moved", "derivation", key)
    change = "jax_threefry_partitionable false -> true"
    flag = Cause("environment", ("w",), f"{change}: w, equal", "rebuilt", change)
    changes = (("flax", "0.10.7", "0.11.0"), ("jax", "0.4.38", "0.6.0"))
    empty = compare((), (), Tolerance({"*": 1e-5}), ({}, {}))
    evidence = Evidence("init", empty, {}, {}, changes=changes)
    one, two = named(evidence, [drawn, flag])
    assert one.finding == f"Flax 0.11.0: a Dropout forks its stream, which draws a key ({key})"
    assert one.text.endswith(drawn.text)
    assert two.finding == f"JAX 0.5.0: jax_threefry_partitionable is true by default ({change})"
    assert (one.accepted_as, two.accepted_as) == ("draws", "environment")
    other = Cause("draws", ("w",), "by norm (LayerNorm)", "derivation", "by norm (LayerNorm)")
    assert named(evidence, [other]) == [other]
    here = Evidence("init", empty, {}, {}, changes=(("flax", "0.11.0", "0.12.12"),))
    assert named(here, [drawn, flag]) == [drawn, flag]


def test_each_row_has_its_source_and_stands_in_the_documentation():
    page = Path(__file__).parents[3] / "docs" / "howto" / "upgrade.md"
    text = page.read_text(encoding="utf-8")
    for row in (*LEAVES, *CAUSES):
        library = {"jax": "JAX", "flax": "Flax"}[row.library]
        assert f"| [{library} {row.release}]({row.source}) | {row.text} |" in text
