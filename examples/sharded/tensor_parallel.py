"""A transformer block whose heads and hidden units are split over the mesh axis `model`."""

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec


def split(init, *axes):
    return nnx.with_partitioning(init, axes)


class Block(nnx.Module):
    def __init__(self, dim, hidden, heads, *, rngs):
        init, zeros = nnx.initializers.lecun_normal(), nnx.initializers.zeros_init()
        self.norm = nnx.LayerNorm(dim, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            num_heads=heads,
            in_features=dim,
            use_bias=False,
            decode=False,
            kernel_init=split(init, None, "model", None),
            out_kernel_init=split(init, "model", None, None),
            rngs=rngs,
        )
        self.up = nnx.Linear(
            dim,
            hidden,
            kernel_init=split(init, None, "model"),
            bias_init=split(zeros, "model"),
            rngs=rngs,
        )
        self.down = nnx.Linear(hidden, dim, kernel_init=split(init, "model", None), rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.down(nnx.gelu(self.up(x)))


def use(mesh):
    """The mesh as a context; before JAX 0.7 it was one itself."""
    return jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else mesh


def sharded(mesh, *args, rngs):
    """Build a Block on a mesh: no device ever holds more than its part."""

    @nnx.jit
    def build(rngs):
        model = Block(*args, rngs=rngs)
        state = nnx.state(model, nnx.Param)
        places = nnx.get_named_sharding(state, mesh)
        nnx.update(model, jax.lax.with_sharding_constraint(state, places))
        return model

    with use(mesh):
        return build(rngs)


def batch(mesh, x):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
