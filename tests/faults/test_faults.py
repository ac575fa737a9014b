"""Killed, full, forbidden, interrupted or without power at any operation: old or new, no litter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
MANY = ("update", "move", "accept")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and asks /proc for names")
@pytest.mark.parametrize(
    ("kind", "scenarios"),
    [
        ("kill", tuple(SCENARIOS)),
        ("power", tuple(SCENARIOS)),
        ("disk full", MANY),
        ("no permission", ("update", "prune")),
        ("one error", ("update",)),
        ("interrupt", ("move",)),
        ("two interrupts", MANY),
        ("size", ("update",)),
    ],
)
def test_every_golden_is_wholly_old_or_wholly_new(kind: str, scenarios: tuple[str, ...]):
    command = [sys.executable, "-m", "tests.faults.attack", kind, *scenarios]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = [f"{name}, {kind}: " for name in scenarios]
    lines = done.stdout.split("\n")
    attacked = {line.rpartition(": ")[0] + ": " for line in lines if line.endswith("attacked")}
    assert attacked == set(expected)
    assert not any(" 0 operations" in line for line in lines), done.stdout
    lost = [line for line in lines if line and not line.endswith("operations attacked")]
    assert not lost, "\n".join([*lost, done.stderr])
