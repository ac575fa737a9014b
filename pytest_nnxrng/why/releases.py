"""What releases of JAX and Flax are known to have moved, named where it fits.

A row says which release moved what, where that is written, and which leaves or causes it fits. It
is proven where the golden records who drew which key, or what flag was set; of a leaf's values no
more than likely, and then accepted as ``unknown`` is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.why.cause import LIKELY, Cause, Evidence

Verdict = tuple[str, str, str]  # the word, the text, the proof


@dataclass(frozen=True)
class Moved:
    """What ``release`` of ``library`` moved; ``source`` is where it says so."""

    library: str
    release: str
    text: str
    source: str


@dataclass(frozen=True)
class Leaves(Moved):
    """It shows in leaves that ``fit`` knows: by the difference, the older side's leaf first."""

    fit: Callable[[Difference, bool], bool]


@dataclass(frozen=True)
class Causes(Moved):
    """It shows in a cause that was found: of this word, with this in its finding."""

    word: str
    pattern: str


def _is_short_integer(d: Difference, _: bool) -> bool:
    return d.obtained is not None and d.obtained.dtype in ("int8", "int16", "uint8", "uint16")


def _was_zero(d: Difference, upwards: bool) -> bool:
    old, new = (d.expected, d.obtained) if upwards else (d.obtained, d.expected)
    if old is None or new is None or old.draws or "constant" in new.statistics:
        return False
    return old.statistics.get("constant") in (0, 0.0, False)


def _is_lora(d: Difference, _: bool) -> bool:
    return d.obtained is not None and d.obtained.type == "LoRAParam"


LEAVES = (
    Leaves(
        "jax",
        "0.7.2",
        "jax.random.randint draws other integers of 8 and 16 bits",
        "https://github.com/jax-ml/jax/pull/27742",
        _is_short_integer,
    ),
    Leaves(
        "jax",
        "0.11.0",
        "jnp.empty is no longer zeros, but what the memory held",
        "https://docs.jax.dev/en/latest/_autosummary/jax.numpy.empty.html",
        _was_zero,
    ),
    Leaves(
        "flax",
        "0.10.3",
        "nnx.LoRA has other initializers",
        "https://github.com/google/flax/releases/tag/v0.10.3",
        _is_lora,
    ),
)
CAUSES = (
    Causes(
        "flax",
        "0.11.0",
        "a Dropout forks its stream, which draws a key",
        "https://flax.readthedocs.io/en/latest/migrating/nnx_010_to_nnx_011.html",
        "draws",
        r"\((Dropout|MultiHeadAttention)\)",
    ),
    Causes(
        "jax",
        "0.5.0",
        "jax_threefry_partitionable is true by default",
        "https://github.com/jax-ml/jax/discussions/18480",
        "environment",
        r"\bjax_threefry_partitionable (false -> true|true -> false)",
    ),
)


def of_leaf(evidence: Evidence, difference: Difference) -> Verdict | None:
    """The release that likely moved a leaf of which nothing is proven."""
    for row in LEAVES:
        upwards = _crossed(row, evidence)
        if upwards is not None and row.fit(difference, upwards):
            return "environment", f"likely {_title(row)}: {row.text}", LIKELY
    return None


def named(evidence: Evidence, causes: Iterable[Cause]) -> list[Cause]:
    """The causes, those that a release is known for by its name."""
    return [_named(evidence, cause) for cause in causes]


def _named(evidence: Evidence, cause: Cause) -> Cause:
    for row in CAUSES:
        fits = cause.word == row.word and re.search(row.pattern, cause.finding)
        if fits and _crossed(row, evidence) is not None:
            told = f"{_title(row)}: {row.text}"
            return replace(cause, text=f"{told}: {cause.text}", finding=f"{told} ({cause.finding})")
    return cause


def _title(row: Moved) -> str:
    return f"{'JAX' if row.library == 'jax' else 'Flax'} {row.release}"


def _crossed(row: Moved, evidence: Evidence) -> bool | None:
    """Whether the run is on the release's side and the golden before it, or (False) reversed."""
    for name, old, new in evidence.changes:
        if name == row.library:
            then, now = (_parts(version) >= _parts(row.release) for version in (old, new))
            return None if then == now else now
    return None


def _parts(version: object) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", str(version))[:3]]
