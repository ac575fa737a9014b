"""The numbers of a sketch as text in base 85, in as few bytes as tell rounding from change.

Two forms. Of goldens made by early versions: 84 floats, each of 5 bytes (sign, 11 bits of
exponent, 28 of mantissa), or of 8 for float64. Of later ones: an exponent; 60 sums as integers of
4 bytes over it, 7 for float64; 24 extremes in the leaf's own dtype; the bits of `Parities`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.cells import BITS, LEVELS, SEGMENTS, SUMS

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_SUMS, _EXTREMES = SUMS + SEGMENTS, 2 * SEGMENTS
_NUMBERS = _SUMS + _EXTREMES
_PARITIES = LEVELS * BITS // 8  # bytes
_BIAS = 1 << 14  # of the exponent


def pack_floats(numbers: Sequence[float], wide: bool) -> str:
    """The first form."""
    kept = np.array(numbers, "<f8").view(np.uint8).reshape(-1, 8)[:, 0 if wide else 3 :]
    return base64.b85encode(kept.tobytes()).decode("ascii")


def unpack_floats(data: object) -> tuple[tuple[float, ...], bool] | None:
    """The numbers of the first form, and whether they are wide. None for what is not so long."""
    widths = {_NUMBERS * width * 5 // 4: width for width in (5, 8)}
    if not isinstance(data, str) or len(data) not in widths:
        return None
    width = widths[len(data)]
    whole = np.zeros((_NUMBERS, 8), np.uint8)
    whole[:, 8 - width :] = np.frombuffer(_decoded(data), np.uint8).reshape(-1, width)
    numbers = whole.view("<f8").reshape(-1)
    if not np.isfinite(numbers).all():
        raise ValueError("a sketch's numbers are finite")
    return tuple(numbers.tolist()), width == 8


def rounded_floats(numbers: Floats) -> Floats:
    """To 5 bytes. Exact for anything up to float32."""
    bits = np.ascontiguousarray(numbers).view(np.uint64)
    return ((bits + np.uint64(1 << 23)) & np.uint64(0xFFFFFFFFFF000000)).view(np.float64)


def pack(sums: Sequence[float], extremes: Sequence[float], parities: bytes, kind: str) -> str:
    """The second form, of sums that are `rounded`; `kind` is the dtype of the extremes."""
    exponent, width = _exponent(sums), _width(kind)
    integers = np.ldexp(np.array(sums), 8 * width - 1 - exponent).astype("<i8")
    own = np.array(extremes).astype(_dtype(kind))
    octets = np.array(exponent + _BIAS, "<u2").tobytes()
    octets += integers.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    octets += own.view(np.uint8).tobytes() + parities
    return base64.b85encode(octets).decode("ascii")


def unpack(data: object, kind: str) -> tuple[tuple[float, ...], bytes]:
    """60 sums and 24 extremes, and the parities. ValueError for what `pack` does not write."""
    width, dtype = _width(kind), _dtype(kind)
    ends = np.cumsum([2, _SUMS * width, _EXTREMES * dtype.itemsize, _PARITIES])
    digits = -(-int(ends[-1]) * 5 // 4)
    if not isinstance(data, str) or len(data) != digits:
        raise ValueError(f"the sketch of {kind} is a string of {digits} digits")
    octets = np.frombuffer(_decoded(data), np.uint8)
    first, second, third, fourth = np.split(octets, ends[:-1])
    exponent = int(first.view("<u2")[0]) - _BIAS
    integers = np.zeros((_SUMS, 8), np.uint8)
    integers[:, 8 - width :] = second.reshape(-1, width)
    with np.errstate(over="ignore"):
        scaled = integers.view("<i8").reshape(-1) >> 8 * (8 - width)
        sums = np.ldexp(scaled.astype(np.float64), exponent - (8 * width - 1))
    extremes = third.view(dtype).astype(np.float64)
    if not (np.isfinite(sums).all() and np.isfinite(extremes).all()):
        raise ValueError("a sketch's numbers are finite")
    numbers = (*(sums + 0.0).tolist(), *(extremes + 0.0).tolist())
    if pack(numbers[:_SUMS], numbers[_SUMS:], fourth.tobytes(), kind) != data:
        raise ValueError("a sketch's numbers are not written as they would be")
    return numbers, fourth.tobytes()


def rounded(sums: Floats, kind: str) -> Floats:
    """To integers over the exponent of the largest."""
    width, exponent = _width(kind), _exponent(sums.tolist())
    most = 2.0 ** (8 * width - 1) - 2.0 ** max(0, 8 * width - 1 - 53)
    shift = 8 * width - 1 - exponent
    return np.ldexp(np.clip(np.rint(np.ldexp(sums, shift)), -most, most), -shift) + 0.0


def by_steps(kind: str) -> bool:
    """Whether extremes are places in a format."""
    return bool(_dtype(kind).kind == "i")


def _exponent(sums: Sequence[float]) -> int:
    return math.frexp(max(map(abs, sums), default=0.0))[1]


def _width(kind: str) -> int:
    return 7 if kind == "float64" else 4


def _dtype(kind: str) -> Any:
    """Of extremes: those of floats of 8 bits and fewer are the numbers of steps from zero."""
    if kind == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"float16": "<f2", "float32": "<f4", "float64": "<f8"}.get(kind, "i1"))


def _decoded(data: str) -> bytes:
    return base64.b85decode(data)
