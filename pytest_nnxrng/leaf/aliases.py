"""Tied paths of a golden under the names that the run has for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_nnxrng.leaf.leaf import Leaf


def aligned(
    leaves: tuple[Leaf, ...],
    aliases: Mapping[str, str],
    paths: Collection[str],
    now: Mapping[str, str],
) -> tuple[tuple[Leaf, ...], Mapping[str, str]]:
    """The golden's leaves and aliases, with what is tied called as the run calls it.

    What is tied has the name under which a walk meets it first: a renamed attribute, or one
    that is gone, may leave another first. ``paths`` and ``now`` are the run's leaves and
    aliases. What is no longer tied keeps its name.
    """
    held = {above for path in paths for above in _prefixes(path)}
    groups: dict[str, list[str]] = {}
    for path, first in aliases.items():
        groups.setdefault(first, [first]).append(path)
    for first in sorted(groups):
        tied = groups[first]
        names = {now.get(path, path) for path in tied if path in now or path in held}
        name = names.pop() if len(names) == 1 else first
        if name != first and name in tied:
            leaves = tuple([leaf.but(path=_moved(leaf.path, first, name)) for leaf in leaves])
            others = {p: _moved(t, first, name) for p, t in aliases.items() if t != first}
            aliases = {_moved(p, first, name): t for p, t in others.items()}
            aliases |= {path: name for path in tied if path != name}
    return leaves, aliases


def _moved(path: str, old: str, new: str) -> str:
    inside = path == old or path.startswith((f"{old}.", f"{old}["))
    return new + path[len(old) :] if inside else path


def _prefixes(path: str) -> set[str]:
    return {path, *(path[:i] for i, c in enumerate(path) if c in ".[")}
