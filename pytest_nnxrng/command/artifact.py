"""A report's folder, or the zip of a CI artifact, opened. Trusts nothing that lies in it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_nnxrng.command.terminal import Trouble
from pytest_nnxrng.report.findings import Finding, findings
from pytest_nnxrng.report.machine import FORMAT, OBTAINED, REPORT
from pytest_nnxrng.run.outcomes import Check

DEFAULT = "nnx-report"
_LARGEST = 16 << 30  # bytes that a zip may hold: more is no report, but a bomb
_OBTAINED = ("path", "digest", "target")
_CAUSE = ("word", "text", "finding")
_LISTS = {"causes": dict, "differences": dict, "modules": dict, "notes": str, "keymap": str}


@dataclass(frozen=True)
class Artifact:
    """A report: what it is called here, the folder that it lies in, and what it says."""

    name: str
    folder: Path
    document: Mapping[str, Any]
    checks: tuple[Check, ...]

    @property
    def findings(self) -> list[Finding]:
        return findings(self.checks)

    @property
    def run(self) -> Mapping[str, Any]:
        """The versions that the run ran on."""
        found = self.document.get("run")
        rows = found.items() if isinstance(found, dict) else ()
        return {name: value for name, value in rows if isinstance(value, str)}


@contextlib.contextmanager
def opened(names: Sequence[str]) -> Iterator[list[Artifact]]:
    """The reports called ``names``; zips are unpacked to a folder that is thrown away.

    Raises:
      Trouble: when one is not a whole report, or holds what no report holds.
    """
    with contextlib.ExitStack() as stack:
        yield [_open(name, stack) for name in names or [DEFAULT]]


def _open(name: str, stack: contextlib.ExitStack) -> Artifact:
    path = Path(name)
    if path.is_dir():
        return read(name, path)
    if not path.exists():
        raise Trouble(f"there is no report {name}. Make one: pytest --nnx-report={DEFAULT}")
    if not zipfile.is_zipfile(path):
        raise Trouble(f"{name} is neither a report's folder nor a zip")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nnxrng-")))
    return read(name, _unpacked(name, path, folder))


# -- reading -----------------------------------------------------------------------------------


def read(name: str, folder: Path) -> Artifact:
    """The report in ``folder``, called ``name`` in messages."""
    path = folder / REPORT
    if not path.is_file() or path.is_symlink():
        raise Trouble(f"{name} holds no {REPORT}: it is not a folder of pytest --nnx-report")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:80]
        raise Trouble(f"{path} is not whole ({told}). {_AGAIN}") from None
    if document == {}:
        raise Trouble(f"{path} is empty: its run was killed, or has not ended. {_AGAIN}")
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise Trouble(f'{path} has no "format": it is not a report of pytest-nnxrng')
    if document["format"] > FORMAT:
        raise Trouble(
            f"{path} has format {document['format']}; this pytest-nnxrng reads formats up to "
            f"{FORMAT}. Upgrade it: pip install -U pytest-nnxrng"
        )
    rows = document.get("checks")
    if not isinstance(rows, list):
        raise Trouble(f'{path} has been edited or damaged: "checks" is no list')
    return Artifact(name, folder, document, tuple(_check(path, row) for row in rows))


_AGAIN = "Run pytest --nnx-report again"


def _check(path: Path, row: Any) -> Check:
    """A row of "checks"; keys that a later version added are left out."""
    try:
        return _parsed(row)
    except (ValueError, TypeError, KeyError) as error:
        raise Trouble(f"{path} has been edited or damaged: a check's {error}") from None


def _parsed(row: Any) -> Check:
    if not isinstance(row, dict):
        raise ValueError("row is no object")
    for key in ("test", "golden", "status"):
        _text(row, key)
    known = {f.name: _like(row[f.name], f) for f in fields(Check) if f.name in row}
    for key, kind in _LISTS.items():
        value = known.setdefault(key, [])
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise ValueError(f'"{key}" is no list')
    for cause in known["causes"]:
        for key in _CAUSE:
            _text(cause, key)
        for key in ("evidence", "place"):
            if not isinstance(cause.setdefault(key, ""), str):
                raise ValueError(f'cause has a "{key}" that is no text')
        leaves = cause.get("leaves")
        if not isinstance(leaves, list) or not all(isinstance(leaf, str) for leaf in leaves):
            raise ValueError('cause has no "leaves"')
    if known.get("obtained") is not None:
        for key in _OBTAINED:
            _text(known["obtained"], key)
        if known["obtained"].get("against") is not None:
            _text(known["obtained"], "against")
        safe(known["obtained"]["path"])
        safe(known["obtained"]["target"])
    known["failed"] = known.get("failed") is True
    return Check.from_json(known)


def _like(value: Any, field: Field[Any]) -> Any:
    """The value, if it is of the kind that the field's default is; infinity is a text in JSON."""
    kind = type(field.default)
    if kind is float and isinstance(value, int | float | str):
        return float(value)
    if kind in (bool, int, str) and type(value) is not kind:
        raise ValueError(f'"{field.name}" is not as it is written')
    return value


def _text(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise ValueError(f'"{key}" is missing or not text')
    return value


def safe(text: str) -> PurePosixPath:
    """A path within a folder, as a report or a zip names it.

    Raises:
      Trouble: for one that could lead out of the folder on any system.
    """
    path = PurePosixPath(text)
    bad = path.is_absolute() or ".." in path.parts or not path.parts
    if bad or "\\" in text or "\0" in text or re.match("[A-Za-z]:", text):
        raise Trouble(f"the report names {text[:200]!r}, which leaves the tree. Do not use it")
    return path


def within(folder: Path, name: str) -> Path:
    """The file ``name`` in ``folder``, none of whose parts may be a link."""
    path = folder
    for part in safe(name).parts:
        path /= part
        if path.is_symlink():
            raise Trouble(f"{path} is a link, and no report holds links. Do not use it")
    return path


# -- zips --------------------------------------------------------------------------------------


def _unpacked(name: str, path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpack(name, archive, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Trouble(f"{name} is not a whole zip ({error}). Download it again") from None


def _unpack(name: str, archive: zipfile.ZipFile, folder: Path) -> Path:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in entries:
        safe(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind and kind != stat.S_IFREG:
            raise Trouble(f"{name}: {entry.filename} is a link or device. Do not use it")
    names = [entry.filename for entry in entries]
    if len(set(map(str.casefold, names))) != len(names):
        raise Trouble(f"{name} holds a file twice. Do not use it")
    top = _top(name, names)
    wanted = [e for e in entries if e.filename.startswith((f"{top}{REPORT}", f"{top}{OBTAINED}/"))]
    left = _LARGEST
    for entry in wanted:
        left -= entry.file_size
        if left < 0:
            raise Trouble(f"{name} holds more than {_LARGEST >> 30} GiB: it is no report")
        there = folder / entry.filename
        there.parent.mkdir(parents=True, exist_ok=True)
        # zipfile gives no more than file_size bytes, and checks their sum.
        with archive.open(entry) as source, there.open("wb") as target:
            shutil.copyfileobj(source, target)
    return folder / top


def _top(name: str, names: Sequence[str]) -> str:
    """The folder in a zip that holds the report: ``""``, or one with a slash at its end."""
    found = [n for n in names if n == REPORT or n.endswith(f"/{REPORT}")]
    if len(found) != 1:
        what = "no" if not found else "more than one"
        raise Trouble(f"{name} holds {what} {REPORT}: it is not the zip of one report")
    return found[0].removesuffix(REPORT)
