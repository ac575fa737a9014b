"""A golden's files, copied from a report into the tree: the old one or the new, nothing between."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_nnxrng.golden.errors import broken
from pytest_nnxrng.golden.inventory import Folders
from pytest_nnxrng.golden.locks import file_to_disk
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.golden.naming import stem as named
from pytest_nnxrng.golden.stale import temporary_beside
from pytest_nnxrng.golden.store import Staged, mode_of, set_mode


def verified(source: Path, name: str) -> Golden:
    """The golden at ``source``, every value of which was read; it may be called ``name``.

    Raises:
      GoldenError: when it is damaged, or is another check's.
    """
    golden = read(source)
    owner, shared = golden.owner, name.removesuffix(".json").partition("@")[0]
    if named(Identity(owner.cls, owner.function, owner.parameters), owner.check) != shared:
        raise broken(source, f"belongs to the check {owner.check!r} of {owner.function}")
    for leaf in golden.leaves:
        if leaf.read is not None:
            leaf.read()
    return golden


def transfer(source: Path, target: Path, values: str | None) -> None:
    """Copy the manifest ``source`` and its ``values`` to ``target``: values first, then the rest.

    Raises:
      OSError: when it cannot be written; the old golden is whole then.
    """
    directory, stem = target.parent, target.name.removesuffix(".json")
    text = source.read_text(encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(directory, stem) if values is not None else None
    staged = Staged(target, text, values, temporary, folders := Folders())
    try:
        if temporary is not None and values is not None:
            shutil.copyfile(source.parent / values, temporary)
            set_mode(temporary, mode_of([*folders.values(directory, stem), target, temporary]))
            file_to_disk(temporary)
    except BaseException:
        staged.discard()
        raise
    staged.commit()
