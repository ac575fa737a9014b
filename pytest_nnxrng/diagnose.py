"""Differences + derivations + environments -> causes; ``unknown`` rather than a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pytest_nnxrng.compare import Comparison, Difference
from pytest_nnxrng.judge import difference
from pytest_nnxrng.leaf import Leaf, dtype_of, is_inexact
from pytest_nnxrng.numbers import WEIGHTS, Tolerance
from pytest_nnxrng.sketch import sketch

_KINDS = {"type": "variable_type", "shape": "shape", "dtype": "dtype", "sharding": "sharding"}
# A fingerprint of an initializer holds under one version of JAX and one set of these.
_REWRITES = (
    "jax",
    "flax",
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_accurate_erf_inv",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
)


@dataclass(frozen=True)
class Cause:
    """Why leaves no longer match: a word of ``policy.CAUSES``, a line of text, and its proof.

    ``finding`` is the same text for the same change in every test, so that a run can count it.
    """

    word: str
    leaves: tuple[str, ...]
    text: str
    evidence: str = ""
    finding: str = ""


@dataclass(frozen=True)
class Drawing:
    """A key drawn by this run's build: its label, the user's line, the module being built."""

    label: str
    where: str = ""
    module: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that is known of a mismatch.

    ``obtained`` are the run's leaves, with their derivations as they are under the recorded
    flags where these could be set again. ``streams`` are (golden's, ours):
    name -> {"impl", "key", "count", "end"}, ours translated to the recorded PRNG
    implementation and seed offset. ``reverted`` maps the leaves that equal the golden when the
    model is rebuilt under recorded flags to those flags, ``touched`` those that change with
    these flags and are not the golden's even so. ``model`` tells what became of the
    model from which an output comes: its causes, () if it matched, None if none was checked.
    """

    kind: str
    comparison: Comparison
    expected: Mapping[str, Leaf]
    obtained: Mapping[str, Leaf]
    streams: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    changes: tuple[tuple[str, Any, Any], ...] = ()
    draws: tuple[Drawing, ...] = ()
    reverted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    touched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rebuilt: bool = False
    repeats: bool = True
    untraceable: str = ""
    model: tuple[Cause, ...] | None = None
    proof: str = "derivation"


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """Name the causes of every difference; leaves that nothing explains are ``unknown``."""
    if not evidence.repeats:
        paths = tuple(d.path for d in evidence.comparison.differences)
        text = "two builds in this process give different models"
        return (Cause("nondeterministic", paths, text, "built twice", text),)
    causes, pairs = _structure(evidence)
    open_: list[Difference] = []
    for d in evidence.comparison.differences:
        moved = not {"values", "derivation"}.isdisjoint(d.kinds)
        if moved and {"shape", "dtype"}.isdisjoint(d.kinds):
            open_.append(d)
    causes += _environment(evidence, evidence.comparison.differences)
    open_ = [d for d in open_ if d.path not in evidence.reverted]
    renamed = {new: evidence.expected[old] for old, new in pairs.items()}
    evidence = replace(evidence, expected={**evidence.expected, **renamed})
    both = [*open_, *(Difference(new, ("values",), old) for new, old in renamed.items())]
    derived = [d for d in both if _derived(d.path, evidence)]
    causes += _derivations(evidence, derived)
    explained = {p for cause in causes for p in cause.leaves if cause.word != "environment"}
    left = [d for d in open_ if d.path not in explained]
    causes += _numbers(evidence, left, causes)
    return tuple(causes)


# -- structure -------------------------------------------------------------------------


def _structure(evidence: Evidence) -> tuple[list[Cause], dict[str, str]]:
    differences = [d for d in evidence.comparison.differences if d.path not in evidence.reverted]
    causes: list[Cause] = []
    for kind, word in _KINDS.items():
        groups: dict[str, list[str]] = {}
        for d in differences:
            if kind == "dtype" and d.rng and d.path in evidence.touched:
                continue  # a key of another implementation: the flag's doing
            if kind in d.kinds and d.expected and d.obtained:
                was, now = _plain(getattr(d.expected, kind)), _plain(getattr(d.obtained, kind))
                groups.setdefault(f"{was} -> {now}", []).append(d.path)
        for change, paths in groups.items():
            text = f"{change}: {_leaves(paths)}"
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
        text = f"{shown}{more}: same content under another path ({_leaves(list(pairs))})"
        causes.append(Cause("renamed", tuple(pairs.values()), text, "content", f"{shown}{more}"))
    for word, paths in (
        ("added", [path for path in added if path not in pairs.values()]),
        ("removed", [path for path in removed if path not in pairs]),
    ):
        if paths:
            shown = ", ".join(paths[:4]) + (", ..." if len(paths) > 4 else "")
            causes.append(Cause(word, tuple(paths), f"{_leaves(paths)}: {shown}", "", shown))
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

    def made(leaf: Leaf) -> Any:
        return (form(leaf), leaf.initializer) if leaf.draws and leaf.initializer else None

    if _comparable(evidence):
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


# -- environment -----------------------------------------------------------------------


def _environment(evidence: Evidence, differences: Sequence[Difference]) -> list[Cause]:
    values = {name: (old, new) for name, old, new in evidence.changes}
    causes = []
    equal = "equal to the golden when built under what it recorded"
    if evidence.proof != "derivation":
        equal = "the same draws as in the golden, under what it recorded"
    for of, what in (
        (evidence.reverted, equal),
        (evidence.touched, "which this moves, though not this alone"),
    ):
        groups: dict[tuple[str, ...], list[str]] = {}
        for d in differences:
            if d.path in of:
                groups.setdefault(of[d.path], []).append(d.path)
        for flags, paths in groups.items():
            shown = ", ".join(
                f"{flag} {_json(values[flag][0])} -> {_json(values[flag][1])}" for flag in flags
            )
            text = f"{shown}: {_leaves(paths)}, {what}"
            proof = "rebuilt" if evidence.rebuilt else evidence.proof
            causes.append(Cause("environment", tuple(paths), text, proof, shown))
    return causes


def same_fingerprints(changed: Iterable[str]) -> bool:
    """Whether fingerprints of initializers mean the same, these settings having changed."""
    return set(changed).isdisjoint(_REWRITES)


def _comparable(evidence: Evidence) -> bool:
    changed = {name for name, _, _ in evidence.changes}
    if evidence.proof != "derivation":
        return True  # scales and families of samples mean the same everywhere
    if evidence.rebuilt:
        return changed.isdisjoint(("jax", "flax"))
    return same_fingerprints(changed)


# -- derivations -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Move:
    path: str
    stream: str
    old: tuple[int, ...]
    new: tuple[int, ...]

    @property
    def shift(self) -> int:
        return self.new[0] - self.old[0] if self.old and self.new else 0


def _derived(path: str, evidence: Evidence) -> bool:
    old, new = evidence.expected.get(path), evidence.obtained.get(path)
    return bool(old and new and old.draws is not None and new.draws is not None)


def _derivations(evidence: Evidence, differences: Sequence[Difference]) -> list[Cause]:
    seeds: dict[str, list[str]] = {}
    renamed_streams: dict[tuple[str, str], list[str]] = {}
    moves: list[_Move] = []
    initializers: list[str] = []
    for d in differences:
        old, new = evidence.expected[d.path], evidence.obtained[d.path]
        assert old.draws is not None
        assert new.draws is not None
        if len(old.draws) == len(new.draws):
            for then, now in zip(map(_parse, old.draws), map(_parse, new.draws), strict=True):
                stream = then[0]
                if stream != now[0]:
                    renamed_streams.setdefault((stream, now[0]), []).append(d.path)
                    continue
                if _base_moved(stream, evidence):
                    seeds.setdefault(stream, []).append(d.path)
                if then[1] != now[1]:
                    moves.append(_Move(d.path, stream, then[1], now[1]))
        else:
            initializers.append(d.path)
            continue
        if _comparable(evidence) and old.initializer != new.initializer and not new.rng:
            initializers.append(d.path)
    causes = _seeds(evidence, seeds)
    for (was, is_), paths in renamed_streams.items():
        text = f"drawn from `{is_}`, in the golden from `{was}`: {_leaves(paths)}"
        causes.append(Cause("stream", _once(paths), text, evidence.proof, f"`{was}` -> `{is_}`"))
    causes += _moves(evidence, moves)
    causes += _initializers(evidence, initializers)
    return causes


def _parse(label: str) -> tuple[str, tuple[int, ...]]:
    stream, _, chain = label.partition("#")
    links = chain.split("/") if chain else []
    return stream, tuple(int(link) if link.isdecimal() else hash(link) for link in links)


def _base_moved(stream: str, evidence: Evidence) -> bool:
    old, new = (side.get(stream, {}) for side in evidence.streams)
    return bool(old and new) and (old.get("impl"), old.get("key")) != (
        new.get("impl"),
        new.get("key"),
    )


def _seeds(evidence: Evidence, seeds: Mapping[str, list[str]]) -> list[Cause]:
    if not seeds:
        return []
    old, new = evidence.streams
    both = sorted(old.keys() & new.keys())
    every = all(_base_moved(name, evidence) for name in both)
    shown = ", ".join(
        f"{name} {_seed(old[name])} -> {_seed(new[name])}"
        for name in both
        if _base_moved(name, evidence)
    )
    paths = _once([path for found in seeds.values() for path in found])
    if every:
        text = f"another seed ({shown}): {_leaves(paths)}"
        return [Cause("seed", paths, text, "base keys", shown)]
    text = f"another base key of the stream ({shown}): {_leaves(paths)}"
    return [Cause("stream", paths, text, "base keys", shown)]


def _seed(stream: Mapping[str, Any]) -> str:
    key = stream.get("key")
    if isinstance(key, list | tuple) and len(key) == 2 and key[0] == 0:
        return str(key[1])
    return str(key)


def _moves(evidence: Evidence, moves: Sequence[_Move]) -> list[Cause]:
    causes = []
    for stream in dict.fromkeys(move.stream for move in moves):
        every = sorted((m for m in moves if m.stream == stream), key=lambda m: m.new)
        forked = [m for m in every if len(m.old) != len(m.new)]
        if forked:
            causes.append(_forked(evidence, stream, forked))
        here = [m for m in every if m not in forked]
        runs: list[list[_Move]] = []
        for move in here:
            if runs and runs[-1][0].shift == move.shift:
                runs[-1].append(move)
            else:
                runs.append([move])
        shifts = [run[0].shift for run in runs]
        # Insertions alone (or removals alone) shift later leaves ever further.
        if (
            len(runs) > 1
            and not (shifts == sorted(shifts) and shifts[0] > 0)
            and not (shifts == sorted(shifts, reverse=True) and shifts[0] < 0)
        ):
            causes.append(_reordered(evidence, stream, here))
            continue
        before = 0
        for run in runs:
            causes.append(_shifted(evidence, stream, run, before))
            before = run[0].shift
    return causes


def _forked(evidence: Evidence, stream: str, moves: Sequence[_Move]) -> Cause:
    deeper = len(moves[0].new) > len(moves[0].old)
    what = "split or forked first" if deeper else "no longer split or forked first"
    first = moves[0]
    shown = f"{first.path}: {_label(stream, first.old)} -> {_label(stream, first.new)}"
    paths = _once([m.path for m in moves])
    text = f"keys of `{stream}` are {what} ({shown}): {_leaves(paths)}"
    return Cause("draws", paths, text, evidence.proof, f"keys of `{stream}` are {what}")


def _reordered(evidence: Evidence, stream: str, moves: Sequence[_Move]) -> Cause:
    shown = ", ".join(
        f"{m.path}: {_label(stream, m.old)} -> {_label(stream, m.new)}" for m in moves[:4]
    )
    more = ", ..." if len(moves) > 4 else ""
    paths = _once([m.path for m in moves])
    text = f"keys are drawn from `{stream}` in another order ({shown}{more}): {_leaves(paths)}"
    return Cause("draws", paths, text, evidence.proof, f"`{stream}` in another order")


def _shifted(evidence: Evidence, stream: str, run: Sequence[_Move], before: int) -> Cause:
    first, paths = run[0], _once([move.path for move in run])
    extra = first.shift - before
    if not extra:
        text = (
            f"{first.path} draws {_label(stream, first.new)}, in the golden "
            f"{_label(stream, first.old)}: {_leaves(paths)}"
        )
        return Cause("draws", paths, text, evidence.proof, text)
    what = f"{abs(extra)} {'more' if extra > 0 else 'fewer'} key{'s' if abs(extra) > 1 else ''}"
    verb = "are" if abs(extra) > 1 else "is"
    entry = [side.get(stream, {}).get("count") for side in evidence.streams]
    if all(isinstance(n, int) for n in entry) and entry[1] - entry[0] == first.shift:
        text = (
            f"{what} had been drawn from `{stream}` before this build began "
            f"({entry[0]} in the golden, {entry[1]} now): {_leaves(paths)} moved"
        )
        return Cause(
            "draws", paths, text, evidence.proof, f"{what} from `{stream}` before the build"
        )
    text = f"{what} {verb} drawn from `{stream}` before {first.path}: {_leaves(paths)} moved"
    place = _place(evidence, stream, first) if extra > 0 else ""
    if place:
        text += f" (see {place})"
    return Cause(
        "draws", paths, text, evidence.proof, f"{what} from `{stream}` before {first.path}"
    )


def _place(evidence: Evidence, stream: str, first: _Move) -> str:
    """Where this run draws the key that was this leaf's in the golden."""
    for draw in evidence.draws:
        name, chain = _parse(draw.label)
        if name == stream and chain == first.old:
            inside = f" in {draw.module}" if draw.module else ""
            return f"{draw.where}{inside}" if draw.where else draw.module
    return ""


def _initializers(evidence: Evidence, paths: Sequence[str]) -> list[Cause]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        old, new = evidence.expected[path], evidence.obtained[path]
        same_keys = old.draws == new.draws and not any(
            _base_moved(_parse(draw)[0], evidence) for draw in new.draws or ()
        )
        ratio = _ratio(old, new) if same_keys else None
        if ratio is not None:
            change = f"the values are {ratio:.6g} times the golden's"
        elif bool(old.draws) != bool(new.draws):
            change = (
                "random now, constant in the golden"
                if new.draws
                else "constant now, random in the golden"
            )
        else:
            change = "another computation from the key to the values"
        groups.setdefault(change, []).append(path)
    return [
        Cause("initializer", tuple(found), f"{change}: {_leaves(found)}", evidence.proof, change)
        for change, found in groups.items()
    ]


def _ratio(old: Leaf, new: Leaf) -> float | None:
    """The constant c with new = c * old to rounding, if there is one that is not 1."""
    if new.read is None or not is_inexact(old.dtype) or dtype_of(old.dtype).kind == "c":
        return None
    if old.read is None:
        ours = sketch(new.read()) if old.sketch is not None else None
        if ours is None or ours.size != old.sketch.size:
            return None
        return difference(old.sketch, ours).factor
    a, b = (read().astype(np.float64).reshape(-1) for read in (old.read, new.read))
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not a.any():
        return None
    ratio = float(a @ b / (a @ a))
    allowed = 4 * Tolerance(WEIGHTS).of(old.dtype) * float(np.abs(b).max())
    fits = bool(np.abs(b - ratio * a).max() <= allowed)
    return ratio if fits and ratio and abs(ratio - 1) > 1e-9 else None


# -- numbers ---------------------------------------------------------------------------


def _numbers(
    evidence: Evidence, differences: Sequence[Difference], causes: Sequence[Cause]
) -> list[Cause]:
    words = {cause.word for cause in causes}
    groups: dict[tuple[str, str, str], list[str]] = {}
    for d in differences:
        groups.setdefault(_verdict(evidence, d, words), []).append(d.path)
    found = []
    for (word, text, proof), paths in groups.items():
        if not word:
            continue
        found.append(Cause(word, tuple(paths), f"{text}: {_leaves(paths)}", proof, text))
    return found


def _verdict(evidence: Evidence, d: Difference, words: set[str]) -> tuple[str, str, str]:
    if d.rng:
        if words & {"seed", "stream", "draws"}:
            return "", "", ""  # it follows from what has been named
        return "rng_state", "keys or counts of streams are not those of the golden", "values"
    if _is_small(d):
        return "rounding", "beyond the tolerance, yet of rounding's size", "size"
    if evidence.kind == "init":
        if _derived(d.path, evidence) and _comparable(evidence) and _unmoved(d.path, evidence):
            names = {name for name, _, _ in evidence.changes}
            if not names:
                return "values", "same keys, same initializer, other numbers", evidence.proof
            return (
                "unknown",
                f"same keys, same initializer; {', '.join(sorted(names))} changed",
                "",
            )
        reason = evidence.untraceable and f" (not traced: {evidence.untraceable})"
        if _derived(d.path, evidence):
            reason = " (the keys are the same; initializers do not compare across versions)"
        return "unknown", f"nothing is proven{reason}", ""
    if evidence.model == ():
        if evidence.changes:
            return "unknown", "the model matches; the environment or the forward pass moved", ""
        return "forward", "the model matches, its output does not", "the model's own check"
    if evidence.model:
        return "", "", ""  # its causes are the model's, which stand with the model's check
    if _derived(d.path, evidence) and _unmoved(d.path, evidence):
        return "values", "the same draw, other numbers in places", evidence.proof
    if d.numbers is not None and _is_edit(d):
        return "values", "a few elements are not those of the golden", "values"
    if words & {"seed", "stream", "draws", "environment"} and _moved_whole(d):
        return "", "", ""  # too small to tell its draw; what moved the others may have moved it
    return "unknown", "nothing is proven of these leaves", ""


def _unmoved(path: str, evidence: Evidence) -> bool:
    old, new = evidence.expected[path], evidence.obtained[path]
    return old.draws == new.draws and old.initializer == new.initializer


def _is_small(d: Difference) -> bool:
    numbers, leaf = d.numbers, d.expected
    if numbers is None or leaf is None or numbers.nonfinite or numbers.worst is None:
        return False
    if not is_inexact(leaf.dtype) or not numbers.differing:
        return False
    limit = Tolerance(WEIGHTS).of(leaf.dtype) * numbers.scale
    return 0 <= numbers.worst <= max(limit, 4 * max(numbers.allowed, 0.0))


def _moved_whole(d: Difference) -> bool:
    return d.numbers is not None and d.numbers.differing == d.numbers.total


def _is_edit(d: Difference) -> bool:
    numbers = d.numbers
    if numbers is not None and numbers.where:
        return True
    return numbers is not None and 0 < numbers.differing <= max(1, numbers.total // 20)


# -- words -----------------------------------------------------------------------------


def _leaves(paths: Iterable[str]) -> str:
    found = list(dict.fromkeys(paths))
    if len(found) == 1:
        return found[0] or "the value"
    return f"{len(found)} leaves"


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _label(stream: str, chain: Sequence[int]) -> str:
    return f"{stream}#{'/'.join(map(str, chain))}"


def _plain(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _json(value: Any) -> str:
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)
