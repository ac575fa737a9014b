"""Two sketches of arrays of one size -> how far apart the arrays can be."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.cells import (
    BITS,
    BUCKETS,
    LEVELS,
    SEGMENTS,
    SETS,
    SUMS,
    block_size,
    part_size,
    positions,
    sizes,
)
from pytest_nnxrng.leaf.sketch import Sketch

Floats: TypeAlias = NDArray[np.float64]

FALSE_ALARM = 4e-9  # derived in `judge`
_SURE = 5e-10


@dataclass(frozen=True)
class Estimate:
    """Estimates about b - a for two sketches of one size, non-finite elements left out."""

    norm: float  # of b - a: the root of the sum of squares
    norm_error: float  # its standard error
    rms: float  # norm / sqrt(finite elements)
    ratio: float  # r of the least squares b = r a; NaN when a's sums are all zero
    ratio_error: float  # its standard error, 0 for an exact multiple
    residual: float  # |b - r a| / |b|: 0 for an exact multiple, about 1 for unrelated values

    @property
    def factor(self) -> float | None:
        """The constant, not 1, that b is a multiplied by; None if it is not, or none can be told.

        A few elements that moved leave a small residual, too, and a ratio within its error of 1.
        """
        sure = max(1e-6, 6 * self.ratio_error)
        return self.ratio if self.residual < 1e-3 and abs(self.ratio - 1) > sure else None


def difference(a: Sketch, b: Sketch) -> Estimate:
    """How b differs from a. ValueError when they are of different sizes."""
    unit, (first, second) = _scaled(a, b)
    norm = math.sqrt(float(((second - first) ** 2).sum()) / SETS)
    norm_a, norm_b = (math.sqrt(float((x**2).sum()) / SETS) for x in (first, second))
    ratio = float((first * second).sum()) / SETS / norm_a**2 if norm_a else math.nan
    rest = math.sqrt(float(((second - ratio * first) ** 2).sum()) / SETS) if norm_a else norm_b
    return Estimate(
        norm=_unscaled(norm, unit),
        norm_error=_unscaled(norm, unit) / math.sqrt(2 * SUMS),
        rms=_unscaled(norm, unit) / math.sqrt(max(1, a.size - a.nonfinite)),
        ratio=ratio,
        ratio_error=rest / norm_a / math.sqrt(SUMS) if norm_a else math.nan,
        residual=rest / norm_b if norm_b else 0.0,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether every |a - b| can be at most `allowed`, as far as two sketches tell."""

    kind: Literal["within", "consistent", "changed"]
    reason: Literal["", "nonfinite", "extremes", "energy", "few", "peak"]  # why it is `changed`
    limit: float  # no element differs by more (all but 1 in 30,000 times)
    may_exceed: int  # nor can more elements than this differ by more than `allowed`
    where: tuple[tuple[int, int], ...]  # flat ranges that hold the difference; () when all over


def judge(a: Sketch, b: Sketch, allowed: float) -> Verdict:
    """Could b be a with no element moved by more than `allowed` (at least 0)?

    ``changed``: no. Some element moved further. A necessary condition of "every |d_i| <= t" fails:

    * nonfinite: NaNs and infinities keep their kinds and places. Exact.
    * extremes: no segment's least or greatest element moves by more than t. Exact. This finds a
      scale changed by 1e-4 in a leaf, or in one of its layers, of any size.
    * energy: |d|^2 <= n t^2. Given the cells, a sum is a sum of independent signs, so the mean
      square over 48 of them exceeds 3.2 times its expectation with p <= 1e-9 (Laurent and Massart
      2000, Lemma 1: 1 + 2 sqrt(x / 48) + 2 x / 48, x = ln 1e9).
    * few: the same of the parts that changed (`changed_parts`: at most so many, p <= 5e-10). Of m
      elements of a part that moved by t at most, the squared sum is m t^2 on average, and it is
      not zero with a chance of 1 - C(m, m / 2) / 2^m at least (Erdos 1945). So of those sums that
      are not zero, the mean square is at most 20 t^2 in parts of 16, and 6.4 t^2 in parts of 4.
    * peak: in each of the three sets the largest |D| exceeds 6 t + 8 sigma, sigma the median of all
      48 over 0.6745: a few elements stand out of what the rest shows. Dense differences: given the
      lower 24, the upper 24 are independent, so p <= E[(8 Q(8 m / 0.6745) / Q(m))^3] = 1.4e-9 over
      the median m of 48 |gauss|, Q its tail. Sparse ones: the same integral over the Skellam law
      of elements of +-t, the extreme points, is at most 2e-10 at every density.

    So `FALSE_ALARM` = 4e-9 is the chance, over the hashes, that a pair within t is ``changed``. It
    does not hold for sparse differences at a stride of 1021 or its multiples, which share cells:
    of 60 made so at +t, 12 were ``changed``. One element that moved by 6 t + 3.2 |d_rest| is found
    97 times in 100 (simulated; 79 at 2.7).

    ``within``: yes, proven: ``limit <= allowed``. ``limit`` is the root of 3 times the largest
    set's estimate of |d|^2, and |d_i| <= |d|. Missed with p = (1/32)^3 = 3e-5 in the worst case
    (two opposite changes that meet and cancel in all sets), 3e-7 when many elements changed.

    ``consistent``: nothing speaks against it. Usual for rounding of a large leaf, as a norm grows
    with sqrt(n). ``limit`` and ``may_exceed`` = limit^2 / t^2 say what could hide.
    ValueError for different sizes or a negative or non-finite `allowed`.
    """
    if not 0 <= allowed < math.inf:
        raise ValueError(f"allowed must be a finite number, at least 0: {allowed!r}")
    unit, (first, second) = _scaled(a, b, allowed)
    t = math.ldexp(allowed, -unit)
    sums = np.abs(second - first)
    finite = a.size - a.nonfinite
    ulps = 2.0 ** (-50 if "float64" in (a.kind, b.kind) or (a.wide and b.wide) else -28)
    stored = float(np.maximum(np.abs(first), np.abs(second)).max()) * ulps
    energy = (sums**2).sum(axis=1)
    sigma = float(np.median(sums)) / 0.6745
    limit = math.sqrt(3 * float(energy.max())) + stored * math.sqrt(BUCKETS)
    moved = _extremes_moved(a, b) > allowed * (1 + 1e-12)
    parts = changed_parts(a, b)
    most = parts * part_size(a.size)
    few = math.sqrt(parts * _mean_square(part_size(a.size))) * t
    reason: Literal["", "nonfinite", "extremes", "energy", "few", "peak"] = ""
    if (a.nonfinite, a.nonfinite_digest) != (b.nonfinite, b.nonfinite_digest):
        reason = "nonfinite"
    elif moved.any():
        reason = "extremes"
    elif math.sqrt(float(energy.mean()) / 3.2) > math.sqrt(finite) * t + stored:
        reason = "energy"
    elif float(sums.max(axis=1).min()) > 6 * t + 8 * sigma + stored:
        reason = "peak"
    elif math.sqrt(float(energy.mean()) / 3.2) > few + stored:
        reason = "few"
    kind: Literal["within", "consistent", "changed"] = "within" if limit <= t else "consistent"
    over = 0.0 if limit <= t else (limit / t) * (limit / t) if t else math.inf
    return Verdict(
        kind="changed" if reason else kind,
        reason=reason,
        limit=_unscaled(limit, unit),
        may_exceed=int(min(over, finite, most)),
        where=_where(a, b, moved),
    )


def changed_parts(a: Sketch, b: Sketch) -> float:
    """How many parts differ in any bit at most, but for a chance of 5e-10; inf if none can tell.

    F parts that changed flip each of the 256 groups of a level, of q of P positions a group, an odd
    number of times with the chance (1 - (1 - q / P)^F) / 2. F is as large as makes the groups
    that did so, or fewer, just that unlikely; the least of the levels' F holds.
    """
    if not a.parities or not b.parities:
        return math.inf
    x, y = (np.frombuffer(sketch.parities, np.uint8) for sketch in (a, b))
    odd = np.unpackbits(x ^ y).reshape(LEVELS, BITS).sum(axis=1).tolist()
    count = positions(a.size)
    found = [math.inf]
    for flips, size in zip(odd, sizes(count), strict=True):
        if (chance := _highest(flips)) < 0.5:
            found.append(math.log1p(-2 * chance) / math.log1p(-size / count))
    return min(found)


@functools.lru_cache(maxsize=BITS + 1)
def _highest(flips: int) -> float:
    """The chance of a flip, up to 1/2, with which so few of 256 have one, or fewer, is so rare."""
    low, high = 0.0, 0.5
    if _at_most(flips, high) > _SURE / LEVELS:
        return high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(flips, middle) > _SURE / LEVELS else (low, middle)
    return high


def _at_most(flips: int, chance: float) -> float:
    """The chance of so few of 256, each of this chance."""
    ways = (
        math.comb(BITS, at) * chance**at * (1 - chance) ** (BITS - at) for at in range(flips + 1)
    )
    return math.fsum(ways)


def _mean_square(size: int) -> float:
    """Of the sum of a part of `size` that is not zero, in squares of the most that one moved."""
    return max(m / (1 - math.comb(m, m // 2) / 2.0**m) for m in range(1, size + 1))


def _scaled(a: Sketch, b: Sketch, also: float = 0.0) -> tuple[int, Floats]:
    """An exponent e, and both sets of sums, (2, SETS, BUCKETS), over 2**e: none above 1."""
    if a.size != b.size:
        raise ValueError(f"sketches of {a.size} and {b.size} elements do not compare")
    sums = np.array([a.sums, b.sums]).reshape(2, SETS, BUCKETS)
    unit = math.frexp(max(float(np.abs(sums).max()), also))[1]
    return unit, np.ldexp(sums, -unit)


def _unscaled(value: float, unit: int) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(value, unit))


def _extremes_moved(a: Sketch, b: Sketch) -> Floats:
    """How far each segment's extremes moved: (SEGMENTS,)."""
    low, high = (np.subtract(y, x) for x, y in ((a.lowest, b.lowest), (a.highest, b.highest)))
    return np.maximum(np.abs(low), np.abs(high))


def _where(a: Sketch, b: Sketch, moved: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The segments whose extremes moved too far, else the fewest with 99.99 % of the energy."""
    chosen = moved
    if not moved.any():
        sums = np.abs(np.subtract(b.segments, a.segments))
        energy = (sums / (sums.max() or 1.0)) ** 2
        order = np.argsort(-energy, kind="stable")
        before = np.cumsum(energy[order]) - energy[order]
        chosen[order] = (before < 0.9999 * energy.sum()) & (energy[order] > 0)
    step = block_size(a.size)
    blocks = -(-a.size // step)
    starts = [-(-segment * blocks // SEGMENTS) for segment in range(SEGMENTS + 1)]
    used = [i for i in range(SEGMENTS) if starts[i] < starts[i + 1]]
    if 2 * chosen.sum() > max(len(used), 2):
        return ()
    ranges: list[tuple[int, int]] = []
    for i in used:
        if chosen[i]:
            start, stop = (min(block * step, a.size) for block in starts[i : i + 2])
            joined = bool(ranges) and ranges[-1][1] == start
            ranges[-1:] = [(ranges[-1][0], stop)] if joined else [*ranges[-1:], (start, stop)]
    return tuple(ranges)
