"""The Python blocks of the how-to guides and of the reference, as tests that are run."""

from __future__ import annotations

import textwrap

import numpy as np
from pages import DOCS, blocks
from projects import Project
from safetensors.numpy import save_file

# What the blocks speak of, and do not define.
NAMES = """
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from models import MLP
from pytest_nnxrng import assert_same, compare, reference


class Block(nnx.Module):
    def __init__(self, width, *, rngs):
        self.up = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.up(x))


class Llama(nnx.Module):
    def __init__(self, width, *, rngs):
        self.blocks = getattr(nnx, "List", list)([Block(width, rngs=rngs) for _ in range(2)])

    def encode(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def __call__(self, x):
        return self.encode(x).sum(-1)


def loss_fn(model, batch):
    return (model(batch) ** 2).mean()


def step(model, optimizer, batch):
    loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
    optimizer.update(model, grads)
    return loss


def train(model):
    return model


LM, CONFIG, CONFIG_70B, config = Llama, 4, 4, 4
tokens = batch = jnp.ones((3, 4))
batches = [tokens, 2 * tokens]
config_70b = config
loss = jnp.float32(0.5)
model = Llama(4, rngs=nnx.Rngs(0))
for n, block in enumerate(model.blocks):
    block.up.kernel[...] = jnp.arange(16.0).reshape(4, 4) + n
model.eval()
restored = nnx.clone(model)
"""
# Blocks that show another tool, or need a cluster.
NOT_RUN = ("# before", "import jax\n\njax.distributed", "import os\n\nimport jax\n\njax.dist")


def written(project: Project) -> int:
    """Write each block as a test of its own; returns how many there are."""
    project.write({"everything.py": NAMES})
    (project.path / "llama").mkdir()
    kernel = {f"model.layers.{n}.up.weight": _kernel(n).T.copy() for n in range(2)}
    save_file(kernel, project.path / "llama" / "model.safetensors")
    ours = {f"blocks.{n}.up.kernel": _kernel(n) for n in range(2)}
    np.savez(project.path / "reference.npz", **ours)
    count = 0
    for page in sorted([*(DOCS / "howto").glob("*.md"), *(DOCS / "reference").glob("*.md")]):
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "python" and not block.text.startswith(NOT_RUN):
                count += 1
                name = page.stem.replace("-", "_")
                project.test(_as_test(block.text), f"tests/test_{name}_{block.line}.py")
    return count


def _kernel(n: int) -> np.ndarray:
    return np.arange(16, dtype="float32").reshape(4, 4) + n


def _as_test(text: str) -> str:
    if "def test_" not in text:
        text = f"def test_block(rngs, nnx_snapshot):\n{textwrap.indent(text, '    ')}"
    return f"from everything import *\n\n{text}"
