"""One golden for a model on one device and on eight.

The goldens of the first two tests were written by a plain `pytest`, on one device. A run with
`pytest examples/sharded --nnx-cpu-devices=8` builds the same model over a mesh of eight and holds
it against the same files, shard by shard. The other tests need eight devices, and skip elsewhere.
"""

import jax
import pytest
from tensor_parallel import Block, batch, sharded, use

SIZES = (16, 64, 4)


@pytest.fixture
def mesh(nnx_mesh):
    """Eight devices where there are so many, else one."""
    return nnx_mesh(data=2, model=4) if jax.device_count() >= 8 else nnx_mesh(data=1, model=1)


def test_init(mesh, rngs, nnx_snapshot):
    """The weights, and by sharding=True how each of them is to be split."""
    nnx_snapshot(sharding=True).check_init(sharded, mesh, *SIZES, rngs=rngs)


def test_output(mesh, rngs, nnx_snapshot):
    model = sharded(mesh, *SIZES, rngs=rngs)
    x = batch(mesh, jax.random.normal(jax.random.key(1), (4, 8, 16)))
    with use(mesh):
        nnx_snapshot.check(jax.jit(lambda model, x: model(x))(model, x), "output")


def test_placement(nnx_mesh, rngs, nnx_snapshot):
    """That the kernels really lie in parts; on a mesh of other sizes, or 256 chips, as well."""
    mesh = nnx_mesh(data=2, model=4)
    model = nnx_snapshot(sharding=True).check_init(sharded, mesh, *SIZES, rngs=rngs)
    assert len({shard.device for shard in model.up.kernel[...].addressable_shards}) == 8


def test_however_it_is_built(nnx_mesh, rngs, nnx_snapshot):
    """An ordinary call, one under nnx.jit, and one over the mesh make the same weights."""
    mesh = nnx_mesh(data=2, model=4)
    ways = {"jit": None, "sharded": mesh}
    with use(mesh):
        nnx_snapshot(also=ways).check_init(Block, *SIZES, rngs=rngs)
