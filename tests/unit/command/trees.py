"""A repository with goldens and a report of a run, made by hand: no test runs, no JAX."""

import json
import zipfile
from pathlib import Path

import numpy as np

from pytest_nnxrng.golden.document import fingerprint
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.store import stage
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested, kept

FOLDER = "tests/__nnx_snapshots__/test_a"
STREAMS = {
    "params": {"impl": "threefry2x32", "key": [0, 0], "count": 0, "end": 4},
    "dropout": {"impl": "threefry2x32", "key": [0, 10000], "count": 0, "end": 0},
}
ENVIRONMENT = {"jax": "0.12.0", "platform": "cpu", "jax_enable_x64": False}


def leaf(path, values, draws=None, initializer=None, type="Param", **more):
    array = np.asarray(values)
    return Leaf(
        path=path,
        type=type,
        shape=array.shape,
        dtype=str(array.dtype),
        draws=draws,
        initializer=initializer,
        read=lambda: array,
        **more,
    )


def model(*, first="params#0", second="params#2", seed=1.0, extra=()):
    """The leaves of two layers, each a kernel that is drawn and a bias of zeros."""
    ramp = np.linspace(-1, 1, 24, dtype=np.float32)
    return (
        leaf("layers.2.kernel", ramp.reshape(4, 6) * np.float32(seed), (first,), "ab" * 8),
        leaf("layers.2.bias", np.zeros(6, np.float32), (), "cd" * 8),
        leaf("layers.10.kernel", ramp[::-1].reshape(6, 4) * np.float32(seed), (second,), "ef" * 8),
        leaf("layers.10.bias", np.zeros(4, np.float32), (), "cd" * 8),
        *extra,
    )


def write(path, leaves, *, kind=None, **more):
    """Write a golden to ``path``, as an update does."""
    name = path.name.removesuffix(".json").partition("@")[0]
    function, _, check = name.partition(".")
    parameters = None
    if "[" in function:
        function, _, parameters = function.removesuffix("]").partition("[")
    kind = kind or ("value" if check == "output" else "init")
    owner = Owner("", function, parameters, check, kind)
    fields = {"environment": ENVIRONMENT, "aliases": {}, "streams": STREAMS, **more}
    golden = Golden(owner=owner, leaves=kept(digested(leaves), 1 << 20), **fields)
    stage(path, golden).commit()
    return path


def cause(word="draws", text="1 more key", leaves=("layers.2.kernel",), finding=None):
    return {
        "word": word,
        "leaves": list(leaves),
        "text": f"{text} (see model.py:3)",
        "evidence": "derivation",
        "finding": finding or text,
    }


class Tree:
    """A repository in ``root``, a report of a run in ``report``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "repo"
        self.report = path / "out"
        (self.root / ".git").mkdir(parents=True)
        (self.root / "tests").mkdir()
        (self.root / "tests" / "test_a.py").write_text("def test_a(): ...\n")
        self.report.mkdir()
        self.rows: list[dict] = []

    def golden(self, name="test_a.1", leaves=None, **more):
        return write(self.root / FOLDER / f"{name}.json", leaves or model(), **more)

    def obtained(self, name="test_a.1", leaves=None, causes=None, golden=None, **row):
        """What the run obtained for ``name``: another draw, unless ``leaves`` says otherwise."""
        target = f"{FOLDER}/{name}.json"
        leaves = leaves or model(second="params#3", seed=0.5)
        there = write(self.report / "obtained" / target, leaves)
        compared = f"{FOLDER}/{golden or name}.json"
        against = fingerprint(self.root / compared)
        self.rows.append(
            {
                "test": f"tests/test_a.py::{name.rpartition('.')[0]}",
                "golden": compared,
                "status": "different" if against else "missing",
                "failed": True,
                "leaves": 4,
                "causes": ([cause()] if causes is None else causes) if against else [],
                "obtained": {
                    "path": f"obtained/{target}",
                    "digest": fingerprint(there),
                    "target": target,
                    "against": against,
                },
                **row,
            }
        )
        return self.written()

    def written(self, **more):
        document = {"format": 1, "run": {"jax": "0.12.0"}, "checks": self.rows, **more}
        (self.report / "report.json").write_text(json.dumps(document))
        return self

    def zipped(self, name="artifact.zip", top=""):
        path = self.path / name
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(self.report.rglob("*")):
                archive.write(file, top + file.relative_to(self.report).as_posix())
        return path

    def files(self):
        """Every file of the repository with its bytes."""
        paths = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}
