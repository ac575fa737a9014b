"""The two-minute story, and the numbers that the randomness notebook of NNX publishes.

The notebook seeds its model with `nnx.Rngs(params=0)`. The `rngs` fixture is
`nnx.Rngs(params=0, dropout=10_000, default=20_000)`: a layer draws its kernel and its bias from
`params`, and a key is made of the seed and the count of its own stream alone. So the two further
streams change nothing, and the fixture builds the notebook's model.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from mlp import MLP

FIRST_KEY = [1797259609, 2579123966]
OUTPUT = [[-0.15895452, -1.1049775, 1.2165147, 0.62828314, 0.571608]]


def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")


def test_the_fixture_draws_the_keys_of_the_notebook(rngs):
    drawn, published = rngs.params(), nnx.Rngs(params=0).params()
    assert jax.random.key_data(drawn).tolist() == FIRST_KEY
    assert jax.random.key_data(published).tolist() == FIRST_KEY


def test_the_fixture_gives_the_output_of_the_notebook(rngs):
    y = MLP(2, 10, 5, rngs=rngs)(jnp.ones((1, 2)))
    # To float32 rounding: the last digits depend on the version of XLA and on the CPU.
    np.testing.assert_allclose(y, OUTPUT, rtol=1e-5)
