"""What must stand in the environment before JAX starts: settings in, variables out.

JAX reads these when it is imported or when its backend starts, once in a process. Nothing
here imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CPU_DEVICES = "JAX_NUM_CPU_DEVICES"


@dataclass(frozen=True)
class Wish:
    """What was asked for that a running JAX can no longer be given."""

    cpu_devices: int | None = None


def plan(wish: Wish, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set, by name; what is not named stays as ``environ`` has it."""
    found: dict[str, str] = {}
    if wish.cpu_devices is not None:
        found[CPU_DEVICES] = str(wish.cpu_devices)
    return {name: value for name, value in found.items() if environ.get(name) != value}
