"""Parameters that were tied and no longer are, or are now: under which of its names one is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.leaf.paths import is_below
from pytest_nnxrng.leaf.spots import elements
from pytest_nnxrng.why.cause import Cause, Evidence, named
from pytest_nnxrng.why.joined import agree

Alias: TypeAlias = tuple[str | None, str | None]  # what a path is tied to, then and now
Aliases: TypeAlias = Mapping[str, Alias]


@dataclass(frozen=True)
class Tie:
    """A cause, the paths that it tells of, and the module that took or lost leaves of its own."""

    cause: Cause
    known: tuple[str, ...]
    module: str = ""


def ties(
    evidence: Evidence, differences: Sequence[Difference], gone: Aliases, came: Aliases
) -> list[Tie]:
    """What was tied, or is now, of what both sides have.

    Tied leaves stand under the first of their names, so what is tied may move to another name.
    """
    found = []
    for d in differences:
        if "aliasing" not in d.kinds or d.path in gone or d.path in came:
            continue
        old, new = d.alias
        tie = _exchanged(evidence, d.path, old, new, gone, came)
        if tie is None:
            text = f"{d.path} was tied to {old}" if old else f"{d.path} was not tied"
            text += f", now to {new}" if new else ", now it is not"
            tie = Tie(Cause("aliasing", (d.path,), text, "", text), ())
        found.append(tie)
    return found


def _exchanged(
    evidence: Evidence,
    path: str,
    old: str | None,
    new: str | None,
    gone: Aliases,
    came: Aliases,
) -> Tie | None:
    """Where ``path`` holds what it held, and what it was or is tied to is another."""
    if (old is None) == (new is None):
        return None
    other = old or new or ""
    kept = list(_beside(evidence, old or path, new or path))
    moved = [b.path for a, b in _beside(evidence, other, other) if not _is_the_same(a, b)]
    left, own = (
        [p for p, alias in side.items() if is_below(p, other) and not any(alias)]
        for side in ((gone, came) if old else (came, gone))
    )
    if not kept or not all(_is_the_same(a, b) for a, b in kept) or not (moved or left):
        return None
    text = f"{other} was tied to {path}, now it is not"
    if new:
        text = f"{other} was not tied, now to {path}"
    leaves = (*own, *moved)
    cause = Cause("aliasing", leaves or (path,), f"{text}: {named(leaves or [path])}", "", text)
    return Tie(cause, (path, *left, *leaves), other)


def _beside(evidence: Evidence, old: str, new: str) -> Iterator[tuple[Leaf, Leaf]]:
    """The golden's leaves at ``old``, each with this run's at ``new``."""
    for path, leaf in evidence.expected.items():
        now = evidence.obtained.get(f"{new}{path[len(old) :]}") if is_below(path, old) else None
        if now is not None:
            yield leaf, now


def _is_the_same(old: Leaf, new: Leaf) -> bool:
    """By their values, to rounding, or by their spots; where neither is known, by their draws."""
    whole = all(leaf.read is not None and leaf.slabs is None for leaf in (old, new))
    held = [leaf.read() if whole and leaf.read else elements(leaf) for leaf in (old, new)]
    if held[0] is not None and held[1] is not None and old.shape == new.shape:
        return old.dtype == new.dtype and agree(held[0], held[1], old.dtype)
    (known,) = digested([new]) if new.read is not None else (new,)
    if old.digest and known.digest:
        return old.digest == known.digest
    return bool(old.draws) and (old.draws, old.initializer) == (new.draws, new.initializer)


def untied(gone: Aliases, came: Aliases, old: set[str], new: set[str]) -> list[Tie]:
    """Names that were tied and now have leaves of their own, and the other way round."""
    found = []
    for tied, leaves, side, known in ((gone, came, 0, new), (came, gone, 1, old)):
        for path, alias in tied.items():
            own = [p for p, a in leaves.items() if is_below(p, path) and not any(a)]
            own = [p for p in own if p not in known]
            if not alias[side] or not own:
                continue
            now = f"{path} was tied to {alias[0]}, now it is not"
            text = now if not side else f"{path} was not tied, now to {alias[1]}"
            cause = Cause("aliasing", tuple(own), f"{text}: {named(own)}", "", text)
            found.append(Tie(cause, (path, *own)))
    return found


def renamed_aliases(gone: Aliases, came: Aliases) -> dict[str, str]:
    """Old name -> new name of what is tied to one and the same on both sides."""
    return {
        here[0]: there[0]
        for target in sorted({old for old, _ in gone.values() if old})
        if len(here := [path for path, (old, _) in gone.items() if old == target]) == 1
        and len(there := [path for path, (_, new) in came.items() if new == target]) == 1
    }
