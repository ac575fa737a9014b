"""Which draw made a leaf, recovered from its values alone.

What is tested. JAX makes normal, truncated normal and uniform samples (and laplace, gumbel,
exponential, ...) by a monotone function of each element's random word, so the words of the
right key stand in the leaf's order, at any scale. `recover` regenerates the words of candidate
keys, keeps the few whose order on 64 elements is nearest, and tests those on up to 1024.

The null model. The leaf is given; under an unrelated key its elements' words are independent and
uniform on a grid of 2**k. Two kinds of tests, each with a bound that holds at any sample size:
* affine: a family (below) and two reference elements, chosen by the leaf's order alone, fix
  scale and shift. Another element's standard sample falls within e of the value so predicted with
  probability at most p = 2 e max(density) + 2 / 2**k, independently; hits among the n - 2 others
  have a binomial tail of at most exp(-(n - 2) KL(hits / (n - 2) || p)) (Chernoff, Hoeffding 1963).
* rank: the words' order is a uniform random permutation. The number D of discordant pairs has
  the Mahonian distribution, E[q**D] = prod_j (1 - q**j) / (j (1 - q)), so that
  P(D <= d) <= min_q E[q**D] / q**d (about 1 / n! at d = 0). Ties are broken by fixed fractions.
The smallest bound, times all tests, candidates, ways of drawing and leaves, is the false alarm.

Where the words come from. Threefry (Salmon et al. 2011, 2 x 32 bits, 20 rounds) is computed here
as jax.random lays it out, so that a word of a huge leaf costs one word, under either setting of
jax_threefry_partitionable and without touching jax.config; tests hold it against jax.random. Other
generators run in JAX over the leaf's whole shape, on the default device.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Protocol, TypeAlias

import jax
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng import rngs

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint32]

FALSE_ALARM = 1e-9
LEAST_DISTINCT = 8
INNER = 32  # draws tried of a stream that was forked or split from a draw

_THREEFRY = "threefry2x32"
_SCREENED, _TESTED, _RANKED, _KEPT = 64, 1024, 256, 4  # elements, elements, elements, candidates
_LARGEST = 1 << 18  # elements of a leaf that other generators than threefry draw whole
# How jax.random.uniform draws a dtype: bits an element, and how many of their leading ones count.
# (Of float64's 52, the 32 of the first word are looked at.)
_DRAWN = {"float64": (64, 32), "float32": (32, 23), "float16": (16, 10), "bfloat16": (8, 7)}
_DENSITY = {"normal": 0.39895, "truncated_normal": 0.41797, "uniform": 0.5}  # their maxima
_PAIRS = ((0.0, 1.0), (0.05, 0.95), (0.15, 0.85), (0.3, 0.7))  # quantiles of the references
_WINDOWS = np.exp2(-np.arange(2.0, 22.0, 2.0))
_TESTS = len(_DENSITY) * len(_PAIRS) * len(_WINDOWS) + 2


class HasKey(Protocol):
    """A stream: the name of its PRNG implementation and the words of its base key."""

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

    ``label`` is ``params#3``, or ``params#3/0``: draw 0 of a stream forked or split from it, and
    also key 0 of ``jax.random.split`` of it (one key, as JAX now splits); ``params#3/split``: a
    stack with one key a slice, of which slice 0 was tested. ``false_alarm`` bounds the
    probability that any unrelated key tried in this call fits so well. ``share`` of the tested
    elements agrees. Of the agreeing elements, leaf = shift + scale * (standard normal, standard
    normal truncated at 2, or uniform on [-1, 1)) by least squares; ``monotone``: none of these.
    """

    label: str
    false_alarm: float
    share: float
    family: str
    scale: float | None = None
    shift: float | None = None


@dataclass(frozen=True)
class _Keys:
    impl: str
    labels: list[str]
    data: Words  # (candidates, words)


@dataclass(frozen=True)
class _View:
    """A leaf, or the first slice of one, as a flat run of elements."""

    leaf: int
    values: Array
    tested: Array  # int64 positions, ascending
    screened: Array
    slices: int  # length of the leading axis; 0 for the whole leaf

    @property
    def sources(self) -> list[str]:
        """The dtypes it may have been drawn in: its own, or one that it was cast from."""
        name = str(self.values.dtype)
        narrow = ["float16", "bfloat16"]
        if name in ("float32", "float64"):
            x = self.values.flat[self.tested]
            narrow = [n for n in narrow if np.array_equal(x, x.astype(n).astype(x.dtype))]
            return list(dict.fromkeys([name, "float32", *narrow]))
        return [*(n for n in narrow if n == name or name.startswith("float8")), "float32"]


def seed_streams(seed: int, impl: str = _THREEFRY) -> dict[str, Stream]:
    """The streams of the ``rngs`` fixture; ``params`` is also the one stream of ``nnx.Rngs(seed)``.

    Follows ``jax_random_seed_offset``, as making those streams would.
    """
    return {name: Stream(impl, _seed_key(s, impl)) for name, s in rngs.streams(seed).items()}


def recover_seed(
    values: Sequence[Array],
    seeds: Iterable[int] = range(65),
    *,
    impl: str = _THREEFRY,
    counts: int = 64,
    flags: Mapping[str, Any] | None = None,
) -> tuple[int, list[Origin | None]] | None:
    """The seed, by `seed_streams`, of most of the leaves, and their origins under it.

    None when no leaf is identified. Draws alone are tried, not what was forked from them.
    """
    streams = {f"{s} {n}": key for s in seeds for n, key in seed_streams(s, impl).items()}
    found = _recover(values, streams, counts, flags, inner=0)
    votes = Counter(origin.label.split()[0] for origin in found if origin)
    if not votes:
        return None
    best = votes.most_common(1)[0][0]
    return int(best), [
        replace(origin, label=origin.label.split()[1])
        if origin and origin.label.split()[0] == best
        else None
        for origin in found
    ]


def recover(
    values: Sequence[Array],
    streams: Mapping[str, HasKey],
    *,
    counts: int = 64,
    flags: Mapping[str, Any] | None = None,
) -> list[Origin | None]:
    """The origin of each leaf (host arrays of any shape and dtype) among the streams' draws.

    Tried are draws 0 to ``counts`` of each stream, and of streams forked or split from those.
    ``flags`` are jax.config values to suppose instead of the running ones. None: no such draw,
    no monotone sample, not a float, or fewer than 8 distinct values. Of the first of several
    labels of one key comes the answer; streams that hold an array of keys are not tried.
    """
    return _recover(values, streams, counts, flags, inner=INNER)


def _recover(
    values: Sequence[Array],
    streams: Mapping[str, HasKey],
    counts: int,
    flags: Mapping[str, Any] | None,
    inner: int,
) -> list[Origin | None]:
    running = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    partitionable = bool((flags or {}).get("jax_threefry_partitionable", running))
    found: list[Origin | None] = [None] * len(values)
    views = [view for i, array in enumerate(values) for view in _views(i, array, bool(inner))]
    tried = len(values) * len(streams) * counts * (2 + 3 * inner + 3) * 2 * 3 * _TESTS
    for impl in sorted({stream.impl for stream in streams.values()}):
        words = len(_seed_key(0, impl))
        base = {n: s.key for n, s in streams.items() if s.impl == impl and len(s.key) == words}
        if not base:
            continue
        draws = _fold(_Keys(impl, list(base), np.array(list(base.values()), np.uint32)), counts, "#")
        whole = [view for view in views if not view.slices]
        _search(found, whole, draws, partitionable, tried)
        if not inner:
            continue
        nested = _fold(draws, inner, "/")
        if impl == _THREEFRY and not partitionable:
            nested = _join(nested, _split(draws, 2), _split(draws, 3))
        _search(found, whole, nested, partitionable, tried)
        for slices in sorted({view.slices for view in views} - {0}):
            stacked = [view for view in views if view.slices == slices]
            keys = _join(draws, nested)
            if impl == _THREEFRY:
                first = _fold(draws, 1, "/") if partitionable else _split(draws, slices, 1)
                first = replace(first, labels=draws.labels)
                named = replace(first, labels=[f"{label}/split" for label in draws.labels])
                keys = _join(named, _fold(first, inner, "/"), keys)
            _search(found, stacked, keys, partitionable, tried)
    return found


def _views(leaf: int, array: Array, stacks: bool) -> Iterable[_View]:
    """The leaf, and its first slice, as far as they can hold enough evidence."""
    name = str(array.dtype)
    if name not in _DRAWN and not name.startswith("float8"):
        return
    for slices in (0, len(array)) if stacks and array.ndim > 1 and len(array) else (0,):
        values = array[0] if slices else array
        tested = _spread(np.arange(values.size), _TESTED)
        x = values.flat[tested].astype(np.float64)
        levels, inverse, times = np.unique(x, return_inverse=True, return_counts=True)
        if np.isfinite(levels).sum() < LEAST_DISTINCT:
            continue
        # A run that everyone shares makes one search serve all leaves; but it may be padding.
        screened = np.arange(min(values.size, _SCREENED))
        head = values.flat[screened].astype(np.float64)
        if len(np.unique(head[np.isfinite(head)])) < len(head) / 2:
            rare = np.isfinite(x) & (times[inverse.reshape(-1)] <= max(1, times.min()) * 8)
            screened = _spread(tested[rare], _SCREENED)
        yield _View(leaf, values, tested, screened, slices)


def _spread(positions: Array, number: int) -> Array:
    """``number`` of the positions, one at random from each of as many runs: no stride."""
    if len(positions) <= number:
        return positions
    fractions = np.random.default_rng(0).random(number)
    return positions[((np.arange(number) + fractions) * len(positions) / number).astype(np.int64)]


def _join(*parts: _Keys) -> _Keys:
    labels = [label for part in parts for label in part.labels]
    return _Keys(parts[0].impl, labels, np.concatenate([part.data for part in parts]))


def _fold(keys: _Keys, number: int, sign: str) -> _Keys:
    """``fold_in`` of 0, 1, ... to each key."""
    if keys.impl == _THREEFRY:
        count = np.arange(number, dtype=np.uint32)
        data = np.stack(_threefry(keys.data, np.zeros_like(count), count), axis=-1)
    else:
        data = np.asarray(_fold_in_jax(keys.data, impl=keys.impl, number=number))
    labels = [f"{label}{sign}{i}" for label in keys.labels for i in range(number)]
    return _Keys(keys.impl, labels, data.reshape(len(labels), -1))


def _split(keys: _Keys, number: int, taken: int | None = None) -> _Keys:
    """The first ``taken`` of ``jax.random.split(key, number)``, threefry not partitionable."""
    taken = taken or number
    labels = [f"{label}/{i}" for label in keys.labels for i in range(taken)]
    data = _original(keys.data, np.arange(2 * taken), 2 * number)
    return _Keys(keys.impl, labels, data.reshape(len(labels), 2))


def _threefry(keys: Words, high: Words, low: Words) -> tuple[Words, Words]:
    """Threefry-2x32-20 of the counters (n,) under each key (candidates, 2), twice (candidates, n).

    Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    shape = (len(keys), len(low))
    outs = np.empty(shape, np.uint32), np.empty(shape, np.uint32)
    rows = max(1, (1 << 14) // max(1, len(low)))  # so that a block stays in the cache
    for start in range(0, len(keys), rows):
        k0, k1 = keys[start : start + rows, :1], keys[start : start + rows, 1:]
        schedule = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
        x0, x1 = high + k0, low + k1
        for i in range(5):
            for bits in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
                x0 += x1
                x1 = (x1 << np.uint32(bits)) | (x1 >> np.uint32(32 - bits))
                x1 ^= x0
            x0 += schedule[(i + 1) % 3]
            x1 += schedule[(i + 2) % 3] + np.uint32(i + 1)
        outs[0][start : start + rows], outs[1][start : start + rows] = x0, x1
    return outs


def _original(keys: Words, index: Array, total: int) -> Words:
    """Words ``index`` of the ``total`` that a key gives where threefry is not partitionable."""
    half = (total + 1) // 2
    low = index % half
    high = np.where(low + half < total, low + half, 0)
    first, second = _threefry(keys, low.astype(np.uint32), high.astype(np.uint32))
    return np.where(index < half, first, second)


def _words(keys: _Keys, view: _View, positions: Array, source: str, partitionable: bool) -> Words:
    """The bits that count of the view's elements, had each key drawn it: (candidates, n)."""
    width, kept = _DRAWN[source]
    if keys.impl != _THREEFRY:
        shape = view.values.shape
        sample = _uniform_jax(keys.data, positions, impl=keys.impl, shape=shape, dtype=source)
        return (np.asarray(sample).astype(np.float64) * 2.0**kept).astype(np.uint32)
    if partitionable:
        high, low = np.divmod(positions, 1 << 32)
        first, second = _threefry(keys.data, high.astype(np.uint32), low.astype(np.uint32))
        words = first if width == 64 else first ^ second
    else:
        total = -(-view.values.size * width // 32)
        words = _original(keys.data, positions * min(width, 32) // 32, total)
        per = max(1, 32 // width)
        words >>= (positions % per * width).astype(np.uint32)
    return (words & np.uint32(2 ** min(width, 32) - 1)) >> np.uint32(min(width, 32) - kept)


# One at a time: other generators than threefry give other bits under vmap.
@functools.partial(jax.jit, static_argnames=("impl", "number"))
def _fold_in_jax(data: Any, *, impl: str, number: int) -> Any:
    def fold(pair: Any) -> Any:
        key = jax.random.wrap_key_data(pair[0], impl=impl)
        return jax.random.key_data(jax.random.fold_in(key, pair[1]))

    counts = jax.numpy.arange(number, dtype="uint32")
    return jax.lax.map(lambda key: jax.lax.map(lambda c: fold((key, c)), counts), data)


@functools.partial(jax.jit, static_argnames=("impl", "shape", "dtype"))
def _uniform_jax(data: Any, positions: Any, *, impl: str, shape: Any, dtype: str) -> Any:
    def draw(words: Any) -> Any:
        key = jax.random.wrap_key_data(words, impl=impl)
        return jax.random.uniform(key, shape, dtype).reshape(-1)[positions]

    return jax.lax.map(draw, data)


def _seed_key(seed: int, impl: str) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(jax.random.key(seed, impl=impl))).tolist())


def _search(
    found: list[Origin | None], views: list[_View], keys: _Keys, partitionable: bool, tried: int
) -> None:
    """Enter the origins of the views' leaves among ``keys``, of leaves that have none yet."""
    groups: dict[Any, list[_View]] = {}
    for view in views:
        if found[view.leaf] is None and (keys.impl == _THREEFRY or view.values.size <= _LARGEST):
            alone = None if keys.impl == _THREEFRY and partitionable else view.values.shape
            for source in view.sources:
                groups.setdefault((source, alone, view.screened.tobytes()), []).append(view)
    for (source, _, _), group in groups.items():
        words = _words(keys, group[0], group[0].screened, source, partitionable)
        order = np.argsort(words, axis=1)
        ranks = np.empty(order.shape, np.float32)
        middle = np.arange(order.shape[1], dtype=np.float32) - np.float32((order.shape[1] - 1) / 2)
        np.put_along_axis(ranks, order, np.broadcast_to(middle, order.shape), axis=1)
        for view in group:
            x = view.values.flat[view.screened].astype(np.float64)
            scores = np.abs(ranks @ _mean_ranks(x).astype(np.float32))
            best = np.argsort(-scores, kind="stable")[:_KEPT]
            chosen = replace(keys, labels=[keys.labels[i] for i in best], data=keys.data[best])
            finer = _words(chosen, view, view.tested, source, partitionable)
            y = view.values.flat[view.tested].astype(np.float64)
            eps = float(ml_dtypes.finfo(view.values.dtype).eps)
            for label, row in zip(chosen.labels, finer, strict=True):
                origin = _evidence(label, y, row, source, eps, tried)
                old = found[view.leaf]
                if origin and (old is None or origin.false_alarm < old.false_alarm):
                    found[view.leaf] = origin


def _mean_ranks(x: Floats) -> Floats:
    """Centred ranks of ``x``; ties share their mean; what is not finite stands in the middle."""
    _, inverse, times = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(times) - (times - 1) / 2
    ranks = last[inverse.reshape(-1)] - (len(x) + 1) / 2
    return np.where(np.isfinite(x), ranks, 0.0)


def _evidence(
    label: str, x: Floats, words: Words, source: str, eps: float, tried: int
) -> Origin | None:
    """The origin ``label`` of elements ``x`` (n,), if words (n,) fit too well for chance."""
    finite = np.isfinite(x)
    tested, x, words = len(x), x[finite], words[finite]
    order = np.argsort(x, kind="stable")
    rank = _rank_bound(words[order])
    best, window, fit = 0.0, 1.0, ("monotone", np.zeros(0), 0, 0)
    for family, sample in _standard(words, source).items():
        density = 2 * _DENSITY[family]
        chances = density * _WINDOWS + 2.0 ** (1 - _DRAWN[source][1])
        for quantiles in _PAIRS:
            low, high = (order[round(q * (len(x) - 1))] for q in quantiles)
            if sample[low] == sample[high] or x[low] == x[high]:
                continue
            slope = (x[high] - x[low]) / (sample[high] - sample[low])
            off = np.sort(np.abs(sample - sample[low] - (x - x[low]) / slope))
            hits = np.searchsorted(off, _WINDOWS, side="right") - 2  # without the references
            bounds = [_tail(int(h), len(x) - 2, float(p)) for h, p in zip(hits, chances, strict=True)]
            if min(bounds) < best:
                best, at = min(bounds), int(np.argmin(bounds))
                window, fit = float(_WINDOWS[at]), (family, sample, low, high)
    log_bound = min(best, rank) + math.log(tried)
    if log_bound > math.log(FALSE_ALARM):
        return None
    false_alarm = math.exp(max(log_bound, -690.0))  # 1e-300 stands for anything below it
    ...
