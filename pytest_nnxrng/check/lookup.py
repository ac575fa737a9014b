"""Which golden a check is held against, and where a new one would stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pytest_nnxrng.check.state import CheckOptions, TestChecks
from pytest_nnxrng.device.notation import writer
from pytest_nnxrng.golden import manifest, naming
from pytest_nnxrng.golden.errors import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.leaf.flat import Flat, aligned


@dataclass(frozen=True)
class Found:
    """The golden that a check is held against, and where it would be written.

    ``left`` names the device of the run to which writing is left. Where its values are not there,
    ``lacks`` says why, ``golden`` is what its manifest holds, and ``whole`` the golden with them.
    """

    path: Path
    target: Path
    golden: Golden | None = None
    error: GoldenError | None = None
    left: str = ""
    lacks: GoldenError | None = None
    whole: Golden | None = None

    def named_as(self, flat: Flat) -> Found:
        """The same, with what is tied in the golden called as ``flat`` calls it."""
        if self.golden is None or not self.golden.aliases:
            return self
        whole = None if self.whole is None else _named_as(self.whole, flat)
        return replace(self, golden=_named_as(self.golden, flat), whole=whole)


def _named_as(golden: Golden, flat: Flat) -> Golden:
    paths = [leaf.path for leaf in flat.leaves]
    leaves, aliases = aligned(golden.leaves, golden.aliases, paths, flat.aliases)
    return replace(golden, leaves=leaves, aliases=aliases)


def find(test: TestChecks, options: CheckOptions, name: str, platform: str) -> Found:
    """The golden of the check called ``name``, on this platform."""
    directory = naming.folder(test.test_file, test.settings.folder)
    shared, own = naming.paths(directory, naming.stem(test.identity, name), platform)
    if options.per_platform or own.exists():
        found = _read(own, own, test.identity, name)
        return replace(found, left=_left(test, platform, None, own=True))
    found = _read(shared, shared, test.identity, name)
    made_on = found.golden.environment.get("platform") if found.golden else None
    found = replace(found, left=_left(test, platform, made_on, own=False))
    return replace(found, target=own) if found.golden and made_on != platform else found


def _left(test: TestChecks, platform: str, made_on: str | None, *, own: bool) -> str:
    if not test.devices:
        return ""
    turn = writer([of for _, of in test.devices], platform, made_on, own)
    return test.devices[turn][0] if turn != test.turn else ""


def _read(path: Path, target: Path, identity: Identity, check: str) -> Found:
    try:
        read = manifest.read(path)
    except FileNotFoundError:
        return Found(path, target)
    except GoldenError as error:
        return Found(path, target, error=error)
    owner = read.owner
    owned = (owner.cls, owner.function, owner.parameters, owner.check)
    if owned != (identity.cls, identity.function, identity.parameters, check):
        taken = GoldenError(
            path,
            f"belongs to the check {owner.check!r} of {owner.function}"
            + (f"[{owner.parameters}]" if owner.parameters is not None else ""),
            "Rename one of the two tests, or restore the file from version control",
            replaceable=False,
        )
        return Found(path, target, error=taken)
    lacks = manifest.lacking(path, read)
    if lacks is not None:
        return Found(path, target, golden=read.without_values(), lacks=lacks, whole=read)
    return Found(path, target, golden=read)


def left_alone(found: Found, platform: str) -> str:
    if found.target == found.path or found.golden is None:
        return ""
    made_on = found.golden.environment.get("platform")
    return f"{found.path.name} was made on {made_on} and is left as it is; {platform} gets its own"
