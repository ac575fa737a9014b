"""Arrays -> what a page shows of them: a grid of cells, a histogram, the elements furthest apart.

Cells are letters, 64 levels from the least to the greatest, so that a page stays small.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.compare.numbers import exact, inexact
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.dtypes import is_inexact
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.scale import Scale

MOST = 32  # cells each way
_LEVELS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_HOLE = "."  # a cell in which a number is not finite
_BINS = 24
_WORST = 5

Floats = NDArray[np.float64]


def numbers(array: NDArray[Any]) -> Floats | None:
    """The elements as float64; None of what has no order, as complex numbers have none."""
    if array.dtype.kind == "c":
        return None
    return array.astype(np.float64)


@np.errstate(invalid="ignore", over="ignore")
def heat(golden: Floats | None, obtained: Floats | None) -> dict[str, Any] | None:
    """Both on one scale, and how far they are apart; None of what is a single element."""
    sides = {"golden": golden, "now": obtained}
    some = {name: values for name, values in sides.items() if values is not None and values.size}
    there = {name: flat(values) for name, values in some.items()}
    if not any(values.size > 1 for values in there.values()):
        return None
    finite = [values[np.isfinite(values)] for values in there.values()]
    low = min((float(f.min()) for f in finite if f.size), default=0.0)
    high = max((float(f.max()) for f in finite if f.size), default=0.0)
    made: dict[str, Any] = {"low": low, "high": high}
    for name, values in there.items():
        cells = pooled(values, mean=True)
        made[name] = letters(cells, low, high)
        made[f"{name}_rows"], made[f"{name}_sampled"] = cells.shape[0], cells.size < values.size
    if len(some) == 2 and some["golden"].shape == some["now"].shape:
        apart = np.abs(there["golden"] - there["now"])
        most = apart[np.isfinite(apart)]
        made["most"] = float(most.max()) if most.size else 0.0
        made["apart"] = letters(pooled(apart, mean=False), 0.0, made["most"])
    return made


def flat(values: Floats) -> Floats:
    """Any shape as rows and columns: the last axis is across; a vector is one row."""
    return values.reshape(1, -1) if values.ndim < 2 else values.reshape(-1, values.shape[-1])


def pooled(values: Floats, *, mean: bool) -> Floats:
    """No more than ``MOST`` cells each way, each the mean or the greatest of its area."""
    for axis in (0, 1):
        size = values.shape[axis]
        if size > MOST:
            starts = np.linspace(0, size, MOST, endpoint=False).astype(int)
            add = np.add if mean else np.maximum
            values = add.reduceat(values, starts, axis=axis)
            if mean:
                counts = np.diff([*starts, size])
                values = values / (counts[:, None] if axis == 0 else counts)
    return values


def letters(cells: Floats, low: float, high: float) -> str:
    """A letter a cell, in C order."""
    span = high - low
    with np.errstate(invalid="ignore"):
        share = (cells - low) / span if span > 0 else np.zeros_like(cells)
        levels = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0) * 63.999, 0, 63)
    holes = ~np.isfinite(cells)
    return "".join(
        _HOLE if hole else _LEVELS[int(level)]
        for level, hole in zip(levels.ravel(), holes.ravel(), strict=True)
    )


def histogram(golden: Floats | None, obtained: Floats | None) -> dict[str, Any] | None:
    """How many elements lie where, in bins that are the same for both."""
    sides = {"golden": golden, "now": obtained}
    finite = {n: v[np.isfinite(v)] for n, v in sides.items() if v is not None and v.size > 1}
    some = [values for values in finite.values() if values.size]
    if not some:
        return None
    low, high = min(float(v.min()) for v in some), max(float(v.max()) for v in some)
    if not low < high or not np.isfinite(high - low):
        return None
    counts = {n: np.histogram(v, _BINS, (low, high))[0].tolist() for n, v in finite.items()}
    return {"low": low, "high": high, **counts}


@np.errstate(invalid="ignore", over="ignore")
def worst(golden: NDArray[Any], obtained: NDArray[Any], leaf: Leaf) -> list[list[Any]]:
    """The elements furthest apart: index, golden, obtained, how far, in units of the last place."""
    a, b = numbers(golden), numbers(obtained)
    if a is None or b is None or a.shape != b.shape:
        return []
    apart = np.abs(a.ravel() - b.ravel())
    odd = ~np.isfinite(apart) & ~((a == b) | (np.isnan(a) & np.isnan(b))).ravel()
    order = np.where(odd, np.inf, np.nan_to_num(apart))
    found = []
    for at in np.argsort(-order, kind="stable")[:_WORST]:
        if not order[at]:
            break
        one, other = golden.reshape(-1)[at : at + 1], obtained.reshape(-1)[at : at + 1]
        row = leaf.but(shape=(1,))
        if is_inexact(leaf.dtype):
            told = inexact(one, other, Tolerance({}), row, Scale(0.0))
        else:
            told = exact(one, other, row)
        index = ", ".join(str(int(i)) for i in np.unravel_index(int(at), leaf.shape))
        how_far = f"{apart[at]:.3g}" if np.isfinite(apart[at]) else "not finite"
        found.append([f"[{index}]", told.expected, told.obtained, how_far, told.ulp])
    return found
