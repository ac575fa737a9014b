"""What the run on other code leaves beside its goldens: which tests failed, what was imported."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_nnxrng.against.imports import Found

_TESTS = "tests.json"


@dataclass
class Ledger:
    """``ran`` are the tests' node ids, ``failed`` and ``uncollected`` say why in one line."""

    ran: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    uncollected: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def why(self, nodeid: str) -> str:
        """Why a test made no golden there; "" if it ran to its end."""
        if nodeid in self.failed:
            return self.failed[nodeid]
        file = nodeid.partition("::")[0]
        for name, told in self.uncollected.items():
            if file == name or file.startswith(f"{name.rstrip('/')}/") or name in ("", "."):
                return told
        return ""

    def first_troubles(self, most: int = 3) -> list[str]:
        """Lines on the first tests that could not run."""
        rows = [*self.uncollected.items(), *self.failed.items()]
        return [f"{name or 'a file'}: {told}" for name, told in rows[:most]]


def write_tests(temporary: Path, ledger: Ledger) -> None:
    rows = {"ran": ledger.ran, "failed": ledger.failed, "uncollected": ledger.uncollected}
    _write(temporary / _TESTS, rows)


def write_imports(temporary: Path, found: Found) -> None:
    """Each process of the run, such as a worker of pytest-xdist, writes a file of its own."""
    _write(temporary / f"imports-{os.getpid()}.json", found._asdict())


def _write(path: Path, row: Mapping[str, object]) -> None:
    path.write_text(json.dumps(row), encoding="utf-8")


def read(temporary: Path) -> Ledger | None:
    """What the run wrote; None if it did not come to its end."""
    try:
        made = Ledger(**json.loads((temporary / _TESTS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    for path in sorted(temporary.glob("imports-*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        made.foreign |= row["foreign"]
        made.code |= row["code"]
        made.copies |= row["copies"]
    return made
