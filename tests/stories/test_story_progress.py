"""Progress on a real terminal: seen under every kind of capturing, and only there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from projects import Project

pytest.importorskip("pty", reason="no pseudo-terminals on this system")

CONFTEST = """
import threading
from pytest_nnxrng.run import progress

told, line = threading.Event(), progress.line
progress.AFTER = 0.0
progress.line = lambda *args: told.set() or line(*args)
"""
TEST = """
import jax.numpy as jnp
from conftest import told
from flax import nnx

class Slow(nnx.Module):
    built = 0

    def __init__(self, rngs):
        Slow.built += 1
        if Slow.built > 1:  # an update builds again
            told.wait(WAIT)
        self.w = nnx.Param(jnp.ones(3))

def test_slow(rngs, nnx_snapshot):
    nnx_snapshot.check_init(Slow, rngs=rngs)
"""


def on_a_terminal(project: Project, *args: str) -> str:
    """What a run in a pseudo-terminal shows."""
    ours, theirs = os.openpty()
    environ = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--nnx-update-snapshots", *args],
        cwd=project.path,
        env={**environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass  # how Linux says that the other end is closed
    finally:
        os.close(ours)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_a_long_step_is_told(project: Project, capture: str):
    project.write({"tests/conftest.py": CONFTEST}).test(TEST.replace("WAIT", "60"))
    shown = on_a_terminal(project, f"--capture={capture}")
    below = shown.index("nnx_snapshot: building Slow again (")
    assert shown.index("test_model.py") < below < shown.index("1 passed")
    # Erased: the last thing that is done to the line below.
    assert "nnx_snapshot" not in shown[shown.rindex("\x1b[B\r\x1b[K") :]


def test_workers_tell_nothing(project: Project):
    project.write({"tests/conftest.py": CONFTEST}).test(TEST.replace("WAIT", "0"))
    shown = on_a_terminal(project, "-n", "2")
    assert "1 passed" in shown
    assert "nnx_snapshot:" not in shown
