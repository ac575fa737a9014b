"""A linear regression with dropout on its inputs, and its training."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class Regression(nnx.Module):
    def __init__(self, din: int, *, rngs: nnx.Rngs):
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.linear = nnx.Linear(din, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(self.dropout(x))[..., 0]


def loss_fn(model: Regression, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((model(x) - y) ** 2)


@nnx.jit
def train_step(model: Regression, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> None:
    optimizer.update(model, nnx.grad(loss_fn)(model, x, y))


def fit(model: Regression, x: jax.Array, y: jax.Array, *, steps: int) -> None:
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    model.train()
    for _ in range(steps):
        train_step(model, optimizer, x, y)
    model.eval()
