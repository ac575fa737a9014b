"""A model with modes, dropout and tied parameters."""

import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from transformer import Config, Transformer


@pytest.fixture
def model(rngs):
    return Transformer(Config(), rngs=rngs)


@pytest.fixture
def tokens():
    # Integers drawn by hand: no change of a random generator can move them.
    return jnp.arange(2 * 16).reshape(2, 16) * 7 % Config().vocab


def test_init(rngs, nnx_snapshot):
    nnx_snapshot.check_init(Transformer, Config(), rngs=rngs)


def test_eval_output(model, tokens, nnx_snapshot):
    model.eval()
    nnx_snapshot.check(model(tokens), "logits")


def test_train_output(model, tokens, nnx_snapshot):
    """Dropout draws from the stream `dropout` of the fixture, so the masks repeat themselves."""
    model.train()
    first, second = model(tokens), model(tokens)
    assert not jnp.array_equal(first, second)  # each call draws new masks
    nnx_snapshot.check(first, "first")
    nnx_snapshot.check(second, "second")
    # The counts of the streams tell how many masks were drawn.
    nnx_snapshot(only=nnx.RngState).check(model, "rng_state")


def test_attention_is_causal(model, tokens):
    model.eval()
    changed = tokens.at[:, 8].add(1)
    before, after = model(tokens), model(changed)
    assert jnp.allclose(before[:, :8], after[:, :8], atol=1e-6)
    assert not jnp.allclose(before[:, 8:], after[:, 8:], atol=1e-3)


def test_tied_embedding_stays_tied(model, tokens, nnx_snapshot):
    """The table gets the gradients of both uses, and after a step there is still one table."""
    model.eval()
    before = model.embed.embedding[...]
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def train_step(model, optimizer):
        def loss_fn(model):
            logits = model(tokens[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

        optimizer.update(model, nnx.grad(loss_fn)(model))

    train_step(model, optimizer)
    assert model.unembed.table is model.embed.embedding
    assert not jnp.array_equal(model.embed.embedding[...], before)
    nnx_snapshot(only=nnx.Param).check(model, "after_a_step")  # the golden knows that it is tied
