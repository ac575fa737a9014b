"""Leaves of one side that are one leaf of the other: a list of blocks and a stack, q, k, v and qkv.

A stack is told by paths and shapes: ``blocks.{i}.kernel`` (64, 64), 12 of them, and
``blocks.kernel`` (12, 64, 64). Modules that were fused are claimed when their values or draws show
it: shapes alone fit too much.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.leaf.dtypes import is_inexact
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.paths import braced, parent, pattern, tail
from pytest_nnxrng.leaf.spots import elements
from pytest_nnxrng.why.cause import LIKELY, Cause, Evidence, few, named
from pytest_nnxrng.why.unproven import may_be_redrawn

Leaves = Mapping[str, Leaf]

_FEWEST, _MOST = 2, 4  # modules that are fused: more have too many orders to try
SAME, OTHER, OPEN = "same", "other", "open"


@dataclass(frozen=True)
class Join:
    """``parts``, in order, are ``whole``: stacked along a new axis, or joined along one they have.

    ``rule`` is the same for all leaves that one change joined: the modules of the parts and of the
    whole. ``values`` says whether the parts together are the whole: SAME, OTHER, or OPEN where the
    values are not known.
    """

    rule: tuple[str, str]
    parts: tuple[str, ...]
    whole: str
    axis: int
    stacked: bool
    values: str


def joins(many: Leaves, one: Leaves) -> list[Join]:
    """How leaves of ``many`` are leaves of ``one``; each leaf is told once."""
    found = list(_stacks(many, one))
    told = {path for join in found for path in (*join.parts, join.whole)}
    found += _fused(*({p: x for p, x in side.items() if p not in told} for side in (many, one)))
    return found


def causes(evidence: Evidence, found: Sequence[Join], *, is_now: bool) -> list[Cause]:
    """What is joined now, or with ``is_now`` False was in the golden; what became of its values."""
    of_rules: dict[tuple[str, ...], list[Join]] = {}
    for join in found:
        of_rules.setdefault(tuple(map(pattern, join.rule)), []).append(join)
    told = []
    for group in of_rules.values():
        rule = tuple(braced(names) for names in zip(*[join.rule for join in group], strict=True))
        what = _NAMES[group[0].stacked, is_now]
        axis = max(join.axis for join in group) if group[0].stacked else 0
        old, new = rule if is_now else reversed(rule)
        change = f"{old} -> {new}: {what}" + (f" along axis {axis}" if axis else "")
        open_ = [join for join in group if join.values != SAME and not _is_rng(evidence, join)]
        same = "" if open_ else ", the same values"
        paths = [path for join in group for path in _sides(join, is_now)[1]]
        text = f"{change}{same} ({named(paths)})"
        told.append(Cause("renamed", tuple(paths), text, "content" if same else "", change))
        told += _of_values(evidence, open_, is_now)
    return told


def _sides(join: Join, is_now: bool) -> tuple[Sequence[str], Sequence[str]]:
    """The golden's paths, and the run's."""
    return (join.parts, (join.whole,)) if is_now else ((join.whole,), join.parts)


def _is_rng(evidence: Evidence, join: Join) -> bool:
    """Whether it holds keys or counts, which follow from what holds them."""
    found = evidence.expected.get(join.whole) or evidence.obtained[join.whole]
    return bool(found.rng)


def _of_values(evidence: Evidence, found: Sequence[Join], is_now: bool) -> list[Cause]:
    """Why values are not those of the golden, as they stand in other leaves."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    example: dict[str, str] = {}
    for join in found:
        theirs, ours = _sides(join, is_now)
        old, new = [evidence.expected[p] for p in theirs], [evidence.obtained[p] for p in ours]
        verdict = _verdict(join, old, new, evidence.proof)
        groups.setdefault(verdict, []).extend(_moved(join, old, new))
        if verdict[0] == "draws" and verdict[2] != LIKELY:
            drawn = f" ({ours[0]}: {few(_drawn(old) or ())} -> {few(_drawn(new) or ())})"
            example.setdefault(verdict[1], drawn)
    return [
        Cause(word, tuple(paths), f"{text}{example.get(text, '')}: {named(paths)}", proof, text)
        for (word, text, proof), paths in groups.items()
    ]


def _verdict(
    join: Join, old: Sequence[Leaf], new: Sequence[Leaf], proof: str
) -> tuple[str, str, str]:
    how = "stacked" if join.stacked else "fused"
    then, now = _drawn(old), _drawn(new)
    if then is not None and now is not None and then != now:
        return "draws", f"other keys are drawn for what is {how} on one side", proof
    if join.values == OPEN:
        text = f"{how} on one side, and nothing tells whether the values are the same"
        return "unknown", text, ""
    was, is_ = ({_constant(leaf) for leaf in side} for side in (old, new))
    if len(was) == len(is_) == 1 and None not in was | is_:
        return "initializer", f"constant {is_.pop()} now, {was.pop()} in the golden", "values"
    parts, whole = (old, new[0]) if len(new) == 1 else (new, old[0])
    ours, held = _array(whole), [x for part in parts if (x := _array(part)) is not None]
    if ours is not None and len(held) == len(parts):
        put = np.stack(held, axis=join.axis)
        if 20 * np.count_nonzero(put != ours) <= put.size:
            return "values", f"{how} on one side, and a few elements are others", "values"
        if then is None and now is None and may_be_redrawn(whole.but(read=lambda: put), whole):
            return "draws", f"likely drawn otherwise, as they are {how} on one side", LIKELY
    return "unknown", f"{how} on one side, and the values are others", ""


def _moved(join: Join, old: Sequence[Leaf], new: Sequence[Leaf]) -> list[str]:
    """The run's leaves that are not the golden's: all, or those slices of a stack."""
    paths = [leaf.path for leaf in new]
    whole = _array(old[0]) if len(old) == 1 else None
    if whole is None or not join.stacked:
        return paths
    slices = np.moveaxis(whole, join.axis, 0)
    held = [_array(leaf) for leaf in new]
    moved = [
        path
        for path, ours, golden in zip(paths, held, slices, strict=True)
        if ours is None or not agree(golden, ours, old[0].dtype)
    ]
    return moved or paths


def _drawn(leaves: Sequence[Leaf]) -> tuple[str, ...] | None:
    """The draws of all, if each is known."""
    if any(leaf.draws is None for leaf in leaves):
        return None
    return tuple(dict.fromkeys(label for leaf in leaves for label in leaf.draws or ()))


_NAMES = {
    (True, True): "stacked",
    (True, False): "unstacked",
    (False, True): "fused",
    (False, False): "split",
}


# -- a list and a stack ----------------------------------------------------------------


def _stacks(many: Leaves, one: Leaves) -> Iterator[Join]:
    told: set[str] = set()
    for before, groups in _numbered(many).items():
        fits = [
            (to, fit)
            for to in _containers(before, one)
            if (fit := _stacked(before, to, groups, many, one, told)) is not None
        ]
        # Under its own name, or under the only other one that fits.
        own = [row for row in fits if row[0] == before] or fits
        if len(own) == 1:
            told.update(path for join in own[0][1] for path in (*join.parts, join.whole))
            yield from own[0][1]


def _numbered(many: Leaves) -> dict[str, dict[str, dict[int, str]]]:
    """What stands before a number in paths -> what stands after it -> number -> path."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for path in many:
        steps = path.split(".")
        for at, step in enumerate(steps):
            if at and step.isdecimal():
                before, after = ".".join(steps[:at]), ".".join(steps[at + 1 :])
                found.setdefault(before, {}).setdefault(after, {})[int(step)] = path
    return found


def _containers(before: str, one: Leaves) -> list[str]:
    """The paths at which the stack of ``before.{i}`` may stand: beside its list."""
    above = before.rpartition(".")[0]
    depth = before.count(".") + 1
    tops = {".".join(path.split(".")[:depth]) for path in one}
    return sorted(top for top in tops if top.rpartition(".")[0] == above)


def _stacked(
    before: str,
    to: str,
    groups: Mapping[str, Mapping[int, str]],
    many: Leaves,
    one: Leaves,
    told: set[str],
) -> list[Join] | None:
    """All leaves after ``before.{i}`` as slices of those after ``to``, or None."""
    found = []
    for after, numbered in groups.items():
        paths = tuple(numbered[i] for i in sorted(numbered))
        whole = f"{to}.{after}" if after else to
        if len(paths) < _FEWEST or sorted(numbered) != list(range(len(paths))):
            return None
        parts = [many[path] for path in paths]
        if whole not in one or told.intersection((whole, *paths)):
            return None
        axes = _axes(parts, one[whole])
        if not axes:
            return None
        axis, values = _best(parts, one[whole], axes, np.stack)
        found.append(Join((f"{before}.{{i}}", to), paths, whole, axis, True, values))
    return found


def _axes(parts: Sequence[Leaf], whole: Leaf) -> list[int]:
    """The axes of ``whole`` along which equal parts may be stacked."""
    if any(_kind(part) != _kind(whole) for part in parts):
        return []
    if len({part.shape for part in parts}) > 1:
        return []
    inserted = [
        (axis, (*parts[0].shape[:axis], len(parts), *parts[0].shape[axis:]))
        for axis in range(len(whole.shape))
    ]
    return [axis for axis, shape in inserted if shape == whole.shape]


def _kind(leaf: Leaf) -> tuple[str, str]:
    return leaf.type, leaf.dtype


# -- modules that were fused -----------------------------------------------------------


def _fused(many: Leaves, one: Leaves) -> Iterator[Join]:
    told: set[str] = set()
    modules, wholes = _modules(many), _modules(one)
    for name, whole in wholes.items():
        beside = [
            other
            for other, leaves in modules.items()
            if parent(other) == parent(name) and leaves == whole and other not in told
        ]
        found = _of_modules(name, beside, whole, many, one)
        told.update(parent(part) for join in found for part in join.parts)
        yield from found


def _modules(leaves: Leaves) -> dict[str, tuple[str, ...]]:
    """The modules that hold these leaves -> the names of their own."""
    found: dict[str, list[str]] = {}
    for path in sorted(leaves):
        if "." in path:
            found.setdefault(parent(path), []).append(tail(path))
    return {module: tuple(names) for module, names in found.items()}


def _of_modules(
    name: str, beside: Sequence[str], leaves: Sequence[str], many: Leaves, one: Leaves
) -> list[Join]:
    """The order of the modules ``beside`` in which all their leaves are those of ``name``."""
    for number in range(min(len(beside), _MOST), _FEWEST - 1, -1):
        for order in itertools.permutations(beside, number):
            joined = [
                _joined(order, [many[f"{m}{leaf}"] for m in order], one[f"{name}{leaf}"])
                for leaf in leaves
            ]
            every = [join for join, _ in joined if join is not None]
            if len(every) == len(leaves) and any(proves for _, proves in joined):
                return every
    return []


def _joined(order: Sequence[str], parts: Sequence[Leaf], whole: Leaf) -> tuple[Join | None, bool]:
    """The leaf's join, if nothing speaks against it; whether it proves that of its module."""
    axes = [axis for axis in range(len(whole.shape)) if _lengthened(parts, whole, axis)]
    if not axes or any(_kind(part) != _kind(whole) for part in parts):
        return None, False
    axis, values = _best(parts, whole, axes, np.concatenate)
    drawn = [label for part in parts for label in part.draws or ()]
    by_draws = bool(drawn) and tuple(drawn) == whole.draws
    if values == OTHER or (values == OPEN and drawn and not by_draws):
        return None, False
    is_random = bool(drawn) or not all(_constant(part) is not None for part in parts)
    rule = ", ".join(order), parent(whole.path)
    paths = tuple(part.path for part in parts)
    join = Join(rule, paths, whole.path, axis, False, values)
    return join, by_draws or (values == SAME and is_random)


def _lengthened(parts: Sequence[Leaf], whole: Leaf, axis: int) -> bool:
    shapes = [part.shape for part in parts]
    if any(len(shape) != len(whole.shape) for shape in shapes):
        return False
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in (*shapes, whole.shape)}
    return len(rest) == 1 and sum(shape[axis] for shape in shapes) == whole.shape[axis]


# -- their values ----------------------------------------------------------------------


def _best(parts: Sequence[Leaf], whole: Leaf, axes: Iterable[int], put: Any) -> tuple[int, str]:
    """The axis along which the values agree, else the first; and whether they do."""
    found = [(axis, _values(parts, whole, axis, put)) for axis in axes]
    return next((row for row in found if row[1] == SAME), found[0])


def _values(parts: Sequence[Leaf], whole: Leaf, axis: int, put: Any) -> str:
    if whole.rng:
        return OPEN
    arrays = [_array(leaf) for leaf in (*parts, whole)]
    held = [array for array in arrays if array is not None]
    if len(held) == len(arrays):
        return SAME if agree(put(held[:-1], axis=axis), held[-1], whole.dtype) else OTHER
    constants = {_constant(leaf) for leaf in (*parts, whole)}
    if None not in constants:
        return SAME if len(constants) == 1 else OTHER
    return OPEN


def _array(leaf: Leaf) -> np.ndarray | None:
    """All elements, of a leaf that this process holds whole."""
    return leaf.read() if leaf.read is not None and leaf.slabs is None else None


def agree(a: np.ndarray, b: np.ndarray, dtype: str) -> bool:
    if not is_inexact(dtype):
        return bool(np.array_equal(a, b))
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    allowed = Tolerance(WEIGHTS).of(dtype) * float(np.abs(x).max(initial=0.0))
    return bool(np.allclose(x, y, rtol=0, atol=allowed, equal_nan=True))


def _constant(leaf: Leaf) -> str | None:
    """The one number that a leaf is throughout, as far as is known."""
    known = leaf.statistics.get("constant")
    if known is not None:
        return str(float(known))
    found = elements(leaf) if leaf.read is None else _array(leaf)
    if found is None or not found.size or found.dtype.kind == "c":
        return None
    flat = found.reshape(-1)
    return str(float(flat[0])) if bool((flat == flat[0]).all()) else None
