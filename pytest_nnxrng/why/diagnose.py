"""Differences + derivations + environments -> causes; ``unknown`` rather than a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.compare.numbers import WEIGHTS, Tolerance
from pytest_nnxrng.leaf.leaf import is_inexact
from pytest_nnxrng.why.cause import Cause, Evidence, comparable, is_derived, named
from pytest_nnxrng.why.draws import derivations
from pytest_nnxrng.why.structure import structure

_PRNG = ("jax_threefry_partitionable", "jax_default_prng_impl", "jax_random_seed_offset")
# Settings that move outputs of the same model, those first that move them most.
_MOVERS = (
    "platform",
    "jax_default_matmul_precision",
    "jax_enable_x64",
    "xla_flags",
    "device",
    "jax",
)
_SHOWN = 3


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """Name the causes of every difference; leaves that nothing explains are ``unknown``."""
    if not evidence.repeats:
        paths = tuple(d.path for d in evidence.comparison.differences)
        text = "two builds in this process give different models"
        text += f": {evidence.trap}" if evidence.trap else ""
        return (Cause("nondeterministic", paths, text, "built twice", text),)
    causes, pairs = structure(evidence)
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
    derived = [d for d in both if is_derived(d.path, evidence)]
    causes += derivations(evidence, derived)
    explained = {p for cause in causes for p in cause.leaves if cause.word != "environment"}
    left = [d for d in open_ if d.path not in explained]
    causes += _numbers(evidence, left, causes)
    return tuple(causes)


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
        (evidence.implied, "whose dtype this decides"),
    ):
        groups: dict[tuple[str, ...], list[str]] = {}
        for d in differences:
            if d.path in of:
                groups.setdefault(of[d.path], []).append(d.path)
        for flags, paths in groups.items():
            shown = ", ".join(
                f"{flag} {_json(values[flag][0])} -> {_json(values[flag][1])}" for flag in flags
            )
            text = f"{shown}: {named(paths)}, {what}"
            proof = "rebuilt" if evidence.rebuilt else evidence.proof
            causes.append(Cause("environment", tuple(paths), text, proof, shown))
    return causes


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
        found.append(Cause(word, tuple(paths), f"{text}: {named(paths)}", proof, text))
    return found


def _verdict(evidence: Evidence, d: Difference, words: set[str]) -> tuple[str, str, str]:
    if d.rng:
        if words & {"seed", "stream", "draws"} or _is_rekeyed(evidence, d, words):
            return "", "", ""  # it follows from what has been named
        return "rng_state", "keys or counts of streams are not those of the golden", "values"
    if _is_small(d):
        return "rounding", "beyond the tolerance, yet of rounding's size", "size"
    if evidence.kind == "init":
        if is_derived(d.path, evidence) and comparable(evidence) and _unmoved(d.path, evidence):
            names = {name for name, _, _ in evidence.changes}
            if not names:
                return "values", "same keys, same initializer, other numbers", evidence.proof
            return (
                "unknown",
                f"same keys, same initializer; {', '.join(sorted(names))} changed",
                "",
            )
        reason = evidence.untraceable and f" (not traced: {evidence.untraceable})"
        if is_derived(d.path, evidence):
            reason = " (the keys are the same; initializers do not compare across versions)"
        return "unknown", f"nothing is proven{reason}", ""
    if evidence.model == ():
        if evidence.changes:
            text = "the model matches; the environment or the forward pass moved"
            return "unknown", f"{text} ({_shown(evidence.changes)})", ""
        return "forward", "the model matches, its output does not", "the model's own check"
    if evidence.model:
        return "", "", ""  # its causes are the model's, which stand with the model's check
    if is_derived(d.path, evidence) and _unmoved(d.path, evidence):
        return "values", "the same draw, other numbers in places", evidence.proof
    if d.numbers is not None and _is_edit(d):
        return "values", "a few elements are not those of the golden", "values"
    if words & {"seed", "stream", "draws", "environment"} and _moved_whole(d):
        return "", "", ""  # too small to tell its draw; what moved the others may have moved it
    return "unknown", "nothing is proven of these leaves", ""


def _is_rekeyed(evidence: Evidence, d: Difference, words: set[str]) -> bool:
    """Whether a key is another by the flags that keys are made, split and folded under."""
    changed = {name for name, _, _ in evidence.changes}
    is_key = d.expected is not None and d.expected.dtype.startswith("key<")
    return is_key and "environment" in words and not changed.isdisjoint(_PRNG)


def _shown(changes: Sequence[tuple[str, Any, Any]]) -> str:
    """The changes, those first that move outputs most."""
    known = [name for name in _MOVERS if any(name == change[0] for change in changes)]
    ordered = sorted(changes, key=lambda c: known.index(c[0]) if c[0] in known else len(known))
    rows = [f"{name} {_json(old)} -> {_json(new)}" for name, old, new in ordered[:_SHOWN]]
    more = [f"{len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []
    return ", ".join(rows + more)


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


def _json(value: Any) -> str:
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)
