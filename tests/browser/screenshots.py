"""``python tests/browser/screenshots.py``: the pictures of the page in ``docs``.

A project of four models and a dozen curves is edited as one would, and its page is looked at.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"
MODELS = """from flax import nnx
import jax.numpy as jnp


class Block(nnx.Module):
    def __init__(self, width, *, rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(2, width, decode=False, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        x = x + self.attn(self.norm(x))
        return x + self.down(nnx.relu(self.up(x)))


class Transformer(nnx.Module):
    def __init__(self, vocab, width, layers, *, rngs):
        self.embed = nnx.Embed(vocab, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, rngs=rngs) for _ in range(layers)])
        self.head = nnx.Linear(width, vocab, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class MLP(nnx.Module):
    def __init__(self, width, *, rngs):
        self.one = nnx.Linear(8, width, rngs=rngs)
        self.two = nnx.Linear(width, 4, rngs=rngs)

    def __call__(self, x):
        return self.two(nnx.relu(self.one(x)))


class Conv(nnx.Module):
    def __init__(self, channels, *, rngs):
        self.conv = nnx.Conv(3, channels, (3, 3), rngs=rngs)
        self.out = nnx.Linear(channels, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.gelu(self.conv(x)).mean((1, 2)))


class Gate(nnx.Module):
    def __init__(self, width, *, rngs):
        self.proj = nnx.Linear(width, width, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((width,)))

    def __call__(self, x):
        return nnx.silu(self.proj(x)) * self.scale
"""
TESTS = """import jax.numpy as jnp
import pytest
from models import MLP, Conv, Gate, Transformer


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("width", [16, 32])
def test_transformer(rngs, nnx_snapshot, width, layers):
    model = nnx_snapshot.check_init(Transformer, 64, width, layers, rngs=rngs)
    nnx_snapshot.check(model(jnp.arange(12)[None]), "logits")


@pytest.mark.parametrize("width", [8, 16, 24, 32, 48])
def test_mlp(rngs, nnx_snapshot, width):
    model = nnx_snapshot.check_init(MLP, width, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((2, 8))), "output")


@pytest.mark.parametrize("channels", [4, 8, 16, 32])
def test_conv(rngs, nnx_snapshot, channels):
    model = nnx_snapshot.check_init(Conv, channels, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 8, 8, 3))), "output")


@pytest.mark.parametrize("width", [4, 8, 16, 32, 64])
def test_gate(rngs, nnx_snapshot, width):
    model = nnx_snapshot.check_init(Gate, width, rngs=rngs)
    nnx_snapshot.check(model(jnp.linspace(-1, 1, width)[None]), "gated")


@pytest.mark.parametrize("n", range(12))
def test_steady(nnx_snapshot, n):
    nnx_snapshot.check(jnp.sin(jnp.arange(64.0) * (n + 1)), "wave")
"""
EDITS = {
    "models.py": (
        (
            "        self.attn =",
            "        self.gate = nnx.Linear(width, width, rngs=rngs)\n        self.attn =",
        ),
        (
            "nnx.Linear(8, width, rngs",
            "nnx.Linear(8, width, kernel_init=nnx.initializers.he_normal(), rngs",
        ),
        ("(3, 3), rngs", "(3, 3), param_dtype=jnp.bfloat16, rngs"),
        ("nnx.silu(", "nnx.gelu("),
    ),
    "tests/test_models.py": (("(n + 1)), ", "(n + 1)) * (1 + 1e-6 * (n % 3)) + 1e-3 * (n > 8), "),),
}


def project(root: Path) -> Path:
    """Make the project in ``root``, edit it, and return the page of its run."""
    (root / "tests").mkdir()
    (root / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    files = {"models.py": MODELS, "tests/test_models.py": TESTS}
    for name, text in files.items():
        (root / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, "--nnx-update-snapshots"], cwd=root, env=environ, check=True)
    for name, edits in EDITS.items():
        for old, new in edits:
            assert old in files[name], old
            files[name] = files[name].replace(old, new)
        (root / name).write_text(files[name])
    subprocess.run([*command, "--nnx-report=nnx-report"], cwd=root, env=environ, check=False)
    return root / "nnx-report" / "index.html"


def pictures(page: Path, chromium: str = "/usr/bin/chromium") -> None:
    """Look at the page: its first screen, its key map, and what a check shows in the dark."""
    from playwright.sync_api import sync_playwright

    def opened(driver, hash, width, height, scheme="light"):
        made = driver.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        made.goto(f"{page.as_uri()}{hash}")
        made.wait_for_selector("html[data-ready]")
        return made

    DOCS.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        first = opened(browser, "", 1160, 760)
        first.screenshot(path=DOCS / "page.png")
        first.locator(".maps").screenshot(path=DOCS / "keymap.png")
        dark = opened(browser, "#q=test:transformer[16-1]", 900, 800, "dark")
        dark.locator(".opener").first.click()
        dark.wait_for_selector("tr.detail canvas")
        dark.locator("tr.detail .leaf").first.screenshot(path=DOCS / "leaf.png")
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        pictures(project(Path(folder)))
