"""A refactor is proven by the tests that are there already: `pytest --nnx-against=main`.

With the goldens here, `pytest examples/refactor` proves the same without git.
"""

import jax
import pytest
from encoder import Encoder


@pytest.mark.parametrize("width", [4, 8])
def test_encoder(width, rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(Encoder, width, rngs=rngs)
    # `rngs` has no stream `data`, so the input comes from `default`, whatever the model draws.
    nnx_snapshot.check_call(model, jax.random.normal(rngs.data(), (3, width)))
