"""A golden whose bytes are replaced, and what must not become of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import OUTPUTS, Tolerance
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden, dumps, read
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.statistics import statistics

SEEDS = Path(__file__).with_name("seeds")
SECONDS = 5  # that one golden may take
NAME, VALUES = "g.1.json", "g.1.0123abcd.safetensors"


def _leaf(path: str, array: np.ndarray, *, stored: bool = True) -> Leaf:
    return Leaf(
        path,
        "Param",
        array.shape,
        array.dtype.name,
        digest=digest(array),
        statistics=statistics(array),
        sketch=None if stored else sketch(array),
        stored=stored,
        draws=("params#0",),
        read=lambda: array,
    )


def leaves(scale: float = 1.0) -> tuple[Leaf, ...]:
    """Of each kind one: stored, and kept as a sketch."""
    chance = np.random.default_rng(0)
    small = chance.normal(size=(2, 3)).astype(np.float32)
    large = chance.normal(size=(40, 30)).astype(np.float32)
    whole = np.arange(1, 5, dtype=np.int8)
    return (
        _leaf("a.kernel", small * np.float32(scale)),
        _leaf("b", (whole * scale).astype(np.int8)),
        _leaf("large", large * np.float32(scale), stored=False),
    )


STREAMS = {
    "params": {"impl": "threefry2x32", "key": [0, 1], "count": 0, "end": 2, "draws": ["a", "large"]}
}


class Target:
    """A folder with a golden, and what becomes of it with other bytes."""

    def __init__(self, folder: Path) -> None:
        self.path, self.values = folder / NAME, folder / VALUES
        write_values(self.values, [leaf for leaf in leaves() if leaf.stored])
        owner = Owner("", "g", None, "1", "init")
        made = Golden(owner, {"jax": "1"}, leaves(), {"d": "b"}, STREAMS, VALUES)
        self.whole = {"manifest": dumps(made).encode(), "values": self.values.read_bytes()}
        self.path.write_bytes(self.whole["manifest"])
        self.moved = tuple(leaf.but(sketch=None) for leaf in leaves(2.0))

    def __call__(self, part: str, data: bytes) -> None:
        """Read the golden with ``data`` as its manifest or values; anything wrong is raised."""
        (self.path if part == "manifest" else self.values).write_bytes(data)
        began = time.monotonic()
        try:
            self._read()
        except GoldenError as error:
            told = error
        else:
            told = None
        if told is not None:
            assert str(self.path.parent) in str(told), "it names no file"
            assert told.problem.isprintable(), "it cannot be printed"
            assert len(told.problem) <= 400, "it is long"
            assert told.remedy, "it says no way out"
        assert time.monotonic() - began < SECONDS, "it takes long"

    def _read(self) -> None:
        found = read(self.path)
        for leaf in found.leaves:
            if leaf.read is not None:
                assert digest(leaf.read()) == leaf.digest, "other values than the digest's"
        dumps(found)  # what was read can be written
        known = {leaf.path: leaf.digest for leaf in found.leaves}
        held = compare(found.leaves, self.moved, Tolerance(OUTPUTS), (found.aliases, {}))
        for leaf in self.moved:
            if known.get(leaf.path) not in (None, leaf.digest):
                assert leaf.path not in (*held.matched, *held.rounded), f"{leaf.path} passes"


def seeds(part: str) -> Iterator[bytes]:
    """What was found to go other ways than all else."""
    for path in sorted((SEEDS / part).glob("*")):
        yield path.read_bytes()
