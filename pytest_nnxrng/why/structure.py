"""Causes of what was added, removed, renamed, tied, or is of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pytest_nnxrng.compare.changed import Change, renamed
from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.modules import CLASS
from pytest_nnxrng.leaf.paths import parent, tail
from pytest_nnxrng.leaf.placement import told
from pytest_nnxrng.why.cause import Cause, Evidence, comparable, named

_Alias: TypeAlias = tuple[str | None, str | None]
_NAMED = 3
_CAME_AND_WENT = ("removed", "added")
_KINDS = {"type": "variable_type", "shape": "shape", "dtype": "dtype", "sharding": "sharding"}


def structure(evidence: Evidence) -> tuple[list[Cause], dict[str, str]]:
    differences = [d for d in evidence.comparison.differences if d.path not in evidence.reverted]
    causes: list[Cause] = []
    for kind, word in _KINDS.items():
        groups: dict[str, list[str]] = {}
        for d in differences:
            if kind == "dtype" and (d.path in evidence.redtyped or d.path in evidence.implied):
                continue  # a key of another implementation, a float64 under x64: the flag's doing
            if kind in d.kinds and d.expected and d.obtained:
                was, now = _plain(getattr(d.expected, kind)), _plain(getattr(d.obtained, kind))
                change = sharding(d) if kind == "sharding" else f"{was} -> {now}"
                groups.setdefault(change, []).append(d.path)
        for change, paths in groups.items():
            text = f"{change}: {named(paths)}"
            causes.append(Cause(word, tuple(paths), text, "", change))
    gone, came = ({d.path: d.alias for d in differences if k in d.kinds} for k in _CAME_AND_WENT)
    names = _renamed_aliases(gone, came)
    for d in differences:
        if "aliasing" in d.kinds and d.path not in {**gone, **came}:
            old, new = d.alias
            text = f"{d.path} was tied to {old}" if old else f"{d.path} was not tied"
            text += f", now to {new}" if new else ", now it is not"
            causes.append(Cause("aliasing", (d.path,), text, "", text))
    pairs = _renamed(
        evidence,
        [path for path, alias in gone.items() if not any(alias)],
        [path for path, alias in came.items() if not any(alias)],
    )
    every = pairs | names
    if every:
        shown = ", ".join(f"{old} -> {new}" for old, new in list(every.items())[:3])
        more = ", ..." if len(every) > 3 else ""
        text = f"{shown}{more}: same content under another path ({named(list(every))})"
        causes.append(Cause("renamed", tuple(every.values()), text, "content", f"{shown}{more}"))
    for word, found, known in (("added", came, every.values()), ("removed", gone, every.keys())):
        paths = [path for path in found if path not in known]
        if paths:
            some = [_tied(path, found[path]) for path in paths[:4]]
            shown = ", ".join(some) + (", ..." if len(paths) > 4 else "")
            text = f"{named(paths)}: {shown}" if len(paths) > 1 else shown
            causes.append(Cause(word, tuple(paths), text, "", shown))
    moved = renamed(evidence.comparison.alone, pairs)
    causes += static((*evidence.comparison.static, *moved))
    return causes, pairs


def static(changes: Iterable[Change]) -> list[Cause]:
    """The causes of what shows in no leaf: one for each change, however many modules it is of."""
    groups: dict[str, list[str]] = {}
    for change in changes:
        groups.setdefault(told_of(change), []).append(change.path or "the value")
    causes = []
    for text, paths in groups.items():
        modules = ", ".join(paths[:_NAMED])
        if len(paths) > _NAMED:
            modules += f" and {len(paths) - _NAMED} more modules"
        causes.append(Cause("static", (), f"{text}: {modules}", "", text))
    return causes


def told_of(change: Change) -> str:
    """What a module's attribute was and is; whether the module itself came or went."""
    old, new = change.expected, change.obtained
    if change.attribute == CLASS and (old is None or new is None):
        return f"removed {old}" if new is None else f"added {new}"
    return f"{change.attribute} {attribute(old)} -> {attribute(new)}"


def attribute(value: Any) -> str:
    """A static attribute, or that there is none, as text."""
    if value is None:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)


def sharding(d: Difference) -> str:
    """What a leaf's sharding was and is."""
    old, new = d.expected, d.obtained
    if old is None or new is None or old.sharding is None:
        return (
            "not in the golden, which was written without sharding=True. Look at what is there "
            "now, and record it with --nnx-update-only=sharding"
        )
    return told((old.sharding, new.sharding), (old.placed, new.placed))


def _tied(path: str, alias: _Alias) -> str:
    return f"{path} (tied to {alias[0] or alias[1]})" if any(alias) else path


def _renamed_aliases(gone: Mapping[str, _Alias], came: Mapping[str, _Alias]) -> dict[str, str]:
    """Old name -> new name of what is tied to one and the same on both sides."""
    return {
        here[0]: there[0]
        for target in sorted({old for old, _ in gone.values() if old})
        if len(here := [path for path, (old, _) in gone.items() if old == target]) == 1
        and len(there := [path for path, (_, new) in came.items() if new == target]) == 1
    }


def _renamed(evidence: Evidence, removed: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """Old path -> new path, for what went and came with the same content.

    Random leaves pair by their values, else by how they were made, where only one on each side
    is like that; constants, which are alike everywhere, with the leaves beside them.
    """
    old, new = evidence.expected, evidence.obtained
    pairs: dict[str, str] = {}

    def pair(content: Callable[[Leaf], Any], left: Iterable[str], came: Iterable[str]) -> None:
        here = _unique({path: old[path] for path in left if path not in pairs}, content)
        there = {path: new[path] for path in came if path not in pairs.values()}
        for key, path in _unique(there, content).items():
            if key in here:
                pairs[here[key]] = path

    def form(leaf: Leaf) -> tuple[Any, ...]:
        return leaf.type, leaf.shape, leaf.dtype

    def random(leaf: Leaf) -> bool:
        return bool(leaf.draws) if leaf.draws is not None else "constant" not in leaf.statistics

    pair(
        lambda leaf: (form(leaf), leaf.digest) if leaf.digest and random(leaf) else None,
        removed,
        added,
    )

    pair(
        lambda leaf: (form(leaf), leaf.spots) if leaf.spots and random(leaf) else None,
        removed,
        added,
    )

    def made(leaf: Leaf) -> Any:
        return (form(leaf), leaf.initializer) if leaf.draws and leaf.initializer else None

    if comparable(evidence):
        pair(lambda leaf: made(leaf) and (made(leaf), leaf.draws), removed, added)
        pair(made, removed, added)
    parents = {parent(a): parent(b) for a, b in pairs.items() if tail(a) == tail(b)}
    alike = _groups(removed, old), _groups(added, new)
    for content, group in _unique(alike[0], lambda found: found).items():
        other = _unique(alike[1], lambda found: found).get(content)
        if other is not None:
            parents.setdefault(group, other)
    for path in removed:
        target = f"{parents.get(parent(path), '')}{tail(path)}"
        if path not in pairs and parent(path) in parents and target in added:
            pairs[path] = target
    return {a: b for a, b in pairs.items() if form(old[a]) == form(new[b])}


def _groups(paths: Iterable[str], leaves: Mapping[str, Leaf]) -> dict[str, tuple[Any, ...]]:
    """Parent -> what lies below it: tails, types, shapes, dtypes and values."""
    found: dict[str, list[Any]] = {}
    for path in sorted(paths):
        leaf = leaves[path]
        found.setdefault(parent(path), []).append(
            (tail(path), leaf.type, leaf.shape, leaf.dtype, leaf.digest)
        )
    return {parent: tuple(rows) for parent, rows in found.items() if parent}


def _unique(items: Mapping[str, Any], content: Callable[[Any], Any]) -> dict[Any, str]:
    found: dict[Any, list[str]] = {}
    for path, item in items.items():
        key = content(item)
        if key is not None:
            found.setdefault(key, []).append(path)
    return {key: paths[0] for key, paths in found.items() if len(paths) == 1}


def _plain(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
