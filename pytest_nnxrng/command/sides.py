"""What ``nnxrng diff`` is given -> pairs of goldens: files, folders, a report, revisions of git."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_nnxrng.command import history
from pytest_nnxrng.command.artifact import Artifact, opened, within
from pytest_nnxrng.command.proposal import find_root
from pytest_nnxrng.command.terminal import Trouble
from pytest_nnxrng.golden.document import fingerprint
from pytest_nnxrng.golden.inventory import Owner, manifests, read_owner
from pytest_nnxrng.report.machine import REPORT
from pytest_nnxrng.why.words import FOLLOWS


@dataclass(frozen=True)
class Pair:
    """A golden and what it is held against; None where one side has none.

    ``known`` are the causes that a run's report has of it, ``follows`` those of the model that it
    comes from. What is not ``shown`` is there to
    tell of the model from which an output comes.
    """

    name: str
    golden: Path | None
    obtained: Path | None
    known: tuple[Mapping[str, Any], ...] | None = None
    follows: tuple[str, ...] = ()
    shown: bool = True

    @property
    def owner(self) -> Owner | None:
        """Whose golden it is."""
        return next((read_owner(path) for path in (self.golden, self.obtained) if path), None)


@dataclass(frozen=True)
class Sides:
    """The pairs to compare, and what the two sides are called."""

    names: tuple[str, str]
    pairs: list[Pair] = field(default_factory=list)


@contextlib.contextmanager
def given(texts: Sequence[str]) -> Iterator[Sides]:
    """The pairs that a command line names.

    Raises:
      Trouble: when it names nothing that can be compared.
    """
    with contextlib.ExitStack() as stack:
        if len(texts) == 1:
            yield _one(texts[0], stack)
        elif len(texts) == 2 and not history.names(texts[0]):
            yield _two(texts[0], texts[1], stack)
        else:
            yield _revisions(texts, stack)


def _one(text: str, stack: contextlib.ExitStack) -> Sides:
    """A report against the tree, or what lies in the tree against git's HEAD."""
    path = Path(text)
    if path.suffix == ".zip" or (path / REPORT).exists():
        (artifact,) = stack.enter_context(opened([text]))
        root = find_root([artifact], None)
        return Sides(("golden", text), _reported(artifact, root))
    if path.exists():
        return _revisions(["HEAD", text], stack)
    raise Trouble(f"there is no {text}. Name two goldens, two folders, or a report's folder")


def _reported(artifact: Artifact, root: Path) -> list[Pair]:
    found: dict[str, Pair] = {}
    models: dict[str, list[str]] = {}
    for check in artifact.checks:
        told = [f"{c['word']}: {c['finding']}" for c in check.causes if c["word"] != FOLLOWS]
        models.setdefault(check.test, []).extend(told)
    for check in artifact.checks:
        if not check.failed or check.obtained is None:
            continue
        golden, obtained = root / check.golden, within(artifact.folder, check.obtained["path"])
        here, there = fingerprint(golden), fingerprint(obtained)
        same = here == check.obtained.get("against") and there == check.obtained["digest"]
        known = check.causes if same and here else None
        found[check.golden] = Pair(
            check.golden,
            golden if here else None,
            obtained if there else None,
            known,
            tuple(dict.fromkeys(models[check.test])),
        )
    return [found[name] for name in sorted(found)]


def _two(one: str, other: str, stack: contextlib.ExitStack) -> Sides:
    """Two files, or two folders; each may be ``REV:path``."""
    if (
        Path(one).is_file()
        and Path(other).is_file()
        and not any(text.endswith(".json") for text in (one, other))
    ):
        raise Trouble(f"{other} is no golden: the name of a manifest ends in .json")
    if Path(one).is_dir() and Path(other).is_dir():
        return Sides((one, other), paired(goldens(Path(one)), goldens(Path(other))))
    found: list[Path] = []
    for text in (one, other):
        path = stack.enter_context(history.file(text, siblings=True))
        if path.is_dir():
            raise Trouble(f"{text} is a folder, and the other side is none")
        if not path.exists():
            raise Trouble(f"there is no {text}")
        found.append(path)
    golden, obtained = found
    return Sides((one, other), [Pair(other, golden, obtained), *_beside(golden, obtained)])


def _beside(one: Path, other: Path) -> list[Pair]:
    """The other goldens of a test: one of them may be the model that an output comes from."""
    here, there = ({p.name: p for p in manifests(path.parent)} for path in (one, other))
    head, owner = one.name.removesuffix(".json").rpartition(".")[0], read_owner(one)
    found = []
    for name in sorted(here.keys() & there.keys() - {one.name, other.name}):
        if name.startswith(f"{head}.") and _test(read_owner(here[name])) == _test(owner):
            found.append(Pair(name, here[name], there[name], shown=False))
    return found


def _test(owner: Owner | None) -> tuple[str, str, str | None] | None:
    return (owner.cls, owner.function, owner.parameters) if owner else None


def _revisions(texts: Sequence[str], stack: contextlib.ExitStack) -> Sides:
    """``REV REV [PATH ...]``, or ``REV PATH ...``: a revision against the files that are here."""
    if not history.names(texts[0]):
        raise Trouble(f"{texts[0]} is neither a file nor a revision of git")
    both = len(texts) > 1 and history.names(texts[1])
    paths = list(texts[2:] if both else texts[1:])
    if len(paths) == 1 and paths[0].endswith(".json"):  # with its values, and its test's goldens
        one = f"{texts[0]}:./{paths[0]}"
        return _two(one, f"{texts[1]}:./{paths[0]}" if both else paths[0], stack)
    old = goldens(stack.enter_context(history.tree(texts[0], paths)))
    if both:
        new = goldens(stack.enter_context(history.tree(texts[1], paths)))
        return Sides((texts[0], texts[1]), paired(old, new))
    here = PurePosixPath(history.prefix() or ".")
    new = {}
    for text in paths or ["."]:
        for name, path in goldens(Path(text)).items():
            whole = here / PurePosixPath(text) / name
            new[os.path.normpath(whole).replace(os.sep, "/")] = path
    return Sides((texts[0], "here"), paired(old, new))


def goldens(folder: Path) -> dict[str, Path]:
    """The goldens below ``folder``, by their paths in it; a report that lies there is left out."""
    if folder.is_file():
        return {"": folder}
    if not folder.is_dir():
        raise Trouble(f"there is no {folder}")
    found = {}
    for directory, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if REPORT in files and Path(directory) != folder:
            below.clear()
            continue
        for name in sorted(files):
            path = Path(directory) / name
            if name.endswith(".json") and not path.is_symlink() and _is_golden(path):
                found[path.relative_to(folder).as_posix()] = path
    return found


def _is_golden(path: Path) -> bool:
    """A manifest whose owner can be read, or a damaged file that lies where goldens do."""
    from pytest_nnxrng.run.settings import FOLDER

    return read_owner(path) is not None or path.parent.parent.name == FOLDER


def paired(old: Mapping[str, Path], new: Mapping[str, Path]) -> list[Pair]:
    """What lies under the same path on both sides."""
    names = sorted(old.keys() | new.keys())
    return [Pair(name, old.get(name), new.get(name)) for name in names]
