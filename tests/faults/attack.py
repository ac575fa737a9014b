"""``python -m tests.faults.attack KIND SCENARIO``: a fault at each operation, one after the other.

Prints how many operations were attacked, and a line for each time that a golden was neither old nor
new or that something was left lying around: none, or the attack has won.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_nnxrng.golden.document import GoldenError

from .operations import watched
from .power import Disk
from .scenarios import SCENARIOS, Scenario, littered, next_run

Fault = Callable[[int, str], None]  # is told the number of an operation, and which it is
ENDED = 3  # the exit code of a child whose change raised what a user is told
MADE = 4  # of one whose change was made in spite of the fault


def forked(work: Callable[[], None]) -> int:
    """The exit code of a fork that does ``work``; -9 if it was killed."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except (OSError, KeyboardInterrupt):
        os._exit(ENDED)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Counted:
    """Calls ``fault`` at each operation with its number."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.number = fault, 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        self.number += 1
        self.fault(self.number, event)


def at(which: int, strike: Callable[[], None]) -> Fault:
    def fault(number: int, event: str) -> None:
        if number == which:
            strike()

    return fault


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failing(code: int) -> Callable[[], None]:
    def strike() -> None:
        raise OSError(code, os.strerror(code))

    return strike


def interrupted() -> None:
    raise KeyboardInterrupt


DELETING = ("os.remove", "os.rmdir")


def from_on(which: int, strike: Callable[[], None], *, but: tuple[str, ...] = ()) -> Fault:
    """All fails from now on, but what needs no space, say."""

    def fault(number: int, event: str) -> None:
        if number >= which and event not in but:
            strike()

    return fault


def twice(which: int, strike: Callable[[], None]) -> Fault:
    def fault(number: int, event: str) -> None:
        if number in (which, which + 1):
            strike()

    return fault


KINDS: dict[str, Callable[[int], Fault]] = {
    "kill": lambda n: at(n, killed),
    "disk full": lambda n: from_on(n, failing(errno.ENOSPC), but=DELETING),
    "no permission": lambda n: from_on(n, failing(errno.EACCES)),
    "one error": lambda n: at(n, failing(errno.EIO)),
    "interrupt": lambda n: at(n, interrupted),
    "two interrupts": lambda n: twice(n, interrupted),
}


def attack(kind: str, scenario: Scenario, work: Path) -> tuple[int, list[str]]:
    """How many operations there were to attack, and each time that the attack has won."""
    old, new = _wholly(scenario, work / "old"), _wholly(scenario, work / "new", change=True)
    losses: list[str] = []
    for number in itertools.count(1):
        folder = work / f"{number}"
        scenario.before(folder)
        came_to = forked(functools.partial(_struck, scenario, folder, kind, number))
        where = f"{kind} at operation {number}"
        _judge(scenario, folder, old, new, came_to, where, losses)
        if came_to == 0:
            return number - 1, losses
    raise AssertionError


def _struck(scenario: Scenario, folder: Path, kind: str, number: int) -> None:
    counted = Counted(KINDS[kind](number))
    with watched(counted):
        scenario.change(folder)
    if counted.number >= number:
        os._exit(MADE)


def _wholly(scenario: Scenario, folder: Path, *, change: bool = False) -> tuple[str, ...]:
    folder.mkdir()
    scenario.before(folder)
    if change:
        scenario.change(folder)
    return scenario.states(folder)


def _judge(
    scenario: Scenario,
    folder: Path,
    old: tuple[str, ...],
    new: tuple[str, ...],
    came_to: int,
    where: str,
    losses: list[str],
) -> None:
    if came_to not in (0, MADE, ENDED, -signal.SIGKILL):
        losses.append(f"{where}: the run ended with {came_to}")
    try:
        found = scenario.states(folder)
        if not _whole(found, old, new):
            losses.append(f"{where}: {found} is neither {old} nor {new}")
        if came_to in (0, MADE) and found != new:
            losses.append(f"{where}: the change was made, and is not there")
    except GoldenError as error:
        found = ()
        losses.append(f"{where}: {error}")

    def afterwards() -> None:
        next_run(folder)
        if left := list(littered(folder)):
            raise AssertionError(f"{where}: {left} are left")
        if found == old:
            scenario.change(folder)

    if forked(afterwards) != 0:
        losses.append(f"{where}: the next run could not work, or left something")
    elif found == old and scenario.states(folder) != new:
        losses.append(f"{where}: the change was made afterwards, and is not there")


def _whole(found: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Whether each golden is old or new; one that moves is there at least once."""
    each = all(one in pair for one, *pair in zip(found, old, new, strict=True))
    return each and (len(found) == 1 or any(one != "absent" for one in found))


def full_at_every_size(scenario: Scenario, work: Path) -> tuple[int, list[str]]:
    """A disk that takes so many bytes of a file and no more, for every number of them."""
    old, new = _wholly(scenario, work / "old"), _wholly(scenario, work / "new", change=True)
    losses: list[str] = []
    for size in range(0, 4096, 37):
        folder = work / f"{size}"
        scenario.before(folder)

        def limited(folder: Path = folder, size: int = size) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            scenario.change(folder)

        came_to = forked(limited)
        _judge(scenario, folder, old, new, came_to, f"{size} bytes", losses)
        if came_to == 0:
            return size, losses
    return 4096, losses


def cut(scenario: Scenario, work: Path) -> tuple[int, list[str]]:
    """A power cut at each operation, and whatever the disk may then hold."""
    old, new = _wholly(scenario, work / "old"), _wholly(scenario, work / "new", change=True)
    losses: list[str] = []
    folder, number, seen = work / "run", 0, set()
    folder.mkdir()
    scenario.before(folder)
    disk = Disk(folder)

    def reached(event: str, args: tuple[Any, ...]) -> None:
        nonlocal number
        if any(str(work / "run") not in str(one) for one in args[:1]):
            return
        number += 1
        states.extend((number, event, state) for state in disk.after_a_cut())
        disk.saw(event, args)

    states: list[tuple[int, str, dict[str, bytes]]] = []
    with watched(reached):
        scenario.change(folder)
    states.extend((number + 1, "the end", state) for state in disk.after_a_cut())
    for place, (at_, event, state) in enumerate(states):
        key = tuple(sorted(state.items()))
        if key in seen:
            continue
        seen.add(key)
        there = work / f"cut{place}"
        for name, data in state.items():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            (there / name).write_bytes(data)
        try:
            found = scenario.states(there)
            if not _whole(found, old, new):
                losses.append(f"cut before {at_} ({event}): {found}; {sorted(state)}")
        except GoldenError as error:
            losses.append(f"cut before {at_} ({event}): {error.problem}; {sorted(state)}")
    return number, losses


def main(kind: str, name: str) -> None:
    scenario = SCENARIOS[name]
    memory = Path("/dev/shm")  # where nothing waits for a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as work:
        if kind == "power":
            attacked, losses = cut(scenario, Path(work).resolve())
        elif kind == "size":
            attacked, losses = full_at_every_size(scenario, Path(work).resolve())
        else:
            attacked, losses = attack(kind, scenario, Path(work).resolve())
    print(f"{name}, {kind}: {attacked} operations attacked")
    print(*losses, sep="\n")


if __name__ == "__main__":
    for scenario in sys.argv[2:] or SCENARIOS:
        main(sys.argv[1], scenario)
