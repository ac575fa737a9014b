"""Causes of what was added, removed, renamed, tied, or is of another kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytest_nnxrng.causes import Cause, Evidence, comparable, named
from pytest_nnxrng.leaf import Leaf

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
                groups.setdefault(f"{was} -> {now}", []).append(d.path)
        for change, paths in groups.items():
            text = f"{change}: {named(paths)}"
            causes.append(Cause(word, tuple(paths), text, "", change))
    for d in differences:
        if "aliasing" in d.kinds:
            old, new = d.alias
            text = f"{d.path} was tied to {old}" if old else f"{d.path} was not tied"
            text += f", now to {new}" if new else ", now it is not"
            causes.append(Cause("aliasing", (d.path,), text, "", text))
    removed = [d.path for d in differences if "removed" in d.kinds]
    added = [d.path for d in differences if "added" in d.kinds]
    pairs = _renamed(evidence, removed, added)
    if pairs:
        shown = ", ".join(f"{old} -> {new}" for old, new in list(pairs.items())[:3])
        more = ", ..." if len(pairs) > 3 else ""
        text = f"{shown}{more}: same content under another path ({named(list(pairs))})"
        causes.append(Cause("renamed", tuple(pairs.values()), text, "content", f"{shown}{more}"))
    for word, paths in (
        ("added", [path for path in added if path not in pairs.values()]),
        ("removed", [path for path in removed if path not in pairs]),
    ):
        if paths:
            shown = ", ".join(paths[:4]) + (", ..." if len(paths) > 4 else "")
            causes.append(Cause(word, tuple(paths), f"{named(paths)}: {shown}", "", shown))
    return causes, pairs


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
    parents = {_parent(a): _parent(b) for a, b in pairs.items() if _tail(a) == _tail(b)}
    alike = _groups(removed, old), _groups(added, new)
    for content, group in _unique(alike[0], lambda found: found).items():
        other = _unique(alike[1], lambda found: found).get(content)
        if other is not None:
            parents.setdefault(group, other)
    for path in removed:
        target = f"{parents.get(_parent(path), '')}{_tail(path)}"
        if path not in pairs and _parent(path) in parents and target in added:
            pairs[path] = target
    return {a: b for a, b in pairs.items() if form(old[a]) == form(new[b])}


def _groups(paths: Iterable[str], leaves: Mapping[str, Leaf]) -> dict[str, tuple[Any, ...]]:
    """Parent -> what lies below it: tails, types, shapes, dtypes and values."""
    found: dict[str, list[Any]] = {}
    for path in sorted(paths):
        leaf = leaves[path]
        found.setdefault(_parent(path), []).append(
            (_tail(path), leaf.type, leaf.shape, leaf.dtype, leaf.digest)
        )
    return {parent: tuple(rows) for parent, rows in found.items() if parent}


def _unique(items: Mapping[str, Any], content: Callable[[Any], Any]) -> dict[Any, str]:
    found: dict[Any, list[str]] = {}
    for path, item in items.items():
        key = content(item)
        if key is not None:
            found.setdefault(key, []).append(path)
    return {key: paths[0] for key, paths in found.items() if len(paths) == 1}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _tail(path: str) -> str:
    head, dot, tail = path.rpartition(".")
    return f"{dot}{tail}" if head else path


def _plain(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
