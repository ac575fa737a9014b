"""A test's identity -> the golden's path. Two checks never share a file.

A name is readable where the identity is plain. Where it is not (letters whose case a file
system may fold, characters that it may refuse, great length) the readable part is cut down
and a hash of the exact identity follows, so that no two identities meet in one name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pytest_nnxrng.run.settings import FOLDER

MAX_CHECK_NAME = 80
_MAX_STEM = 120
_PLAIN = re.compile(r"[a-z0-9_.,=+-]*\Z")
_PLAIN_CHECK = re.compile(r"[a-z0-9_-]+\Z")


class BadName(ValueError):
    """A check's name that cannot be part of a file's name."""


@dataclass(frozen=True)
class Identity:
    """A test, apart from its file: ``parameters`` is the text in the id's brackets or None."""

    cls: str
    function: str
    parameters: str | None = None


def check_name(name: object) -> str:
    """Return ``name`` if a check may have it.

    Raises:
      BadName: for an empty or over-long name, path separators, ``..``, or digits alone
        (those are the names of unnamed checks).
    """
    problem = None
    if not isinstance(name, str):
        problem = f"is a {type(name).__name__}, not text"
    elif not name.strip():
        problem = "is empty"
    elif len(name) > MAX_CHECK_NAME:
        problem = f"has {len(name)} characters; {MAX_CHECK_NAME} are the most"
    elif "/" in name or "\\" in name:
        problem = "has a path separator"
    elif ".." in name or name == ".":
        problem = "has '..'"
    elif not name.isprintable():
        problem = "has a character that cannot be printed"
    elif name.isdigit():
        problem = "is a number, as the names of unnamed checks are"
    if problem or not isinstance(name, str):
        shown = f"{name[:40]!r}..." if isinstance(name, str) and len(name) > 40 else repr(name)
        raise BadName(
            f"the check's name {shown} {problem}. Give it a short plain name: "
            'nnx_snapshot.check(value, "output")'
        )
    return name


def folder(test_file: Path, name: str = FOLDER) -> Path:
    """The folder of a test file's goldens: beside it, named after it."""
    own = test_file.stem if test_file.suffix == ".py" else test_file.name
    return test_file.parent / name / own


def elsewhere(test_file: Path, rootdir: Path, root: Path) -> Path:
    """Where a test file would stand if ``root`` were the rootdir."""
    inside = Path(os.path.relpath(test_file, rootdir)).parts
    return root.joinpath(*("_" if part == os.pardir else part for part in inside))


def test_files(golden_folder: Path) -> tuple[Path, Path]:
    """The files one of which has its goldens in ``golden_folder``: ``folder`` inverted."""
    beside = golden_folder.parent.parent
    return beside / f"{golden_folder.name}.py", beside / golden_folder.name


def stem(identity: Identity, check: str) -> str:
    """The golden's file name without ``.json``: ``test_mlp[adam].output``."""
    parameters = identity.parameters
    head = f"{identity.cls}.{identity.function}" if identity.cls else identity.function
    tail = "" if parameters is None else f"[{parameters}]"
    readable = f"{head}{tail}.{check}"
    plain = (
        _PLAIN.match(head)
        and "." not in identity.function  # or it could be a class and its function
        and _PLAIN.match(parameters or "")
        and _PLAIN_CHECK.match(check)
        and len(readable) <= _MAX_STEM
    )
    if plain:
        return readable
    exact = json.dumps([identity.cls, identity.function, parameters, check])
    short = hashlib.sha256(exact.encode()).hexdigest()[:8]
    return f"{_tame(head, 50) or '-'}{_tame(tail, 30)}~{short}.{_tame(check, 20) or '-'}"


def _tame(text: str, length: int) -> str:
    return re.sub(r"[^A-Za-z0-9_.,=+\[\]-]+", "-", text)[:length].rstrip(".")


def paths(directory: Path, stem: str, platform: str) -> tuple[Path, Path]:
    """The shared golden, and the one of ``platform``, which wins there."""
    return directory / f"{stem}.json", directory / f"{stem}@{platform}.json"
