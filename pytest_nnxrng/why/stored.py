"""Two goldens -> what differs between them and why: from manifests and values, without a run.

Causes are named as in a failing test, as far as both goldens recorded draws. JAX is loaded where
draws must be recovered from values, as of a model that was checked when it was finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pytest_nnxrng.compare.differences import Comparison, alone, changed, compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.provenance import Changes, changes, rekeyed_streams, translated
from pytest_nnxrng.leaf.forward import CLASS, Forward, Modules
from pytest_nnxrng.leaf.leaf import Flat, aligned
from pytest_nnxrng.leaf.paths import expand, prefixes
from pytest_nnxrng.why.abreast import Passage
from pytest_nnxrng.why.cause import (
    Cause,
    Drawing,
    Evidence,
    ModelCheck,
    few,
    same_fingerprints,
)
from pytest_nnxrng.why.diagnose import diagnose
from pytest_nnxrng.why.witness import known, remaining


@dataclass(frozen=True)
class Between:
    """What lies between two goldens. ``changes`` are those of the environment: name, then, now."""

    comparison: Comparison
    causes: tuple[Cause, ...]
    changes: Changes


def between(
    golden: Golden, obtained: Golden, allowed: Tolerance, model: ModelCheck | None = None
) -> Between:
    """Hold one golden against another, as a check that obtained the second would.

    ``model`` tells of the model that an output comes from.

    Raises:
      GoldenError: when values that are needed cannot be read.
    """
    moved = changes(golden.environment, obtained.environment)
    paths = [leaf.path for leaf in obtained.leaves]
    leaves, aliases = aligned(golden.leaves, golden.aliases, paths, obtained.aliases)
    keys = translated(obtained.streams, golden.streams, moved)
    comparison = compare(
        leaves,
        obtained.leaves,
        allowed,
        (aliases, obtained.aliases),
        sharding=_sharded(golden) and _sharded(obtained),
        rekeyed=rekeyed_streams(golden.streams, keys),
        fingerprints=same_fingerprints(name for name, _, _ in moved),
    )
    comparison = _with_modules(golden, obtained, comparison, moved)
    if comparison.matches:
        return Between(comparison, (), moved)
    held = replace(golden, leaves=leaves, aliases=aliases)
    causes = _causes(held, obtained, comparison, moved, allowed, model or ModelCheck())
    return Between(comparison, causes, moved)


def _with_modules(
    golden: Golden, obtained: Golden, comparison: Comparison, moved: Changes
) -> Comparison:
    """With the changes of modules' static attributes, where both goldens recorded them."""
    if golden.modules is None or not obtained.modules:
        return comparison
    paths = [d.path for d in comparison.differences if not _MOVES.isdisjoint(d.kinds)]
    for aliases in (golden.aliases, obtained.aliases):
        paths += [*aliases.keys(), *aliases.values()]
    run = Modules(obtained.modules)
    static = changed(golden.modules, run, paths)
    return replace(comparison, static=static, alone=alone(golden.modules, run))


_MOVES = frozenset({"added", "removed", "aliasing"})


def _sharded(golden: Golden) -> bool:
    return any(leaf.sharding is not None for leaf in golden.leaves)


def is_model(golden: Golden) -> bool:
    """Whether a golden is of a model or another NNX object, and not of an output."""
    if golden.owner.kind == "call":
        return False
    return golden.owner.kind == "init" or any(leaf.type != "array" for leaf in golden.leaves)


def _causes(
    golden: Golden,
    obtained: Golden,
    comparison: Comparison,
    moved: Changes,
    allowed: Tolerance,
    model: ModelCheck,
) -> tuple[Cause, ...]:
    kind, flat = golden.owner.kind, Flat(obtained.leaves, obtained.aliases)
    if golden.calls is not None and obtained.calls is not None:
        return _of_calls(golden.calls, obtained.calls, comparison, moved, allowed, model)
    if is_model(golden) and not _records_draws(golden, obtained) and _may_tell(comparison):
        from pytest_nnxrng.why.explain import Mismatch, explain

        found, _ = explain(
            Mismatch(golden, flat, comparison, moved, allowed, kind=kind, given=obtained.streams)
        )
        return found
    return diagnose(
        Evidence(
            kind=kind,
            comparison=comparison,
            expected={leaf.path: leaf for leaf in golden.leaves},
            obtained=flat.by_path(),
            draws=tuple(_drawings(obtained)),
            streams=(golden.streams, translated(obtained.streams, golden.streams, moved)),
            changes=moved,
            implied=_implied(comparison, moved),
            model=ModelCheck() if is_model(golden) else model,
        )
    )


def _of_calls(
    old: Forward,
    new: Forward,
    comparison: Comparison,
    moved: Changes,
    allowed: Tolerance,
    model: ModelCheck,
) -> tuple[Cause, ...]:
    """Why a call gave something else, as far as the records of both calls tell."""
    flags = [name for name, _, _ in moved if name not in _VERSIONS]
    if not same_fingerprints(flags):
        why = f"{few(flags)} moved: only the test can trace it as the golden's was"
        new = replace(new, untraced=why)
    passage = Passage(old, new, tuple(d.path for d in comparison.differences), moved, model)
    return known(passage, comparison) or (remaining(passage, comparison, allowed),)


_VERSIONS = ("jax", "flax")  # computations of other versions are told as likely


@dataclass(frozen=True)
class _Site:
    """A module as a golden knows it: no line made it."""

    path: str
    cls: str
    where: str = ""


def _drawings(golden: Golden) -> Iterator[Drawing]:
    """The draws of a golden, each with the modules for which it was made, the innermost first."""
    modules = golden.modules or {}
    for name, stream in golden.streams.items():
        if "draws" not in stream or not isinstance(stream.get("count"), int):
            continue
        for number, owner in enumerate(expand(stream["draws"]), stream["count"]):
            above = sorted({"", *prefixes(owner)} & modules.keys(), key=len, reverse=True)
            sites = [_Site(path, str(modules[path].get(CLASS, ""))) for path in above]
            yield Drawing(f"{name}#{number}", sites=sites)


def _records_draws(*goldens: Golden) -> bool:
    return all(any(leaf.draws is not None for leaf in golden.leaves) for golden in goldens)


def _may_tell(comparison: Comparison) -> bool:
    """Whether there are leaves whose values could tell their draws."""
    return any(d.kinds in (("values",), ("removed",), ("added",)) for d in comparison.differences)


def _implied(comparison: Comparison, moved: Changes) -> dict[str, tuple[str, ...]]:
    if not moved or not any("dtype" in d.kinds for d in comparison.differences):
        return {}
    from pytest_nnxrng.why.explain import implied

    found: dict[str, Any] = implied(comparison, moved)
    return found
