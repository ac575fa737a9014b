"""``python -m tests.faults.runs [--every N] [--races N]``: whole runs with two workers, attacked.

A fault strikes at each operation on goldens that one process of a run makes: a worker is killed, or
the controller, or all of them; the disk is full; Ctrl-C comes once or twice. Then two runs write
other goldens into one folder at the same time, and some of them are killed, too. After each attack
every golden is wholly one or wholly another, the next update works and leaves no litter.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_nnxrng.golden import inventory
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import read
from tests.stories.forks import Forks

from .scenarios import state

ROOT = Path(__file__).parents[2]
SECONDS = 60  # in which workers that have lost their controller must have ended
UPDATE = ("--nnx-update-snapshots", "-n2")
PRUNE = ("--nnx-prune-snapshots",)
ANYWHERE = ("controller", "full", "interrupt", "two interrupts")
KINDS = {UPDATE: ("worker", "all", *ANYWHERE), PRUNE: ANYWHERE}

PROJECT = {
    "pytest.ini": """
        [pytest]
        pythonpath = .
        testpaths = goldens
        addopts = -p no:cacheprovider -p no:rerunfailures -p no:hypothesispytest
    """,
    **{f"{name}.py": f"import os\nos.environ['GOLDENS'] = '{name}'\n" for name in ("a", "b", "c")},
    "conftest.py": "from tests.faults.strike import pytest_configure\n",
    "goldens/test_one.py": """
        import os

        import jax.numpy as jnp
        import pytest

        SHAPE = {"a": (6,), "b": (2, 3), "c": (6,)}[os.environ["GOLDENS"]]

        @pytest.mark.parametrize("number", range(COUNT))
        def test_it(nnx_snapshot, number):
            value = jnp.arange(6.0) + number + (os.environ["GOLDENS"] == "c")
            nnx_snapshot.check(value.reshape(SHAPE))
    """,
}
TREE = "goldens"


@dataclass
class Attacked:
    """A project, the process that its runs are forked from, and what was lost so far."""

    folder: Path
    forks: Forks
    losses: list[str] = field(default_factory=list)

    def write(self, count: int) -> None:
        for name, text in PROJECT.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text.replace("COUNT", str(count))), encoding="utf-8")
        (self.folder / "pids").mkdir(exist_ok=True)

    def run(self, goldens: str, *options: str) -> tuple[int, str]:
        """The exit code of a run, and what it printed, once all its processes have ended."""
        base = tempfile.mkdtemp(dir=self.folder)
        asked = [f"--basetemp={base}", "-p", goldens, *options]
        code, out, errors = self.forks.run(asked, self.folder)
        text = "\n".join([*out, *errors])
        if "INTERNALERROR" in text or code not in (0, 1, 2, 4, -signal.SIGKILL):
            self.losses.append(f"{goldens} {options} ended with {code}:\n{text}")
        return code, text

    def wait(self) -> None:
        """Until no process of the runs is there any more."""
        until = time.monotonic() + SECONDS
        for path in (self.folder / "pids").iterdir():
            while _alive(int(path.name)):
                if time.monotonic() > until:
                    self.losses.append("a worker outlives its controller")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(path.name), signal.SIGKILL)
                time.sleep(0.02)
            path.unlink()

    def states(self) -> dict[str, str]:
        """What a reader finds in each golden; one that cannot be read is a loss."""
        found = {}
        for path in self._manifests():
            try:
                found[path.name] = state(path)
            except GoldenError as error:
                self.losses.append(f"{path.name}: {error.problem}")
        return found

    def _manifests(self) -> Iterator[Path]:
        for below in sorted((self.folder / TREE).glob("__nnx_snapshots__/*")):
            yield from inventory.manifests(below)

    def litter(self) -> list[str]:
        below = self.folder / TREE / "__nnx_snapshots__"
        needed = {name for path in self._manifests() for name in (path.name, read(path).values)}
        return sorted({path.name for path in below.rglob("*") if path.is_file()} - needed)

    def hold(self, *known: Mapping[str, str]) -> None:
        """Each golden is one of those that are known by its name, or absent as there."""
        found = self.states()
        for name in {*found, *(name for one in known for name in one)}:
            if found.get(name) not in [one.get(name) for one in known]:
                self.losses.append(f"{name} is nobody's: {found.get(name)}")

    def go_on(self, goldens: str, options: tuple[str, ...], new: Mapping[str, str]) -> None:
        """The same change again is made, and leaves nothing else; then a comparison passes."""
        for each in (options, ()):
            code, text = self.run(goldens, *each)
            if code:
                self.losses.append(f"the next run {each} ends with {code}:\n{text}")
            self.wait()
        self.hold(new)
        if left := self.litter():
            self.losses.append(f"the next run leaves {left}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def strike(attacked: Attacked, options: tuple[str, ...], kind: str, every: int) -> int:
    """Attack one kind of run at every ``every``-th operation or so; returns how often."""
    goldens, count, where = ("b", 3, "gw0") if options == UPDATE else ("a", 1, "")
    marker, tree, kept = (attacked.folder / name for name in ("struck", TREE, "kept"))
    shutil.rmtree(tree, ignore_errors=True)
    attacked.write(3)
    attacked.run("a", *UPDATE)
    old = attacked.states()
    attacked.write(count)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(tree, kept)
    attacked.run(goldens, *options)
    new = attacked.states()
    assert old != new, "the attacked run changes nothing"
    for times in itertools.count():
        number = 1 + times * every + times % 2  # by turns one that is odd, and one that is even
        shutil.rmtree(tree)
        shutil.copytree(kept, tree)
        marker.unlink(missing_ok=True)
        before = len(attacked.losses)
        os.environ["STRIKE"] = f"{kind}:{number}:{where}:{goldens}"
        attacked.run(goldens, *options)
        del os.environ["STRIKE"]
        attacked.wait()
        attacked.hold(old, new)
        attacked.go_on(goldens, options, new)
        for at in range(before, len(attacked.losses)):
            attacked.losses[at] = f"{kind} at operation {number}: {attacked.losses[at]}"
        if not marker.exists():
            return times
    raise AssertionError


def race(attacked: Attacked, chance: random.Random) -> None:
    """Two runs write other goldens into one folder at once, and one of them may be killed."""
    shutil.rmtree(attacked.folder / TREE, ignore_errors=True)
    attacked.write(12)
    known = {}
    for goldens in ("b", "c", "a"):
        attacked.run(goldens, *UPDATE)
        known[goldens] = attacked.states()
    killed = chance.choice(("nobody", "b", "c"))
    os.environ["STRIKE"] = f"all:{chance.randint(1, 60)}:gw0:{killed}"
    both = [threading.Thread(target=attacked.run, args=(each, *UPDATE)) for each in ("b", "c")]
    for thread in both:
        thread.start()
        time.sleep(chance.random() / 5)
    for thread in both:
        thread.join()
    del os.environ["STRIKE"]
    attacked.wait()
    attacked.hold(*known.values())
    goldens = chance.choice(("b", "c"))
    attacked.go_on(goldens, UPDATE, known[goldens])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="strike at every Nth operation alone")
    parser.add_argument("--kinds", nargs="*", help="of faults, these alone")
    parser.add_argument("--races", type=int, default=20, help="pairs of runs at once")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as work:
        attacked = Attacked(Path(work).resolve(), Forks(os.environ))
        for options, kinds in KINDS.items():
            for kind in kinds if chosen.kinds is None else set(kinds) & set(chosen.kinds):
                times = strike(attacked, options, kind, chosen.every)
                print(f"{options[0]}, {kind}: {times} operations attacked", flush=True)
        for number in range(chosen.races):
            before = len(attacked.losses)
            race(attacked, random.Random(chosen.seed + number))
            for at in range(before, len(attacked.losses)):
                attacked.losses[at] = f"race {chosen.seed + number}: {attacked.losses[at]}"
        print(f"{chosen.races} races")
    print(*attacked.losses, sep="\n")
    return int(bool(attacked.losses))


if __name__ == "__main__":
    sys.exit(main())
