"""A test's identity -> the golden's path. Two checks never share a file.

A name is readable where the identity is plain. Where it is not (characters that a file system
may refuse, great length) the readable part is cut down and a hash of the exact identity
follows, one for all checks of a test, so that no two identities meet in one name. Where two
differ by the case of letters alone, names that no folding brings together take their place.
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
_MAX_CHECK = 90
_PLAIN = re.compile(r"[A-Za-z0-9_.,=+-]*\Z")
_PLAIN_CHECK = re.compile(r"[A-Za-z0-9_-]+\Z")
_LOWER = re.compile(r"[a-z0-9_.,=+-]*\Z")
_LOWER_CHECK = re.compile(r"[a-z0-9_-]+\Z")


class BadName(ValueError):
    """A check's name that cannot be part of a file's name."""


@dataclass(frozen=True)
class Identity:
    """A test, apart from its file: ``parameters`` is the text in the id's brackets or None."""

    cls: str
    function: str
    parameters: str | None = None

    @property
    def label(self) -> str:
        """As pytest names the test in its file: ``TestNet::test_init[0]``."""
        scopes = [*filter(None, self.cls.split(".")), self.function]
        parameters = f"[{self.parameters}]" if self.parameters is not None else ""
        return "::".join(scopes) + parameters


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


def stems(identity: Identity, check: str) -> tuple[str, str, str]:
    """The names that a check's golden may have: its own first, then where it may stand, too.

    The second is for file systems that fold case, where another test has taken the first; the
    last is the name that earlier versions gave.
    """
    return stem(identity, check), folding_stem(identity, check), former_stem(identity, check)


def stem(identity: Identity, check: str) -> str:
    """The golden's file name without ``.json``: ``TestNet.test_mlp[adam].output``."""
    named = _encoded(check, _PLAIN_CHECK)
    if len(named) > _MAX_CHECK:
        return former_stem(identity, check)
    return f"{_head(identity, _PLAIN)}.{named}"


def folding_stem(identity: Identity, check: str) -> str:
    """The same for a file system that takes upper- and lower-case letters for equal."""
    named = _encoded(check, _LOWER_CHECK)
    if len(named) > _MAX_CHECK:
        return former_stem(identity, check)
    return f"{_head(identity, _LOWER)}.{named}"


def _head(identity: Identity, plain: re.Pattern[str]) -> str:
    """What names the test: all of its checks have it in common."""
    head, tail = _readable(identity)
    if _is_plain(identity, plain) and len(head + tail) <= _MAX_STEM:
        return head + tail
    return _hashed(identity, [identity.cls, identity.function, identity.parameters])


def former_stem(identity: Identity, check: str) -> str:
    """The name of earlier versions: any upper-case letter cost a hash, another for each check."""
    head, tail = _readable(identity)
    readable = f"{head}{tail}.{check}"
    if _is_plain(identity, _LOWER) and _LOWER_CHECK.match(check) and len(readable) <= _MAX_STEM:
        return readable
    exact = [identity.cls, identity.function, identity.parameters, check]
    return f"{_hashed(identity, exact)}.{_tame(check, 20) or '-'}"


def _readable(identity: Identity) -> tuple[str, str]:
    head = f"{identity.cls}.{identity.function}" if identity.cls else identity.function
    return head, "" if identity.parameters is None else f"[{identity.parameters}]"


def _is_plain(identity: Identity, plain: re.Pattern[str]) -> bool:
    # A function with a dot could be a class and its function.
    parts = (identity.cls, identity.function, identity.parameters or "")
    return "." not in identity.function and all(plain.match(part) for part in parts)


def _hashed(identity: Identity, exact: list[str | None]) -> str:
    head, tail = _readable(identity)
    short = hashlib.sha256(json.dumps(exact).encode()).hexdigest()[:8]
    return f"{_tame(head, 50) or '-'}{_tame(tail, 30)}~{short}"


def _encoded(check: str, plain: re.Pattern[str]) -> str:
    """A check's name with what is not ``plain`` as in an URL: no two names become one."""
    raw = check.encode("utf-8", "surrogatepass")
    return "".join(chr(b) if plain.match(chr(b)) else f"%{b:02x}" for b in raw) or "%"


def _tame(text: str, length: int) -> str:
    return re.sub(r"[^A-Za-z0-9_.,=+\[\]-]+", "-", text)[:length].rstrip(".")


def platform_of(path: Path) -> str:
    """The platform whose golden this is; "" of a shared one."""
    return path.name.removesuffix(".json").partition("@")[2]


def shared(path: Path) -> Path:
    """Where the golden of all platforms belongs, beside this one of a platform."""
    return platform_place(path, "")


def platform_place(path: Path, platform: str) -> Path:
    """Where the golden of ``platform`` belongs, beside ``path``; of "" the shared one."""
    stem = path.name.removesuffix(".json").partition("@")[0]
    return path.with_name(f"{stem}@{platform}.json" if platform else f"{stem}.json")


def paths(directory: Path, stem: str, platform: str) -> tuple[Path, Path]:
    """The shared golden, and the one of ``platform``, which wins there."""
    return directory / f"{stem}.json", directory / f"{stem}@{platform}.json"
