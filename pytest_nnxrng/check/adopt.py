"""A golden that is missing, looked for among those whose tests are gone."""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_nnxrng.check.lookup import Found
from pytest_nnxrng.check.stages import Asked
from pytest_nnxrng.golden import manifest
from pytest_nnxrng.golden.errors import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.naming import platform_of, platform_place
from pytest_nnxrng.leaf.flat import Flat


def adopt(asked: Asked, found: Found, flat: Flat) -> Found:
    """The golden of a test that was moved or renamed, if the check's own is missing."""
    if found.golden is not None or found.error is not None:
        return found
    who, lost = asked.test.identity, asked.test.lost()
    if lost is None:
        return found
    owner = Owner(who.cls, who.function, who.parameters, asked.name, asked.kind)
    platform = asked.device.platform
    candidate = lost.equal(found.target, owner, flat.leaves, flat.aliases, platform)
    exact = candidate is not None
    candidate = candidate or lost.related(found.target, owner, platform)
    if candidate is None:
        return found
    try:
        golden = manifest.read(candidate.path)
        lacks = manifest.lacking(candidate.path, golden)
    except (GoldenError, FileNotFoundError):
        return found
    if not exact and not _alike(golden, flat):
        return found
    place = os.path.relpath(candidate.path, asked.test.rootdir).replace(os.sep, "/")
    return replace(
        found,
        path=candidate.path,
        target=platform_place(found.target, platform)
        if platform_of(candidate.path)
        else found.target,
        golden=golden if lacks is None else golden.without_values(),
        whole=golden,
        lacks=lacks,
        astray=True,
        keeps=candidate.lives and not asked.test.settings.mode.move,
        gone=f"{place}, {candidate.fate}",
    )


def _alike(golden: Golden, flat: Flat) -> bool:
    """Whether most leaves of both are the same in name and shape."""
    old = {(leaf.path, leaf.shape) for leaf in golden.leaves}
    new = {(leaf.path, leaf.shape) for leaf in flat.leaves}
    return 2 * len(old & new) > max(len(old), len(new))
