"""``python -m tests.faults.hang [--runs N] [--seed S]``: the hunt for a hang.

Runs of two and four processes under ``jax.distributed`` check a model that lies in all of them. In
each run one process is stopped for a while, stopped for good, or killed, at a moment that the seed
chooses. However that falls, the others end within their time limit: with a pass where the process
came back, or with our message. Every golden stays as it was, and the next run passes.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.stories.processes import CONFTEST, start

LIMIT = 5  # seconds of nnx_process_timeout: less than JAX gives a process that is silent
MEET = 30  # seconds that JAX gives its processes to meet
ENDS = 60  # seconds after the attack in which every process that was not attacked has ended
KINDS = ("delayed", "stopped", "killed")
# What a survivor may say. The first three are ours, of a check, of a step, and of a collective.
OURS = ("has waited", "has lost another one", "All must make the same checks", "process 0: ")

PROJECT = {
    "pytest.ini": f"""
        [pytest]
        addopts = -p no:randomly -q
        nnx_process_timeout = {LIMIT}
    """,
    "test_it.py": """
        import jax
        import jax.numpy as jnp
        import numpy as np
        import pytest
        from flax import nnx
        from jax.sharding import Mesh, NamedSharding, PartitionSpec as P


        @pytest.mark.parametrize("number", range(4))
        def test_it(rngs, nnx_snapshot, number):
            model = nnx.Linear(4, 16, rngs=rngs)
            mesh = Mesh(np.array(jax.devices()), ("model",))
            whole = np.asarray(model.kernel[...])
            model.kernel[...] = jax.make_array_from_callback(
                whole.shape, NamedSharding(mesh, P(None, "model")), lambda index: whole[index]
            )
            nnx_snapshot.check(model)
            nnx_snapshot.check(jax.jit(lambda m, x: m(x))(model, jnp.ones((2, 4))), "output")
    """,
}


@dataclass
class Run:
    """One attacked run: what was done to which process when, and what became of the others."""

    number: int
    count: int
    kind: str
    victim: int
    after: float
    lasts: float
    told: str = ""
    losses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"process {self.victim} of {self.count} {self.kind} after {self.after:.1f} s"
        return f"run {self.number}: {what}"


def plan(number: int, seed: int, length: float) -> Run:
    """What happens in a run, of which the seed alone decides; ``length`` is that of a calm one."""
    chance = random.Random(f"{seed} {number}")
    count = chance.choice((2, 2, 4))
    victim, kind = chance.randrange(count), chance.choice(KINDS)
    after = chance.uniform(0.5, 1.05) * length * (1 if count == 2 else 2)
    return Run(number, count, kind, victim, after, chance.uniform(0.2, 1.5 * LIMIT))


def ended(processes: list[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Whether all have ended within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(each.poll() is None for each in processes):
        time.sleep(0.02)
    return all(each.poll() is not None for each in processes)


def attack(run: Run, folder: Path) -> str:
    """Make a run and attack it; returns how it ended, in a word. Losses are noted in it."""
    processes = start(folder, count=run.count, MEET=str(MEET))
    victim = processes[run.victim]
    others = [each for number, each in enumerate(processes) if number != run.victim]
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            victim.wait(run.after)
        reached = victim.poll() is None
        if reached:
            victim.send_signal(signal.SIGKILL if run.kind == "killed" else signal.SIGSTOP)
        if reached and run.kind == "delayed":
            time.sleep(run.lasts)
            victim.send_signal(signal.SIGCONT)
            others = processes
        if not ended(others if reached else processes, ENDS):
            hung = [number for number, each in enumerate(processes) if each.poll() is None]
            run.losses.append(f"processes {hung} hang")
        return _told(run, folder, processes, reached)
    finally:
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            each.wait()


def _told(run: Run, folder: Path, processes: list[subprocess.Popen[bytes]], reached: bool) -> str:
    ends = []
    for number, process in enumerate(processes):
        if reached and run.kind != "delayed" and number == run.victim:
            continue
        text = " ".join((folder / f"output{number}").read_text(errors="replace").split())
        code = process.poll()
        if code == 0:
            ends.append("passed")
        elif any(said in text for said in OURS):
            ends.append("our message")
        elif re.search(r"\[ *\d+%\]|test_it\.py", text) is None:
            ends.append("while JAX's processes met")
        else:
            ends.append("JAX's own end")
            run.told = (_REASON.search(text) or _REASON.search("Error: unknown"))[0]  # type: ignore[index]
    if not reached and set(ends) != {"passed"}:
        run.losses.append(f"nothing was done, and they ended with {ends}")
    return "the run was over" if not reached else min(ends, key=_ORDER.index)


_REASON = re.compile(r"(?:Fatal Python error|[A-Za-z]*Error|Terminating process)\b.{0,90}")
_ORDER = ("JAX's own end", "while JAX's processes met", "our message", "passed")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="begin at this run")
    chosen = parser.parse_args()
    told: Counter[tuple[str, str]] = Counter()
    losses = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for name, text in {**PROJECT, "conftest.py": CONFTEST}.items():
            (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
        if not _calm(folder, 2, "--nnx-update-snapshots"):
            print(*(path.read_text() for path in folder.glob("output*")), sep="\n")
            return 1
        since = time.monotonic()
        assert _calm(folder, 2), "the run that is to be attacked does not pass"
        length = time.monotonic() - since
        print(f"a calm run of two processes takes {length:.1f} s", flush=True)
        kept = _goldens(folder)
        for number in range(chosen.first, chosen.first + chosen.runs):
            run = plan(number, chosen.seed, length)
            end = attack(run, folder)
            told[run.kind, end] += 1
            if _goldens(folder) != kept:
                run.losses.append("goldens are not what they were")
            print(f"{run}: {end}", *filter(None, [run.told]), *run.losses, sep="; ", flush=True)
            if run.losses:
                losses.append(run)
                for path in folder.glob("output*"):
                    shutil.copy(path, Path(tempfile.gettempdir()) / f"run{number}.{path.name}")
        assert _calm(folder, 2), "the run after the attacks does not pass"
    for (kind, end), times in sorted(told.items()):
        print(f"{kind:8} {end:22} {times}")
    print(f"{len(losses)} of {chosen.runs} runs lost something")
    return int(bool(losses))


def _calm(folder: Path, count: int, *options: str) -> bool:
    processes = start(folder, *options, count=count, MEET=str(MEET))
    return ended(processes, 3 * ENDS) and all(each.returncode == 0 for each in processes)


def _goldens(folder: Path) -> dict[str, bytes]:
    below = folder / "__nnx_snapshots__"
    return {path.name: path.read_bytes() for path in below.iterdir() if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
