"""A convolutional classifier with BatchNorm, and its training step."""

import jax
import optax
from flax import nnx


class ConvNet(nnx.Module):
    def __init__(self, channels: int, classes: int, *, rngs: nnx.Rngs):
        # No bias before BatchNorm, which would subtract it again: its gradient would be zero in
        # mathematics and in the machine rounding noise, another one with every version of XLA.
        # For a model that has one, `nnx_snapshot(atol=1e-6)` lets that noise pass.
        self.conv1 = nnx.Conv(1, channels, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(channels, channels, (3, 3), strides=2, use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.head(x.mean(axis=(1, 2)))


@nnx.jit
def train_step(model, optimizer, images, labels):
    def loss_fn(model):
        logits = model(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss
