"""Training checked step by step: the first step that differs is the one to look at."""

import jax
import jax.numpy as jnp
import optax
import pytest
from convnet import ConvNet, train_step
from flax import nnx

CLASSES = 4


@pytest.fixture
def batch(rngs):
    """Noise, with a bright square where its class says."""
    # `rngs` has no stream `data`, so this draws from `default` and leaves `params` alone.
    noise = jax.random.normal(rngs.data(), (2, CLASSES, 12, 12, 1))
    squares = jax.image.resize(jnp.eye(CLASSES).reshape(-1, 2, 2, 1), noise.shape[1:], "nearest")
    images = noise + 3 * squares
    return images.reshape(-1, 12, 12, 1), jnp.tile(jnp.arange(CLASSES), 2)


def test_init(rngs, nnx_snapshot):
    nnx_snapshot.check_init(ConvNet, 8, CLASSES, rngs=rngs)


def test_three_steps(rngs, batch, nnx_snapshot):
    model = ConvNet(8, CLASSES, rngs=rngs)
    # Mind with Adam: it divides a gradient by its own size, so where that is rounding noise alone
    # (see the biases in convnet.py), the noise comes out as a step of full size.
    optimizer = nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
    model.train()
    for step in range(3):
        loss = train_step(model, optimizer, *batch)
        nnx_snapshot.check(loss, f"loss_{step}")
        nnx_snapshot.check(model, f"model_{step}")  # parameters, and BatchNorm's statistics
    nnx_snapshot.check(optimizer, "optimizer")


def test_statistics_move_in_training_alone(rngs, batch, nnx_snapshot):
    images, _ = batch
    model = ConvNet(8, CLASSES, rngs=rngs)
    model.train()
    model(images)
    nnx_snapshot(only=nnx.BatchStat).check(model, "after_training_call")
    before = model.norm1.mean[...]
    model.eval()
    nnx_snapshot.check(model(images), "eval_logits")
    assert jnp.array_equal(model.norm1.mean[...], before)
