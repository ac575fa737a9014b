"""What causes are, and the evidence that they are named from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.why.words import CAUSES, change_id

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


LIKELY = "likely"

# Variables that calls and steps move, as NNX and its optimizers name them.
STATE = (
    "BatchStat",
    "Cache",
    "OptState",
    "OptArray",
    "OptVariable",
    "Intermediate",
    "Metric",
    "MetricState",
    "Perturbation",
)


@dataclass(frozen=True)
class Cause:
    """Why leaves no longer match: one of ``words.MEANINGS``, a line of text, and its proof.

    ``finding`` is the same text for the same change in every test, so that a run can count it.
    ``place`` is the user's line, ``model.py:14``, where it is known.
    """

    word: str
    leaves: tuple[str, ...]
    text: str
    evidence: str = ""
    finding: str = ""
    place: str = ""

    @property
    def accepted_as(self) -> str:
        """The word that accepts it: what is likely is not proven."""
        return "unknown" if self.evidence == LIKELY else self.word

    def named_in(self, only: Collection[str]) -> str:
        """What accepts it, of ``only``: its own id, or its word."""
        own = change_id(self.word, self.finding or self.word)
        return own if own in only else self.accepted_as

    def __post_init__(self) -> None:
        if self.word not in CAUSES:
            raise ValueError(f"{self.word!r} is no word for a cause")


class Site(Protocol):
    """A module under construction."""

    @property
    def path(self) -> str: ...
    @property
    def cls(self) -> str: ...
    @property
    def where(self) -> str: ...


@dataclass(frozen=True)
class Drawing:
    """A key drawn by this run's build: its label, the user's line, the module being built.

    ``sites`` are all modules under construction, innermost first: path, class, the user's line.
    """

    label: str
    where: str = ""
    module: str = ""
    sites: Sequence[Site] = ()


@dataclass(frozen=True)
class ModelCheck:
    """What became of the model that an output comes from, where it was checked before.

    ``moved``: a leaf that the golden and the model both have is not the same. ``tests`` are those
    that checked it, unless the output's own test did; of an earlier check, its name. ``likely``:
    its state has moved since.
    ``left`` is the state that an earlier call of the test left otherwise than its golden.
    """

    checked: bool = False
    causes: tuple[Cause, ...] = ()
    moved: bool = True
    tests: tuple[str, ...] = ()
    likely: bool = False
    left: tuple[str, ...] = ()

    @property
    def matched(self) -> bool:
        return self.checked and not self.causes


def together(checks: Sequence[ModelCheck]) -> ModelCheck:
    """What these came to, of all models that an output may come from."""
    return ModelCheck(
        bool(checks),
        tuple(cause for check in checks for cause in check.causes),
        any(check.moved for check in checks),
        once(test for check in checks for test in check.tests),
        any(check.likely for check in checks),
    )


@dataclass(frozen=True)
class Evidence:
    """All that is known of a mismatch.

    ``obtained`` are the run's leaves, with their derivations as they are under the recorded
    flags where these could be set again. ``streams`` are (golden's, ours):
    name -> {"impl", "key", "count", "end"}, ours translated to the recorded PRNG
    implementation and seed offset. ``reverted`` maps the leaves that equal the golden when the
    model is rebuilt under recorded flags to those flags, ``touched`` those that change with
    these flags and are not the golden's even so. ``redtyped`` leaves have the golden's dtype under
    these flags alone, and the dtype of ``implied`` ones follows from flags, without a rebuild.
    ``renamed`` maps the golden's paths to ours. ``unrepeated`` leaves are others in a second
    build, for what constructors ``shared`` with the first, where that is known.
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
    redtyped: frozenset[str] = frozenset()
    implied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rebuilt: bool = False
    repeats: bool = True
    unrepeated: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    untraceable: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    model: ModelCheck = field(default_factory=ModelCheck)
    earlier: ModelCheck = field(default_factory=ModelCheck)
    proof: str = "derivation"


def line_of(where: str) -> str:
    """``model.py:14: self.norm = ...`` -> ``model.py:14``; "" of what names no line."""
    place = where.partition(": ")[0]
    return place if place.rpartition(":")[2].isdecimal() else ""


def same_fingerprints(changed: Iterable[str]) -> bool:
    """Whether fingerprints of initializers mean the same, these settings having changed."""
    return set(changed).isdisjoint(_REWRITES)


def comparable(evidence: Evidence) -> bool:
    changed = {name for name, _, _ in evidence.changes}
    if evidence.proof != "derivation":
        return True  # scales and families of samples mean the same everywhere
    if evidence.rebuilt:
        return changed.isdisjoint(("jax", "flax"))
    return same_fingerprints(changed)


def is_derived(path: str, evidence: Evidence) -> bool:
    old, new = evidence.expected.get(path), evidence.obtained.get(path)
    return bool(old and new and old.draws is not None and new.draws is not None)


def named(paths: Iterable[str]) -> str:
    found = list(dict.fromkeys(paths))
    if len(found) == 1:
        return found[0] or "the value"
    return f"{len(found)} leaves"


def few(paths: Sequence[str]) -> str:
    """The first of these by name."""
    shown = ", ".join(path or "the value" for path in paths[:3])
    return shown + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
