"""The MLP of the randomness notebook of NNX."""

import jax
from flax import nnx


class MLP(nnx.Module):
    def __init__(self, din: int, dmid: int, dout: int, *, rngs: nnx.Rngs):
        self.layer1 = nnx.Linear(din, dmid, rngs=rngs)
        self.layer2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer2(nnx.relu(self.layer1(x)))
