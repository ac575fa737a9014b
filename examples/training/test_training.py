"""A training run held by one check: `check_steps` names the first step that moved."""

import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from language import LanguageModel, loss_fn, train_step

VOCABULARY, WIDTH = 8, 16


@pytest.fixture
def batches():
    """Counting upwards: the next token is the last one plus one."""
    starts = jnp.arange(4)[:, None]
    return [(starts + jnp.arange(6) + n) % VOCABULARY for n in range(5)]


def test_gradients(rngs, batches, nnx_snapshot):
    model = LanguageModel(VOCABULARY, WIDTH, rngs=rngs)
    nnx_snapshot.check_call(loss_fn, model, batches[0], grad=True)


def test_training(rngs, batches, nnx_snapshot):
    model = nnx_snapshot.check_init(LanguageModel, VOCABULARY, WIDTH, rngs=rngs)
    optimizer = nnx.Optimizer(model, optax.sgd(0.5, momentum=0.9), wrt=nnx.Param)
    model.train()  # dropout is seeded, so a training run repeats itself
    losses = nnx_snapshot.check_steps(train_step, model, optimizer, batches)
    assert losses[-1] < losses[0]
