"""Causes of what was added, removed, renamed, tied, or is of another kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_nnxrng.compare.differences import Change, Difference, renamed
from pytest_nnxrng.leaf.dtypes import is_inexact, is_small_float
from pytest_nnxrng.leaf.forward import CLASS
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import is_below, parent, tail
from pytest_nnxrng.leaf.placement import told
from pytest_nnxrng.leaf.statistics import statistics
from pytest_nnxrng.why import joined
from pytest_nnxrng.why.cause import LIKELY, Cause, Evidence, named
from pytest_nnxrng.why.renames import renames, shown
from pytest_nnxrng.why.ties import Alias, renamed_aliases, ties, untied

_NAMED = 3
_CAME_AND_WENT = ("removed", "added")
_RULES = 4  # that are shown
_KINDS = {"type": "variable_type", "shape": "shape", "dtype": "dtype", "sharding": "sharding"}


def structure(evidence: Evidence) -> tuple[list[Cause], dict[str, str]]:
    """The causes, and the golden's paths under this run's names."""
    differences = [d for d in evidence.comparison.differences if d.path not in evidence.reverted]
    gone, came = ({d.path: d.alias for d in differences if k in d.kinds} for k in _CAME_AND_WENT)
    own_gone, own_came = ([p for p, a in side.items() if not any(a)] for side in (gone, came))
    rules = renames(evidence, own_gone, own_came)
    pairs = {old: new for rule in rules for old, new in rule.items()}
    both = [_under_one_name(evidence, old, new) for old, new in pairs.items()]
    causes = _kinds(evidence, [*differences, *both])
    causes += _spread(evidence, [*differences, *both])
    names = renamed_aliases(gone, came)
    tied = ties(evidence, differences, gone, came)
    tied += untied(gone, came, {*pairs, *names}, {*pairs.values(), *names.values()})
    causes += [tie.cause for tie in tied]
    if pairs or names:
        causes.append(_renamed(rules, names))
    known = {path for tie in tied for path in tie.known}
    left = (
        [p for p in own_gone if p not in {*pairs, *known}],
        [p for p in own_came if p not in {*pairs.values(), *known}],
    )
    for joins, is_now in _joins(evidence, *left):
        causes += joined.causes(evidence, joins, is_now=is_now)
        known.update(path for join in joins for path in (*join.parts, join.whole))
    every = {**pairs, **names}
    for word, found, mapped in (("added", came, every.values()), ("removed", gone, every)):
        paths = [path for path in found if path not in mapped and path not in known]
        if paths:
            some = [_tied(path, found[path]) for path in paths[:4]]
            listed = ", ".join(some) + (", ..." if len(paths) > 4 else "")
            text = f"{named(paths)}: {listed}" if len(paths) > 1 else listed
            causes.append(Cause(word, tuple(paths), text, "", listed))
    moved = renamed(evidence.comparison.alone, pairs)
    told_ = {tie.module for tie in tied}
    changes = [c for c in _own((*evidence.comparison.static, *moved)) if c.path not in told_]
    return [*causes, *static(c for c in changes if not _shows(c, [*differences, *both]))], pairs


def _own(changes: Sequence[Change]) -> list[Change]:
    """Without numbers that only make up for another of their module: sizes of so many groups."""
    told_: dict[str, set[str]] = {}
    beside: dict[str, list[Change]] = {}
    for c in changes:
        told_.setdefault(c.attribute, set()).add(told_of(c))
        beside.setdefault(c.path, []).append(c)
    return [
        c
        for c in changes
        if not any(
            _make_up(c, other)
            and (-len(told_[other.attribute]), other.attribute)
            > (-len(told_[c.attribute]), c.attribute)
            for other in beside[c.path]
        )
    ]


def _make_up(a: Change, b: Change) -> bool:
    numbers = (a.expected, a.obtained, b.expected, b.obtained)
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        return False
    return bool(a.expected * b.expected == a.obtained * b.obtained)


def _joins(
    evidence: Evidence, gone: Sequence[str], came: Sequence[str]
) -> Iterator[tuple[list[joined.Join], bool]]:
    """What is joined now, and what was in the golden."""
    old = {path: evidence.expected[path] for path in gone}
    new = {path: evidence.obtained[path] for path in came}
    yield (now := joined.joins(old, new)), True
    told = {path for join in now for path in (*join.parts, join.whole)}
    old, new = ({p: x for p, x in side.items() if p not in told} for side in (old, new))
    yield joined.joins(new, old), False


def _kinds(evidence: Evidence, differences: Sequence[Difference]) -> list[Cause]:
    """Other types, shapes, dtypes and shardings of what both sides have."""
    causes = []
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
    return causes


def _spread(evidence: Evidence, differences: Sequence[Difference]) -> list[Cause]:
    """Leaves of another dtype whose values spread otherwise, by more than samples do."""
    found: dict[str, float] = {}
    for d in differences:
        old, new = d.expected, d.obtained
        if "dtype" not in d.kinds or not old or not new or old.shape != new.shape:
            continue
        ratio = _times_as_wide(old, new)
        if ratio is not None and abs(ratio - 1) > 0.05 + 5 / old.size**0.5:
            found[d.path] = ratio
    if not found:
        return []
    least, most = min(found.values()), max(found.values())
    how = f"{most:.2g} times as wide" if most < 1.1 * least else "otherwise"
    text = f"the values spread {how}, whatever their dtype"
    proof = "values" if evidence.kind == "init" else LIKELY
    return [Cause("initializer", tuple(found), f"{text}: {named(found)}", proof, text)]


def _times_as_wide(old: Leaf, new: Leaf) -> float | None:
    if new.read is None or not all(map(_is_float, (old.dtype, new.dtype))):
        return None
    both = [leaf.get("std") for leaf in (old.statistics, statistics(new.contents()))]
    then, now = (x if isinstance(x, float) else 0.0 for x in both)
    return now / then if then and now else None


def _is_float(dtype: str) -> bool:
    """Whether it holds a sample as wide as any other does."""
    return is_inexact(dtype) and not is_small_float(dtype)


def _under_one_name(evidence: Evidence, old: str, new: str) -> Difference:
    then, now = evidence.expected[old], evidence.obtained[new]
    kinds = [kind for kind in ("type", "dtype") if getattr(then, kind) != getattr(now, kind)]
    return Difference(new, tuple(kinds), then, now)


def _renamed(rules: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> Cause:
    told = [shown(rule) for rule in rules] + [f"{old} -> {new}" for old, new in names.items()]
    change = ", ".join(told[:_RULES]) + (", ..." if len(told) > _RULES else "")
    paths = [new for rule in rules for new in rule.values()] + list(names.values())
    text = f"{change}: the same under another path ({named(paths)})"
    return Cause("renamed", tuple(paths), text, "content", change)


def _shows(change: Change, differences: Sequence[Difference]) -> bool:
    """Whether the module's own leaves show the change, so that it has a cause already.

    Or those of a module in it, to which it hands the change on.
    A ``param_dtype`` is seen in dtypes, a number of features in shapes, ``use_bias`` in a leaf
    that came or went, an initializer in what it made.
    """
    own = [d for d in differences if parent(d.path) == change.path]
    below = [d for d in differences if not change.path or is_below(d.path, change.path)]
    kinds = {kind for d in own for kind in d.kinds}
    old, new = change.expected, change.obtained
    if change.attribute == CLASS:
        return False
    if isinstance(old, bool) and isinstance(new, bool):
        went = [d for d in below if not {"added", "removed"}.isdisjoint(d.kinds)]
        return any(tail(d.path).strip(".") in change.attribute for d in went)
    if change.attribute.endswith("_init"):
        return not kinds.isdisjoint(("values", "derivation"))
    if _is_size(old) and _is_size(new):
        return any(_is_resized(d, old, new) for d in below) or _comes(own)
    both = [(d.expected, d.obtained) for d in own if d.expected and d.obtained]
    return any((str(old), str(new)) == (a.dtype, b.dtype) for a, b in both if a.dtype != b.dtype)


def _comes(own: Sequence[Difference]) -> bool:
    """Whether a leaf of the module came, or went, under the module's other name."""
    return any("added" in d.kinds for d in own)


def _is_resized(d: Difference, old: Any, new: Any) -> bool:
    """Whether an axis of a leaf grew, or shrank, as this number did, or one of these."""
    if "shape" not in d.kinds or not (d.expected and d.obtained):
        return False
    sides = [x if isinstance(x, tuple | list) else (x,) for x in (old, new)]
    if len(sides[0]) != len(sides[1]):
        return True
    axes = list(zip(d.expected.shape, d.obtained.shape, strict=False))
    return any(
        a != b and n != m and (a * m == b * n or a * n == b * m)
        for a, b in axes
        for n, m in zip(*sides, strict=True)
    )


def _is_size(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_size, value))
    return isinstance(value, int) and not isinstance(value, bool)


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


def _tied(path: str, alias: Alias) -> str:
    return f"{path} (tied to {alias[0] or alias[1]})" if any(alias) else path


def _plain(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
