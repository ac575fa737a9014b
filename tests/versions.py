"""``python -m tests.versions``: goldens carried between versions of Flax and JAX.

Makes a virtual environment for each minor release of Flax, with the JAX that it asks for; goldens
that are written under each are read and judged under all others. Equal weights match; what moved is
told by its cause. ``--python PATH`` takes interpreters that have Flax instead of making any.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Oldest first, each with the JAX of its time.
PINNED = {
    "flax==0.11.0": "jax<0.7",
    "flax==0.11.2": "jax<0.8",
    "flax==0.12.0": "jax<0.9",
    "flax==0.12.4": "jax<0.10",
    "flax==0.12.8": "jax<0.11",
    "flax>=0.12": "jax",
}

PROJECT = {
    "pytest.ini": "[pytest]\npythonpath = .\n",
    "models.py": """
        import jax
        import jax.numpy as jnp
        from flax import nnx

        class Block(nnx.Module):
            def __init__(self, width, *, rngs):
                self.norm = nnx.LayerNorm(width, rngs=rngs)
                self.linear = nnx.Linear(width, width, rngs=rngs)
                self.drop = nnx.Dropout(0.1, rngs=rngs)

            def __call__(self, x):
                return x + self.drop(nnx.gelu(self.linear(self.norm(x))))

        class Conv(nnx.Module):
            def __init__(self, *, rngs):
                self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
                self.norm = nnx.BatchNorm(8, rngs=rngs)

        class Attend(nnx.Module):
            def __init__(self, *, rngs):
                self.attention = nnx.MultiHeadAttention(
                    num_heads=2, in_features=8, decode=False, rngs=rngs
                )
                self.embed = nnx.Embed(11, 8, rngs=rngs)
    """,
    "tests/test_model.py": """
        import jax.numpy as jnp
        import pytest
        from flax import nnx
        from models import Attend, Block, Conv

        def test_block(rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(Block, 8, rngs=rngs)
            nnx_snapshot.check(model(jnp.ones((2, 8), jnp.float32)), "output")

        @pytest.mark.parametrize("build", [Conv, Attend])
        def test_more(rngs, nnx_snapshot, build):
            nnx_snapshot.check_init(build, rngs=rngs)

        def test_large(rngs, nnx_snapshot):
            nnx_snapshot.check_init(nnx.Linear, 400, 300, rngs=rngs)

        def test_abstract(rngs, nnx_snapshot):
            nnx_snapshot(abstract=True).check_init(nnx.Linear, 4000, 3000, rngs=rngs)

        def test_one_stream(nnx_snapshot):
            nnx_snapshot.check(Block(8, rngs=nnx.Rngs(0)))

        def test_streams(rngs, nnx_snapshot):
            nnx_snapshot.check(rngs)
    """,
}


class Version:
    """An interpreter, the versions that it has, and the goldens that it wrote."""

    def __init__(self, python: Path, work: Path) -> None:
        self.python = python
        asked = "import flax, jax; print('flax', flax.__version__ + ', jax', jax.__version__)"
        self.name = subprocess.run(
            [python, "-c", asked], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.folder = work / re.sub(r"\W+", "-", self.name)
        for path, text in PROJECT.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        command = [self.python, "-m", "pytest", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    def write(self) -> None:
        done = self.run(self.folder, "--nnx-update-snapshots")
        if done.returncode:
            raise SystemExit(f"{self.name} writes no goldens:\n{done.stdout}{done.stderr}")

    def judge(self, writer: Version, work: Path) -> str:
        """What becomes of another version's goldens here."""
        folder = work / "judged"
        shutil.copytree(writer.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            done = self.run(folder)
        finally:
            shutil.rmtree(folder)
        if done.returncode not in (0, 1) or "INTERNALERROR" in done.stdout:
            return f"FAILS: {(done.stdout + done.stderr).strip().splitlines()[-1]}"
        return _told(done.stdout)


def _told(text: str) -> str:
    figures = re.search(r"^-+ nnx snapshots -+\n(.*)$", text, re.MULTILINE)
    causes = Counter(re.findall(r"^  why     (\w+):", text, re.MULTILINE))
    words = ", ".join(f"{word} {count}" for word, count in sorted(causes.items()))
    return (figures[1] if figures else "nothing was checked") + (f" ({words})" if words else "")


def environments(folder: Path) -> Iterable[Path]:
    for number, (flax, jax) in enumerate(PINNED.items()):
        venv = folder / f"venv{number}"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
        wanted = [flax, jax, "pytest>=8", "safetensors>=0.8", "xxhash>=3.4"]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted, "-e", str(ROOT)], check=True)
        yield python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, action="append", help="one that has Flax")
    work = Path(tempfile.mkdtemp(prefix="versions-"))
    try:
        versions = [
            Version(path, work) for path in parser.parse_args().python or environments(work)
        ]
        for version in versions:
            version.write()
        print("| written under | read under | |\n|---|---|---|")
        bad = False
        for writer in versions:
            for reader in versions:
                told = reader.judge(writer, work)
                bad |= told.startswith("FAILS") or (reader is writer and "changed" in told)
                print(f"| {writer.name} | {reader.name} | {told} |", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
