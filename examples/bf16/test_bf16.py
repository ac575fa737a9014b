"""Each leaf is compared by the tolerance of its dtype; a bfloat16 number carries 3 digits."""

import jax.numpy as jnp
import pytest
from bf16 import Classifier, loss_fn


@pytest.fixture
def batch():
    return jnp.linspace(-1, 1, 8 * 16).reshape(8, 16), jnp.arange(8) % 4


def test_init(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(Classifier, 16, 32, 4, rngs=rngs)
    assert model.hidden.kernel.dtype == jnp.bfloat16


def test_logits(rngs, batch, nnx_snapshot):
    x, _ = batch
    # The logits are bfloat16, so their default tolerance is the one that fits.
    nnx_snapshot.check(Classifier(16, 32, 4, rngs=rngs)(x), "logits")


def test_loss(rngs, batch, nnx_snapshot):
    loss = loss_fn(Classifier(16, 32, 4, rngs=rngs), *batch)
    assert loss.dtype == jnp.float32
    # Its dtype is float32, its accuracy is not: it comes from bfloat16 numbers, which another
    # version of XLA rounds elsewhere. The default of a float32 leaf (1e-5) would be too strict,
    # and only we can know; so we give it a tolerance of bfloat16's size.
    nnx_snapshot(tol=1e-2).check(loss, "loss")
