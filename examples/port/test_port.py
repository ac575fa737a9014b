"""A port from PyTorch, held against the weights and the logits of the original."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoder import Config, from_torch

from pytest_nnxrng import assert_same, reference

ORIGINAL = Path(__file__).parent / "reference"

# Their names to ours, one pattern after the other: said apart from the loader that it checks.
NAMES = [
    (r"^model\.", ""),
    (r"^embed_tokens\.weight$", "embed.embedding"),
    (r"^embed_positions\.weight$", "position.embedding"),
    (r"^final_layer_norm", "norm"),
    (r"^layers\.(\d+)", r"blocks.layers.\1"),
    (r"\.self_attn_layer_norm\b", ".norm1"),
    (r"\.final_layer_norm\b", ".norm2"),
    (r"\.fc1\b", ".up"),
    (r"\.fc2\b", ".down"),
    (r"\.self_attn\b", ".attention"),
    (r"\.q_proj\b", ".query"),
    (r"\.k_proj\b", ".key"),
    (r"\.v_proj\b", ".value"),
    (r"\.out_proj\b", ".out"),
    (r"(norm\d?)\.weight$", r"\1.scale"),
    (r"\.weight$", ".kernel"),
]


@pytest.fixture
def model():
    return from_torch(ORIGINAL, Config())


@pytest.fixture
def weights():
    return reference(ORIGINAL, names=NAMES, transpose=r"\.kernel$")


def test_weights(model, weights, nnx_snapshot):
    """Each leaf is theirs, and none is left over on either side."""
    nnx_snapshot.check(model, against=weights)


def test_logits(model, nnx_snapshot):
    """Equal weights are not yet an equal model: an epsilon or a mask tells here alone."""
    with np.load(ORIGINAL / "logits.npz") as file:
        tokens = jnp.asarray(file["tokens"])
    logits = reference(ORIGINAL / "logits.npz", names={"logits": "logits"})
    with jax.default_matmul_precision("float32"):  # on a GPU, too
        nnx_snapshot.check({"logits": model(tokens)}, against=logits)


def test_a_kernel_that_is_not_transposed_is_named(model, weights):
    """Square kernels have no shape to tell it by."""
    kernel = model.blocks.layers[1].attention.key.kernel
    kernel[...] = kernel[...].T
    with pytest.raises(AssertionError, match=r"blocks\.layers\.1\.attention\.key\.kernel"):
        assert_same(model, weights)
