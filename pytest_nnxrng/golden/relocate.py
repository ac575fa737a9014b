"""A golden's files put elsewhere, as they are: under another test's name, or out of a report."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.document import GoldenError, broken
from pytest_nnxrng.golden.inventory import Folders, Owner, read_owner
from pytest_nnxrng.golden.locks import file_to_disk
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.golden.naming import Identity, platform_of, platform_place
from pytest_nnxrng.golden.naming import stem as named
from pytest_nnxrng.golden.stale import temporary_beside
from pytest_nnxrng.golden.store import Staged, mode_of, set_mode

_OWNER = re.compile(r'^  "owner": \{\n(?:    [^\n]*\n)*?  \}', re.MULTILINE)
_VALUES = re.compile(r'^  "values": "[^"\n]*"', re.MULTILINE)


def stage_move(
    source: Path, target: Path, owner: Owner, folders: Folders, *, keep: bool = False
) -> Staged:
    """Make ready to move the golden at ``source`` to ``target``, where it belongs to ``owner``.

    Those of other platforms go along. With ``keep`` the old ones stay. Where both paths are one,
    its owner is mended alone.

    Raises:
      OSError: when it cannot be read or written.
      GoldenError: when it cannot be used.
    """
    staged = _stage_one(source, target, owner, folders, keep=keep)
    try:
        staged.along = stage_along(source, target, owner, folders, keep=keep)
    except (GoldenError, OSError):
        staged.discard()
        raise
    return staged


def _stage_one(source: Path, target: Path, owner: Owner, folders: Folders, *, keep: bool) -> Staged:
    golden = manifest.read(source)
    name, temporary, held = None, None, None
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = target.name.removesuffix(".json")
    if golden.values is not None:
        held = manifest.values_path(source, golden.values)
        name = f"{stem}.{golden.values.rsplit('.', 2)[1]}.safetensors"
    text = readdressed(source, replace(golden, owner=owner, values=name))
    if held is not None and name is not None and held != target.with_name(name):
        temporary = temporary_beside(target.parent, stem)
        _copy(held, temporary)
    goes = [] if keep or source == target else [source]
    goes += [held] if temporary and held and not keep and not _in_use(held, source) else []
    return Staged(target, text, name, temporary, folders, tuple(goes))


def stage_along(
    source: Path, target: Path, owner: Owner, folders: Folders, *, keep: bool = False
) -> tuple[Staged, ...]:
    """The goldens of other platforms beside ``source``, made ready to be ``owner``'s at ``target``.

    It is those that have the owner of ``source``; none is moved over another.

    Raises:
      OSError: when one cannot be read or written.
      GoldenError: when one cannot be used.
    """
    was, made = read_owner(source), list[Staged]()
    try:
        for twin in _twins(source, folders):
            place = platform_place(target, platform_of(twin))
            free = place == twin or not os.path.lexists(place)
            if place == target or not free or was in (None, owner if place == twin else None):
                continue
            if read_owner(twin) == was:
                made += _stage_unless_gone(twin, place, owner, folders, keep=keep)
    except (GoldenError, OSError):
        for staged in made:
            staged.discard()
        raise
    return tuple(made)


def _twins(source: Path, folders: Folders) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [path for path in folders.twins(source) if not path.is_symlink()]
    return []


def _stage_unless_gone(
    source: Path, target: Path, owner: Owner, folders: Folders, *, keep: bool
) -> list[Staged]:
    try:
        return [_stage_one(source, target, owner, folders, keep=keep)]
    except FileNotFoundError:
        if source.exists():
            raise  # else another process has moved it meanwhile
        return []


def readdressed(source: Path, golden: manifest.Golden) -> str:
    """The text of the manifest ``source`` with ``golden``'s owner and values, else as it is."""
    text = source.read_text(encoding="utf-8")
    wanted = manifest.dumps(golden)
    changed = text
    for pattern in (_OWNER, _VALUES):
        new = pattern.search(wanted)
        if new is not None:
            changed = pattern.sub(lambda _, new=new: new[0], changed, count=1)  # type: ignore[misc]
    before, after, target = (json.loads(one) for one in (text, changed, wanted))
    before |= {"owner": target["owner"], "values": target["values"]}
    return changed if before == after else wanted


def _copy(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)  # the same bytes, at no cost
        return
    try:
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
        file_to_disk(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _in_use(values: Path, source: Path) -> bool:
    """Whether a manifest other than ``source`` has these values under its own name."""
    other = values.with_name(f"{values.name.rsplit('.', 2)[0]}.json")
    return other != source and other.exists()


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
