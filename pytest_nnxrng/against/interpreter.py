"""What ``--nnx-against-python=PATH`` names -> an interpreter that can run the tests, or why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_nnxrng.run.settings import BadSetting

OPTION = "--nnx-against-python"
# What this plugin needs there, as its own metadata says.
NEEDED = {"flax": "0.11", "jax": "0.6", "pytest": "8", "safetensors": "0.8", "xxhash": "3.4"}
_OLDEST = (3, 11)
_SECONDS = 60.0

_PROBE = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
points = metadata.entry_points(group="pytest11")
print(json.dumps([list(sys.version_info[:3]), found, sorted(p.name for p in points)]))
"""


class Interpreter(NamedTuple):
    """A Python with the versions of what decides numbers, and the plugins that pytest loads."""

    path: str
    version: tuple[int, ...]
    packages: Mapping[str, str]
    plugins: tuple[str, ...]

    @property
    def label(self) -> str:
        """``jax 0.6.0, flax 0.11.0 (Python 3.11.9)``."""
        version = ".".join(map(str, self.version))
        return f"jax {self.packages['jax']}, flax {self.packages['flax']} (Python {version})"


def resolve(name: str, here: Path) -> Interpreter:
    """The interpreter at ``name``, a program or the folder of a virtual environment.

    Raises:
      BadSetting: when it is none, or lacks what the tests need.
    """
    path = here / Path(name).expanduser()
    if path.is_dir() and (path / "bin" / "python").exists():
        path = path / "bin" / "python"
    if not name.strip() or not path.is_file():
        raise BadSetting(
            f"{OPTION}: {name!r} is not there. Name the Python of another environment: "
            f"{OPTION}=/path/to/venv/bin/python"
        )
    return suitable(_asked(path))


def _asked(path: Path) -> Interpreter:
    names = (*NEEDED, "pytest-xdist")
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [str(path), "-c", _PROBE, *names],
            env=kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        version, packages, plugins = json.loads(done.stdout.splitlines()[-1])
        return Interpreter(str(path), tuple(version), packages, tuple(plugins))
    except (OSError, ValueError, IndexError, TypeError, subprocess.TimeoutExpired):
        raise BadSetting(f"{OPTION}: {path} is no Python interpreter that runs") from None


def suitable(found: Interpreter) -> Interpreter:
    """The same, if the plugin can run there.

    Raises:
      BadSetting: naming what is missing or too old, and the command that installs it.
    """
    if found.version[:2] < _OLDEST:
        version = ".".join(map(str, found.version))
        raise BadSetting(
            f"{OPTION}: {found.path} is Python {version}; 3.11 is the oldest that runs"
        )
    lacking = [
        f"{name} {found.packages[name]}" if name in found.packages else f"no {name}"
        for name, least in NEEDED.items()
        if name not in found.packages or _numbers(found.packages[name]) < _numbers(least)
    ]
    if lacking:
        wanted = " ".join(f"'{name}>={least}'" for name, least in NEEDED.items())
        raise BadSetting(
            f"{OPTION}: {found.path} has {', '.join(lacking)}, where this plugin needs another. "
            f"To install it: {found.path} -m pip install {wanted}"
        )
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
