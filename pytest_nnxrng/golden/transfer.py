"""A golden's files, copied from a report into the tree: the old one or the new, nothing between."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from pytest_nnxrng.golden.errors import broken
from pytest_nnxrng.golden.inventory import TEMPORARY, values_files
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.golden.naming import Identity, stem


def verified(source: Path, name: str) -> Golden:
    """The golden at ``source``, every value of which was read; it may be called ``name``.

    Raises:
      GoldenError: when it is damaged, or is another check's.
    """
    golden = read(source)
    owner, shared = golden.owner, name.removesuffix(".json").partition("@")[0]
    if stem(Identity(owner.cls, owner.function, owner.parameters), owner.check) != shared:
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
    directory, own = target.parent, target.name.removesuffix(".json")
    directory.mkdir(parents=True, exist_ok=True)
    files = {target: source} | ({directory / values: source.parent / values} if values else {})
    for there, here in sorted(files.items(), key=lambda item: item[0] == target):
        temporary = directory / f".{own}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY}"
        try:
            shutil.copyfile(here, temporary)
            temporary.replace(there)
        finally:
            temporary.unlink(missing_ok=True)
    for old in values_files(directory, own):
        if old.name != values:
            old.unlink(missing_ok=True)
