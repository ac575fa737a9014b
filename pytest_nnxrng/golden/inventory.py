"""The goldens on disk: whose they are, which no check asked for, what git ignores."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_nnxrng.golden.locks import folder_to_disk, locked
from pytest_nnxrng.golden.naming import platform_of, shared, test_files
from pytest_nnxrng.golden.policy import Collected, File, Use, use
from pytest_nnxrng.run.outcomes import Outcomes

_OWNER = '"owner": '
VALUES = re.compile(r"(.*)\.[0-9a-f]{8}\.safetensors", re.DOTALL)  # a golden's
TEMPORARY = ".nnx-tmp"  # how the name of a file ends that a golden is made in
REPORT_MARK = ".nnxrng-report"  # lies in a report's folder of what a run obtained: no goldens
_TEMPORARY = re.compile(r"\.(.*)\.[0-9]{1,9}-[^.]*\.nnx-tmp", re.DOTALL)
_TWIN = re.compile(r"([^@]*)@[^@]*\.json", re.DOTALL)
_HEAD = 16_384  # bytes; the owner stands first in a manifest
_SECONDS = 10.0


@dataclass(frozen=True)
class Owner:
    """Whose golden it is: a check of a test. ``parameters`` is the text in the id's brackets."""

    cls: str
    function: str
    parameters: str | None
    check: str
    kind: str  # "value" (check) or "init" (check_init)


def parse_owner(row: object) -> Owner:
    """Read the manifest's ``owner``.

    Raises:
      ValueError: naming the field that is missing or of another type.
    """
    if not isinstance(row, dict):
        raise ValueError('"owner" is not an object')
    for name in ("class", "function", "check", "kind"):
        if not isinstance(row.get(name), str):
            raise ValueError(f'"owner.{name}" is missing or not text')
    parameters = row.get("parameters")
    if parameters is not None and not isinstance(parameters, str):
        raise ValueError('"owner.parameters" is not text')
    return Owner(row["class"], row["function"], parameters, row["check"], row["kind"])


def regular(path: Path) -> int:
    """The size of the file at ``path``, which is looked at before it is opened.

    Raises:
      OSError: when it is none: a folder, or a device or pipe that would be read without end.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        told = os.strerror(kind) if kind == errno.EISDIR else "it is no regular file"
        raise OSError(kind, told, os.fspath(path))
    return found.st_size


def read_owner(path: Path) -> Owner | None:
    """Who owns the golden at ``path``, or None when that cannot be told.

    Only the head of the manifest is read: a folder may hold thousands.
    """
    try:
        regular(path)
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "ignore")
        found, _ = json.JSONDecoder().raw_decode(head, head.index(_OWNER) + len(_OWNER))
        return parse_owner(found)
    except (OSError, ValueError, RecursionError):
        return None


def folders(beside: Iterable[Path], name: str) -> Iterator[Path]:
    """The folders of goldens that belong to test files in the directories ``beside``."""
    for directory in beside:
        with contextlib.suppress(OSError):
            yield from sorted(entry for entry in (directory / name).iterdir() if entry.is_dir())


def directories_below(roots: Iterable[Path], name: str, limit: int | None = None) -> Iterator[Path]:
    """Every directory at or below ``roots`` that has a folder called ``name``.

    Of those below one root ``limit`` are looked into at most.
    """
    for root in roots:
        for directory, below, files in itertools.islice(os.walk(root), limit):
            if REPORT_MARK in files:
                below.clear()
            if name in below:
                yield Path(directory)
            below[:] = sorted(d for d in below if not d.startswith(".") and d != name)


def manifests(folder: Path) -> list[Path]:
    """The goldens in a folder, sorted."""
    try:
        found = sorted(e.path for e in os.scandir(folder) if e.name.endswith(".json"))
    except OSError:
        return []
    return [Path(path) for path in found]


@dataclass(frozen=True)
class Survey:
    """The goldens that no check asked for, and the existing files that collected nothing."""

    unused: tuple[Path, ...] = ()
    gone: tuple[Path, ...] = ()
    silent: tuple[Path, ...] = ()


def survey(outcomes: Outcomes, rootdir: Path, golden_folders: Iterable[Path]) -> Survey:
    """Sort the goldens in ``golden_folders`` by what this run knows of them."""
    real = functools.lru_cache(maxsize=None)(os.path.realpath)
    every = outcomes.all()
    asked = {check.golden for check in every}
    asked |= {check.elsewhere for check in every if check.elsewhere and not check.moved}
    used = {_twins(rootdir / golden, real) for golden in asked}
    taken = {_twins(rootdir / check.elsewhere, real) for check in every if check.elsewhere}
    passed: dict[str, set[tuple[str, str, str | None]]] = {}
    for where, cls, function, parameters in outcomes.passed:
        passed.setdefault(where, set()).add((cls, function, parameters))
    found: dict[Use, list[Path]] = {kind: [] for kind in Use}
    silent: list[Path] = []
    for folder in golden_folders:
        if through_a_link(folder, rootdir):
            continue  # whoever else reaches it, it is not this run's to judge
        left = [path for path in manifests(folder) if _twins(path, real) not in used]
        if not left:
            continue
        existing = [file for file in test_files(folder) if file.is_file()]
        test_file = relative(existing[0], rootdir) if existing else ""
        collected = outcomes.collected.get(test_file)
        if existing and collected is None:
            silent.append(existing[0])
            continue
        whole = collected is None or collected[0]
        heads = {head for cls, head, _ in passed.get(test_file, ())}
        file = _file(existing, collected)
        for path in left:
            if path.is_symlink():
                continue
            # Of a file that ran in part, only the goldens of what ran are worth opening.
            if not whole and not any(head in path.name for head in heads):
                continue
            owner = read_owner(path)
            key = None if owner is None else (owner.cls, owner.function, owner.parameters)
            known = use(key, file, passed.get(test_file, ()))
            if known is Use.GONE and platform_of(path) and _twins(path, real) in taken:
                continue  # the shared one, or another platform's, was found to be some test's
            found[known].append(path)
    return Survey(tuple(found[Use.UNUSED]), tuple(found[Use.GONE]), tuple(silent))


def _file(
    existing: list[Path],
    collected: tuple[bool, dict[tuple[str, str], set[str | None]]] | None,
) -> File:
    source = _source(existing[0]) if existing else ""
    if collected is None:
        return File(bool(existing), None, source)
    whole, functions = collected
    frozen = {key: frozenset(parameters) for key, parameters in functions.items()}
    return File(bool(existing), Collected(whole, frozen), source)


def source_of(folder: Path) -> tuple[Path | None, str]:
    """The test file whose goldens are in ``folder``, if it is there, and its text."""
    existing = [file for file in test_files(folder) if file.is_file()]
    return (existing[0], _source(existing[0])) if existing else (None, "")


def _source(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _twins(path: Path, real: Callable[[Path], str]) -> Path:
    """One path for a shared golden and those of single platforms, of which a run sees one."""
    return Path(real(path.parent), shared(path).name)


def through_a_link(path: Path, rootdir: Path) -> bool:
    """Whether a link lies between ``path`` and what it has in common with ``rootdir``."""
    path, rootdir = (Path(os.path.normpath(one.absolute())) for one in (path, rootdir))
    try:
        common = Path(os.path.commonpath([path, rootdir]))
    except ValueError:  # on another drive
        common = Path(path.anchor)
    return path.resolve() != common.resolve() / path.relative_to(common)


def relative(path: Path, rootdir: Path) -> str:
    return os.path.relpath(path, rootdir).replace(os.sep, "/")


def delete(path: Path) -> None:
    """Delete a golden: manifest first, so that no manifest ever names values that are gone.

    Raises:
      OSError: when it is not there, or cannot be deleted.
    """
    stem = path.name.removesuffix(".json")
    with locked(path.parent, make=False):
        path.unlink()
        folder_to_disk(path.parent)
        for values in values_files(path.parent, stem):
            values.unlink(missing_ok=True)
    remove_empty(path.parent)


def files(path: Path) -> list[Path]:
    """The files of the golden whose manifest is ``path``, the manifest first."""
    return [path, *values_files(path.parent, path.name.removesuffix(".json"))]


def values_files(directory: Path, stem: str) -> list[Path]:
    """The values files of the golden ``stem``, superseded ones included."""
    return Folders().values(directory, stem)


class Folders:
    """What lies beside the manifests in folders of goldens, each listed once by whoever holds this.

    A folder may hold thousands of goldens, and each that is written asks for its own files.
    """

    def __init__(self) -> None:
        self._values: dict[Path, dict[str, set[str]]] = {}
        self._temporary: dict[Path, dict[str, set[str]]] = {}
        self._twins: dict[Path, dict[str, set[str]]] = {}

    def values(self, directory: Path, stem: str) -> list[Path]:
        """The values files of the golden ``stem``, superseded ones included."""
        self._list(directory)
        return [directory / name for name in sorted(self._values[directory].get(stem, ()))]

    def twins(self, path: Path) -> list[Path]:
        """The other goldens that ``path`` shares its check with: one for all, or a platform's."""
        self._list(path.parent)
        whole = shared(path)
        names = self._twins[path.parent].get(whole.name.removesuffix(".json"), set())
        return [one for one in (whole, *map(path.with_name, sorted(names))) if one != path]

    def leftovers(self, directory: Path, stem: str) -> list[Path]:
        """The temporary files of the golden ``stem``, whoever made them."""
        self._list(directory)
        return [directory / name for name in sorted(self._temporary[directory].pop(stem, ()))]

    def add(self, directory: Path, stem: str, name: str) -> None:
        """Note that the golden ``stem`` has the values file ``name``."""
        self._list(directory)
        self._values[directory].setdefault(stem, set()).add(name)

    def _list(self, directory: Path) -> None:
        if directory in self._values:
            return
        values: dict[str, set[str]] = {}
        temporary: dict[str, set[str]] = {}
        twins: dict[str, set[str]] = {}
        for entry in os.scandir(directory):
            for pattern, names in ((VALUES, values), (_TEMPORARY, temporary), (_TWIN, twins)):
                if found := pattern.fullmatch(entry.name):
                    names.setdefault(found[1], set()).add(entry.name)
        self._values[directory], self._temporary[directory] = values, temporary
        self._twins[directory] = twins


def remove_empty(directory: Path) -> None:
    """Remove a folder of goldens, and the folder that holds it, if nothing is left in them."""
    with contextlib.suppress(OSError):
        directory.rmdir()
        directory.parent.rmdir()


def rules(files: Iterable[Path], directory: Path) -> list[str]:
    """The rules by which git ignores any of ``files``: ``.gitignore:1: *.safetensors``.

    None where git, or a repository, is not there. A file that is tracked is not ignored.
    """
    asked = "\0".join(map(os.fspath, files))
    command = ["git", "check-ignore", "--verbose", "--stdin", "-z"]
    try:
        answer = subprocess.run(
            command,
            input=asked.encode("utf-8", "surrogateescape"),
            capture_output=True,
            cwd=directory,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    fields = answer.stdout.decode("utf-8", "replace").split("\0")
    found = zip(fields[::4], fields[1::4], fields[2::4], strict=False)
    told = [f"{source}:{line}: {rule}" for source, line, rule in found if not rule.startswith("!")]
    return list(dict.fromkeys(told))
