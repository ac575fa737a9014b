"""A golden moved to another test's name: its values and all that it recorded stay as they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.inventory import Folders, Owner
from pytest_nnxrng.golden.store import Staged, temporary_beside

_OWNER = re.compile(r'^  "owner": \{\n(?:    [^\n]*\n)*?  \}', re.MULTILINE)
_VALUES = re.compile(r'^  "values": "[^"\n]*"', re.MULTILINE)


def stage_move(
    source: Path, target: Path, owner: Owner, folders: Folders, *, keep: bool = False
) -> Staged:
    """Make ready to move the golden at ``source`` to ``target``, where it belongs to ``owner``.

    With ``keep`` the old one stays. Where both paths are one, its owner is mended alone.

    Raises:
      OSError: when it cannot be read or written.
      GoldenError: when it cannot be used.
    """
    golden = manifest.read(source)
    name, temporary, held = None, None, None
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = target.name.removesuffix(".json")
    if golden.values is not None:
        held = manifest.values_path(source, golden.values)
        name = f"{stem}.{golden.values.rsplit('.', 2)[1]}.safetensors"
        if held != target.with_name(name):
            temporary = temporary_beside(target.parent, stem)
            _copy(held, temporary)
    text = readdressed(source, replace(golden, owner=owner, values=name))
    goes = [] if keep or source == target else [source]
    goes += [held] if temporary and held and not keep and not _in_use(held, source) else []
    return Staged(target, text, name, temporary, folders, tuple(goes))


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
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _in_use(values: Path, source: Path) -> bool:
    """Whether a manifest other than ``source`` has these values under its own name."""
    other = values.with_name(f"{values.name.rsplit('.', 2)[0]}.json")
    return other != source and other.exists()
