"""A small language model, and one step of its training."""

import jax
import optax
from flax import nnx


class LanguageModel(nnx.Module):
    def __init__(self, vocabulary: int, width: int, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.hidden = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        h = nnx.tanh(self.hidden(self.drop(self.embed(tokens))))
        return self.embed.attend(h)


def loss_fn(model: LanguageModel, tokens: jax.Array) -> jax.Array:
    logits = model(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


@nnx.jit
def train_step(model: LanguageModel, optimizer: nnx.Optimizer, tokens: jax.Array) -> jax.Array:
    loss, grads = nnx.value_and_grad(loss_fn)(model, tokens)
    optimizer.update(model, grads)
    return loss
