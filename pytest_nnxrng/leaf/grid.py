"""Floats of 8 bits and fewer: all numbers of such a format, in order, and their steps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@functools.cache
def numbers(dtype: np.dtype[Any]) -> Floats:
    """The finite numbers of such a dtype, ascending; one zero."""
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    every = _elements(dtype, 1 << info.bits)
    return np.unique(every[np.isfinite(every)])


def step(dtype: np.dtype[Any], values: Floats, towards: Floats) -> Floats:
    """How far the next number of the format is from each of the values, all of them finite.

    0 where that would be twice the value or half of it, as in a format without a mantissa.
    """
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    if not info.nmant:
        return np.zeros_like(values)
    every = numbers(dtype)
    next_ = np.searchsorted(every, values) + np.where(towards < values, -1, 1)
    return np.abs(every[np.clip(next_, 0, len(every) - 1)] - values)


def largest_step(dtype: np.dtype[Any]) -> float:
    """The largest step, as a share of the number; 0 as for `step`."""
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(2.0**-info.nmant) if info.nmant else 0.0


def steps(dtype: np.dtype[Any], apart: float, low: float, high: float) -> float:
    """As many steps as lie between two numbers from low to high that are so far apart, at most."""
    every = numbers(dtype)
    every = every[(every >= low - apart) & (every <= high + apart)]
    if not every.size:
        return 0.0
    return float((np.searchsorted(every, every + apart, "right") - 1 - np.arange(every.size)).max())


@functools.cache
def places(dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """By the byte of an element: its place in the format, zero's being 0; NaN and inf as such."""
    every = _elements(dtype, 256)
    found = (np.searchsorted(numbers(dtype), every) - _zero(dtype)).astype(np.float32)
    return np.where(np.isfinite(every), found, every.astype(np.float32))


def at_places(name: str, found: Sequence[float]) -> Floats:
    """The numbers at these places of the format ``name``."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    at = np.array(found, np.int64) + _zero(dtype)
    return numbers(dtype)[np.clip(at, 0, len(numbers(dtype)) - 1)]


def _zero(dtype: np.dtype[Any]) -> int:
    """The place of zero; the middle of a format that has none."""
    every = numbers(dtype)
    return int(np.searchsorted(every, 0.0)) if every[0] <= 0 else len(every) // 2


def _elements(dtype: np.dtype[Any], count: int) -> Floats:
    """The elements whose bytes are 0, 1, ...; spare bits mean nothing."""
    bits = ml_dtypes.finfo(dtype).bits  # type: ignore[no-untyped-call]
    octets = np.arange(count, dtype=np.uint16) & (1 << bits) - 1
    return octets.astype(np.uint8).view(dtype).astype(np.float64)
