"""Goldens whose tests are gone: where a test was moved or renamed, they are its own.

A golden that is missing is looked for among them, first by what it holds, then by whose it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_nnxrng.golden import inventory, manifest
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.naming import platform_of, shared
from pytest_nnxrng.golden.policy import may_define
from pytest_nnxrng.leaf.leaf import Leaf

_DIRECTORIES = 20_000  # looked into at most, below each root
# What was collected of each test file: whether all of it, and the parameters of each function.
Known = Mapping[str, tuple[bool, Mapping[tuple[str, str], set[str | None]]]]


@dataclass(frozen=True)
class Candidate:
    """A golden that no test asks for; ``lives``: its function does, with other parameters."""

    path: Path
    owner: Owner
    lives: bool

    @property
    def fate(self) -> str:
        if self.lives:
            return "whose test no longer has these parameters"
        return "whose test is gone"


class Lost:
    """The goldens of a project whose tests are gone, looked for when a golden is missing."""

    def __init__(
        self, rootdir: Path, roots: Iterable[Path], folder: str, known: Callable[[], Known]
    ) -> None:
        self.rootdir: Path = rootdir
        self.roots: tuple[Path, ...] = tuple(roots)
        self.folder: str = folder
        self.known: Callable[[], Known] = known
        self._claimed: dict[Path, tuple[Path, Owner]] = {}  # by the shared ones' places
        self._here: dict[str, dict[Path, Candidate]] = {}

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        roots = dict.fromkeys((self.rootdir, *self.roots))
        found = inventory.directories_below(roots, self.folder, _DIRECTORIES)
        beside = sorted({Path(os.path.normpath(one)) for one in found})
        known = self.known()
        every = (self._of(folder, known) for folder in inventory.folders(beside, self.folder))
        return tuple(itertools.chain.from_iterable(every))

    def _of(self, folder: Path, known: Known) -> Iterator[Candidate]:
        if inventory.through_a_link(folder, self.rootdir):
            return
        test_file, source = inventory.source_of(folder)
        whole, functions = known.get(
            inventory.relative(test_file, self.rootdir) if test_file else "", (False, {})
        )
        for path in inventory.manifests(folder):
            owner = None if path.is_symlink() else inventory.read_owner(path)
            if owner is None:
                continue
            parameters = functions.get((owner.cls, owner.function))
            if parameters is not None and (not whole or owner.parameters in parameters):
                continue
            if test_file is not None and parameters is None:
                in_class = whole and any(cls == owner.cls for cls, _ in functions)
                if may_define(source, owner.cls, owner.function, class_collected=in_class):
                    continue
            yield Candidate(path, owner, parameters is not None)

    def _serving(self, platform: str) -> Mapping[Path, Candidate]:
        """Of each test's the platform's own, else the shared one; by where the shared one is."""
        if platform not in self._here:
            every = [(platform_of(one.path), one) for one in self.candidates]
            here = {shared(one.path): one for made_on, one in every if not made_on}
            here |= {shared(one.path): one for made_on, one in every if made_on == platform}
            self._here[platform] = here
        return self._here[platform]

    def _free(self, candidate: Candidate, target: Path, owner: Owner) -> bool:
        claim = self._claimed.get(shared(candidate.path))
        return claim in (None, (shared(target), owner))

    @cached_property
    def _by_content(self) -> dict[str, list[Candidate]]:
        found: dict[str, list[Candidate]] = {}
        for candidate in self.candidates:
            try:
                golden = manifest.read(candidate.path)
            except (GoldenError, OSError):
                continue
            key = content(candidate.owner.kind, golden.leaves, golden.aliases)
            found.setdefault(key, []).append(candidate)
        return found

    def equal(
        self,
        target: Path,
        owner: Owner,
        leaves: Iterable[Leaf],
        aliases: Mapping[str, str],
        platform: str,
    ) -> Candidate | None:
        """The golden that holds just this: of several the one whose test is most alike."""
        here = self._serving(platform)
        if not here:
            return None
        found = self._by_content.get(content(owner.kind, leaves, aliases), [])
        mine = [one for one in found if here.get(shared(one.path)) is one]
        free = [one for one in mine if self._free(one, target, owner)]
        best = min(free, key=lambda one: (len(_differ(one, target, owner)), one.path), default=None)
        if best is not None:
            self._claimed[shared(best.path)] = (shared(target), owner)
        return best

    def related(self, target: Path, owner: Owner, platform: str) -> Candidate | None:
        """The only golden whose test differs in one thing: file, class, function or parameters."""
        near = [
            one
            for one in self._serving(platform).values()
            if self._free(one, target, owner)
            and one.owner.kind == owner.kind
            and one.owner.check == owner.check
            and len(_differ(one, target, owner)) == 1
        ]
        return near[0] if len(near) == 1 else None


def _differ(candidate: Candidate, target: Path, owner: Owner) -> list[str]:
    theirs = candidate.owner
    pairs = {
        "file": (candidate.path.parent, target.parent),
        "class": (theirs.cls, owner.cls),
        "function": (theirs.function, owner.function),
        "parameters": (theirs.parameters, owner.parameters),
        "check": (theirs.check, owner.check),
    }
    return [name for name, (a, b) in pairs.items() if a != b]


def content(kind: str, leaves: Iterable[Leaf], aliases: Mapping[str, str]) -> str:
    """What a golden holds, as one text: the digests, and where there are none the derivations."""
    rows = sorted(
        (
            leaf.path,
            leaf.type,
            leaf.dtype,
            list(leaf.shape),
            leaf.digest or [leaf.draws, leaf.initializer, leaf.spots],
        )
        for leaf in leaves
    )
    text = json.dumps([kind, rows, sorted(aliases.items())])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
