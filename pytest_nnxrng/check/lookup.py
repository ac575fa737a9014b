"""Which golden a check is held against, and where a new one would stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_nnxrng.check.state import CheckOptions, TestChecks
from pytest_nnxrng.device.notation import writer
from pytest_nnxrng.golden import manifest, naming
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.naming import Identity
from pytest_nnxrng.leaf.leaf import Flat, aligned


@dataclass(frozen=True)
class Found:
    """The golden that a check is held against, and where it would be written.

    ``left`` names the device of the run to which writing is left; ``apart`` says that the golden is
    another platform's, and stays, ``astray`` that it is the check's own, and yet bears another's
    name, or stands under one that it no longer has. ``gone`` says of one that is another test's
    what became of that; where that may still live, it ``keeps`` its golden, too. Where its values
    are not there, ``lacks`` says why, ``golden`` is what its manifest holds, and ``whole`` the
    golden with them.
    """

    path: Path
    target: Path
    golden: Golden | None = None
    error: GoldenError | None = None
    left: str = ""
    apart: bool = False
    astray: bool = False
    gone: str = ""
    keeps: bool = False
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
    directory = naming.folder(_beside(test), test.settings.folder)
    stems = naming.stems(test.identity, name)
    shared, own = zip(*(naming.paths(directory, stem, platform) for stem in stems), strict=True)
    owner = (test.identity.cls, test.identity.function, test.identity.parameters, name)
    if options.per_platform or any(path.exists() for path in dict.fromkeys(own)):
        found = _first(own, owner, test)
        return replace(found, left=_left(test, platform, None, own=True))
    found = _first(shared, owner, test)
    made_on = found.golden.environment.get("platform") if found.golden else None
    found = replace(found, left=_left(test, platform, made_on, own=False))
    if found.golden is None or made_on == platform:
        return found
    target = own[shared.index(found.target)]
    return replace(found, target=target, apart=True, astray=False)


Key = tuple[str, str, str | None, str]  # an Owner but for its kind


def _first(paths: Sequence[Path], owner: Key, test: TestChecks) -> Found:
    """The golden of ``owner`` where it is first found, of these ways to name it."""
    home, folding, _ = paths
    clashes = home != folding and _clash(test, owner[3])
    for path in dict.fromkeys(paths):
        found = _read(path, owner)
        if isinstance(found, Found):
            target = path if path in (home, folding) else folding if clashes else home
            return replace(found, target=target, astray=found.astray or path != target)
        clashes |= found
    target = folding if clashes else home
    return Found(target, target)


def _clash(test: TestChecks, check: str) -> bool:
    """Whether another test, or another check of this one, has a name that differs by case alone."""
    others = {result.name for result in test.results} - {check}
    return check.casefold() in map(str.casefold, others) or test.clashes()


def _beside(test: TestChecks) -> Path:
    """The file beside which the goldens lie: the test's, or where it would be in another root."""
    root = test.settings.golden_root
    return test.test_file if root is None else naming.elsewhere(test.test_file, test.rootdir, root)


def _left(test: TestChecks, platform: str, made_on: str | None, *, own: bool) -> str:
    if not test.devices:
        return ""
    turn = writer([of for _, of in test.devices], platform, made_on, own)
    return test.devices[turn][0] if turn != test.turn else ""


def _read(path: Path, owner: Key) -> Found | bool:
    """The golden at ``path``; else whether one is there whose name differs by case alone."""
    try:
        read, lacks = manifest.settled(path)
    except FileNotFoundError:
        return False
    except GoldenError as error:
        return Found(path, path, error=error)
    theirs = read.owner
    key = (theirs.cls, theirs.function, theirs.parameters, theirs.check)
    if owner != key:
        stem = path.name.removesuffix(".json").partition("@")[0]
        stems = naming.stems(Identity(theirs.cls, theirs.function, theirs.parameters), theirs.check)
        if stem in stems:
            return Found(path, path, error=_taken(path, theirs))
        if stem.casefold() in map(str.casefold, stems):
            return True
    found = Found(path, path, golden=read, lacks=lacks, astray=key != owner)
    return found if lacks is None else replace(found, golden=read.without_values(), whole=read)


def _taken(path: Path, owner: Owner) -> GoldenError:
    return GoldenError(
        path,
        f"belongs to the check {owner.check!r} of {owner.function}"
        + (f"[{owner.parameters}]" if owner.parameters is not None else ""),
        "Rename one of the two tests, or restore the file from version control",
        replaceable=False,
    )


def left_alone(found: Found, platform: str) -> str:
    if not found.apart or found.golden is None:
        return ""
    made_on = found.golden.environment.get("platform")
    return f"{found.path.name} was made on {made_on} and is left as it is; {platform} gets its own"
