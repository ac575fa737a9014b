"""Whether what a manifest says of a leaf can be true of one array: edited rows are found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_nnxrng.leaf.dtypes import dtype_of, is_inexact, is_key
from pytest_nnxrng.leaf.form import Sketch
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.spots import decode
from pytest_nnxrng.leaf.statistics import statistics

_LOOSE = 1e-2  # of what sums of squares lose, beside the digits
_DIGITS = 1e-5  # a row's numbers have six digits
_TEXTS = ("nan", "inf", "-inf")
_OVERFLOW = 1e308
_UNDERFLOW = 1e-150  # above the root of the smallest float64 that has all its digits
_ORDER = ("min", "mean", "max", "std")
_MOMENTS = frozenset(_ORDER)


def contradiction(leaf: Leaf) -> str:
    """What of a leaf's row cannot be, or lacks what the format requires; "" if nothing."""
    if is_key(leaf.dtype) or not (leaf.statistics or leaf.digest or leaf.spots):
        return ""
    row, reals = leaf.statistics, _reals(leaf)
    whole = leaf.digest is not None and leaf.stored and leaf.spots is None and leaf.sketch is None
    if whole and row.keys() == _MOMENTS and _plain(reals, *[row[name] for name in _ORDER]):
        return ""
    if leaf.digest is None and (row or leaf.sketch is not None):
        return 'it has numbers, and no "digest"'
    return (
        _wrong_numbers(row, reals)
        or (_wrong_sketch(leaf.sketch, row) if leaf.sketch is not None else _no_sketch(leaf))
        or _wrong_spots(leaf)
        or _too_narrow(row, reals)
    )


def _plain(reals: int, low: Any, mean: Any, high: Any, std: Any) -> bool:
    """Whether they are beyond doubt, as those of nearly all leaves: what is not is looked into."""
    if not type(low) is type(mean) is type(high) is type(std) is float:
        return False
    wide = max(high - mean, mean - low)
    near = wide < math.inf and wide <= std * math.sqrt(reals)
    return low <= mean <= high and 0 <= std <= (high - low) / 2 and near


def told_otherwise(leaf: Leaf, values: np.ndarray) -> str:
    """Which of a row's numbers are not those of these values, the leaf's; "" if all are."""
    if is_key(leaf.dtype) or not leaf.statistics or constant(leaf) is not None:
        return ""
    found = statistics(values)
    largest = max((abs(float(found.get(end, 0))) for end in ("min", "max")), default=0.0)
    for name, told in leaf.statistics.items():
        true = found.get(name)
        if told == true:
            continue
        close = isinstance(told, int | float) and isinstance(true, int | float)
        if not close or abs(float(told) - float(true)) > _DIGITS * max(largest, abs(float(true))):  # type: ignore[arg-type]
            return f'"{name}" is {told}, and its values have {true}'
    return ""


def _wrong_numbers(row: Mapping[str, float | int | str], reals: int) -> str:
    for name, number in row.items():
        if isinstance(number, float) and math.isinf(number):
            return f'"{name}" is too large a number'
        if name in ("value", "constant"):  # which the leaf's digest holds
            continue
        texts = _TEXTS if name in ("mean", "std") else ()
        if isinstance(number, str):
            if number not in texts:
                return f'"{name}" is {number!r:.40}'
        elif isinstance(number, int) and abs(number) >= 1 << 1023:
            return f'"{name}" is too large'
    count = row.get("nonfinite", 0)
    if not isinstance(count, int) or not 0 <= count <= reals:
        return f'"nonfinite" is {count!r:.40}'
    if "min" not in row or "max" not in row:
        return ""
    low, high = float(row["min"]), float(row["max"])
    mean, std = float(row.get("mean", 0.0)), float(row.get("std", 0.0))
    slack = _DIGITS * max(abs(low), abs(high))
    if low > high:
        return '"min" exceeds "max"'
    if "mean" in row and math.isfinite(mean) and not low - slack <= mean <= high + slack:
        return '"mean" is not between "min" and "max"'
    if math.isfinite(std) and not 0 <= std <= (high - low) / 2 + slack:
        return '"std" is none of numbers between "min" and "max"'
    return ""


def _too_narrow(row: Mapping[str, float | int | str], reals: int) -> str:
    """One of n numbers is no further from their mean than the root of n times their deviation."""
    if not row.keys() >= _MOMENTS:
        return ""
    low, high, mean, std = [float(row[name]) for name in ("min", "max", "mean", "std")]
    furthest = max(high - mean, mean - low) - _DIGITS * max(abs(low), abs(high))
    root = math.sqrt(max(reals - int(row.get("nonfinite", 0)), 1))
    if furthest < _UNDERFLOW:
        return ""  # its square is none that float64 can hold, so "std" is 0
    if math.isfinite(furthest) and furthest * (1 - _LOOSE) > std * root:
        return '"std" is too small for numbers from "min" to "max"'
    return ""


def _no_sketch(leaf: Leaf) -> str:
    unstored = leaf.digest is not None and not leaf.stored and constant(leaf) is None
    if not unstored or not leaf.size or not is_inexact(leaf.dtype):
        return ""
    largest = max((abs(float(leaf.statistics.get(end, 0))) for end in ("min", "max")), default=0.0)
    if dtype_of(leaf.dtype).itemsize >= 8 and largest * _reals(leaf) >= _OVERFLOW:
        return ""  # as early versions wrote where sums overflow
    return 'it has no "sketch", and its values are not stored'


def _wrong_sketch(sketch: Sketch, row: Mapping[str, float | int | str]) -> str:
    aside = sum(group.count for group in sketch.aside)
    if sketch.aside and sketch.sizes.rest >= sketch.aside[0].start:
        return '"sketch" sets aside what is no larger than the rest'
    if not {"min", "max"} <= row.keys():
        return ""
    if sketch.nonfinite - aside != row.get("nonfinite", 0):
        return '"sketch" and "nonfinite" are not of one array'
    low, high, scale = float(row["min"]), float(row["max"]), sketch.scale
    if abs(max(abs(low), abs(high)) - scale) > _DIGITS * scale:
        return f'"sketch" is of an array whose largest element is {scale:.6g}, not "min" or "max"'
    return ""


def _wrong_spots(leaf: Leaf) -> str:
    if leaf.spots is None or not is_inexact(leaf.dtype):
        return ""
    spots = decode(leaf.spots, leaf.dtype, leaf.shape)
    parts = spots.view(spots.real.dtype) if spots.dtype.kind == "c" else spots
    finite = parts.astype(np.float64)
    finite = finite[np.isfinite(finite)]
    ends = [leaf.statistics.get(end, sign * math.inf) for end, sign in (("min", -1), ("max", 1))]
    low, high = (float(end) for end in ends)
    if leaf.sketch is not None:
        low, high = max(low, -leaf.sketch.scale), min(high, leaf.sketch.scale)
    slack = _DIGITS * max(abs(low), abs(high))
    if finite.size and not (math.isinf(slack) or low - slack <= finite.min()):
        return '"spots" hold less than "min"'
    if finite.size and not (math.isinf(slack) or finite.max() <= high + slack):
        return '"spots" hold more than "max"'
    return ""


def _reals(leaf: Leaf) -> int:
    return leaf.size * (1 + (dtype_of(leaf.dtype).kind == "c"))
