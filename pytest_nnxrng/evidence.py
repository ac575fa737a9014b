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

`Match.log_chance` is the smallest bound times the number of tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint32]

_DENSITY = {"normal": 0.39895, "truncated_normal": 0.41797, "uniform": 0.5}  # their maxima
_PAIRS = ((0.0, 1.0), (0.05, 0.95), (0.15, 0.85), (0.3, 0.7))  # quantiles of the references
_WINDOWS = np.exp2(-np.arange(2.0, 22.0, 2.0))
_COARSE = 2.0**-6  # a family that fits no finer than this is not named
_FINE = 2.0**-16  # what float32's erf_inv may be off by, in standard samples
_RANKED = 256  # elements of the rank tests, which take quadratic time
_Q = 1 - np.exp2(-np.arange(1.0, 13.0, 0.5))
_TESTS = len(_DENSITY) * len(_PAIRS) * len(_WINDOWS) + 2  # and a rising and a falling order


@dataclass(frozen=True)
class Match:
    """How well words fit values.

    ``log_chance``: the logarithm of a bound on the probability that an unrelated key fits as
    well. ``share`` of the elements agrees. By least squares the agreeing ones are shift + scale *
    a standard sample of the family: normal, truncated_normal (at 2) or uniform (on [-1, 1));
    neither is known for ``monotone``.
    """

    log_chance: float
    share: float
    family: str
    scale: float | None = None
    shift: float | None = None


@dataclass(frozen=True)
class _Fit:
    log_chance: float = 0.0
    family: str = "monotone"
    window: float = math.inf
    agree: Bools | None = None


def match(values: Floats, words: Words, kept: int, drawn: np.dtype[Any], eps: float) -> Match:
    """How well ``words`` (n,) of ``kept`` bits, drawn for dtype ``drawn``, fit ``values`` (n,).

    ``eps`` is the epsilon of the dtype that the values were last rounded to.
    """
    finite = np.isfinite(values)
    x, words = values[finite], words[finite]
    order = np.argsort(x, kind="stable")
    best, samples = _Fit(), _standard_samples(words, kept, drawn)
    for family, sample in samples.items():
        best = min(best, _affine(x, order, sample, family, kept), key=lambda fit: fit.log_chance)
    rising, falling = _rank_bounds(words[order])
    log_chance = min(0.0, min(best.log_chance, rising, falling) + math.log(_TESTS))
    known = best.agree is not None and best.window <= max(_COARSE, 4 * eps)
    if not known or best.agree is None or 2 * best.agree.sum() < len(x):
        share = _in_order(x, words, falling < rising).sum() / max(1, len(values))
        return Match(log_chance, float(share), "monotone")
    sample = samples[best.family]
    scale, shift = _line(sample[best.agree], x[best.agree])
    off = np.abs(x - shift - scale * sample)
    near = off <= abs(scale) * 4 * max(best.window, _FINE) + 2 * eps * np.abs(x)
    return Match(log_chance, float(near.sum() / len(values)), best.family, scale, shift)


def _standard_samples(words: Words, kept: int, drawn: np.dtype[Any]) -> dict[str, Floats]:
    """What jax.random makes of the words, in float64: family -> (n,)."""
    inverse = NormalDist().inv_cdf
    # random.normal's uniform starts at the float after -1, random.truncated_normal's at an erf
    # rounded to the dtype, which in bfloat16 is not small.
    bound = float(np.asarray(math.erf(math.sqrt(2.0))).astype(drawn))
    normal = (words + 0.25) / 2.0**kept
    truncated = (1 - bound) / 2 + bound * (words / 2.0**kept)
    return {
        "normal": np.array([inverse(p) for p in normal.tolist()]),
        "truncated_normal": np.clip([inverse(p) for p in truncated.tolist()], -2, 2),
        "uniform": words * 2.0 ** (1 - kept) - 1,
    }


def _affine(x: Floats, order: Array, sample: Floats, family: str, kept: int) -> _Fit:
    """The best of the affine tests of one family, over all references and windows."""
    best = _Fit()
    chances = 2 * _DENSITY[family] * _WINDOWS + 2.0 ** (1 - kept)
    for quantiles in _PAIRS:
        low, high = (order[round(q * (len(x) - 1))] for q in quantiles)
        if sample[low] == sample[high] or x[low] == x[high]:
            continue
        slope = (x[high] - x[low]) / (sample[high] - sample[low])
        off = np.abs(sample - sample[low] - (x - x[low]) / slope)
        hits = np.searchsorted(np.sort(off), _WINDOWS, side="right") - 2  # but the references
        tails = [_tail(int(k), len(x) - 2, float(p)) for k, p in zip(hits, chances, strict=True)]
        at = int(np.argmin(tails))
        if tails[at] < best.log_chance:
            best = _Fit(tails[at], family, float(_WINDOWS[at]), off <= _WINDOWS[at])
    return best


def _tail(hits: int, trials: int, p: float) -> float:
    """Logarithm of a bound on P(Binomial(trials, p) >= hits)."""
    if hits <= trials * p:
        return 0.0
    share = hits / trials
    entropy = share * math.log(share / p)
    if hits < trials:
        entropy += (1 - share) * math.log((1 - share) / (1 - p))
    return -trials * entropy


def _rank_bounds(words: Words) -> tuple[float, float]:
    """Logarithms of the bounds of the rank tests, rising and falling; words in values' order."""
    n = min(len(words), _RANKED)
    chosen = words[np.linspace(0, len(words) - 1, n).round().astype(np.int64)]
    u = chosen + np.random.default_rng(0).random(n)
    discordant = int(np.triu(u[:, None] > u[None, :]).sum())
    j = np.arange(1, n + 1)[:, None]
    moments = np.log((1 - _Q**j) / (j * (1 - _Q))).sum(axis=0)
    rising, falling = (
        min(0.0, float((moments - d * np.log(_Q)).min()))
        for d in (discordant, n * (n - 1) // 2 - discordant)
    )
    return rising, falling


def _in_order(x: Floats, words: Words, falling: bool) -> Bools:
    """Which elements stand where the words' order puts them, give or take a hundredth of all."""
    ranks = np.empty(len(x), np.int64)
    ranks[np.argsort(words, kind="stable")[:: -1 if falling else 1]] = np.arange(len(x))
    ascending, slack = np.sort(x), 1 + len(x) // 100
    first = np.searchsorted(ascending, x, side="left") - slack
    last = np.searchsorted(ascending, x, side="right") - 1 + slack
    return (first <= ranks) & (ranks <= last)


def _line(sample: Floats, x: Floats) -> tuple[float, float]:
    """Scale and shift of the least-squares line through (sample, x)."""
    centred = sample - sample.mean()
    scale = float(centred @ (x - x.mean()) / (centred @ centred))
    return scale, float(x.mean() - scale * sample.mean())
