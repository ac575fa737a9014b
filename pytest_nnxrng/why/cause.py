"""What causes are, and the evidence that they are named from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.leaf.leaf import Leaf

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
    these flags and are not the golden's even so. ``redtyped`` leaves have the golden's dtype under
    these flags alone, and the dtype of ``implied`` ones follows from flags, without a rebuild.
    ``model`` tells what became of the model from which an output comes: its causes, () if it
    matched, None if none was checked. ``trap`` names the default argument whose keys the build
    drew, and which it left another for the next build.
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
    untraceable: str = ""
    model: tuple[Cause, ...] | None = None
    trap: str = ""
    proof: str = "derivation"


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


def once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
