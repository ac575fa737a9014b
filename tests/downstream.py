"""``python -m tests.downstream``: the plugin inside the environments of packages that use NNX.

Makes a virtual environment for each published package, builds models of the package there, and
runs a user's first day: goldens are written, match, and under another seed the cause is named.
Packages that this interpreter has are seen there, too, so that only the others are downloaded.
``--only bijx,jraphx`` takes these alone, ``--keep DIR`` leaves the environments for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = 600  # seconds that an installation or a run may take


@dataclass(frozen=True)
class Package:
    """What is installed, and the tests of its models."""

    wanted: str
    tests: str
    environment: Mapping[str, str] = field(default_factory=dict)


PACKAGES = {
    "flax": Package(
        "flax",
        """
        import jax.numpy as jnp
        import pytest
        from flax import nnx

        LAYERS = {
            "linear": (lambda rngs: nnx.Linear(4, 8, rngs=rngs), (2, 4)),
            "conv": (lambda rngs: nnx.Conv(3, 4, (3, 3), rngs=rngs), (1, 6, 6, 3)),
            "lora": (lambda rngs: nnx.LoRA(4, 2, 3, rngs=rngs), (2, 4)),
            "attention": (
                lambda rngs: nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs),
                (1, 3, 8),
            ),
            "lstm": (lambda rngs: nnx.RNN(nnx.LSTMCell(4, 8, rngs=rngs)), (2, 5, 4)),
            "dropout": (
                lambda rngs: nnx.Sequential(
                    nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
                ),
                (2, 4),
            ),
        }

        @pytest.mark.parametrize("name", LAYERS)
        def test_layer(name, rngs, nnx_snapshot):
            build, shape = LAYERS[name]
            model = nnx_snapshot.check_init(build, rngs)
            nnx_snapshot.check_call(model, jnp.ones(shape))
        """,
    ),
    "bijx": Package(
        "bijx",
        """
        import bijx
        import jax.numpy as jnp

        def test_flow(rngs, nnx_snapshot):
            flow = nnx_snapshot.check_init(bijx.realnvp_flow, 2, rngs=rngs)
            x, zeros = jnp.ones((3, 2)), jnp.zeros(3)
            nnx_snapshot("forward", method="forward").check_call(flow, x, zeros)

        def test_net(rngs, nnx_snapshot):
            net = nnx_snapshot.check_init(bijx.nn.nets.MLP, 3, 2, width=8, rngs=rngs)
            nnx_snapshot.check_call(net, jnp.ones((2, 3)))
        """,
    ),
    "jraphx": Package(
        "jraphx",
        """
        import jax.numpy as jnp
        import pytest
        from jraphx.nn.models import GAT, GCN, GIN, GraphSAGE

        @pytest.mark.parametrize("kind", [GCN, GAT, GraphSAGE, GIN])
        def test_graph(kind, rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(kind, 3, 8, 2, out_features=2, rngs=rngs)
            edges = jnp.array([[0, 1, 2], [1, 2, 0]])
            nnx_snapshot.check_call(model, jnp.ones((3, 3)), edges)
        """,
    ),
    "keras": Package(
        "keras",
        """
        import json
        from pathlib import Path

        import jax
        import jax.numpy as jnp

        Path("keras.json").write_text(json.dumps({"backend": "jax", "nnx_enabled": True}))

        import keras  # reads it from KERAS_HOME

        def build(rngs):
            # Keras draws from a generator of its own, which is seeded by a number.
            seed = int(jax.random.randint(rngs.params(), (), 0, 2**31 - 1))
            keras.utils.set_random_seed(seed)
            model = keras.Sequential(
                [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)]
            )
            model.build((None, 4))
            return model

        def test_model(rngs, nnx_snapshot):
            assert keras.config.is_nnx_enabled()
            model = nnx_snapshot.check_init(build, rngs)
            nnx_snapshot.check(model(jnp.ones((1, 4))), "output")
        """,
        {"KERAS_BACKEND": "jax", "KERAS_HOME": "."},
    ),
}


@dataclass(frozen=True)
class Found:
    """What came of a package: a row of the table, and whether the plugin did what it should."""

    cells: tuple[str, ...]
    good: bool


class Project:
    """A package's environment, and the project whose tests build its models."""

    def __init__(self, name: str, package: Package, folder: Path) -> None:
        self.package = package
        self.folder = folder / name
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.python = self.folder / "venv" / scripts / "python"

    def install(self) -> str:
        """Make the environment, if it is not there; returns why it could not be."""
        if self.python.exists():
            return ""
        venv = self.folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        there = subprocess.run([self.python, "-c", ask], capture_output=True, text=True, check=True)
        here = sysconfig.get_paths()["purelib"]
        (Path(there.stdout.strip()) / "here.pth").write_text(f"{here}\n", encoding="utf-8")
        command = [str(self.python), "-m", "pip", "install", "-q", self.package.wanted]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
            trouble = "" if done.returncode == 0 else _last(done.stderr)
        except subprocess.TimeoutExpired:
            trouble = f"not installed in {LONG} s"
        if trouble:
            shutil.rmtree(venv)
        return trouble

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            **self.package.environment,
        }
        command = [str(self.python), "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
        command += ["-W", "ignore"]  # the package's own warnings
        return subprocess.run(
            command,
            cwd=self.folder / "project",
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONG,
        )

    def story(self) -> Found:
        """Goldens are written, match, and tell another seed."""
        project = self.folder / "project"
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        (project / "test_models.py").write_text(textwrap.dedent(self.package.tests))
        began = time.monotonic()
        written = self.run("--nnx-update-snapshots")
        matched = self.run()
        moved = self.run("--nnx-seed=1", "--nnx-report=report")
        figures = [_figures(done.stdout) for done in (written, matched)]
        if written.returncode == 2:  # its tests cannot be collected
            return Found((self._version(), _reason(written.stdout), "", "", ""), True)
        rows = json.loads((project / "report" / "report.json").read_text(encoding="utf-8"))
        causes = Counter(
            word
            for row in rows.get("checks", ())
            for word in {cause["word"] for cause in row.get("causes", ())}
        )
        words = ", ".join(f"{word} {count}" for word, count in sorted(causes.items()))
        good = written.returncode == matched.returncode == 0 and moved.returncode == 1
        good &= "INTERNALERROR" not in moved.stdout and bool(causes)
        if not good:
            print(written.stdout, matched.stdout, moved.stdout, written.stderr, file=sys.stderr)
        seconds = f"{time.monotonic() - began:.0f} s"
        return Found((self._version(), *figures, words or "nothing", seconds), good)

    def _version(self) -> str:
        name = re.split(r"[<>=\[]", self.package.wanted)[0]
        names = dict.fromkeys((name, "flax", "jax"))
        ask = "from importlib.metadata import version; import sys"
        ask += "; print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
        command = [str(self.python), "-c", ask, *names]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _figures(text: str) -> str:
    found = re.search(r"^-+ nnx snapshots -+\n(.*)$", text, re.MULTILINE)
    return found[1] if found else _last(text)


def _reason(text: str) -> str:
    found = re.search(r"^E   +(\w*Error.*)$", text, re.MULTILINE)
    return f"does not run here: {found[1] if found else _last(text)}"


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PACKAGES), help="packages, with commas")
    parser.add_argument("--keep", type=Path, help="where the environments stay")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="downstream-") as temporary:
        folder = (asked.keep or Path(temporary)).resolve()
        print("| package | update | check | `--nnx-seed=1` says | |\n|---|---|---|---|---|")
        bad = False
        for name in asked.only.split(","):
            project = Project(name, PACKAGES[name], folder)
            trouble = project.install()
            found = Found((name, trouble, "", "", ""), True) if trouble else project.story()
            bad |= not found.good
            print(f"| {' | '.join(found.cells)} |", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
