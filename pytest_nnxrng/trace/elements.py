"""How chosen elements of an equation's result follow from elements of its operands.

Each rule takes the frame that reads operands and holds the program, the equation, the number of
the output, and the flat indices into it; it returns the node of these elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from pytest_nnxrng.leaf.spots import Selection
from pytest_nnxrng.trace import selection as select
from pytest_nnxrng.trace.program import Frame, Program, Unselectable

# Where LLVM turns the loop's own counter into floats, the length of the loop decides what it fuses.
_COUNTING = "computes with places of elements in a compiled function"


def apply(equation: Any) -> Callable[..., Any]:
    """The equation as a function of its operands, on arrays that lie anywhere."""
    params = equation.params
    if params.get("sharding") is not None:
        params = {**params, "sharding": None}
    return lambda *operands: equation.primitive.bind(*operands, **params)


def find(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    """Elements of output ``i`` of an equation without a jaxpr inside.

    Raises:
      Unselectable: if they do not follow from few elements of the operands.
    """
    name = equation.primitive.name
    if name in select.ELEMENTWISE:
        return _elementwise(frame, equation, indices)
    if name in select.SAME or name in select.MOVES:
        operand = equation.invars[0]
        shape, of = equation.outvars[0].aval.shape, operand.aval.shape
        return frame.read(operand, select.moved(name, equation.params, indices, shape, of))
    if name not in _RULES:
        raise Unselectable(f"passes through {name}, which is not elementwise")
    return _RULES[name](frame, equation, i, indices)


def starts(frame: Frame, atoms: Sequence[Any]) -> list[int]:
    """The values of index operands."""
    values = [frame.known(atom) for atom in atoms]
    if any(value is None for value in values):
        raise Unselectable("is indexed by what is computed while building")
    return [int(x) for value in values for x in np.ravel(value)]


def _elementwise(frame: Frame, equation: Any, indices: Selection) -> int:
    shape, avals = equation.outvars[0].aval.shape, [atom.aval for atom in equation.invars]
    name = equation.primitive.name
    if name == "bitcast_convert_type" and avals[0].shape != shape:
        raise Unselectable("passes through a bitcast to another width")
    operands = [
        frame.read(atom, select.stretched(indices, shape, aval.shape))
        for atom, aval in zip(equation.invars, avals, strict=True)
    ]
    function, counts = apply(equation), not frame.program.counting.isdisjoint(operands)
    if counts and equation.outvars[0].aval.dtype.kind not in "iub":
        raise Unselectable(_COUNTING)
    if equation.primitive.multiple_results:
        function = _first(function)
    if name == "div" and (avals[1].shape != shape or frame.is_broadcast(equation.invars[1])):
        vector = math.prod(avals[1].shape) > 1
        function = _divided if vector else _divided_by_scalar
        operands[1] = operands[1] if vector else frame.read(equation.invars[1])
    node = frame.program.add(function, *operands)
    if counts and equation.outvars[0].aval.dtype != bool:
        frame.program.counting.add(node)
    return node


def _first(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: function(*operands)[0]


@jax.jit
def _divided(x: Any, divisor: Any) -> Any:
    """(n,): ``x / divisor`` where the divisor has been broadcast."""
    # XLA (since 2025) multiplies by a broadcast divisor's inverse, so it has to see one; and
    # it must not see that both are.
    x = jax.lax.optimization_barrier(jnp.stack([x, x], 1))
    return jax.lax.div(x, jnp.broadcast_to(divisor[:, None], x.shape))[:, 0]


def _divided_by_scalar(x: Any, divisor: Any) -> Any:
    return jax.lax.div(x, jax.lax.convert_element_type(divisor.reshape(()), x.dtype))


def _random_bits(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    """jax/_src/prng.py (threefry2x32.py since 0.10): the bits of one key lie in C order."""
    (keys,), width = equation.invars, equation.params["bit_width"]
    if str(keys.aval.dtype) != "key<fry>":
        raise Unselectable(f"is drawn by another generator than threefry ({keys.aval.dtype})")
    size = math.prod(equation.params["shape"])
    which, flat = np.divmod(indices, size)
    partitionable = bool(jax.config.jax_threefry_partitionable)
    per_element = _partitionable if partitionable else _unpartitionable
    return per_element(frame.program, frame.read(keys, which), width, size, flat)


def _partitionable(program: Program, key: int, width: int, size: int, flat: Selection) -> int:
    """An element's counter is its 64-bit flat index."""
    dtype = np.dtype(f"uint{width}")

    def bits(keys: Any, high: Any, low: Any) -> Any:
        first, second = _threefry(keys, high, low)
        if width == 64:
            return first.astype(dtype) << np.uint64(32) | second.astype(dtype)
        return (first ^ second).astype(dtype)

    high, low = np.divmod(flat, 1 << 32)
    return program.add(
        bits, key, program.give(high.astype(np.uint32)), program.give(low.astype(np.uint32))
    )


def _unpartitionable(program: Program, key: int, width: int, size: int, flat: Selection) -> int:
    """A key's words come from pairs of counters: the first half of them, and the second."""
    dtype, packed = np.dtype(f"uint{width}"), max(1, 32 // width)
    total = 2 * size if width == 64 else -(-size // packed)
    if total >= 1 << 32:
        raise Unselectable("has over 2^32 random words, and threefry is not partitionable")

    def word(index: Selection) -> int:
        low = index % ((total + 1) // 2)
        high = low + (total + 1) // 2
        counters = [low, np.where(high < total, high, 0)]
        nodes = [program.give(counter.astype(np.uint32)) for counter in counters]
        is_first = program.give(index == low)
        return program.add(
            lambda keys, x0, x1, first: jnp.where(first, *_threefry(keys, x0, x1)),
            *(key, *nodes, is_first),
        )

    if width == 64:
        return program.add(
            lambda high, low: high.astype(dtype) << np.uint64(32) | low.astype(dtype),
            *(word(flat), word(flat + size)),
        )
    shift = program.give((flat % packed * width).astype(np.uint32))
    return program.add(lambda words, by: (words >> by).astype(dtype), word(flat // packed), shift)


def _threefry(keys: Any, high: Any, low: Any) -> Any:
    """Threefry-2x32, 20 rounds, of a counter under each of (n,) keys."""
    data = jax.random.key_data(keys)
    return threefry2x32_p.bind(data[:, 0], data[:, 1], jnp.asarray(high), jnp.asarray(low))


def _iota(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    aval = equation.outvars[0].aval
    places = select.unravel(indices, aval.shape)[equation.params["dimension"]]
    node = frame.program.give(places.astype(aval.dtype))
    if not frame.eager:
        if aval.dtype.kind not in "iu":
            raise Unselectable(_COUNTING)
        frame.program.counting.add(node)
    return node


def _dynamic_slice(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    operand, *begins = equation.invars
    shape, of = equation.outvars[0].aval.shape, operand.aval.shape
    places = [
        place + min(max(start, 0), size - length)
        for place, start, size, length in zip(
            *(select.unravel(indices, shape), starts(frame, begins), of, shape), strict=True
        )
    ]
    return frame.read(operand, select.ravel(places, of, len(indices)))


def _split(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    operand, axis = equation.invars[0], equation.params["axis"]
    places = [*select.unravel(indices, equation.outvars[i].aval.shape)]
    places[axis] = places[axis] + int(sum(equation.params["sizes"][:i]))
    return frame.read(operand, select.ravel(places, operand.aval.shape, len(indices)))


def _concatenate(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    return _join(frame, equation, indices, equation.params["dimension"])


def _stack(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    return _join(frame, equation, indices, equation.params["axis"], (1,))


def _join(
    frame: Frame, equation: Any, indices: Selection, axis: int, new: tuple[int, ...] = ()
) -> int:
    shape = equation.outvars[0].aval.shape
    shapes = [a.aval.shape[:axis] + new + a.aval.shape[axis:] for a in equation.invars]
    which, inner = select.joined(indices, shape, shapes, axis)
    operands = [frame.read(a, s) for a, s in zip(equation.invars, inner, strict=True)]
    return _choose(frame, which, *operands)


def _choose(frame: Frame, which: np.ndarray, *cases: int) -> int:
    """Element i of the case number ``which[i]``."""
    if len(cases) == 1:
        return cases[0]
    chosen = frame.program.give(which.astype(np.int32))
    return frame.program.add(
        lambda at, *x: jnp.stack([jnp.asarray(v) for v in x])[at, np.arange(at.size)],
        *(chosen, *cases),
    )


def _pad(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    operand, padding = equation.invars
    inside, places = select.unpadded(
        indices,
        equation.outvars[0].aval.shape,
        operand.aval.shape,
        equation.params["padding_config"],
    )
    cases = (frame.read(padding, np.zeros_like(indices)), frame.read(operand, places))
    return _choose(frame, inside, *cases)


def _dynamic_update_slice(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    operand, update, *begins = equation.invars
    sizes = zip(starts(frame, begins), operand.aval.shape, update.aval.shape, strict=True)
    corner = [min(max(start, 0), size - length) for start, size, length in sizes]
    return _update(frame, indices, operand, update, corner, update.aval.shape)


def _scatter(frame: Frame, equation: Any, i: int, indices: Selection) -> int:
    """``x.at[0].set(y)``, ``x.at[...].set(y)``: one window, at a place that is known."""
    operand, at, update = equation.invars
    numbers, of = equation.params["dimension_numbers"], operand.aval.shape
    if at.aval.ndim != 1:
        raise Unselectable("passes through scatter, which is not elementwise")
    corner, lengths = [0] * len(of), [1] * len(of)
    for axis, start in zip(numbers.scatter_dims_to_operand_dims, starts(frame, [at]), strict=True):
        corner[axis] = start
    windows = [axis for axis in range(len(of)) if axis not in numbers.inserted_window_dims]
    for axis, length in zip(windows, update.aval.shape, strict=True):
        lengths[axis] = length
    if any(c < 0 or c + n > size for c, n, size in zip(corner, lengths, of, strict=True)):
        raise Unselectable("passes through a scatter out of bounds")
    return _update(frame, indices, operand, update, corner, tuple(lengths))


def _update(
    frame: Frame, indices: Selection, operand: Any, update: Any, corner: list[int], sizes: Any
) -> int:
    inside, places = select.window(indices, operand.aval.shape, corner, sizes)
    if inside.all():
        return frame.read(update, places)
    return _choose(frame, inside, frame.read(operand, indices), frame.read(update, places))


_RULES: dict[str, Callable[[Frame, Any, int, Selection], int]] = {
    "random_bits": _random_bits,
    "iota": _iota,
    "dynamic_slice": _dynamic_slice,
    "split": _split,
    "concatenate": _concatenate,
    "stack": _stack,
    "pad": _pad,
    "dynamic_update_slice": _dynamic_update_slice,
    "scatter": _scatter,
}
