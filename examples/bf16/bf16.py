"""A network that holds its parameters and computes in bfloat16, with a float32 loss."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class Classifier(nnx.Module):
    def __init__(self, din: int, dmid: int, classes: int, *, rngs: nnx.Rngs):
        bf16 = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
        self.hidden = nnx.Linear(din, dmid, **bf16, rngs=rngs)
        self.norm = nnx.RMSNorm(dmid, **bf16, rngs=rngs)
        self.head = nnx.Linear(dmid, classes, **bf16, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.norm(nnx.silu(self.hidden(x))))


def loss_fn(model: Classifier, x: jax.Array, labels: jax.Array) -> jax.Array:
    logits = model(x).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
