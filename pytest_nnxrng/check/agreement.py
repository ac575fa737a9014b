"""Several processes under ``jax.distributed`` make the same checks and come to one verdict.

Before a check reads elements that lie in other processes, all tell where they are and what they
are about to compare; after it, what they read; at the end of a test, how it went. So a process
that went another way is named, where it would otherwise leave the others waiting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_nnxrng.check.lookup import Found
from pytest_nnxrng.check.state import Result, SnapshotError, TestChecks
from pytest_nnxrng.device import processes
from pytest_nnxrng.device.processes import LostProcess
from pytest_nnxrng.golden.manifest import values_path
from pytest_nnxrng.golden.policy import Outcome
from pytest_nnxrng.leaf.leaf import Flat, Leaf

_DIFFERENT = {
    "options": "was started with other options (--nnx-update-snapshots and the like)",
    "golden": (
        "sees another golden. Keep the goldens on a file system that all hosts share, or check "
        "out the same commit on each"
    ),
    "leaves": "checks a value of another structure: other leaves, shapes, dtypes or shardings",
}


@dataclass(frozen=True)
class _Word:
    """What a process says: at which test, at which step of it, and about what."""

    at: str
    step: str
    state: Mapping[str, str]
    told: str = ""


def at(checks: TestChecks, step: str) -> None:
    """All processes are at this same step, and were started with the same options.

    Raises:
      SnapshotError: when they are not; the message says which does what.
      LostProcess: when one does not answer.
    """
    __tracebackhide__ = True
    if processes.count() > 1:
        _compare(_meet(checks, step, {"options": _options(checks)}))


def before(checks: TestChecks, name: str, found: Found, flat: Flat) -> None:
    """All processes are to make this same check; called before they read any element.

    Raises:
      SnapshotError: when they are not; the message says which does what.
      LostProcess: when one does not answer.
    """
    __tracebackhide__ = True
    if processes.count() < 2:
        return
    rows = [(x.path, x.type, x.shape, x.dtype, x.slabs is not None) for x in flat.leaves]
    state = {
        "options": _options(checks),
        "golden": _golden(found),
        "leaves": _hash(rows),
    }
    _compare(_meet(checks, f"check {name!r}", state))


def _compare(words: tuple[_Word, ...]) -> None:
    __tracebackhide__ = True
    for number, word in enumerate(words):
        for part, told in _DIFFERENT.items():
            if word.state.get(part) != words[0].state.get(part):
                raise SnapshotError(f"process {number} of {len(words)} {told} (than process 0)")


def _options(checks: TestChecks) -> str:
    mode = checks.settings.mode
    return _hash((mode.update, mode.refresh, mode.move, sorted(mode.only)))


def _golden(found: Found) -> str:
    if not found.path.exists():
        return "none"
    named = found.golden and found.golden.values
    values = values_path(found.path, named) if named else found.path.parent
    size = values.stat().st_size if values.is_file() else 0
    return f"{_hash(found.path.read_bytes())} {size}"


def after(checks: TestChecks, name: str, leaves: tuple[Leaf, ...]) -> None:
    """All processes have read the same elements.

    Raises:
      SnapshotError: when they have not; the message names the leaves.
      LostProcess: when one does not answer.
    """
    __tracebackhide__ = True
    if processes.count() < 2:
        return
    digests = [leaf.digest or "0" * 32 for leaf in leaves]
    words = _meet(checks, f"values of check {name!r}", {"values": _hash(digests)})
    if len({word.state["values"] for word in words}) == 1:
        return
    every = np.zeros((len(words), len(leaves), 4), np.uint32)
    every[processes.index()] = [np.frombuffer(bytes.fromhex(d), np.uint32) for d in digests]
    every = processes.total(every.reshape(-1)).reshape(every.shape)
    other = (every != every[0]).any(axis=2)
    paths = [leaves[at].path or "the value" for at in np.flatnonzero(other.any(axis=0))]
    numbers = ", ".join(map(str, np.flatnonzero(other.any(axis=1))))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    raise SnapshotError(
        f"{', '.join(paths[:3])}{more}: process {numbers} of {len(words)} holds other values than "
        "process 0. A golden holds one: check global arrays, or what every process computes "
        "alike (seed all processes alike)"
    )


def finish(checks: TestChecks, error: BaseException | None) -> str:
    """How the test's body ended in all processes; why it fails here, if only for the others."""
    if processes.count() < 2:
        return ""
    if isinstance(error, LostProcess):
        checks.apart = checks.stop = str(error)
    if checks.apart:
        return checks.apart
    passed = error is None and not checks.failing and not checks.subtest_failed
    told = ""
    if error is not None:
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    elif not passed:
        told = "; ".join(r.problem or f"check {r.name!r} does not match" for r in checks.failing)
    state = {"passed": "yes" if passed else "no"}
    try:
        words = _meet(checks, "its end", state, told)
    except (SnapshotError, LostProcess) as found:
        checks.apart = str(found)
        if isinstance(found, LostProcess):
            checks.stop = str(found)
        return checks.apart
    if not passed:
        return ""
    failed = [n for n, word in enumerate(words) if word.state.get("passed") != "yes"]
    if failed:
        checks.apart = f"process {failed[0]} of {len(words)} failed: {words[failed[0]].told}"
    return checks.apart


def settle(checks: TestChecks, outcome: Outcome) -> list[tuple[Result, OSError]]:
    """Write what is to be written, in process 0, and hear of it in the others."""
    writing = [result for result in checks.results if result.decision.writes]
    failures = checks.settle(outcome)
    if processes.count() < 2 or checks.apart or not writing:
        return failures
    if outcome is not Outcome.PASSED or checks.failing:
        return failures
    told = "; ".join(str(error) for _, error in failures)
    try:
        first = _meet(checks, "its goldens", {}, told)[0]
    except (SnapshotError, LostProcess) as error:
        checks.stop = str(error)
        return [*failures, (writing[0], OSError(str(error)))]
    if processes.index() and first.told:
        return [(writing[0], OSError(f"process 0: {first.told}"))]
    for result in writing if processes.index() else ():
        result.written = True
    return failures


def _meet(
    checks: TestChecks, step: str, state: Mapping[str, str], told: str = ""
) -> tuple[_Word, ...]:
    __tracebackhide__ = True
    at = f"{checks.test_file.name}::{checks.identity.label}"[:500]
    words = tuple(map(_parse, processes.exchange(_message(_Word(at, step, state, told)))))
    for number, word in enumerate(words):
        if (word.at, word.step) == (words[processes.index()].at, step):
            continue
        if word.at == words[processes.index()].at:
            ended = f" ({word.told})" if word.told else ""
            checks.apart = f"process {number} of {len(words)} is at {word.step}{ended}"
            checks.apart += f", this one at {step} of the test. All must make the same checks"
        else:
            checks.apart = checks.stop = (
                f"process {number} of {len(words)} is at {word.step} of {word.at or 'no test'}"
                f"{f' ({word.told})' if word.told else ''}, this one at {step} of {at}. All "
                "processes must run the same tests in the same order: start them with the same "
                "arguments, without -n and without a random order"
            )
        raise SnapshotError(checks.apart)
    return words


def _message(word: _Word) -> str:
    """The word as JSON, what it tells cut so that no process gets half of it."""
    told = word.told[: processes.LONGEST]
    while True:
        row = {"at": word.at, "step": word.step, "state": dict(word.state), "told": told}
        text = json.dumps(row)
        if len(text) <= processes.LONGEST or not told:
            return text
        told = told[: len(told) // 2]


def _parse(text: str) -> _Word:
    try:
        row: dict[str, Any] = json.loads(text)
        return _Word(row["at"], row["step"], row["state"], row["told"])
    except (ValueError, KeyError, TypeError):
        return _Word("", "another step", {})


def _hash(value: object) -> str:
    data = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.sha256(data).hexdigest()[:16]
