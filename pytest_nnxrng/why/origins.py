"""A finished model's mismatch: which draws made its leaves, on the golden's side and on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.device.environment import under
from pytest_nnxrng.golden.provenance import translated
from pytest_nnxrng.leaf.dtypes import is_inexact, is_key, is_small_float
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.spots import elements, places
from pytest_nnxrng.why import recovery
from pytest_nnxrng.why.draws import step_of
from pytest_nnxrng.why.recovery import Origin, Some, Stream

Streams = Mapping[str, Mapping[str, Any]]
Held = np.ndarray | Some
Changes = tuple[tuple[str, Any, Any], ...]

_FLAGS = ("jax_threefry_partitionable", "jax_default_prng_impl", "jax_random_seed_offset")
_MOST = 200  # leaves that are looked at
_LARGEST = 1 << 18  # elements of a leaf that matches and is looked at all the same
_MOST_OF_IT = 0.5  # of the tested elements stand as the draw has them
_SAME_SCALE = 2e-3  # a share; fits of bfloat16 leaves repeat to about 1e-3


@dataclass(frozen=True)
class Recall:
    """Leaves with the draws that their values tell, by path, and the streams of these draws.

    PRNG flags that changed explain what has the same draw on both sides (``reverted``), and
    moved the others, too (``touched``).
    """

    expected: Mapping[str, Leaf]
    obtained: Mapping[str, Leaf]
    streams: tuple[dict[str, Any], dict[str, Any]]
    reverted: Mapping[str, tuple[str, ...]]
    touched: Mapping[str, tuple[str, ...]]


def recall(
    comparison: Comparison,
    recorded: Mapping[str, Any],
    running: Mapping[str, Any],
    streams: tuple[Streams, Streams],
    changes: Changes = (),
    matching: Sequence[Leaf] = (),
) -> Recall | None:
    """Recover the draws of leaves that differ; None if none is found on both sides.

    ``recorded`` and ``running`` are the environments, ``streams`` those that the golden
    recorded and those of this test, {} where these are not known: seeds 0 to 64 are tried then.
    A seed that no leaf that differs tells is told by those that are ``matching``.
    """
    both = [
        (d.expected, d.obtained)
        for d in comparison.differences
        if d.kinds == ("values",) and d.expected and d.obtained
    ]
    pairs = [*[pair for pair in both if _can_tell(*pair)], *_renamed(comparison)][:_MOST]
    gone, came = _apart(comparison, pairs)
    keys = [(a, b) for a, b in both if is_key(a.dtype) and a.dtype == b.dtype and not a.shape]
    drawn = [(a, b) for a, b in both if "constant" in a.statistics and _can_tell(b, b)]
    if not pairs and not (gone and came) and not keys and not drawn:
        return None
    came = [*came, *[b for _, b in drawn]]
    witnesses = [_held(leaf, leaf) for leaf in _witnesses(matching)]
    counts = min(64 + 4 * comparison.leaves, 512)
    theirs = [_held(a, a) for a, _ in pairs] + [_held(a, a) for a in gone]
    ours = [_held(b, a) for a, b in pairs] + [_held(b, b) for b in came]
    old, then = _origins(theirs, streams[0], recorded, counts, witnesses)
    new, now = _origins(ours, streams[1], running, counts, witnesses)
    flags = tuple(name for name in _FLAGS if recorded.get(name) != running.get(name))
    # Of draws from streams that are split or forked first, no seed is guessed.
    if then and not now and not flags:
        new, now = _origins(ours, then, running, counts)
    elif now and not then and not flags:
        old, then = _origins(theirs, now, recorded, counts)
    bases = translated(now, then, changes)
    expected, obtained = dict[str, Leaf](), dict[str, Leaf]()
    reverted, touched = dict[str, tuple[str, ...]](), dict[str, tuple[str, ...]]()
    expected.update(_told(gone, old[len(pairs) :]))
    obtained.update(_told(came, new[len(pairs) :]))
    expected.update(
        {a.path: a.but(draws=(), initializer="constant") for a, b in drawn if b.path in obtained}
    )
    if not flags:
        for path, (was_key, is_key_now) in _keys(keys, then, now, counts).items():
            expected[path], obtained[path] = was_key, is_key_now
    for (a, b), was, is_ in zip(pairs, old, new, strict=False):
        if was is None or is_ is None or min(was.share, is_.share) < _MOST_OF_IT:
            continue  # moved after the draw: trained, or made orthogonal
        stream = was.label.partition("#")[0]
        moved = was.label != is_.label or _base(then, stream) != _base(bases, stream)
        same, made = _alike(was, is_, a, moved), f"as {a.path} in the golden"
        expected[a.path] = a.but(draws=(was.label,), initializer=made)
        obtained[b.path] = b.but(draws=(is_.label,), initializer=made if same else "another")
        same &= not moved
        if flags and same and a.path == b.path:
            reverted[a.path] = flags
        elif flags and not same:
            touched[b.path] = flags
    if not expected:
        return None
    return Recall(expected, obtained, (then, now), reverted, touched)


_WITNESSES = 8


def _witnesses(matching: Sequence[Leaf]) -> list[Leaf]:
    """A few random leaves that tell a seed, if any does."""
    held = [x for x in matching if x.read is not None and x.size <= _LARGEST and _can_tell(x, x)]
    # One of each shape: those of a stack, drawn from split keys, tell no seed.
    return list({leaf.shape: leaf for leaf in sorted(held, key=lambda x: x.size)}.values())[
        -_WITNESSES:
    ]


def _keys(
    pairs: Sequence[tuple[Leaf, Leaf]], then: Streams, now: Streams, counts: int
) -> dict[str, tuple[Leaf, Leaf]]:
    """Keys that a model holds, of a Dropout say, with the draws that they are, bit by bit."""
    found: dict[str, tuple[Leaf, Leaf]] = {}
    if not pairs:
        return found
    theirs, ours = (recovery.draws_by_key(_known(side), counts) for side in (then, now))
    for a, b in pairs:
        if a.read is not None and b.read is not None:
            was, is_ = theirs.get(a.read().tobytes()), ours.get(b.read().tobytes())
            if was is not None and is_ is not None:
                found[a.path] = a.but(draws=(was,)), b.but(draws=(is_,))
    return found


def _known(streams: Streams) -> dict[str, Stream]:
    return {
        name: Stream(stream["impl"], tuple(stream["key"]))
        for name, stream in streams.items()
        if isinstance(stream, Mapping) and isinstance(stream.get("key"), list)
    }


def _base(streams: Streams, name: str) -> Any:
    stream = streams.get(name, {})
    return stream.get("impl"), stream.get("key")


def _renamed(comparison: Comparison) -> list[tuple[Leaf, Leaf]]:
    """What went and what came, where only one on each side is of its type, shape and dtype."""
    gone = _by_form([d.expected for d in comparison.differences if d.kinds == ("removed",)])
    came = _by_form([d.obtained for d in comparison.differences if d.kinds == ("added",)])
    return [
        (gone[form][0], came[form][0])
        for form in gone.keys() & came.keys()
        if len(gone[form]) == len(came[form]) == 1 and _can_tell(gone[form][0], came[form][0])
    ]


def _apart(
    comparison: Comparison, pairs: Sequence[tuple[Leaf, Leaf]]
) -> tuple[list[Leaf], list[Leaf]]:
    """What else went and came; each is told by itself, as nothing pairs them yet."""
    paired = {leaf.path for pair in pairs for leaf in pair}
    sides = [d.expected or d.obtained for d in comparison.differences if d.kinds == ("removed",)]
    other = [d.expected or d.obtained for d in comparison.differences if d.kinds == ("added",)]
    gone, came = (
        [x for x in side if x is not None and x.path not in paired and _can_tell(x, x)][:_MOST]
        for side in (sides, other)
    )
    return gone, came


def _told(leaves: Sequence[Leaf], origins: Sequence[Origin | None]) -> dict[str, Leaf]:
    return {
        leaf.path: leaf.but(
            draws=(origin.label,),
            initializer=_made(origin),
        )
        for leaf, origin in zip(leaves, origins, strict=True)
        if origin is not None and origin.share >= _MOST_OF_IT
    }


def _made(origin: Origin) -> str:
    """The fit in the digits that repeat from draw to draw."""
    scale, shift = origin.scale or 0.0, origin.shift or 0.0
    offset = round(shift / scale, 2) + 0.0 if scale else 0.0  # no -0.0
    return f"{origin.family} {abs(scale):.2g} {offset}"


def _by_form(leaves: Sequence[Leaf | None]) -> dict[Any, list[Leaf]]:
    found: dict[Any, list[Leaf]] = {}
    for leaf in leaves:
        if leaf is not None and leaf.shape:
            found.setdefault((leaf.type, leaf.shape, leaf.dtype), []).append(leaf)
    return found


def _can_tell(old: Leaf, new: Leaf) -> bool:
    if (old.read or old.spots) is None or (new.read or new.spots) is None:
        return False
    if (new.read is None and old is not new) or "constant" in old.statistics:
        return False
    return is_inexact(old.dtype) and not old.rng


def _held(leaf: Leaf, golden: Leaf) -> Held:
    """What there is of a leaf to tell its draw: all, or where the golden keeps no more, spots."""
    if golden.read is not None and leaf.read is not None:
        return leaf.read()
    found = elements(leaf)
    assert found is not None
    return Some(leaf.shape, places(leaf), found)


def _alike(a: Origin, b: Origin, leaf: Leaf, moved: bool) -> bool:
    """Whether both were made alike, as far as fits tell: those of a few bits tell little."""
    if a.family != b.family:
        return moved and is_small_float(leaf.dtype)
    if not a.scale or not b.scale:
        return True
    allowed = _SAME_SCALE
    if is_small_float(leaf.dtype):
        allowed = 8 * step_of(leaf.dtype) / min(leaf.size, 1024) ** 0.5
    return abs(a.scale / b.scale - 1) < allowed


def _origins(
    values: Sequence[Held],
    streams: Streams,
    environment: Mapping[str, Any],
    counts: int,
    witnesses: Sequence[Held] = (),
) -> tuple[list[Origin | None], dict[str, Any]]:
    offset = environment.get("jax_random_seed_offset")
    if isinstance(offset, int) and hasattr(jax.config, "jax_random_seed_offset"):
        with under({"jax_random_seed_offset": offset}):
            return _recovered(values, streams, environment, counts, witnesses)
    return _recovered(values, streams, environment, counts, witnesses)


def _recovered(
    values: Sequence[Held],
    streams: Streams,
    environment: Mapping[str, Any],
    counts: int,
    witnesses: Sequence[Held],
) -> tuple[list[Origin | None], dict[str, Any]]:
    flags = {n: environment[n] for n in _FLAGS[:1] if isinstance(environment.get(n), bool)}
    if known := _known(streams):
        found = recovery.recover(values, known, counts=counts, flags=flags)
        found = [_if_one(origin, known) for origin in found]
        if any(found) or not values:
            return found, {n: {"impl": s.impl, "key": list(s.key)} for n, s in known.items()}
    impl = str(environment.get("jax_default_prng_impl", "threefry2x32"))
    guess = recovery.recover_seed(values, impl=impl, flags=flags)
    if guess is None and witnesses:
        guess = recovery.recover_seed(witnesses, impl=impl, flags=flags)
    if guess is None:
        return [None] * len(values), {}
    base = recovery.seed_streams(guess[0], impl)
    found = recovery.recover(values, base, counts=counts, flags=flags)
    found = [_if_one(origin, base) for origin in found]
    return found, {n: {"impl": s.impl, "key": list(s.key)} for n, s in base.items()}


def _if_one(origin: Origin | None, streams: Mapping[str, Stream]) -> Origin | None:
    """The origin, unless its key has several names: those of ``unsafe_rbg`` commute in a chain."""
    if origin is None or "/" not in origin.label:
        return origin
    impl = streams[origin.label.partition("#")[0]].impl
    return None if impl == "unsafe_rbg" else origin
