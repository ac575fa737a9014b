"""One golden for CPU and GPU: `pytest examples/devices --nnx-device=cpu,gpu`.

With two devices each test is two, `test_attention[cpu]` and `test_attention[gpu]`.
"""

import jax
import pytest
from attention import Attention

# A GPU multiplies float32 in fewer bits (TF32) unless it is asked not to.
TOLERANCE = 1e-2


def test_attention(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(Attention, 16, 4, rngs=rngs)
    x = jax.random.normal(rngs.data(), (2, 5, 16))
    nnx_snapshot("output", tol=TOLERANCE).check_call(model, x)


@pytest.mark.nnx_device("gpu")  # skipped where no GPU is under test
def test_as_on_the_cpu(rngs_factory, nnx_snapshot):
    """Both devices in one test, without a golden."""
    x = jax.random.normal(jax.random.key(1), (2, 5, 16))
    here = Attention(16, 4, rngs=rngs_factory())(x)
    with jax.default_device(jax.devices("cpu")[0]):
        there = Attention(16, 4, rngs=rngs_factory())(jax.device_put(x, jax.devices("cpu")[0]))
    nnx_snapshot(tol=TOLERANCE).check_same(here, there)
