"""What changes goldens on disk: the state before, and the change, as functions of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_nnxrng.golden import inventory, relocate, stale
from pytest_nnxrng.golden.inventory import Folders, Owner
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.golden.store import stage
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf

ABSENT = "absent"


def golden(*arrays: np.ndarray, stored: bool = True, of: str = "test_f") -> Golden:
    leaves = tuple(
        Leaf(
            f"l{place}",
            "Param",
            array.shape,
            array.dtype.name,
            digest=digest(array),
            stored=stored,
            read=lambda array=array: array,
        )
        for place, array in enumerate(arrays)
    )
    return Golden(Owner("", of, None, "1", "value"), {"jax": "1"}, leaves, {})


def old() -> Golden:
    return golden(np.arange(6, dtype=np.float32), np.ones(2, np.int8))


def put(path: Path, made: Golden) -> None:
    stage(path, made, Folders()).commit()


def state(path: Path) -> str:
    """What a reader finds at ``path``; it raises what he would be told."""
    try:
        found = read(path)
    except FileNotFoundError:
        return ABSENT
    return " ".join(
        f"{leaf.path}{list(leaf.shape)}{leaf.digest}{None if leaf.read is None else leaf.read()!r}"
        for leaf in found.leaves
    )


@dataclass(frozen=True)
class Scenario:
    """``before`` makes what is there, ``change`` changes it; the ``goldens`` are looked at."""

    before: Callable[[Path], None]
    change: Callable[[Path], None]
    goldens: tuple[str, ...] = ("a/f.1.json",)

    def states(self, folder: Path) -> tuple[str, ...]:
        return tuple(state(folder / name) for name in self.goldens)


def _updates(make: Callable[[], Golden]) -> Scenario:
    return Scenario(_old, lambda folder: put(folder / "a/f.1.json", make()))


def _old(folder: Path) -> None:
    put(folder / "a/f.1.json", old())
    put(folder / "a/g.1.json", golden(np.zeros(3, np.float16), of="test_g"))


def _move(folder: Path) -> None:
    source, target = folder / "a/f.1.json", folder / "b/h.1.json"
    owner = Owner("", "test_h", None, "1", "value")
    relocate.stage_move(source, target, owner, Folders()).commit()


def _report(folder: Path) -> None:
    _old(folder)
    put(folder / "report/f.1.json", golden(np.full(9, 2.5, np.float32)))


def _accept(folder: Path) -> None:
    source = folder / "report/f.1.json"
    made = relocate.verified(source, "test_f.1.json")
    relocate.transfer(source, folder / "a/f.1.json", made.values)


SCENARIOS = {
    "update": _updates(lambda: golden(np.arange(6, dtype=np.float32) + 1, np.ones(2, np.int8))),
    "reshape": _updates(
        lambda: golden(np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.int8))
    ),
    "the same values": _updates(old),
    "no more values": _updates(lambda: golden(np.arange(6), stored=False)),
    "first": Scenario(lambda folder: None, lambda folder: put(folder / "a/f.1.json", old())),
    "move": Scenario(_old, _move, ("a/f.1.json", "b/h.1.json")),
    "prune": Scenario(_old, lambda folder: inventory.delete(folder / "a/f.1.json")),
    "accept": Scenario(_report, _accept),
}


def next_run(folder: Path) -> None:
    """What a later run does that writes another golden: it clears up after the one before."""
    put(folder / "a/g.1.json", golden(np.zeros(3, np.float16), of="test_g"))
    stale.clean([folder / "a", folder / "b"], folder, whole=True)


def littered(folder: Path) -> Iterator[str]:
    """The files in the folders of goldens that no golden needs."""
    for below in (folder / "a", folder / "b"):
        if not below.is_dir():
            continue
        needed = set()
        for path in inventory.manifests(below):
            needed |= {path.name, read(path).values}
        yield from sorted(set(os.listdir(below)) - needed)
