"""What a page is made of: a run's checks, where its goldens lie, what the run is called."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_nnxrng.run.outcomes import Check, Totals, totals

# What became of a check, in the order in which a reader wants to see it, and in words.
STATUSES = {
    "different": "moved",
    "missing": "missing",
    "unreadable": "unreadable",
    "locked": "locked",
    "written": "written",
    "rounded": "matches by rounding",
    "matched": "matches",
}


@dataclass(frozen=True)
class Run:
    """A run, as its report holds it.

    ``name`` is what a command line calls the report's ``folder``, ``root`` what the goldens'
    paths are relative to, ``against`` names other code that took the goldens' place.
    """

    name: str
    folder: Path
    root: Path
    checks: tuple[Check, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    against: str = ""

    @property
    def totals(self) -> Totals:
        return totals(self.checks)

    def accepting(self, ids: Iterable[str]) -> str:
        """The command that accepts these changes."""
        return shlex.join(["nnxrng", "accept", self.name, "--cause", ",".join(ids)])


def status(check: Check) -> str:
    """What became of a check: a key of ``STATUSES``."""
    return "written" if check.written else check.status


def title(check: Check) -> str:
    """The test without its file: ``TestNet::test_mlp[8]``."""
    return check.test.partition("::")[2] or check.test


def file(check: Check) -> str:
    return check.test.partition("::")[0]


def name(check: Check) -> str:
    """What the check is called in its test: ``output``, or its number."""
    own = check.golden.rpartition("/")[2].removesuffix(".json").rpartition(".")[2]
    return f"check {own}" if own.isdecimal() else own


def plural(count: int, noun: str) -> str:
    """``1 golden``, ``2 goldens``, ``3 leaves``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun.removesuffix('f') + 'ves' if noun.endswith('leaf') else noun + 's'}"
