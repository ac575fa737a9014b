"""Causes from derivations: seeds, streams, draws and initializers that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.compare.estimate import difference
from pytest_nnxrng.compare.gap import gap_at_spots
from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.leaf.dtypes import dtype_of, is_inexact
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import is_below, parent
from pytest_nnxrng.leaf.sketch import sketch
from pytest_nnxrng.leaf.slabs import SLAB
from pytest_nnxrng.leaf.spots import elements
from pytest_nnxrng.why.cause import STATE, Cause, Evidence, comparable, line_of, named, once
from pytest_nnxrng.why.counts import Shift, by_counts, label, parse
from pytest_nnxrng.why.order import by_owners

_FEWEST = 8  # elements, no two alike, from which a constant ratio says something
_RATIOS = 2  # that are told each for itself
_FINE = 1e-5  # the step of a dtype whose rounding is no share of an element


def derivations(evidence: Evidence, differences: Sequence[Difference]) -> list[Cause]:
    seeds: dict[str, list[str]] = {}
    renamed_streams: dict[str, list[tuple[str, str]]] = {}
    moves: list[Shift] = []
    initializers: list[str] = []
    fixed: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for d in differences:
        old, new = evidence.expected[d.path], evidence.obtained[d.path]
        assert old.draws is not None
        assert new.draws is not None
        if old.fixed_key != new.fixed_key and (old.draws or new.draws):
            fixed.setdefault((_sources(new), new.fixed_at), []).append((_sources(old), d.path))
            continue
        if len(old.draws) == len(new.draws):
            for then, now in zip(map(parse, old.draws), map(parse, new.draws), strict=True):
                stream = then[0]
                if stream != now[0]:
                    renamed_streams.setdefault(f"`{now[0]}`", []).append((f"`{stream}`", d.path))
                    continue
                if _base_moved(stream, evidence):
                    seeds.setdefault(stream, []).append(d.path)
                if then[1] != now[1]:
                    moves.append(Shift(d.path, stream, then[1], now[1]))
        else:
            initializers.append(d.path)
            continue
        if new.rng:
            continue
        proven = evidence.proof == "derivation"
        if proven and old.initializer == new.initializer:
            continue
        if has_unknown_count(old) or has_unknown_count(new):
            continue  # such a count is part of the hash
        differs = comparable(evidence) and old.initializer != new.initializer
        # A fit of samples is less exact than the ratio of the values themselves.
        if differs or _is_scaled(evidence, old, new):
            initializers.append(d.path)
    causes = _seeds(evidence, seeds)
    other = [((is_, ""), rows) for is_, rows in renamed_streams.items()]
    for (is_, where), rows in [*other, *fixed.items()]:
        causes.append(_stream(is_, where, rows, evidence.proof))
    causes += _moves(evidence, moves)
    causes += _initializers(evidence, initializers)
    return causes


def _stream(is_: str, where: str, rows: Sequence[tuple[str, str]], proof: str) -> Cause:
    """Leaves that are drawn from what they were not: each with what it was drawn from."""
    was = " and ".join(dict.fromkeys(source for source, _ in rows))
    paths = once(path for _, path in rows)
    text = f"drawn from {is_}, in the golden from {was}: {named(paths)}"
    text += f" (see {where})" if where else ""
    return Cause("stream", paths, text, proof, f"{was} -> {is_}", line_of(where))


def _sources(leaf: Leaf) -> str:
    names = dict.fromkeys(parse(label)[0] for label in leaf.draws or ())
    if not names and leaf.fixed_key:
        return "a key that is fixed in the code"
    return ", ".join(f"`{name}`" for name in names) or "no key"


def has_unknown_count(leaf: Leaf) -> bool:
    return any("*" in parse(label)[1] for label in leaf.draws or ())


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
        f"{name} {seed_of(old[name])} -> {seed_of(new[name])}"
        for name in both
        # Of a finished model only what its leaves were drawn from is known.
        if _base_moved(name, evidence) and (evidence.proof == "derivation" or name in seeds)
    )
    paths = once([path for found in seeds.values() for path in found])
    if every:
        text = f"another seed ({shown}): {named(paths)}"
        return [Cause("seed", paths, text, "base keys", shown)]
    text = f"another base key of the stream ({shown}): {named(paths)}"
    return [Cause("stream", paths, text, "base keys", shown)]


def seed_of(stream: Mapping[str, Any]) -> str:
    key = stream.get("key")
    if isinstance(key, list | tuple) and len(key) == 2 and key[0] == 0:
        return str(key[1])
    return str(key)


def _moves(evidence: Evidence, moves: Sequence[Shift]) -> list[Cause]:
    causes = []
    for stream in dict.fromkeys(move.stream for move in moves):
        every = [m for m in moves if m.stream == stream]
        forked = [m for m in every if len(m.old) != len(m.new)]
        if forked:
            causes.append(_forked(evidence, stream, forked))
        unknown = [m for m in every if m.shift is None]
        if unknown:
            causes.append(_unknown(evidence, stream, unknown))
        here = [m for m in every if m not in forked and m not in unknown]
        found = by_owners(evidence, stream, here) if here else []
        causes += by_counts(evidence, stream, here) if found is None else found
    return causes


def _unknown(evidence: Evidence, stream: str, moves: Sequence[Shift]) -> Cause:
    first, paths = moves[0], once([m.path for m in moves])
    text = (
        f"{first.path} draws {label(stream, first.new)}, in the golden "
        f"{label(stream, first.old)}: * is a count that is computed while building"
    )
    return Cause("draws", paths, text + _of(paths), evidence.proof, text)


def _of(paths: Sequence[str]) -> str:
    return f" ({named(paths)})" if len(paths) > 1 else ""


def _forked(evidence: Evidence, stream: str, moves: Sequence[Shift]) -> Cause:
    deeper = len(moves[0].new) > len(moves[0].old)
    what = "split or forked first" if deeper else "no longer split or forked first"
    first = moves[0]
    shown = f"{first.path}: {label(stream, first.old)} -> {label(stream, first.new)}"
    paths = once([m.path for m in moves])
    text = f"keys of `{stream}` are {what} ({shown}): {named(paths)}"
    return Cause("draws", paths, text, evidence.proof, f"keys of `{stream}` are {what}")


def _initializers(evidence: Evidence, paths: Sequence[str]) -> list[Cause]:
    groups: dict[str, list[str]] = {}
    factors: list[tuple[float, str]] = []
    for path in paths:
        old, new = evidence.expected[path], evidence.obtained[path]
        same_keys = old.draws == new.draws and not any(
            _base_moved(parse(draw)[0], evidence) for draw in new.draws or ()
        )
        factor = ratio(old, new) if same_keys else None
        if factor is not None:
            factors.append((factor, path))
            continue
        if bool(old.draws) != bool(new.draws):
            change = f"{_nature(new)} now, {_nature(old)} in the golden"
        else:
            change = "another computation from the key to the values"
            if same_keys and (old.digest is None or new.read is None):
                change += _at_spots(old, new)
        groups.setdefault(change, []).append(path)
    groups.update(_by_factor(evidence, factors))
    causes = []
    for change, found in groups.items():
        called = [path for path in found if _moved_by_a_call(evidence, path)]
        made = [path for path in found if path not in called]
        for word, paths in (("initializer", made), ("values", called)):
            if paths:
                text = change + (", since a call moved them" if word == "values" else "")
                causes.append(
                    Cause(word, once(paths), f"{text}: {named(paths)}", evidence.proof, text)
                )
    return causes


def _moved_by_a_call(evidence: Evidence, path: str) -> bool:
    """Whether a module around a finished leaf holds state that moved: spectral norm's, say."""
    return evidence.proof != "derivation" and any(
        d.expected is not None and d.expected.type in STATE and is_below(path, parent(d.path))
        for d in evidence.comparison.differences
    )


def _by_factor(evidence: Evidence, factors: Sequence[tuple[float, str]]) -> Mapping[str, list[str]]:
    """The leaves of each ratio; those that rounding keeps apart are one."""
    groups: list[tuple[float, float, list[str]]] = []
    for factor, path in sorted(factors):
        step = step_of(evidence.expected[path].dtype)
        if groups and factor - groups[-1][0] <= max(step, groups[-1][1]) * abs(factor):
            groups[-1][2].append(path)
        else:
            groups.append((factor, step, [path]))
    if len(groups) > _RATIOS:  # one change: of a gain by each leaf's shape, or by depth
        paths = [path for _, _, group in groups for path in group]
        least, most = (f"{groups[at][0]:.3g}" for at in (0, -1))
        return {f"the values of each leaf are {least} to {most} times the golden's": paths}
    return {
        f"the values are {factor:.{6 if step < _FINE else 3}g} times the golden's": paths
        for factor, step, paths in groups
    }


def step_of(dtype: str) -> float:
    """The step of a floating dtype from 1 on."""
    info: Any = ml_dtypes.finfo
    return float(info(dtype_of(dtype)).eps)


def _nature(leaf: Leaf) -> str:
    if leaf.draws:
        return "random"
    known = "constant" in leaf.statistics or not leaf.size
    if (
        not known
        and (found := leaf.read() if leaf.read is not None else elements(leaf)) is not None
    ):
        known = bool((found.reshape(-1) == found.reshape(-1)[0]).all())
    return "constant" if known else "from no key"


def _at_spots(old: Leaf, new: Leaf) -> str:
    """What the spots say of another computation, where they do not show it."""
    numbers = gap_at_spots(old, new, Tolerance(WEIGHTS))
    if numbers is None or (numbers.differing and not numbers.is_rounding):
        return ""
    agree = "round to" if numbers.differing else "are"
    return f", though those at its spots {agree} the golden's"


def _is_scaled(evidence: Evidence, old: Leaf, new: Leaf) -> bool:
    """Whether the values show another scale, where fingerprints do not compare."""
    drawn = new.draws or ()
    moved = any(_base_moved(parse(draw)[0], evidence) for draw in drawn)
    if not drawn or old.draws != new.draws or moved or old.size < _FEWEST:
        return False
    factor = ratio(old, new)
    return factor is not None and abs(factor - 1) > 4 * Tolerance(WEIGHTS).of(old.dtype)


def ratio(old: Leaf, new: Leaf) -> float | None:
    """The constant c with new = c * old to rounding, if there is one that is not 1."""
    if not is_inexact(old.dtype) or dtype_of(old.dtype).kind == "c":
        return None
    if old.read is None and old.sketch is not None and new.read is not None:
        ours = sketch(new.contents(), form=old.sketch.form)
        if ours is None or ours.size != old.sketch.size or old.sketch.by_steps:
            return None
        return difference(old.sketch, ours).factor
    if new.slabs is not None and new.slabs.nbytes > SLAB:
        return None  # only a constant stands for so much in a golden
    both = old.read is not None and new.read is not None
    x, y = [leaf.read() if both and leaf.read else elements(leaf) for leaf in (old, new)]
    if x is None or y is None or x.shape != y.shape:
        return None
    a, b = (array.astype(np.float64).reshape(-1) for array in (x, y))
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not a.any():
        return None
    if len(np.unique(a)) < _FEWEST:
        return None
    factor = float(a @ b / (a @ a))
    # Each element by itself, as a sample of another family is near in the middle of both. A float32
    # near zero may be off by more, where the golden's instructions were others.
    step = step_of(old.dtype)
    floor = 4 * Tolerance(WEIGHTS).of(old.dtype) * float(np.abs(b).max()) if step < _FINE else 0.0
    fits = bool((np.abs(b - factor * a) <= np.maximum(4 * step * np.abs(b), floor)).all())
    return factor if fits and factor and f"{factor:.6g}" != "1" else None
