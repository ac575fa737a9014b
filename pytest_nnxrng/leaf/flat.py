"""The leaves of a value together with what is tied among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import is_below, prefixes


@dataclass(frozen=True)
class Flat:
    """The leaves of a value, in the order of their paths.

    ``aliases`` maps the path of a Variable or node that is met again to the path where it was
    met first, as tied parameters are.
    """

    leaves: tuple[Leaf, ...]
    aliases: Mapping[str, str]

    def but(self, leaves: Iterable[Leaf]) -> Flat:
        """The same ties among these leaves, which take the place of its own."""
        return Flat(tuple(leaves), self.aliases)

    def each(self, changed: Callable[[Leaf], Leaf]) -> Flat:
        """The same ties among leaves of which each is ``changed``."""
        return self.but(map(changed, self.leaves))

    def by_path(self) -> dict[str, Leaf]:
        """The leaves, by their paths."""
        return {leaf.path: leaf for leaf in self.leaves}

    @property
    def is_abstract(self) -> bool:
        """Whether no leaf has values."""
        return all(leaf.read is None for leaf in self.leaves)


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
    held = {above for path in paths for above in prefixes(path)}
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
    return new + path[len(old) :] if is_below(path, old) else path
