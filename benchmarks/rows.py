"""The rows that are measured. Each takes a folder to work in and gives plain data."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure, pages, peers, runs, sessions, workloads
from benchmarks.sessions import PLUGIN, UPDATE, Session

Row = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Extent:
    """How much is measured: sizes of models, repetitions, and how far the scales go."""

    sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    repetitions: int
    tests: int
    parameters: tuple[int, ...]
    leaves: tuple[int, ...]
    many_tests: tuple[int, ...]
    goldens: tuple[int, ...]


FULL = Extent(
    sizes=(1_000_000, 25_000_000, 250_000_000),
    dtypes=("float32", "bfloat16"),
    repetitions=5,
    tests=1000,
    parameters=(1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
    leaves=(10, 100, 1000, 10_000),
    many_tests=(10, 100, 500, 1000, 2000),
    goldens=(10, 100, 1000, 10_000),
)
QUICK = Extent(
    sizes=(1_000_000, 25_000_000),
    dtypes=("float32", "bfloat16"),
    repetitions=3,
    tests=200,
    parameters=(1_000_000, 10_000_000, 100_000_000),
    leaves=(10, 100, 1000),
    many_tests=(10, 100, 300),
    goldens=(10, 100, 1000),
)


def middle(found: Sequence[Session | measure.Sample]) -> Row:
    """The medians of what was repeated."""
    return {
        "wall": statistics.median(one.wall for one in found),
        "cpu": statistics.median(one.cpu for one in found),
        "repetitions": len(found),
    }


# -- against the peers -------------------------------------------------------------------------


def contest(folder: Path, extent: Extent, say: Say) -> list[Row]:
    """Every peer at every size: update, check, a check that fails, memory, the golden's size."""
    found = []
    for dtype in extent.dtypes:
        for size in extent.sizes:
            here = folder / f"{size}-{dtype}"
            found += list(_contest(here, size, dtype, extent, say))
            shutil.rmtree(here)
    return found


def _contest(folder: Path, size: int, dtype: str, extent: Extent, say: Say) -> Iterator[Row]:
    samples: dict[tuple[str, str], list[measure.Sample]] = {}
    fast = [p for p in peers.PEERS if p.once is None or size < p.once]
    modes: tuple[measure.Mode, ...] = ("update", "check", "fail")
    model, changed = (workloads.Weights(size, dtype, changed=c) for c in (False, True))
    for number in range(extent.repetitions):
        say(f"{size:,} {dtype}: {number + 1} of {extent.repetitions}")
        for mode in modes:  # by turns, so that what slows the machine slows all
            for peer in fast:
                if peer.limit and mode != "check":
                    continue
                slow = mode == "fail" and peer.not_failing is not None and size >= peer.not_failing
                if slow and (number or size > 25_000_000):
                    continue
                one = measure.run(peer, mode, folder, changed if mode == "fail" else model)
                samples.setdefault((peer.test, mode), []).append(one)
    del model, changed  # the processes that follow need the memory
    for peer in peers.PEERS:
        apart: dict[str, measure.Sample] = {}
        if peer not in fast or _can(samples, peer):
            say(f"{size:,} {dtype}: memory of {peer.label}")
            apart = measure.apart(peer, folder / "apart", size, dtype)
            shutil.rmtree(folder / "apart", ignore_errors=True)
        for mode in modes:
            every = samples.get((peer.test, mode), [])
            alone = apart.get(mode)
            if not every and alone is None:
                continue
            known = every or [alone] if alone is not None else every
            yield {
                "peer": peer.test,
                "label": peer.label,
                "size": size,
                "dtype": dtype,
                "mode": mode,
                "outcome": known[-1].outcome,
                "said": known[-1].said,
                "golden": known[-1].golden,
                "peak": alone.peak if alone is not None else None,
                **middle(known),
            }


def _can(samples: dict[tuple[str, str], list[measure.Sample]], peer: peers.Peer) -> bool:
    return samples[peer.test, "check"][-1].outcome == "passed"


# -- pytest itself -----------------------------------------------------------------------------


def start(folder: Path, extent: Extent, say: Say) -> Row:
    """pytest on a test that uses nothing, without the plugin and with it."""
    say("start of pytest")
    here = sessions.write(folder / "start", "def test_nothing(): ...\n")
    kinds: dict[str, tuple[str, ...]] = {"without": (), "with": PLUGIN}
    found: dict[str, list[Session]] = {kind: [] for kind in kinds}
    for _ in range(4 * extent.repetitions):
        for kind, arguments in kinds.items():
            found[kind].append(sessions.run(here, arguments))
    return {kind: middle(samples) for kind, samples in found.items()}


TINY = """
import pytest
from benchmarks.workloads import Tiny

@pytest.mark.parametrize("n", range({tests}))
def test_tiny({fixtures}, n):
    {body}
"""


def tiny(folder: Path, extent: Extent, say: Say) -> Row:
    """Many tests that build a tiny model, with a check and without."""
    bodies = {
        "without": ("rngs", "Tiny(rngs=rngs)"),
        "check_init": ("rngs, nnx_snapshot", "nnx_snapshot.check_init(Tiny, rngs=rngs)"),
        "check": ("rngs, nnx_snapshot", "nnx_snapshot.check(Tiny(rngs=rngs))"),
    }
    for kind, (fixtures, body) in bodies.items():
        text = TINY.format(tests=extent.tests, fixtures=fixtures, body=body)
        sessions.write(folder / kind, text)
        say(f"{extent.tests} tiny tests, {kind}: goldens")
        sessions.run(folder / kind, (*PLUGIN, UPDATE))
    found: dict[str, list[Session]] = {kind: [] for kind in bodies}
    for number in range(extent.repetitions):
        say(f"{extent.tests} tiny tests: {number + 1} of {extent.repetitions}")
        for kind, samples in found.items():
            samples.append(sessions.run(folder / kind))
    say("where a tiny check_init goes")
    where = sessions.milliseconds(folder / "check_init")
    medians = {kind: middle(samples) for kind, samples in found.items()}
    return {"tests": extent.tests, "where": where, **medians}


CALL = """
import jax, jax.numpy as jnp, pytest
from flax import nnx
from benchmarks.workloads import Blocks

MODEL, X = Blocks(nnx.Rngs(0)), jnp.ones((8, 64, 256))
MODEL(X)

@pytest.mark.parametrize("n", range({tests}))
def test_call(nnx_snapshot, n):
    jax.block_until_ready({body})
"""


def call(folder: Path, extent: Extent, say: Say) -> Row:
    """Many calls of a model, checked by ``check_call``, plain, and none."""
    bodies = {"none": "X", "plain": "MODEL(X)", "check_call": "nnx_snapshot.check_call(MODEL, X)"}
    tests = max(extent.tests // 20, 10)
    for kind, body in bodies.items():
        sessions.write(folder / kind, CALL.format(tests=tests, body=body))
        say(f"{tests} calls, {kind}: goldens")
        sessions.run(folder / kind, (*PLUGIN, UPDATE))
    found: dict[str, list[Session]] = {kind: [] for kind in bodies}
    for number in range(extent.repetitions):
        say(f"{tests} calls: {number + 1} of {extent.repetitions}")
        for kind, samples in found.items():
            samples.append(sessions.run(folder / kind))
    return {"tests": tests, **{kind: middle(samples) for kind, samples in found.items()}}


# -- models that are too large to keep ------------------------------------------------------------


BILLION = """
from benchmarks import workloads

def test_billion(nnx_snapshot):
    nnx_snapshot.check(workloads.filled(workloads.ONE_BILLION))
"""
ABSTRACT = """
from benchmarks import workloads

def test_70b(rngs, nnx_snapshot):
    nnx_snapshot(abstract=True).check_init(workloads.LM, workloads.Config(), rngs=rngs)
"""


def billion(folder: Path, extent: Extent, say: Say) -> Row:
    """The golden of a model of a billion parameters."""
    say("a billion parameters")
    here = sessions.write(folder / "billion", BILLION)
    sessions.run(here, (*PLUGIN, UPDATE))
    sessions.run(here)
    return {"golden": _golden(here)}


def abstract(folder: Path, extent: Extent, say: Say) -> Row:
    """A model of 70 billion parameters that is never built: whole runs of pytest."""
    say("70 billion parameters, abstract")
    here = sessions.write(folder / "abstract", ABSTRACT)
    updated = sessions.run(here, (*PLUGIN, UPDATE))
    checked = [sessions.run(here) for _ in range(extent.repetitions)]
    peak = max(one.peak for one in checked)
    return {**middle(checked), "update": asdict(updated), "peak": peak, "golden": _golden(here)}


def _golden(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "__nnx_snapshots__").rglob("*.*"))


# -- scale -----------------------------------------------------------------------------------


def by_parameters(folder: Path, extent: Extent, say: Say) -> list[Row]:
    """A check and an update of more and more parameters in 20 leaves."""
    return [
        {
            "x": size,
            **_ours(
                folder, workloads.Weights(size, "float32"), extent, say, f"{size:,} parameters"
            ),
        }
        for size in extent.parameters
    ]


def by_leaves(folder: Path, extent: Extent, say: Say) -> list[Row]:
    """The same million parameters in more and more leaves."""
    return [
        {
            "x": n,
            **_ours(
                folder, workloads.Weights(1_000_000, "float32", n), extent, say, f"{n:,} leaves"
            ),
        }
        for n in extent.leaves
    ]


def _ours(folder: Path, model: Any, extent: Extent, say: Say, what: str) -> Row:
    say(what)
    samples = {
        mode: [measure.run(peers.PEERS[0], mode, folder, model) for _ in range(extent.repetitions)]
        for mode in ("update", "check")
    }
    return {mode: middle(found) for mode, found in samples.items()}


SMALL = """
import numpy as np
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_small({fixtures}n):
    {body}
"""


def by_tests(folder: Path, extent: Extent, say: Say) -> list[Row]:
    """Whole runs of more and more tests, each with a check of a few numbers, and without."""
    found = []
    for tests in extent.many_tests:
        say(f"{tests:,} tests")
        row: Row = {"x": tests}
        for kind, fixtures, body in (
            ("without", "", "np.arange(n)"),
            ("check", "nnx_snapshot, ", "nnx_snapshot.check(np.arange(n + 1))"),
        ):
            text = SMALL.format(tests=tests, fixtures=fixtures, body=body)
            here = sessions.write(folder / f"{kind}{tests}", text)
            updated = sessions.run(here, (*PLUGIN, UPDATE))
            row[kind] = middle([sessions.run(here) for _ in range(extent.repetitions)])
            row[f"{kind}, update"] = middle([updated])
        found.append(row)
    return found


def by_goldens(folder: Path, extent: Extent, say: Say) -> list[Row]:
    """One test beside more and more goldens that no test asks for."""
    found = []
    text = SMALL.format(tests=1, fixtures="nnx_snapshot, ", body="nnx_snapshot.check(np.arange(3))")
    for goldens in extent.goldens:
        say(f"{goldens:,} goldens on disk")
        here = sessions.write(folder / f"goldens{goldens}", text)
        sessions.run(here, (*PLUGIN, UPDATE))
        (made,) = (here / "__nnx_snapshots__").rglob("*.json")
        for number in range(goldens):
            other = made.read_text(encoding="utf-8").replace('"0"', f'"other{number}"')
            made.with_name(f"test_small[other{number}].1.json").write_text(other, encoding="utf-8")
        row: Row = {
            "x": goldens,
            "check": middle([sessions.run(here) for _ in range(extent.repetitions)]),
        }
        updates = []
        for _ in range(extent.repetitions):
            made.unlink()
            updates.append(sessions.run(here, (*PLUGIN, UPDATE)))
        row["update"] = middle(updates)
        found.append(row)
    return found


def synced(folder: Path, extent: Extent, say: Say) -> Row:
    """An update of many goldens, each synced to disk, and as it would be without."""
    say("an update, synced and not")
    text = SMALL.format(
        tests=300, fixtures="nnx_snapshot, ", body="nnx_snapshot.check(np.arange(3))"
    )
    here = sessions.write(folder / "synced", text)
    row: Row = {"goldens": 300}
    for kind, conftest in (
        ("synced", ""),
        ("not synced", "import os\nos.fsync = lambda _: None\n"),
    ):
        (here / "conftest.py").write_text(conftest, encoding="utf-8")
        found = []
        for _ in range(extent.repetitions):
            shutil.rmtree(here / "__nnx_snapshots__", ignore_errors=True)
            found.append(sessions.run(here, (*PLUGIN, UPDATE)))
        row[kind] = middle(found)
    return row


def whole_runs(folder: Path, extent: Extent, say: Say) -> Row:
    """Failing and updating runs, workers, a long run, a golden read, and the wheel unused."""
    small = max(9, extent.repetitions)  # one takes a second or two: nine, for a steady median
    row: Row = {}
    say("a hundred tests, passing, failing, and written")
    row["failing"] = runs.failing(folder, small)
    say("two workers")
    row["workers"] = runs.workers(folder, 3, 2 * extent.tests)
    say("a long run")
    row["memory"] = runs.memory(folder, 2 * extent.tests)
    say("a golden of 10,000 leaves")
    row["reading"] = runs.reading(folder, small, 10_000)
    say("start of pytest, from the wheel")
    row["wheel"] = runs.start(folder, 3 * small)
    return row


def profile(folder: Path, extent: Extent, say: Say) -> Row:
    """Where whole sessions go: passing, failing, updating."""
    say("where whole sessions go")
    return runs.profile(folder, runs.TESTS)


def page(folder: Path, extent: Extent, say: Say) -> Row:
    """The page of a thousand checks in a browser, where there is one."""
    say("the page of 1,000 checks")
    return pages.page(folder, extent.repetitions)


ROWS: dict[str, Callable[[Path, Extent, Say], Any]] = {
    "contest": contest,
    "start": start,
    "tiny": tiny,
    "call": call,
    "billion": billion,
    "abstract": abstract,
    "parameters": by_parameters,
    "leaves": by_leaves,
    "tests": by_tests,
    "goldens": by_goldens,
    "synced": synced,
    "runs": whole_runs,
    "profile": profile,
    "page": page,
}
