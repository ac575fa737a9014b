"""A finished model's mismatch: which draws made its leaves, on the golden's side and on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_nnxrng import recovery
from pytest_nnxrng.compare import Comparison
from pytest_nnxrng.leaf import Leaf, is_inexact
from pytest_nnxrng.recovery import Origin, Stream

Streams = Mapping[str, Mapping[str, Any]]

_FLAGS = ("jax_threefry_partitionable", "jax_default_prng_impl", "jax_random_seed_offset")
_MOST = 200  # leaves that are looked at
_MOST_OF_IT = 0.5  # of the tested elements stand as the draw has them
_SAME_SCALE = 2e-3  # a share; fits of bfloat16 leaves repeat to about 1e-3


@dataclass(frozen=True)
class Recall:
    """Leaves with the draws that their values tell, by path, and the streams of these draws.

    ``flags`` are the PRNG flags that changed; they explain what has the same draw on both sides.
    """

    expected: Mapping[str, Leaf]
    obtained: Mapping[str, Leaf]
    streams: tuple[dict[str, Any], dict[str, Any]]
    reverted: Mapping[str, tuple[str, ...]]


def recall(
    comparison: Comparison,
    recorded: Mapping[str, Any],
    running: Mapping[str, Any],
    streams: tuple[Streams, Streams],
) -> Recall | None:
    """Recover the draws of leaves that differ; None if none is found on both sides.

    ``recorded`` and ``running`` are the environments, ``streams`` those that the golden
    recorded and those of this test, {} where these are not known: seeds 0 to 64 are tried then.
    """
    pairs = [
        (d.expected, d.obtained)
        for d in comparison.differences
        if d.kinds == ("values",)
        and d.expected
        and d.obtained
        and _can_tell(d.expected, d.obtained)
    ][:_MOST]
    if not pairs:
        return None
    counts = min(64 + 4 * comparison.leaves, 512)
    old, then = _origins([a.read() for a, _ in pairs if a.read], streams[0], recorded, counts)
    new, now = _origins([b.read() for _, b in pairs if b.read], streams[1], running, counts)
    expected, obtained, reverted = {}, {}, {}
    flags = tuple(name for name in _FLAGS if recorded.get(name) != running.get(name))
    for (a, b), was, is_ in zip(pairs, old, new, strict=True):
        if was is None or is_ is None or min(was.share, is_.share) < _MOST_OF_IT:
            continue  # moved after the draw: trained, or made orthogonal
        same = _alike(was, is_)
        expected[a.path] = replace(a, draws=(was.label,), initializer="as in the golden")
        obtained[b.path] = replace(
            b, draws=(is_.label,), initializer="as in the golden" if same else "another"
        )
        if flags and same and was.label == is_.label:
            reverted[a.path] = flags
    if not expected:
        return None
    return Recall(expected, obtained, (then, now), reverted)


def _can_tell(old: Leaf, new: Leaf) -> bool:
    if old.read is None or new.read is None or "constant" in old.statistics:
        return False
    return is_inexact(old.dtype) and not old.rng


def _alike(a: Origin, b: Origin) -> bool:
    if a.family != b.family:
        return False
    if not a.scale or not b.scale:
        return True
    return abs(a.scale / b.scale - 1) < _SAME_SCALE


def _origins(
    values: Sequence[np.ndarray], streams: Streams, environment: Mapping[str, Any], counts: int
) -> tuple[list[Origin | None], dict[str, Any]]:
    flags = {n: environment[n] for n in _FLAGS[:1] if isinstance(environment.get(n), bool)}
    known = {
        name: Stream(stream["impl"], tuple(stream["key"]))
        for name, stream in streams.items()
        if isinstance(stream, Mapping) and isinstance(stream.get("key"), list)
    }
    if known:
        found = recovery.recover(values, known, counts=counts, flags=flags)
        if any(found):
            return found, {n: {"impl": s.impl, "key": list(s.key)} for n, s in known.items()}
    impl = str(environment.get("jax_default_prng_impl", "threefry2x32"))
    guess = recovery.recover_seed(values, impl=impl, flags=flags)
    if guess is None:
        return [None] * len(values), {}
    seed, found = guess
    base = recovery.seed_streams(seed, impl)
    return found, {n: {"impl": s.impl, "key": list(s.key)} for n, s in base.items()}
