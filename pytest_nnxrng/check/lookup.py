"""Which golden a check is held against, and where a new one would stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pytest_nnxrng.check.state import Options, TestChecks
from pytest_nnxrng.device.notation import writer
from pytest_nnxrng.golden import manifest, naming
from pytest_nnxrng.golden.manifest import Golden, GoldenError
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.leaf.aliases import aligned
from pytest_nnxrng.nnx.flatten import Flat


@dataclass(frozen=True)
class Found:
    """The golden that a check is held against, and where it would be written.

    ``left`` names the device of the run to which writing is left.
    """

    path: Path
    target: Path
    golden: Golden | None = None
    error: GoldenError | None = None
    left: str = ""

    def named_as(self, flat: Flat) -> Found:
        """The same, with what is tied in the golden called as ``flat`` calls it."""
        if self.golden is None or not self.golden.aliases:
            return self
        paths = [leaf.path for leaf in flat.leaves]
        leaves, aliases = aligned(self.golden.leaves, self.golden.aliases, paths, flat.aliases)
        return replace(self, golden=replace(self.golden, leaves=leaves, aliases=aliases))


def load(checks: TestChecks, options: Options, name: str, platform: str) -> Found:
    directory = naming.folder(_beside(checks), checks.settings.folder)
    shared, own = naming.paths(directory, naming.stem(checks.identity, name), platform)
    if options.per_platform or own.exists():
        found = _read(own, own, checks.identity, name)
        return replace(found, left=_left(checks, platform, None, own=True))
    found = _read(shared, shared, checks.identity, name)
    made_on = found.golden.environment.get("platform") if found.golden else None
    found = replace(found, left=_left(checks, platform, made_on, own=False))
    return replace(found, target=own) if found.golden and made_on != platform else found


def _beside(checks: TestChecks) -> Path:
    root = checks.settings.golden_root
    return (
        checks.test_file
        if root is None
        else naming.elsewhere(checks.test_file, checks.rootdir, root)
    )


def _left(checks: TestChecks, platform: str, made_on: str | None, *, own: bool) -> str:
    if not checks.devices:
        return ""
    turn = writer([of for _, of in checks.devices], platform, made_on, own)
    return checks.devices[turn][0] if turn != checks.turn else ""


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
    return Found(path, target, golden=read)


def left_alone(found: Found, platform: str) -> str:
    if found.target == found.path or found.golden is None:
        return ""
    made_on = found.golden.environment.get("platform")
    return f"{found.path.name} was made on {made_on} and is left as it is; {platform} gets its own"
