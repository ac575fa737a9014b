"""A manifest's text -> JSON, or a ``GoldenError`` that names the file and the way out.

The error is here, too, since reading any file of a golden may raise it. Needs neither numpy nor
JAX, so that a command that only shows a golden starts at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from pytest_nnxrng.golden.inventory import regular

FORMAT = 1
_LARGEST = 256 << 20  # bytes of a manifest
_LONGEST = 400  # characters of what is wrong
UPDATE = "pytest --nnx-update-snapshots"


class GoldenError(Exception):
    """A golden that cannot be used: which file, what is wrong with it, and the way out.

    ``replaceable`` tells whether ``--nnx-update-snapshots`` may write over it: never over a
    file that holds, or stands for, something that this run cannot see.
    """

    def __init__(self, path: Path, problem: str, remedy: str, *, replaceable: bool) -> None:
        problem = shown(problem)
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path: Path = path
        self.problem: str = problem
        self.remedy: str = remedy
        self.replaceable = replaceable


def broken(path: Path, problem: str) -> GoldenError:
    return GoldenError(
        path,
        problem,
        f"Restore it from version control, or write it anew with {UPDATE}",
        replaceable=True,
    )


def unreadable(path: Path, error: OSError) -> GoldenError:
    problem = f"cannot be read ({error.strerror or error})"
    return GoldenError(path, problem, "Make it readable", replaceable=False)


def pointer(path: Path) -> GoldenError:
    return GoldenError(
        path,
        "is a Git LFS pointer, not the file itself",
        "Fetch it: git lfs pull",
        replaceable=False,
    )


def shown(text: str) -> str:
    """As it may be printed: what a golden holds may be long, or move a terminal's cursor."""
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def load(path: Path) -> dict[str, Any]:
    """The JSON object in the manifest at ``path``; of its content the format alone is checked.

    Raises:
      FileNotFoundError: when there is no golden.
      GoldenError: when it is not a manifest that can be read.
    """
    return _load_json(path, _read_text(path))


def fingerprint(path: Path) -> str | None:
    """The sha256 of the manifest at ``path``, however its lines end; None if there is none."""
    try:
        if regular(path) > _LARGEST:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def _read_text(path: Path) -> str:
    try:
        size = regular(path)
        if size > _LARGEST:
            raise broken(path, f"has {size:,} bytes, which no manifest has")
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    if not data.strip():
        raise broken(path, "is empty")
    if data.startswith(b"version https://git-lfs"):
        raise pointer(path)
    marked = b"<<<<<<< " in data or b">>>>>>> " in data
    if marked and re.search(rb"^(<{7}|>{7}) ", data, re.MULTILINE):
        raise GoldenError(
            path,
            "holds the conflict markers of an unfinished merge",
            f"Take one side (git checkout --ours or --theirs), or write it anew with {UPDATE}",
            replaceable=True,
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(path, "is not UTF-8 text") from error


def _load_json(path: Path, text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("one name stands twice")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        data: Any = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
        if "\\ud" in text.lower():  # half a surrogate pair could not be printed, nor sent
            json.dumps(data, ensure_ascii=False).encode()
        if isinstance(data, dict) and too_large([v for k, v in data.items() if k != "leaves"]):
            raise ValueError("it holds too large a number")
    except (ValueError, RecursionError) as error:
        raise broken(path, f"is not a whole JSON file ({short(error)})") from error
    if not isinstance(data, dict) or type(data.get("format")) is not int or data["format"] < 1:
        raise broken(path, 'has no "format": it is not a golden of pytest-nnxrng')
    if data["format"] > FORMAT:
        raise GoldenError(
            path,
            f"has format {data['format']}; this pytest-nnxrng reads formats up to {FORMAT}",
            "Upgrade it: pip install -U pytest-nnxrng",
            replaceable=False,
        )
    return data


def too_large(value: Any) -> bool:
    """Whether a number in it is written in JSON, and yet is none: 1e999.

    Of thousands of leaves this is asked where their numbers are read: a hook for each is dear.
    """
    if isinstance(value, float):
        return math.isinf(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(too_large, parts))
