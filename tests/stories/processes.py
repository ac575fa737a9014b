"""A project whose tests run in several processes at once, as on several hosts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

CONFTEST = """
import inspect
import os

import jax

if "PROCESS" in os.environ:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    known = inspect.signature(jax.distributed.initialize).parameters
    soon = {
        "heartbeat_timeout_seconds": 10,
        "shutdown_timeout_seconds": 10,
        "initialization_timeout": int(os.environ.get("MEET", "300")),
    }
    jax.distributed.initialize(
        os.environ["COORDINATOR"],
        int(os.environ["PROCESSES"]),
        int(os.environ["PROCESS"]),
        **{name: seconds for name, seconds in soon.items() if name in known},
    )
"""

SECONDS = 200  # an older JAX gives up a dead process after 100


@dataclass(frozen=True)
class Ended:
    """What one process came to: its exit code and all its output."""

    ret: int
    text: str

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    @property
    def outcomes(self) -> dict[str, int]:
        found = re.findall(r"(\d+) (passed|failed|error|skipped)", self.text.rpartition("=====")[0])
        return {kind: int(number) for number, kind in found}

    def says(self, phrase: str) -> Ended:
        assert " ".join(phrase.split()) in self.words, f"no {phrase!r} in\n{self.text}"
        return self


def start(
    path: Path,
    *args: str,
    count: int = 2,
    more: Mapping[int, list[str]] = MappingProxyType({}),
    **variables: str,
) -> list[subprocess.Popen[bytes]]:
    """Start pytest in so many processes, each of which prints into ``output<its number>``."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    started = []
    for number in range(count):
        environment = {
            **os.environ,
            **variables,
            "COORDINATOR": coordinator,
            "PROCESSES": str(count),
            "PROCESS": str(number),
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        environment.pop("JAX_NUM_CPU_DEVICES", None)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short"]
        command += [*args, *more.get(number, [])]
        with (path / f"output{number}").open("w") as stream:
            started.append(
                subprocess.Popen(
                    command, cwd=path, env=environment, stdout=stream, stderr=subprocess.STDOUT
                )
            )
    return started


def run(
    path: Path, *args: str, count: int = 2, more: Mapping[int, list[str]] = MappingProxyType({})
) -> list[Ended]:
    """Run pytest in so many processes at once; ``more`` are arguments of single ones.

    A process that hangs fails the test.
    """
    started = start(path, *args, count=count, more=more)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and any(process.poll() is None for process in started):
        time.sleep(0.05)
    hung = [number for number, process in enumerate(started) if process.poll() is None]
    for process in started:
        process.kill()
        process.wait()
    outputs = [path / f"output{number}" for number in range(count)]
    texts = [output.read_text(encoding="utf-8", errors="replace") for output in outputs]
    assert not hung, f"processes {hung} hang\n" + "\n\n".join(texts)
    return [Ended(p.returncode, text) for p, text in zip(started, texts, strict=True)]
