"""Which seed a test runs on, and one trained model for many tests."""

import jax
import jax.numpy as jnp
import pytest
from regression import Regression, fit, loss_fn

DIN = 8


@pytest.fixture(scope="module")
def data(rngs_factory):
    x = jax.random.normal(rngs_factory(1).data(), (64, DIN))
    return x, x @ jnp.arange(1.0, DIN + 1) / DIN


@pytest.fixture(scope="module")
def trained(rngs_factory, data):
    """Trained once for all tests of this module: `rngs` lives for one test, its factory longer.

    The tests share the model, so none of them may change it.
    """
    model = Regression(DIN, rngs=rngs_factory())
    fit(model, *data, steps=50)
    return model


def test_trained_model(trained, nnx_snapshot):
    nnx_snapshot.check(trained)


def test_trained_loss(trained, data, nnx_snapshot):
    loss = nnx_snapshot.check(loss_fn(trained, *data), "loss")
    assert loss < 0.1


def test_prediction(trained, nnx_snapshot):
    nnx_snapshot.check(trained(jnp.eye(DIN)), "prediction")


@pytest.mark.parametrize("rngs", [0, 1, 2], indirect=True)
def test_learns_from_any_seed(rngs, data, nnx_snapshot):
    """Three tests with a golden each: `rngs` is that of seed 0, 1, 2."""
    model = nnx_snapshot.check_init(Regression, DIN, rngs=rngs)
    fit(model, *data, steps=50)
    assert loss_fn(model, *data) < 0.1


@pytest.mark.nnx_rngs(7)
def test_one_seed(rngs, rngs_factory, nnx_snapshot):
    """An integer is the seed: `rngs` is what `rngs_factory(7)` gives."""
    model = nnx_snapshot.check_init(Regression, DIN, rngs=rngs)
    again = Regression(DIN, rngs=rngs_factory(7))
    assert jnp.array_equal(model.linear.kernel[...], again.linear.kernel[...])


@pytest.mark.nnx_rngs(params=0, dropout=1)
def test_streams_by_name(rngs, rngs_factory):
    """Streams go to `nnx.Rngs` as they are: the weights of seed 0, with other dropout masks."""
    model, default = Regression(DIN, rngs=rngs), Regression(DIN, rngs=rngs_factory())
    assert jnp.array_equal(model.linear.kernel[...], default.linear.kernel[...])
    x = jnp.ones((16, DIN))
    assert not jnp.array_equal(model(x), default(x))
