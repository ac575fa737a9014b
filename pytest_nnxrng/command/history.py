"""Goldens as a git revision has them: ``REV:path`` -> files in a folder that is thrown away."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from pytest_nnxrng.command.terminal import Trouble


def parts(text: str) -> tuple[str, str] | None:
    """``REV:path`` -> (REV, path); None for what is a path, or cannot be a revision."""
    rev, colon, path = text.partition(":")
    if not colon or not rev or not path or Path(text).exists():
        return None
    return rev, path


def names(text: str) -> bool:
    """Whether ``text`` names a revision, and no file."""
    if Path(text).exists() or not text or text.startswith("-"):
        return False
    try:
        done = _git("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    except Trouble:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def file(text: str, *, siblings: bool = False) -> Iterator[Path]:
    """The golden that ``text`` names: a path, or ``REV:path`` with its values beside it.

    With ``siblings`` the other goldens of its test are there, too.
    """
    found = parts(text)
    if found is None:
        yield Path(text)
        return
    rev, path = found
    with tempfile.TemporaryDirectory(prefix="nnxrng-") as folder:
        whole, content = _blob(rev, path)
        own, top = PurePosixPath(whole), not whole.startswith("./")
        (Path(folder) / own.name).write_bytes(content)
        for name in _beside(rev, own, top=top, siblings=siblings):
            beside = own.with_name(name)
            with contextlib.suppress(Trouble):
                there = f"{beside}" if top else f"./{beside}"
                (Path(folder) / name).write_bytes(_blob(rev, there)[1])
        yield Path(folder) / own.name


def _beside(rev: str, own: PurePosixPath, *, top: bool, siblings: bool) -> list[str]:
    """The names of the files that belong to a golden, or to its test.

    ``top``: its path is from the repository's top, not from here.
    """
    where = ["--full-tree"] if top else []
    listed = _git("ls-tree", "--name-only", "-z", *where, rev, "--", f"{own.parent}/").stdout
    names = listed.decode(errors="surrogateescape").split("\0")
    stem = own.name.removesuffix(".json")
    head = stem.rpartition(".")[0] if siblings and "." in stem else stem
    beside = [PurePosixPath(name).name for name in names]
    return [name for name in beside if name.startswith(f"{head}.") and name != own.name]


@contextlib.contextmanager
def tree(rev: str, paths: Sequence[str] = ()) -> Iterator[Path]:
    """A folder with the files below ``paths`` that may be of goldens, as ``rev`` has them."""
    listed = _checked(rev, "ls-tree", "-r", "-z", "--full-name", rev, "--", *(paths or ["."]))
    rows = [row.partition(b"\t") for row in listed.split(b"\0") if row]
    wanted = []
    for meta, _, name in rows:
        mode, _, oid = meta.decode().split()[:3]
        path = PurePosixPath(name.decode("utf-8", "surrogateescape"))
        if mode.startswith("100") and path.suffix in (".json", ".safetensors"):
            wanted.append((oid, path))
    with tempfile.TemporaryDirectory(prefix="nnxrng-") as folder:
        for (_, path), content in zip(wanted, _blobs([oid for oid, _ in wanted]), strict=True):
            if ".." in path.parts or path.is_absolute():
                raise Trouble(f"{rev} has a file named {path}, which leaves the tree")
            there = Path(folder) / path
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(content)
        yield Path(folder)


def prefix() -> str:
    """Where in its repository the current folder lies: ``""`` or ``sub/folder/``."""
    return _checked("HEAD", "rev-parse", "--show-prefix").decode().strip()


def _blob(rev: str, path: str) -> tuple[str, bytes]:
    """A file at a revision, its path from the repository's top or from here."""
    if rev.startswith("-"):
        raise Trouble(f"{rev!r} is no revision")
    for tried in (path, f"./{path.removeprefix('./')}"):
        done = _git("cat-file", "blob", f"{rev}:{tried}")
        if done.returncode == 0:
            return tried, done.stdout
    raise Trouble(f"git has no {rev}:{path} ({_last_line(done.stderr)})")


def _blobs(oids: Sequence[str]) -> Iterator[bytes]:
    done = _git("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
    if done.returncode:
        raise Trouble(f"git cat-file failed: {_last_line(done.stderr)}")
    data, at = done.stdout, 0
    for _ in oids:
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[-1])
        yield data[end + 1 : end + 1 + size]
        at = end + 1 + size + 1


def _checked(rev: str, *args: str) -> bytes:
    if rev.startswith("-"):
        raise Trouble(f"{rev!r} is no revision")
    done = _git(*args)
    if done.returncode:
        raise Trouble(f"git {args[0]} failed: {_last_line(done.stderr)}")
    return done.stdout


def _git(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *args], input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        raise Trouble("git is not installed, or not on PATH") from None


def _last_line(text: bytes) -> str:
    return (text.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
