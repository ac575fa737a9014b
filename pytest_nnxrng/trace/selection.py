"""Which elements of its operands an equation of a jaxpr needs for some elements of its result.

A selection is an int64 vector of flat indices (C order) into an array of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.leaf.spots import Coordinates, Selection, Shape, unravel

# Element i of the result depends on element i of each operand alone. Not here: primitives that
# draw from a state, reduce, or loop until all elements have converged (igamma, say).
# fmt: off
ELEMENTWISE = frozenset([
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bessel_i0e", "bessel_i1e", "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "complex",
    "conj", "convert_element_type", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc",
    "exp", "exp2", "expm1", "floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "lgamma",
    "log", "log1p", "log2", "logistic", "lt", "max", "min", "mul", "mulhi", "ne", "neg",
    "nextafter", "not", "one_minus_square", "optimization_barrier", "or", "pow", "population_count",
    "real", "reduce_precision", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "tan", "tanh", "xor",
])
# fmt: on
SAME = frozenset({"reshape", "squeeze", "expand_dims"})  # flat indices stay what they are


def ravel(coordinates: Sequence[Any], shape: Shape, count: int) -> Selection:
    """Flat indices of ``count`` coordinates."""
    flat = np.zeros(count, np.int64)
    for coordinate, size in zip(coordinates, shape, strict=True):
        flat = flat * size + coordinate
    return flat


def stretched(selection: Selection, shape: Shape, operand: Shape) -> Selection:
    """``selection`` of ``shape`` in an operand of that shape, with axes of 1, or in a scalar."""
    if operand == shape or not operand:
        return selection if operand else np.zeros_like(selection)
    places = [
        place if size > 1 else 0
        for place, size in zip(unravel(selection, shape), operand, strict=True)
    ]
    return ravel(places, operand, len(selection))


def window(
    selection: Selection, shape: Shape, starts: Sequence[int], sizes: Shape
) -> tuple[NDArray[np.bool_], Selection]:
    """Which of ``selection`` lie in the window, and all of them as indices into the window.

    Those outside are moved to its border.
    """
    inside, places = np.ones(len(selection), bool), []
    for coordinate, start, size in zip(unravel(selection, shape), starts, sizes, strict=True):
        inside &= (coordinate >= start) & (coordinate < start + size)
        places.append(np.clip(coordinate - start, 0, size - 1))
    return inside, ravel(places, sizes, len(selection))


def unpadded(
    selection: Selection, shape: Shape, operand: Shape, padding: Sequence[tuple[int, int, int]]
) -> tuple[NDArray[np.bool_], Selection]:
    """Which of ``selection`` are no padding, and all of them as indices into the operand."""
    inside, places = np.ones(len(selection), bool), []
    for coordinate, (low, _, between), size in zip(
        unravel(selection, shape), padding, operand, strict=True
    ):
        place, gap = np.divmod(coordinate - int(low), int(between) + 1)
        inside &= (gap == 0) & (place >= 0) & (place < size)
        places.append(np.clip(place, 0, size - 1))
    return inside, ravel(places, operand, len(selection))


def joined(
    selection: Selection, shape: Shape, operands: Sequence[Shape], axis: int
) -> tuple[NDArray[np.int32], list[Selection]]:
    """For a concatenation: the operand that each element is from, and indices into each operand.

    Operands of one shape get one selection, so that what makes them is compiled once.
    """
    places = list(unravel(selection, shape))
    ends = np.cumsum([operand[axis] for operand in operands])
    which = np.searchsorted(ends, places[axis], side="right")
    within = places[axis] - (ends[which] - np.array([o[axis] for o in operands])[which])
    indices = []
    for operand in operands:
        places[axis] = np.clip(within, 0, max(operand[axis] - 1, 0))
        indices.append(ravel(places, operand, len(selection)))
    return which.astype(np.int32), indices


def moved(
    name: str, params: Mapping[str, Any], selection: Selection, shape: Shape, of: Shape
) -> Selection:
    """``selection`` of the result of a primitive of ``SAME`` or ``MOVES`` in its operand.

    ``shape`` is the result's, ``of`` the operand's.
    """
    if name in SAME:
        return selection
    return ravel(MOVES[name](params, unravel(selection, shape), of), of, len(selection))


def _broadcast_in_dim(params: Any, places: Coordinates, of: Shape) -> list[Any]:
    axes = params["broadcast_dimensions"]
    return [places[axis] if size > 1 else 0 for axis, size in zip(axes, of, strict=True)]


def _transpose(params: Any, places: Coordinates, of: Shape) -> list[Any]:
    return [places[params["permutation"].index(axis)] for axis in range(len(of))]


def _rev(params: Any, places: Coordinates, of: Shape) -> list[Any]:
    return [
        size - 1 - place if axis in params["dimensions"] else place
        for axis, (place, size) in enumerate(zip(places, of, strict=True))
    ]


def _slice(params: Any, places: Coordinates, of: Shape) -> list[Any]:
    steps = params["strides"] or [1] * len(of)
    return [
        start + place * step
        for place, start, step in zip(places, params["start_indices"], steps, strict=True)
    ]


def _tile(params: Any, places: Coordinates, of: Shape) -> list[Any]:
    return [place % size for place, size in zip(places[len(places) - len(of) :], of, strict=True)]


MOVES: dict[str, Callable[[Any, Coordinates, Shape], list[Any]]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "transpose": _transpose,
    "rev": _rev,
    "slice": _slice,
    "tile": _tile,
}
