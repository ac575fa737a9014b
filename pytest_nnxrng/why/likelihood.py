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
  which is about 1 / n! at d = 0. Ties among words are broken by fixed fractions. Pairs of equal
  values are left out: the moment is then that of n over the product of those of the groups.

`Match.log_chance` is the smallest bound times the number of tests.
"""

from __future__ import annotations

import functools
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
_QUANTILES = np.array([[0.0, 0.05, 0.15, 0.3], [1.0, 0.95, 0.85, 0.7]])  # of the references
_WINDOWS = np.exp2(-np.arange(2.0, 22.0, 2.0))
_COARSE = 2.0**-6  # a family that fits no finer than this is not named
_FINE = 2.0**-16  # what float32's erf_inv may be off by, in standard samples
_RANKED = 128  # elements of the rank tests, which take quadratic time
_Q = np.concatenate([np.exp2(-np.arange(2.0, 64.0)), 1 - np.exp2(-np.arange(1.0, 13.0, 0.5))])
_TESTS = len(_DENSITY) * _QUANTILES.shape[1] * len(_WINDOWS) + 2  # and a rising and a falling order


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


def row_ranks(words: Words) -> Array:
    """Float32 ranks of each row of (candidates, n), with mean 0 and norm 1."""
    order = np.argsort(words, axis=1)
    n = order.shape[1]
    found = np.empty(order.shape, np.float32)
    np.put_along_axis(found, order, _unit(np.arange(n, dtype=np.float64))[None], axis=1)
    return found


def ranks(x: Floats) -> Array:
    """The same of values (n,): equals share their mean, what is not finite has the middle one."""
    _, inverse, times = np.unique(x, return_inverse=True, return_counts=True)
    found = (np.cumsum(times) - (times + 1) / 2)[inverse.reshape(-1)]
    return _unit(np.where(np.isfinite(x), found, found[np.isfinite(x)].mean()))


def _unit(x: Floats) -> Array:
    x = x - x.mean()
    return (x / np.linalg.norm(x)).astype(np.float32)


def match(values: Floats, words: Words, kept: int, drawn: np.dtype[Any], eps: float) -> Match:
    """How well ``words`` (n,) of ``kept`` bits, drawn for dtype ``drawn``, fit ``values`` (n,).

    ``eps`` is the epsilon of the dtype that the values were last rounded to.
    """
    finite = np.isfinite(values)
    x, words = values[finite], words[finite]
    order = np.argsort(x, kind="stable")
    samples = _standard_samples(words, kept, drawn)
    affine, family, window, agree = _affine(x, order, samples, kept)
    rising, falling = _rank_bounds(words[order], x[order])
    log_chance = min(0.0, min(affine, rising, falling) + math.log(_TESTS))
    in_order = _in_order(x, words, falling < rising).sum()
    if affine < 0 and window <= max(_COARSE, 4 * eps):
        scale, shift = _line(samples[family][agree], x[agree])
        off = np.abs(x - shift - scale * samples[family])
        near = (off <= abs(scale) * 4 * max(window, _FINE) + 2 * eps * np.abs(x)).sum()
        if near >= in_order:
            return Match(log_chance, float(near / len(values)), family, scale, shift)
    return Match(log_chance, float(in_order / len(values)), "monotone")


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


def _affine(
    x: Floats, order: Array, samples: dict[str, Floats], kept: int
) -> tuple[float, str, float, Bools]:
    """The best affine test: the logarithm of its bound, its family, window and what agrees."""
    low, high = order[np.round(_QUANTILES * (len(x) - 1)).astype(np.int64)]
    sample = np.stack(list(samples.values()))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[high] - x[low]) / (sample[:, high] - sample[:, low])
        told = sample[:, low, None] + (x - x[low, None]) / slope[..., None]
    off = np.abs(sample[:, None] - told)  # (families, references, n)
    off[~np.isfinite(slope) | (slope == 0)] = np.inf
    off[np.isnan(off)] = np.inf
    hits = np.stack([(off <= window).sum(axis=-1) for window in _WINDOWS], axis=-1) - 2
    densities = np.array([_DENSITY[family] for family in samples])
    chances = 2 * densities[:, None, None] * _WINDOWS + 2.0 ** (1 - kept)
    tails = _log_tails(np.maximum(hits, 0) / max(1, len(x) - 2), chances) * (len(x) - 2)
    family, pair, at = np.unravel_index(int(np.argmin(tails)), tails.shape)
    window = float(_WINDOWS[at])
    return float(tails.min()), list(samples)[family], window, off[family, pair] <= window


def _log_tails(share: Floats, p: Floats) -> Floats:
    """Per trial, the logarithm of a bound on the chance of this share of hits or more."""
    miss = np.maximum(1 - share, 1e-300)
    hit = np.maximum(share, 1e-300)
    entropy = share * np.log(hit / p) + (1 - share) * np.log(miss / (1 - p))
    return np.where(share > p, -entropy, 0.0)


def _rank_bounds(words: Words, x: Floats) -> tuple[float, float]:
    """Logarithms of the bounds of the rank tests, rising and falling; words in values' order."""
    n = min(len(words), _RANKED)
    chosen = np.linspace(0, len(words) - 1, n).round().astype(np.int64)
    u, levels = words[chosen] + np.random.default_rng(0).random(n), x[chosen]
    differ = np.triu(levels[:, None] != levels[None, :])
    discordant = int(((u[:, None] > u[None, :]) & differ).sum())
    moments = _log_moments(n) - sum(
        _log_moments(int(ties)) for ties in np.unique(levels, return_counts=True)[1] if ties > 1
    )
    rising, falling = (
        min(0.0, float((moments - d * np.log(_Q)).min()))
        for d in (discordant, int(differ.sum()) - discordant)
    )
    return rising, falling


@functools.cache
def _log_moments(n: int) -> Floats:
    """Logarithms of E[q**D] of a random permutation of n, for each q."""
    j = np.arange(1, n + 1)[:, None]
    moments: Floats = np.log((1 - _Q**j) / (j * (1 - _Q))).sum(axis=0)
    return moments


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
