"""Two sets of leaves, or of modules -> what differs between them. Data in, data out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_nnxrng.compare.gap import gap, gap_at_spots
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.forward import CLASS, Modules, Row
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import is_below, parent, prefixes, tail
from pytest_nnxrng.leaf.placement import moved
from pytest_nnxrng.leaf.spots import COUNT

# In which ways a leaf can differ: what a comparison sees. Why it does is told by `why.words`.
KINDS = frozenset(
    (
        *("added", "removed", "type", "shape", "dtype"),
        *("sharding", "aliasing", "derivation", "values"),
    )
)


@dataclass(frozen=True)
class Change:
    """A static attribute of the module at ``path`` that is not what the golden holds.

    What is None has no attribute. ``attribute`` is "class" for another class, and for a module
    that the golden or the run does not have at all: on that side the class is None.
    """

    path: str
    attribute: str
    expected: Any
    obtained: Any


def changed(
    golden: Mapping[str, Row],
    run: Modules,
    leaves: Iterable[str] = (),
    *,
    same_library: bool = True,
) -> tuple[Change, ...]:
    """What is not as in the golden. ``leaves`` came, went or changed places.

    A module is told of only where none of these lies in it. Unless ``same_library``, attributes
    that one release of Flax has of its own layers, and another has not, are passed over.
    """
    found: list[Change] = []
    moved = {above for leaf in leaves for above in ("", *prefixes(leaf))}
    alone = sorted(golden.keys() ^ run.rows.keys())
    for path in sorted(golden.keys() | run.rows.keys()):
        old, new = golden.get(path), run.rows.get(path)
        if old is not None and new is not None:
            found += _attributes(path, old, new, not same_library and path in run.library)
        elif path not in moved and not _inside(path, alone):
            found.append(Change(path, CLASS, *(row and row.get(CLASS, "") for row in (old, new))))
    return tuple(found)


def alone(golden: Mapping[str, Row], run: Modules) -> tuple[Mapping[str, Row], Mapping[str, Row]]:
    """The modules that the golden has and the run has not, and the other way round."""
    gone = {path: row for path, row in golden.items() if path not in run.rows}
    return gone, {path: row for path, row in run.rows.items() if path not in golden}


def renamed(
    modules: tuple[Mapping[str, Row], Mapping[str, Row]], leaves: Mapping[str, str]
) -> tuple[Change, ...]:
    """What changed in modules that have another path now, as their ``leaves`` (old -> new) tell."""
    gone, came = modules
    places = {_place(old, new) for old, new in leaves.items()}
    found: list[Change] = []
    for old, new in sorted(places):
        for path in sorted(path for path in gone if is_below(path, old)):
            other = new + path[len(old) :]
            if other in came:
                found += _attributes(other, gone[path], came[other], lenient=False)
    return tuple(found)


def _place(old: str, new: str) -> tuple[str, str]:
    """``a.up.kernel``, ``b.up.kernel`` -> ``a``, ``b``: where two paths part."""
    while old and new and tail(old) == tail(new):
        old, new = parent(old), parent(new)
    return old, new


def _attributes(path: str, old: Row, new: Row, lenient: bool) -> list[Change]:
    if old.get(CLASS) != new.get(CLASS):
        return [Change(path, CLASS, old.get(CLASS), new.get(CLASS))]
    names = old.keys() & new.keys() if lenient else old.keys() | new.keys()
    return [
        Change(path, name, old.get(name), new.get(name))
        for name in sorted(names)
        if not _same(old.get(name), new.get(name))
    ]


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)


def _inside(path: str, others: Collection[str]) -> bool:
    return any(other != path and is_below(path, other) for other in others)


@dataclass(frozen=True)
class Difference:
    """One leaf that is not what the golden holds.

    ``kinds`` says in which ways: added, removed, type, shape, dtype, sharding, aliasing,
    derivation (of a leaf without values), values; ``values`` without ``numbers`` means that
    the golden keeps no elements of it. What is aliased on one side and not there at all on the
    other is ``aliasing`` together with ``added`` or ``removed``.
    """

    path: str
    kinds: tuple[str, ...]
    expected: Leaf | None = None
    obtained: Leaf | None = None
    numbers: Numbers | None = None
    alias: tuple[str | None, str | None] = (None, None)

    def __post_init__(self) -> None:
        if not KINDS.issuperset(self.kinds):
            raise ValueError(f"{self.kinds} are not all kinds of a difference")

    @property
    def rng(self) -> bool:
        leaf = self.obtained or self.expected
        return leaf is not None and leaf.rng


@dataclass(frozen=True)
class Comparison:
    """What became of each leaf: ``matched`` by bits, ``rounded``, ``unread`` or different.

    ``unread`` leaves agree in all that both sides hold, of which values are not a part: the
    golden, or the run, is abstract. Of those that match, ``spotted`` were compared at their
    spots alone, and ``proven`` not at all: their values follow from what is as in the golden.
    ``static`` are the changes of modules that show in no leaf; ``alone`` are the modules that the
    golden, and those that the run, has at paths where the other has none.
    """

    matched: tuple[str, ...] = ()
    rounded: Mapping[str, Numbers] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    spotted: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()
    static: tuple[Change, ...] = ()
    alone: tuple[Mapping[str, Row], Mapping[str, Row]] = ({}, {})

    @property
    def matches(self) -> bool:
        return not (self.differences or self.static)

    @property
    def leaves(self) -> int:
        different = [d for d in self.differences if d.obtained or d.expected]
        return len(self.matched) + len(self.rounded) + len(self.unread) + len(different)


def compare(
    expected: tuple[Leaf, ...],
    obtained: tuple[Leaf, ...],
    tolerance: Tolerance,
    aliases: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    *,
    sharding: bool = False,
    rekeyed: Collection[str] = (),
    fingerprints: bool = True,
    proven: Collection[str] = (),
) -> Comparison:
    """Compare the golden's leaves with those of the run, and report every difference.

    ``aliases`` are the golden's and the run's. Structure comes first, then type, shape,
    dtype and sharding, then values: bits, and where they differ the tolerance. Where one side
    has no values, the spots are compared, and the derivations: draws, the base keys of their
    streams (those of ``rekeyed`` are not the golden's), and initializers if ``fingerprints`` of
    both sides mean the same. The values of ``proven`` leaves are known to be the golden's.

    Raises:
      GoldenError: when the golden's values are needed and cannot be read.
    """
    # A golden that records any sharding records it of every leaf.
    if sharding and any(leaf.sharding is not None for leaf in expected):
        expected, obtained = (
            tuple(leaf.but(sharding=leaf.sharding or ()) for leaf in side)
            for side in (expected, obtained)
        )
    old, new = {leaf.path: leaf for leaf in expected}, {leaf.path: leaf for leaf in obtained}
    result = _Collector()
    untied = _aliases(aliases, (old.keys(), new.keys()), result)
    for path in sorted(old.keys() | new.keys()):
        if path not in new:
            if not is_below(path, *untied):
                result.differences.append(Difference(path, ("removed",), expected=old[path]))
        elif path not in old:
            if not is_below(path, *untied):
                result.differences.append(Difference(path, ("added",), obtained=new[path]))
        else:
            moved = _rederived(old[path], new[path], rekeyed, fingerprints)
            _leaf(old[path], new[path], tolerance, sharding, moved, path in proven, result)
    return Comparison(
        tuple(result.matched),
        result.rounded,
        tuple(result.unread),
        tuple(result.differences),
        tuple(result.spotted),
        tuple(result.proven),
    )


@dataclass
class _Collector:
    matched: list[str] = field(default_factory=list)
    rounded: dict[str, Numbers] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    spotted: list[str] = field(default_factory=list)
    proven: list[str] = field(default_factory=list)


def _aliases(
    aliases: tuple[Mapping[str, str], Mapping[str, str]],
    paths: tuple[Collection[str], Collection[str]],
    result: _Collector,
) -> tuple[str, ...]:
    old, new = aliases
    moved = sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p))
    for path in moved:
        kinds: tuple[str, ...] = ("aliasing",)
        if path not in new and _gone(path, old[path], *paths):
            kinds = ("aliasing", "removed")
        elif path not in old and _gone(path, new[path], *reversed(paths)):
            kinds = ("aliasing", "added")
        result.differences.append(Difference(path, kinds, alias=(old.get(path), new.get(path))))
    return tuple(moved)


def _gone(alias: str, target: str, here: Collection[str], there: Collection[str]) -> bool:
    """Whether what is at ``target`` here, and so at ``alias``, left no leaf at ``alias`` there."""
    return any(is_below(path, target) for path in here) and not any(
        is_below(path, alias) for path in there
    )


def _leaf(
    old: Leaf,
    new: Leaf,
    tolerance: Tolerance,
    sharding: bool,
    rederived: bool,
    proven: bool,
    result: _Collector,
) -> None:
    kinds = [
        name for name in ("type", "shape", "dtype") if getattr(old, name) != getattr(new, name)
    ]
    if sharding and (old.sharding != new.sharding or moved(old.placed, new.placed)):
        kinds.append("sharding")
    numbers = None
    if old.shape == new.shape and old.dtype == new.dtype:
        if old.digest is None or (new.read is None and new.digest is None):
            numbers = None if proven else gap_at_spots(old, new, tolerance)
            # Of a small leaf the spots are all that there is.
            if rederived and (numbers is None or old.size > COUNT):
                kinds.append("derivation")
            if numbers is not None and numbers.differing and not numbers.is_rounding:
                kinds.append("values")
            if not kinds:
                _without_values(old.path, numbers, proven, result)
                return
        elif (new.digest or digest(new.contents())) != old.digest:
            numbers = gap(old, new, tolerance)
            if numbers is None or not numbers.is_rounding:
                kinds.append("values")
            elif not kinds:
                result.rounded[old.path] = numbers
                if numbers.less:
                    result.spotted.append(old.path)
                return
    if kinds:
        result.differences.append(Difference(old.path, tuple(kinds), old, new, numbers))
    else:
        result.matched.append(old.path)


def _without_values(path: str, numbers: Numbers | None, proven: bool, result: _Collector) -> None:
    """A leaf that agrees in all that both sides hold, of which its values are not a part."""
    if numbers is None and not proven:
        result.unread.append(path)
        return
    (result.proven if proven else result.spotted).append(path)
    if numbers is not None and numbers.differing:
        result.rounded[path] = numbers
    else:
        result.matched.append(path)


def _rederived(old: Leaf, new: Leaf, rekeyed: Collection[str], fingerprints: bool) -> bool:
    if old.draws is None or new.draws is None:
        return False
    if old.draws != new.draws or (fingerprints and old.initializer != new.initializer):
        return True
    return any(draw.partition("#")[0] in rekeyed for draw in new.draws)
