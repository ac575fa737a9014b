"""How a leaf is sharded, in terms that are the same on a mesh of any size.

A *spec* names for each axis of an array the mesh axes (or, in metadata, the logical axes) that
it is split over: ``(None, "model")``. Axes that are not split at the end are left out, so ``()``
is a replicated leaf, whatever its rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Spec: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Placement:
    """How the elements really lie.

    ``unseen`` are the mesh axes of size 1 that the spec does not name: XLA drops these, so that
    whether a leaf is split over them cannot be told on this mesh.
    """

    spec: Spec
    unseen: tuple[str, ...] = ()


def normal(spec: Iterable[Any]) -> Spec:
    """A spec as tuples, names and None: ``[("a",), (), None]`` -> ``("a",)``."""
    found = [_axis(axis) for axis in spec]
    while found and found[-1] is None:
        found.pop()
    return tuple(found)


def _axis(axis: Any) -> Any:
    if isinstance(axis, tuple | list):
        names = tuple(str(name) for name in axis)
        return names if len(names) > 1 else names[0] if names else None
    return None if axis is None else str(axis)


def placement(spec: Iterable[Any], mesh: Mapping[str, int]) -> Placement | None:
    """How ``spec`` places a leaf on a mesh of these axes; None where that cannot be told."""
    found = normal(spec)
    named = _names(found)
    unseen = tuple(sorted(name for name, n in mesh.items() if n == 1 and name not in named))
    if not named and all(n == 1 for n in mesh.values()):
        return None
    return Placement(found, unseen)


def moved(old: Placement | None, new: Placement | None) -> bool:
    """Whether two placements differ in an axis that can be told on both sides."""
    if old is None or new is None:
        return False
    where, there = _names(old.spec), _names(new.spec)
    hidden = {*old.unseen} - where.keys() | {*new.unseen} - there.keys()
    return any(
        where.get(name) != there.get(name) for name in (where.keys() | there.keys()) - hidden
    )


def _names(spec: Spec) -> dict[str, tuple[int, int]]:
    """Each name, and where it stands: the array's axis, and the place among that axis's names."""
    return {
        name: (at, place)
        for at, axis in enumerate(spec)
        for place, name in enumerate(axis if isinstance(axis, tuple) else (axis,))
        if name is not None
    }


def told(
    annotated: tuple[Spec | None, Spec | None], placed: tuple[Placement | None, Placement | None]
) -> str:
    """What a leaf's sharding was in the golden and is now, in metadata and in fact."""
    changes = []
    if annotated[0] != annotated[1]:
        changes.append(("annotated", annotated[0] or (), annotated[1] or ()))
    if moved(*placed) and placed[0] and placed[1]:
        changes.append(("placed", placed[0].spec, placed[1].spec))
    names = [{name for _, *specs in changes for name in _names(specs[side])} for side in (0, 1)]
    lost, gained = sorted(names[0] - names[1]), sorted(names[1] - names[0])
    head = ""
    if lost and not gained:
        head = f"no longer sharded over {', '.join(lost)}: "
    elif gained and not lost:
        head = f"now sharded over {', '.join(gained)}: "
    return head + ", ".join(f"{what} {_show(old)} -> {_show(new)}" for what, old, new in changes)


def _show(spec: Spec) -> str:
    return f"P({', '.join(map(repr, spec))})"


def axes(spec: Iterable[Any]) -> tuple[tuple[str, ...], ...]:
    """The names at each axis: ``(None, "a", ("b", "c"))`` -> ``((), ("a",), ("b", "c"))``."""
    return tuple(
        axis if isinstance(axis, tuple) else () if axis is None else (axis,)
        for axis in normal(spec)
    )
