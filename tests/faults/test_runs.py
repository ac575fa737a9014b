"""A whole run with two workers that is killed as a whole, at a sample of its operations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.dear("test_faults attacks each operation of a change alone, killed runs are a story")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and asks /proc for names")
def test_all_processes_of_a_run_are_killed_and_the_next_one_goes_on():
    command = [sys.executable, "-m", "tests.faults.runs", "--kinds=all", "--every=19", "--races=0"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", all: 0 operations" not in done.stdout
    assert "all: " in done.stdout
