"""Differences + derivations + environments -> causes; ``unknown`` rather than a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.why import releases
from pytest_nnxrng.why.cause import Cause, Evidence, few, is_derived, named
from pytest_nnxrng.why.draws import derivations
from pytest_nnxrng.why.structure import structure
from pytest_nnxrng.why.unproven import by_numbers, shown
from pytest_nnxrng.why.words import ASIDE


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """Name the causes of every difference; leaves that nothing explains are ``unknown``."""
    if not evidence.repeats:
        paths = evidence.unrepeated or tuple(d.path for d in evidence.comparison.differences)
        what = "two builds in this process give different models"
        why = "".join(f"; {reason}" for reason in evidence.shared)
        return (
            Cause("nondeterministic", paths, f"{what}: {few(paths)}{why}", "built twice", what),
        )
    causes, pairs = structure(evidence)
    open_: list[Difference] = []
    for d in evidence.comparison.differences:
        moved = not {"values", "derivation"}.isdisjoint(d.kinds)
        if moved and {"shape", "dtype"}.isdisjoint(d.kinds):
            open_.append(d)
    causes += _environment(evidence, evidence.comparison.differences)
    tied = {path for cause in causes if cause.word == "aliasing" for path in cause.leaves}
    open_ = [d for d in open_ if d.path not in {*evidence.reverted, *tied}]
    renamed = {new: evidence.expected[old] for old, new in pairs.items()}
    evidence = replace(evidence, expected={**evidence.expected, **renamed}, renamed=pairs)
    both = [
        *open_,
        *(
            Difference(new, ("values",), old)
            for new, old in renamed.items()
            if old.dtype == evidence.obtained[new].dtype
        ),
    ]
    derived = [d for d in both if is_derived(d.path, evidence)]
    causes += derivations(evidence, derived)
    explained = {p for cause in causes for p in cause.leaves if cause.word not in ASIDE}
    left = [d for d in open_ if d.path not in explained]
    causes += by_numbers(evidence, left, causes)
    return tuple(releases.named(evidence, causes))


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
            change = ", ".join(
                f"{flag} {shown(values[flag][0])} -> {shown(values[flag][1])}" for flag in flags
            )
            text = f"{change}: {named(paths)}, {what}"
            proof = "rebuilt" if evidence.rebuilt else evidence.proof
            causes.append(Cause("environment", tuple(paths), text, proof, change))
    return causes
