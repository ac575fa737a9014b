"""Writing a golden so that a killed run leaves the old one or the new, nothing between."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_nnxrng.golden.inventory import Folders, delete, remove_empty
from pytest_nnxrng.golden.locks import file_to_disk, folder_to_disk, locked
from pytest_nnxrng.golden.manifest import Golden, dumps
from pytest_nnxrng.golden.stale import folder_beside, is_stale, take_away, temporary_beside
from pytest_nnxrng.golden.values import write_values
from pytest_nnxrng.leaf.leaf import Leaf


@dataclass
class Staged:
    """A golden made ready beside the place where it will stand: nothing is replaced yet.

    ``text`` is its manifest, ``values`` the name that its ``temporary`` file will have.
    ``supersedes`` are the manifests of goldens that go when it stands. Those ``along`` are other
    platforms' of the same check, which are put in place before it.
    """

    path: Path
    text: str
    values: str | None
    temporary: Path | None
    folders: Folders
    supersedes: tuple[Path, ...] = ()
    along: tuple[Staged, ...] = ()

    def commit(self) -> None:
        """Put the golden in place: values first, then the manifest, then old values go.

        Raises:
          OSError: when it cannot be written; the old golden is whole then.
        """
        directory, stem = self.path.parent, self.path.name.removesuffix(".json")
        try:
            for other in self.along:
                other.commit()
            with locked(directory):
                self._put_values(directory, stem)
                self._put_manifest(directory, stem)
                for old in self.folders.values(directory, stem):
                    if old.name != self.values:
                        old.unlink(missing_ok=True)
        finally:
            self.discard()
        for old in self.supersedes:
            with contextlib.suppress(FileNotFoundError):
                delete(old)

    def _put_values(self, directory: Path, stem: str) -> None:
        if self.values is None:
            return
        there = directory / self.values
        if self.temporary is not None:
            self.temporary.replace(there)
            self.temporary.unlink(missing_ok=True)  # still there if both were links to one file
            self.folders.add(directory, stem, self.values)
            self.temporary = None
            folder_to_disk(directory)  # before a manifest that names it
        elif not there.exists():
            told = "another run has taken its values away meanwhile: run this one again"
            raise FileNotFoundError(errno.ENOENT, told, os.fspath(there))

    def _put_manifest(self, directory: Path, stem: str) -> None:
        manifest = temporary_beside(directory, stem)
        try:
            manifest.write_text(self.text, encoding="utf-8", newline="\n")
            set_mode(manifest, mode_of([self.path, *self.supersedes, manifest]))
            file_to_disk(manifest)
            manifest.replace(self.path)
            folder_to_disk(directory)  # before the values of the manifest that it replaces go
        finally:
            manifest.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave no trace; the golden on disk, if any, stays as it is."""
        for other in self.along:
            other.discard()
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)
        self.temporary = None
        remove_empty(self.path.parent)  # if staging made it, and nothing came to lie in it


def stage(
    path: Path,
    golden: Golden,
    folders: Folders | None = None,
    supersedes: tuple[Path, ...] = (),
) -> Staged:
    """Write the values of ``golden`` to a temporary file beside ``path``.

    ``folders`` are those of the run, for which each folder is listed once. The goldens of the
    manifests ``supersedes`` go when it stands in their place.

    Raises:
      OSError: when they cannot be written.
    """
    folders = folders or Folders()
    try:
        return _stage(path, golden, folders, supersedes)
    except FileNotFoundError:
        # Another process found the folder empty, and removed it, before we wrote to it.
        return _stage(path, golden, folders, supersedes)


def _stage(path: Path, golden: Golden, folders: Folders, supersedes: tuple[Path, ...]) -> Staged:
    directory, stem = path.parent, path.name.removesuffix(".json")
    stored = [leaf for leaf in golden.leaves if leaf.stored and leaf.read is not None]
    directory.mkdir(parents=True, exist_ok=True)
    for left in folders.leftovers(directory, stem):
        if is_stale(left):
            take_away(left)
    temporary = temporary_beside(directory, stem)
    name = None
    try:
        if stored:
            temporary.touch()
            mode = mode_of([*folders.values(directory, stem), path, temporary])
            with folder_beside(directory, stem) as folder:  # safetensors makes a file of its own
                made = folder / "values"
                write_values(made, stored)  # readable by its owner alone, whatever the umask
                set_mode(made, mode)
                file_to_disk(made)
                made.replace(temporary)
            name = f"{stem}.{_named_by(stored)}.safetensors"
        else:
            temporary.touch()  # proves now that the folder can be written to
            temporary.unlink()
        # The arrays are on disk now: hold none of them until the test ends.
        leaves = tuple(leaf.but(read=None, slabs=None) for leaf in golden.leaves)
        text = dumps(replace(golden, values=name, leaves=leaves))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Staged(path, text, name, temporary if name else None, folders, supersedes)


def _named_by(stored: list[Leaf]) -> str:
    """What no two files have in common that hold other values: the shape is no part of a digest."""
    content = "\n".join(
        f"{leaf.path}\0{leaf.dtype}\0{list(leaf.shape)}\0{leaf.digest}" for leaf in stored
    )
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def mode_of(candidates: list[Path]) -> int:
    """The mode of the first of these files that is there."""
    for path in candidates:
        with contextlib.suppress(OSError):
            return path.stat().st_mode & 0o777
    return 0o644


def set_mode(path: Path, mode: int) -> None:
    with contextlib.suppress(OSError):  # a file system without modes
        path.chmod(mode)
