"""The command line of this run -> that of the same run on other code, or other Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_nnxrng.run.settings import BadSetting

# Options of this run alone, with a value behind "=" or in the next word: reports, and ours.
_VALUED = (
    *("--nnx-against", "--nnx-against-python", "--nnx-report", "--junitxml", "--junit-xml"),
    *("--basetemp", "--rootdir", "-c", "--config-file", "--html", "--css", "--report-log"),
    *("--log-file", "--alluredir", "--json-report-file", "--cov-report", "--cov-config"),
    *("--maxfail", "--pastebin", "--pdbcls", "--confcutdir"),
)
_FLAGS = (
    *("--pdb", "--trace", "-x", "--exitfirst", "--json-report", "--self-contained-html"),
    *("--no-cov", "--cov-append", "--cov-branch", "--no-cov-on-fail", "--full-trace"),
)
_PREFIXES = ("--cov=", "--cov-fail-under", "--junit-prefix", "--profile")
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


def repeated(words: Sequence[str]) -> list[str]:
    """The words that say which tests run, and how; without reports, debuggers and our options."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*kept, word, *rest]
        if word in _VALUED:
            next(rest, None)
        elif word not in _FLAGS and not _is_ours_alone(word):
            kept.append(word)
    return kept


def _is_ours_alone(word: str) -> bool:
    if word == "--cov" or word.startswith(_PREFIXES):
        return True
    name, equals, _ = word.partition("=")
    return bool(equals) and name in _VALUED


def alone(words: Sequence[str]) -> list[str]:
    """The words without those of pytest-xdist, which is not everywhere."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-n", "--numprocesses", "--dist", "--maxprocesses"):
            next(rest, None)
        elif not re.match(r"(-n\w+|--(numprocesses|dist|maxprocesses)=.*)\Z", word):
            kept.append(word)
    return kept


def moved(words: Iterable[str], checkout: str, tree: str) -> list[str]:
    """The words with paths of the checkout as they are in the tree."""
    found = []
    for word in words:
        option, equals, value = word.partition("=")
        head, path = (f"{option}=", value) if equals and option.startswith("-") else ("", word)
        if path == checkout or path.startswith((f"{checkout}/", f"{checkout}::")):
            path = tree + path[len(checkout) :]
        found.append(head + path)
    return found


class Place(NamedTuple):
    """Where a run takes place: its rootdir, ini file and current folder."""

    root: str
    ini: str
    here: str


def command(
    python: str, words: Sequence[str], place: Place, temporary: str, plugins: Sequence[str] = ()
) -> list[str]:
    """The command of the run: the user's words, without what would end or disturb it.

    ``-P`` keeps the current folder from being imported from, as the command ``pytest`` does;
    where the user's run has it among its paths, the job says so.
    """
    # Without the plugin that has it, a strict pytest does not know the key.
    cache = ("-o", f"cache_dir={temporary}/cache")
    ours = [
        *("-c", place.ini, f"--rootdir={place.root}", f"--basetemp={temporary}/basetemp"),
        *("-o", "addopts=", *(cache if "no:cacheprovider" not in words else ())),
        *("--maxfail=0", "--continue-on-collection-errors", "--color=no", "-q", "--tb=line"),
    ]
    named = [word for plugin in plugins for word in ("-p", plugin)]
    at = words.index("--") if "--" in words else len(words)
    return [python, "-P", "-m", "pytest", *named, *words[:at], *ours, *words[at:]]


def relocated(path: str, checkout: str, tree: str) -> str:
    """A path of the checkout as it is in the tree; others as they are."""
    real, top = os.path.realpath(path), os.path.realpath(checkout)
    if real == top or real.startswith(top + os.sep):
        return tree + real[len(top) :]
    return path


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


def interpreter(name: str, here: Path) -> Interpreter:
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
