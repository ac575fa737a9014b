"""How surely the random words of a key made given values: the null model and its bounds.

JAX makes normal, truncated normal and uniform samples (and laplace, gumbel, exponential, ...) by
a monotone function of each element's random word, so that the words of the right key stand in the
leaf's order, at any scale.

The null model. The values are given; under an unrelated key their words are independent and
uniform on a grid of 2**kept. Two kinds of tests, each with a bound that holds at any size:

* affine: a family and two reference elements, chosen by the values' order alone, fix scale and
  shift. The standard sample of another element lies within e of what they predict for it with
  probability at most p = 2 e max(density) + 2 / 2**kept, independently of the others, so the
  tail of the hits among the n - 2 others is at most exp(-(n - 2) KL(hits / (n - 2) || p))
  (Hoeffding 1963).
* rank: the words' order is a uniform random permutation. Its number D of discordant pairs has
  E[q**D] = prod_j (1 - q**j) / (j (1 - q)) (Mahonian), so P(D <= d) <= min_q E[q**D] / q**d,
  which is about 1 / n! at d = 0. Ties among words are broken by fixed fractions, ties among
  values by position.

The smallest bound, times the tests, is `Match.log_chance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint32]

_DENSITY = {"normal": 0.39895, "truncated_normal": 0.41797, "uniform": 0.5}  # their maxima
_PAIRS = ((0.0, 1.0), (0.05, 0.95), (0.15, 0.85), (0.3, 0.7))  # quantiles of the references
_WINDOWS = np.exp2(-np.arange(2.0, 22.0, 2.0))
_COARSE = 2.0**-6  # a family that fits no finer than this is not named
_RANKED = 256  # elements of the rank test, which is quadratic
_Q = 1 - np.exp2(-np.arange(1.0, 13.0, 0.5))
_TESTS = len(_DENSITY) * len(_PAIRS) * len(_WINDOWS) + 2 * len(_Q)


@dataclass(frozen=True)
class Match:
    """How well words fit values.

    ``log_chance``: the logarithm of a bound on the probability that an unrelated key fits as
    well. ``share`` of the elements agrees. The agreeing ones are shift + scale * a standard
    sample of the family: normal, truncated_normal (at 2) or uniform (on [-1, 1)).
    """

    log_chance: float
    share: float
    family: str
    scale: float | None
    shift: float | None


@dataclass(frozen=True)
class _Fit:
    log_chance: float
    family: str
    agree: NDArray[np.bool_]
    window: float


def match(values: Floats, words: Words, kept: int, narrow: float, eps: float) -> Match:
    """How well ``words`` (n,) of ``kept`` bits fit ``values`` (n,).

    Narrow is the epsilon of the dtype they would have been drawn in, ``eps`` of the values' own.
    """
    finite = np.isfinite(values)
    x, words = values[finite], words[finite]
    order = np.argsort(x, kind="stable")
    samples = _standard_samples(words, kept, narrow)
    best = _Fit(0.0, "monotone", np.zeros(len(x), bool), math.inf)
    for family, sample in samples.items():
        best = min(best, _affine(x, order, sample, family, kept), key=lambda fit: fit.log_chance)
    rising, falling = _rank_bounds(words[order], kept)
    log_chance = min(best.log_chance, rising, falling) + math.log(_TESTS)
    coarse = max(_COARSE, 4 * eps)
    if best.window > coarse or 2 * best.agree.sum() < len(x):
        order = order if rising < falling else order[::-1]
        share = _in_order(x, order, words) / len(values)
        return Match(min(log_chance, 0.0), share, "monotone", None, None)
    sample = samples[best.family]
    scale, shift = _line(sample[best.agree], x[best.agree])
    off = np.abs(x - shift - scale * sample)
    near = off <= abs(scale) * 4 * best.window + 2 * eps * np.abs(x)
    return Match(
        min(log_chance, 0.0), float(near.sum()) / len(values), best.family, scale, shift
    )


def _standard_samples(words: Words, kept: int, narrow: float) -> dict[str, Floats]:
    """What jax.random makes of the words, in float64: family -> (n,)."""
    grid = 2.0**kept
    inverse = NormalDist().inv_cdf
    bound = math.erf(math.sqrt(2.0))
    if narrow > 1e-5:
        bound = round(bound / narrow * 2) * narrow / 2
    # Below -1 + 2 / grid jax.random.normal starts at the float after -1.
    normal = (words + 0.25) / grid
    truncated = (1 - bound) / 2 + bound * np.maximum(words / grid, 0)
    return {
        "normal": np.array([inverse(p) for p in normal.tolist()]),
        "truncated_normal": np.clip([inverse(p) for p in truncated.tolist()], -2, 2),
        "uniform": words * (2 / grid) - 1,
    }


def _affine(x: Floats, order: Array, sample: Floats, family: str, kept: int) -> _Fit:
    """The best of the affine tests over all references and windows."""
    best = _Fit(0.0, family, np.zeros(len(x), bool), math.inf)
    chances = 2 * _DENSITY[family] * _WINDOWS + 2.0 ** (1 - kept)
    for quantiles in _PAIRS:
        low, high = (order[round(q * (len(x) - 1))] for q in quantiles)
        if sample[low] == sample[high] or x[low] == x[high]:
            continue
        slope = (x[high] - x[low]) / (sample[high] - sample[low])
        off = np.abs(sample - sample[low] - (x - x[low]) / slope)
        hits = np.searchsorted(np.sort(off), _WINDOWS, side="right") - 2
        tails = [_tail(int(k), len(x) - 2, float(p)) for k, p in zip(hits, chances, strict=True)]
        at = int(np.argmin(tails))
        if tails[at] < best.log_chance:
            best = _Fit(tails[at], family, off <= _WINDOWS[at], float(_WINDOWS[at]))
    return best


def _tail(hits: int, trials: int, p: float) -> float:
    """Log of a bound on P(Binomial(trials, p) >= hits)."""
    if trials < 1 or hits <= trials * p:
        return 0.0
    share = hits / trials
    entropy = share * math.log(share / p)
    if hits < trials:
        entropy += (1 - share) * math.log((1 - share) / (1 - p))
    return -trials * entropy


def _rank_bounds(words: Words, kept: int) -> tuple[float, float]:
    """Logs of the bounds of both rank tests, rising and falling, of words in the values' order."""
    n = min(len(words), _RANKED)
    random = np.random.default_rng(0)
    chosen = words[np.linspace(0, len(words) - 1, n).round().astype(np.int64)]
    u = chosen + random.random(n)
    discordant = int(np.triu(u[:, None] > u[None, :]).sum())
    j = np.arange(1, n + 1)[:, None]
    moments = np.log((1 - _Q**j) / (j * (1 - _Q))).sum(axis=0)
    pairs = n * (n - 1) // 2
    rising, falling = (
        float((moments - d * np.log(_Q)).min()) for d in (discordant, pairs - discordant)
    )
    return min(rising, 0.0), min(falling, 0.0)


def _in_order(x: Floats, order: Array, words: Words) -> int:
    """How many elements stand where the words' order puts them, give or take a hundredth."""
    first = np.searchsorted(x[np.sort(order)] if False else np.sort(x), x, side="left")
    last = np.searchsorted(np.sort(x), x, side="right") - 1
    ranks = np.empty(len(x), np.int64)
    ranks[np.argsort(words, kind="stable")] = np.arange(len(x))
    if order[0] > -1 and len(x) and x[order[0]] > x[order[-1]]:
        ranks = len(x) - 1 - ranks
    slack = 1 + len(x) // 100
    return int(((ranks >= first - slack) & (ranks <= last + slack)).sum())


def _line(sample: Floats, x: Floats) -> tuple[float, float]:
    """Scale and shift of the least-squares line through (sample, x)."""
    centred = sample - sample.mean()
    scale = float(centred @ (x - x.mean()) / (centred @ centred))
    return scale, float(x.mean() - scale * sample.mean())
