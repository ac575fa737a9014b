"""Two live values, compared without a golden: data, text and assertion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pytest_nnxrng
from pytest_nnxrng import SnapshotError, assert_same, compare
from pytest_nnxrng.report import pair


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, wide: int = 8) -> None:
        self.first = nnx.Linear(4, wide, rngs=rngs)
        self.second = nnx.Linear(wide, 3, rngs=rngs)


def model(seed: int = 0, wide: int = 8) -> MLP:
    return MLP(nnx.Rngs(params=seed), wide)


def test_the_same_is_true_and_says_how_many_leaves():
    found = compare(model(), model())
    assert found
    assert str(found) == "4 leaves are the same"
    assert_same(model(), model())


def test_a_state_is_the_same_as_its_model():
    assert_same(nnx.state(model()), model())


def test_another_seed_is_told_as_draws_of_other_streams():
    found = compare(model(1), model(0))
    assert [difference.path for difference in found.differences] == [
        "first.kernel",
        "second.kernel",
    ]
    assert [cause.word for cause in found.causes] == ["seed"]
    # Of other streams nothing is known: no leaf was drawn from them.
    assert found.causes[0].text.startswith("another seed (params 0 -> 1): ")
    with pytest.raises(AssertionError, match="not the same: 2 of 4 leaves differ\n  why     seed"):
        assert_same(model(1), model(0))


def test_what_moved_a_value_is_told_with_the_element():
    ours = model()
    ours.first.kernel[...] = ours.first.kernel[...].at[1, 2].set(7.0)
    text = str(compare(ours, model()))
    assert "at [1, 2]: expected " in text
    assert "now 7" in text
    assert "golden" not in text


def test_structure_is_told_without_a_golden():
    class Other(MLP):
        def __init__(self, rngs: nnx.Rngs) -> None:
            super().__init__(rngs)
            self.third = nnx.Linear(3, 3, rngs=rngs)

    more, less = (
        str(compare(Other(nnx.Rngs(0)), model())),
        str(compare(model(), Other(nnx.Rngs(0)))),
    )
    assert "added: 2 leaves: third.bias, third.kernel" in more
    assert "removed: 2 leaves: third.bias, third.kernel" in less
    assert "golden" not in more + less


def test_options():
    near = jnp.ones(3) * 1.001
    assert not compare(near, jnp.ones(3))
    assert compare(near, jnp.ones(3), tol=0.01)
    assert compare(near, jnp.ones(3), atol=0.01)
    assert not compare(jnp.nextafter(jnp.ones(3), 2), jnp.ones(3), exact=True)
    assert str(compare(near, jnp.ones(3), tol=0.01)) == (
        "1 leaf is the same, 1 of them by rounding"
    )
    other = model()
    other.second.bias[...] += 1
    assert compare(other, model(), only=nnx.PathContains("first"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"exact": True, "tol": 1.0}, "leave out tol and atol"),
        ({"tol": -1.0}, "-1.0 is not a tolerance"),
        ({"only": nnx.BatchStat}, "there is nothing to check"),
    ],
)
def test_options_that_cannot_be_used(options, told):
    with pytest.raises(SnapshotError, match=told):
        compare(model(), model(), **options)


def test_the_next_key_of_a_restored_model_is_part_of_it():
    class Noisy(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    ours, theirs = Noisy(nnx.Rngs(dropout=0)), Noisy(nnx.Rngs(dropout=0))
    assert_same(ours, theirs)
    ours.dropout(jnp.ones(3))
    assert "RNG state" in str(compare(ours, theirs))


def test_names_lead_from_theirs_to_ours():
    ours, theirs = {"a": jnp.ones(2)}, {"b": jnp.ones(2)}
    assert not compare(ours, theirs)
    assert compare(ours, theirs, names={"b": "a"})
    assert compare(ours, theirs, names=[("b", "a")])
    assert compare(ours, theirs, names=lambda name: "a")
    with pytest.raises(pytest_nnxrng.BadReference, match="a and b both become a"):
        compare(ours, {"a": jnp.ones(2), "b": jnp.ones(2)}, names=[("b", "a")])


def test_a_notebook_shows_a_table_that_is_escaped():
    found = compare({"<b>": np.ones(2)}, {"<b>": np.zeros(2)})
    html = found._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>&" not in html
    assert "<table>" in html
    assert "<table>" not in compare(model(), model())._repr_html_()


def test_the_wing_that_it_is_built_on_does_not_hide_it():
    import pytest_nnxrng.compare.differences

    assert pytest_nnxrng.compare is compare


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "(allowed 1; the golden's largest element is 2)",
            "(allowed 1; the largest expected element is 2)",
        ),
        ("at [0]: golden 1, now 2", "at [0]: expected 1, now 2"),
        ("dtype: golden float32, now bfloat16", "dtype: expected float32, now bfloat16"),
        ("golden: from x; now: from y", "expected: from x; now: from y"),
        ("  golden.kernel  Param float32[2]", "  golden.kernel  Param float32[2]"),
        ("tied to a now, to b in the golden", "tied to a now, to b in what was expected"),
    ],
)
def test_words(line: str, told: str):
    assert pair.worded(line) == told


def test_a_jax_default_device_is_not_moved():
    before = jax.config.jax_default_device
    compare(model(), model())
    assert jax.config.jax_default_device is before


def test_a_tolerance_is_for_a_dtype_by_its_name_or_by_itself():
    near, far = np.ones(3, np.float32), np.full(3, 1.0001, np.float32)
    assert compare(near, far, tol={"float32": 1e-2})
    assert compare(near, far, tol={jnp.float32: 1e-2}), "the dtype itself names it, too"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tol": {"float33": 1e-2}}, r"compare\(tol=\.\.\.\): 'float33' is no dtype that rounds"),
        ({"tol": -1}, r"compare\(tol=\.\.\.\): -1 is not a tolerance"),
        ({"atol": -1}, r"compare\(atol=\.\.\.\): -1 is not a tolerance"),
        ({"only": 3}, r"compare\(only=\.\.\.\): 3 is no nnx filter"),
        ({"exact": True, "atol": 1.0}, "exact=True accepts equal bits alone"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_by_its_name(given, named):
    with pytest.raises(SnapshotError, match=named):
        compare(np.ones(3, np.float32), np.ones(3, np.float32), **given)
