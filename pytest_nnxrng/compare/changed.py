"""Two sets of modules -> what their classes and static attributes differ in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_nnxrng.leaf.modules import CLASS, Modules, Row
from pytest_nnxrng.leaf.paths import is_below, parent, prefixes, tail


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
