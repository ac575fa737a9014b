"""Which draw made a leaf, recovered from its values alone.

Of every leaf 64 elements are ranked against the random words of all candidate keys
(``keystream``); the few nearest are tested on up to 1024 (``evidence``), and one is believed when
the probability that any unrelated candidate of the whole call fits so well is at most 1e-9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, prod
from typing import Any, Protocol

import jax
import ml_dtypes
import numpy as np

from pytest_nnxrng.leaf.dtypes import dtype_of, is_small_float
from pytest_nnxrng.nnx import rngs
from pytest_nnxrng.why import keystream, likelihood
from pytest_nnxrng.why.keystream import THREEFRY, Keys, fold, join, split
from pytest_nnxrng.why.likelihood import Array, Floats

FALSE_ALARM = 1e-9
LEAST_DISTINCT = 8
INNER = 32  # draws tried of each stream that was forked or split from a draw

_SCREENED, _TESTED, _KEPT = 64, 1024, 4  # elements, elements, candidates
_CORRELATION = 0.7  # of ranks: below this, or 4 standard deviations, no test is made
_LARGEST = 1 << 18  # elements of a leaf that other generators than threefry draw whole
_HALF_PRECISION = ("float16", "bfloat16")
_SOURCES = 4  # at most, of one leaf


class HasKey(Protocol):
    """A stream: its PRNG implementation and the words of its base key."""

    @property
    def impl(self) -> str: ...
    @property
    def key(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Stream:
    """The least that is a stream."""

    impl: str
    key: tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """The draw that made a leaf, and how well that is known.

    ``label`` is ``params#3``; or ``params#3/0``, draw 0 of a stream forked or split from it (also
    key 0 of ``jax.random.split`` of it, which now is the same key); or ``params#3/split``, a
    stack whose slices have one key each. ``false_alarm`` bounds the probability that any
    unrelated candidate of the call fits so well. ``share`` of the tested elements agrees: below 1
    some were edited; far below, all were moved after the draw (trained, orthogonalised). Those
    that agree are shift + scale * a standard sample of ``family``: normal, truncated_normal (at
    2), uniform (on [-1, 1)); ``monotone`` is none of these. ``stacked``: what was tested is slice
    0 of the leading axis, as made by the draw on its own.
    """

    label: str
    false_alarm: float
    share: float
    family: str
    scale: float | None = None
    shift: float | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Some:
    """A few elements of a leaf of ``shape``: ``values`` stand at ``positions`` of the flattened."""

    shape: tuple[int, ...]
    positions: Array
    values: Array


@dataclass(frozen=True)
class _View:
    """A leaf, or its first slice. ``tested`` and ``screened`` are positions in the flattened."""

    leaf: int
    shape: tuple[int, ...]
    dtype: Any
    slices: int  # the length of the leading axis that the slice is from, 0 for a leaf
    sources: tuple[str, ...]  # the dtypes it may have been drawn in
    tested: Array
    screened: Array
    x: Floats  # the tested elements
    ranks: Array  # theirs
    head: Array  # the ranks of the screened ones

    @property
    def epsilon(self) -> float:
        finfo: Any = ml_dtypes.finfo
        return float(finfo(self.dtype).eps)


def seed_streams(seed: int, impl: str = THREEFRY) -> dict[str, Stream]:
    """The streams of the ``rngs`` fixture for a seed, under the running jax_random_seed_offset.

    The key of ``params`` is also that of the one stream of ``nnx.Rngs(seed)``.
    """
    seeds = rngs.streams(seed)
    return {name: Stream(impl, keystream.seed_key(s, impl)) for name, s in seeds.items()}


def recover(
    values: Sequence[Array | Some],
    streams: Mapping[str, HasKey],
    *,
    counts: int = 64,
    flags: Mapping[str, Any] | None = None,
    inner: int = INNER,
) -> list[Origin | None]:
    """The origin of each leaf (host arrays of any shape and dtype) among the streams' draws.

    Of a leaf of which only ``Some`` elements are known these are ranked and tested, but no stacks
    are tried. Tried are the first ``counts`` draws of each stream, those of streams forked or
    split from them, and stacks of these. ``flags`` are jax.config values to suppose in place of
    the running ones. None: no such draw, no monotone sample (orthogonal, say), not a float, or too
    little evidence. Of several labels of one key the first answers. Streams that hold an array of
    keys are not tried, nor are leaves of over 2**18 elements under another generator than threefry.
    """
    running = getattr(jax.config, "jax_threefry_partitionable", True)
    partitionable = bool((flags or {}).get("jax_threefry_partitionable", running))
    views = [view for i, array in enumerate(values) for view in _views(i, array, inner > 0)]
    tried = len(values) * len(streams) * counts * (3 * inner + 13) * _SOURCES
    found: list[Origin | None] = [None] * len(values)
    for impl in sorted({stream.impl for stream in streams.values()}):
        try:
            length = len(keystream.seed_key(0, impl))
        except ValueError:  # a generator of another version of JAX
            continue
        base = {n: s.key for n, s in streams.items() if s.impl == impl and len(s.key) == length}
        data = np.array(list(base.values()), np.uint32).reshape(-1, length)
        draws = fold(Keys(impl, partitionable, list(base), data), counts, "#")
        _search(found, views, 0, draws, tried)
        if not inner:
            continue
        nested = fold(draws, inner, "/")
        if impl == THREEFRY and not partitionable:
            nested = join(nested, split(draws, 2, 2), split(draws, 3, 3))
        _search(found, views, 0, nested, tried)
        for slices in sorted({view.slices for view in views} - {0}):
            keys = join(draws, nested)
            if impl == THREEFRY:
                first = replace(split(draws, slices, 1), labels=draws.labels)
                named = replace(first, labels=[f"{label}/split" for label in draws.labels])
                keys = join(named, fold(first, inner, "/"), keys)
            _search(found, views, slices, keys, tried)
    return found


def draws_by_key(streams: Mapping[str, HasKey], counts: int) -> dict[bytes, str]:
    """The first ``counts`` draws of each stream: the bytes of the key -> the draw's label."""
    found: dict[bytes, str] = {}
    for name, stream in streams.items():
        data = np.array([stream.key], np.uint32)
        if data.shape[1] == len(keystream.seed_key(0, stream.impl)):
            keys = fold(Keys(stream.impl, True, [name], data), counts, "#")
            for label, key in zip(keys.labels, keys.data, strict=True):
                found.setdefault(key.tobytes(), label)
    return found


def recover_seed(
    values: Sequence[Array | Some],
    seeds: Iterable[int] = range(65),
    *,
    impl: str = THREEFRY,
    counts: int = 64,
    flags: Mapping[str, Any] | None = None,
) -> tuple[int, list[Origin | None]] | None:
    """The seed by whose `seed_streams` alone most leaves were made, and these; None if none was."""
    streams = {f"{s} {name}": key for s in seeds for name, key in seed_streams(s, impl).items()}
    found = recover(values, streams, counts=counts, flags=flags, inner=0)
    votes = Counter(origin.label.split()[0] for origin in found if origin)
    if not votes:
        return None
    seed = f"{votes.most_common(1)[0][0]} "
    ours = [origin if origin and origin.label.startswith(seed) else None for origin in found]
    return int(seed), [o and replace(o, label=o.label.removeprefix(seed)) for o in ours]


def _views(leaf: int, array: Array | Some, stacks: bool) -> Iterator[_View]:
    """The leaf and its first slice, as far as they can hold enough evidence."""
    dtype = array.values.dtype if isinstance(array, Some) else array.dtype
    name = str(dtype)
    if name not in keystream.DRAWN and not is_small_float(name):
        return
    if isinstance(array, Some):
        x = np.asarray(array.values, np.float64)
        if len(np.unique(x[np.isfinite(x)])) >= LEAST_DISTINCT:
            at, order = array.positions, likelihood.ranks(x)
            sources = _sources(name, x)
            yield _View(leaf, array.shape, dtype, 0, sources, at, at, x, order, order)
        return
    for slices in (0, len(array)) if stacks and array.ndim > 1 and len(array) else (0,):
        values = array[0] if slices else array
        tested = _spread(values.size, _TESTED)
        x = np.asarray(values.flat[tested], np.float64)
        levels, inverse, times = np.unique(x, return_inverse=True, return_counts=True)
        # One run of elements for all leaves, and so one search; unless it is padding, say.
        # Of a few bits it takes more of them to see enough levels.
        screened = np.arange(min(values.size, _SCREENED * (4 if is_small_float(name) else 1)))
        head = np.asarray(values.flat[screened], np.float64)
        few = np.isfinite(np.unique(head)).sum() < len(head) / 2
        if few and not is_small_float(name):
            rare = tested[np.isfinite(x) & (times[inverse.reshape(-1)] < len(x) / 8)]
            screened = rare[_spread(len(rare), _SCREENED)]
            head = np.asarray(values.flat[screened], np.float64)
        if min(np.isfinite(levels).sum(), len(np.unique(head))) >= LEAST_DISTINCT:
            ranks = likelihood.ranks(x), likelihood.ranks(head)
            sources = _sources(name, x)
            yield _View(leaf, values.shape, dtype, slices, sources, tested, screened, x, *ranks)


def _sources(name: str, x: Floats) -> tuple[str, ...]:
    """The dtypes that elements ``x`` of dtype ``name`` may have been drawn in, before a cast."""
    if name in _HALF_PRECISION:
        return name, "float32"
    if is_small_float(name):
        return "float32", *_HALF_PRECISION
    with np.errstate(over="ignore"):
        exact = [n for n in _HALF_PRECISION if np.array_equal(x, x.astype(n).astype(np.float64))]
    return tuple(dict.fromkeys([name, "float32", *exact]))


def _spread(size: int, number: int) -> Array:
    """``number`` positions below ``size``: one at random of each of as many runs, so no stride."""
    if size <= number:
        return np.arange(size)
    fractions = np.random.default_rng(0).random(number)
    return ((np.arange(number) + fractions) * size / number).astype(np.int64)


def _search(
    found: list[Origin | None], views: list[_View], slices: int, keys: Keys, tried: int
) -> None:
    """Enter the origins among ``keys`` of leaves that have none yet."""
    groups: dict[Any, list[tuple[_View, str]]] = {}
    for view in views:
        if view.slices == slices and found[view.leaf] is None:
            shape = () if keys.shapeless else view.shape
            for source in view.sources if _can_draw(keys.impl, view) else ():
                key = (source, shape, view.screened.tobytes())
                groups.setdefault(key, []).append((view, source))
    for members in groups.values():
        view, source = members[0]
        words = keystream.words(keys, view.shape, view.screened, source)
        scores = np.abs(
            np.stack([view.head for view, _ in members]) @ likelihood.row_ranks(words).T
        )
        kept = min(_KEPT, scores.shape[1])
        nearest = np.sort(np.argpartition(-scores, kept - 1, axis=1)[:, :kept], axis=1)
        for (view, source), best in zip(members, nearest, strict=True):
            _test(found, view, keys.take(best), source, tried)


def _can_draw(impl: str, view: _View) -> bool:
    wide = "float64" in view.sources and not getattr(jax.config, "jax_enable_x64", False)
    return impl == THREEFRY or (prod(view.shape) <= _LARGEST and not wide)


def _test(found: list[Origin | None], view: _View, keys: Keys, source: str, tried: int) -> None:
    words = keystream.words(keys, view.shape, view.tested, source)
    kept, drawn = keystream.DRAWN[source][1], dtype_of(source)
    scores = np.abs(likelihood.row_ranks(words) @ view.ranks)
    for label, row, score in zip(keys.labels, words, scores, strict=True):
        if score < min(_CORRELATION, 4 / len(row) ** 0.5):
            continue
        match = likelihood.match(view.x, row, kept, drawn, view.epsilon)
        # 1e-300 stands for anything less.
        alarm = max(exp(min(0.0, max(match.log_chance + log(tried), -700.0))), 1e-300)
        old = found[view.leaf]
        if alarm <= FALSE_ALARM and (old is None or alarm < old.false_alarm):
            fit = (match.share, match.family, match.scale, match.shift)
            found[view.leaf] = Origin(label, alarm, *fit, view.slices > 0)
