"""Chromium, driven by Playwright, and the pages that it opens. Skipped where there is none.

Debian's: ``apt-get install chromium``; another one is named by ``CHROMIUM``.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "command"))  # trees.py

MODEL = """
from flax import nnx
import jax.numpy as jnp

class Net(nnx.Module):
    def __init__(self, rngs):
        self.one = nnx.Linear(4, 8, rngs=rngs)
        self.two = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.two(nnx.relu(self.one(x)))
"""
TESTS = """
import jax.numpy as jnp
import numpy as np
import pytest
from model import Net

def test_net(rngs, nnx_snapshot):
    net = nnx_snapshot.check_init(Net, rngs)
    nnx_snapshot.check(net(jnp.ones((1, 4))), "output")

@pytest.mark.parametrize("n", range(4))
def test_wave(nnx_snapshot, n):
    wave = np.sin(np.arange(16.0) * n).astype("float32")
    nnx_snapshot.check(wave * np.float32(1 + 2e-6 * K), "wave")

@pytest.mark.parametrize("n", range(2))
def test_edited(nnx_snapshot, n):
    nnx_snapshot.check(np.arange(4) * (1 + K), "numbers")
K = 0
"""


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright: pip install -e .[browser]"
    )
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in CHROMIUM")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        made.close()


class Opened:
    """A page in a browser, with all that its console says and all that it asks for."""

    def __init__(self, browser, path, hash, **context):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **context}
        )
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.console, self.requests = [], []
        self.page.on("console", lambda told: self.console.append(told.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.console.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = Path(path).as_uri()
        self.page.goto(self.url + hash)
        if context.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-ready]")

    def __getattr__(self, name):
        return getattr(self.page, name)

    def shown(self):
        """The rows that are shown: each test with its check."""
        texts = self.page.locator("#checks tr[data-n]:visible .opener").all_inner_texts()
        return [" ".join(text.split()) for text in texts]

    def counts(self, text):
        """Wait until the page tells that so many checks are shown."""
        self.page.wait_for_selector(f"#shown:text-is('{text}')")

    def hash(self):
        return self.page.evaluate("decodeURIComponent(location.hash)")


@pytest.fixture
def opened(browser):
    """Open a page: ``opened(path, "#q=x", color_scheme="dark")``. It must end in silence."""
    pages = []

    def open_(path, hash="", **context):
        pages.append(Opened(browser, path, hash, **context))
        return pages[-1]

    yield open_
    for one in pages:
        one.context.close()
        assert one.console == []
        files = [url for url in one.requests if not url.startswith(("blob:", one.url))]
        assert files == []


@pytest.fixture(scope="session")
def run(browser, tmp_path_factory):
    """A project in which a layer was put in, its report, and its page."""
    root = tmp_path_factory.mktemp("project")
    (root / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (root / "model.py").write_text(MODEL)
    (root / "tests").mkdir()
    (root / "tests" / "test_models.py").write_text(TESTS)

    def pytest_(*flags):
        more = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags]
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            env={**os.environ, **more},
            check=False,
        )
        return done.stdout + done.stderr

    assert "8 written" in pytest_("--nnx-update-snapshots")
    edited = MODEL.replace(
        "        self.two", "        self.norm = nnx.Linear(8, 8, rngs=rngs)\n        self.two"
    )
    (root / "model.py").write_text(edited)
    (root / "tests" / "test_models.py").write_text(re.sub("K = 0", "K = 1", TESTS))
    told = pytest_("--nnx-report=nnx-report")
    assert "4 changed" in told, told
    return SimpleNamespace(
        root=root, report=root / "nnx-report", page=root / "nnx-report/index.html"
    )
