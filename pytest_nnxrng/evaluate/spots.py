"""A few elements of each leaf of a model that is never built, equal to the built ones to the bit.

The elements asked for are pushed backwards through the leaf's jaxpr: an elementwise equation wants
the same elements of its operands, a transpose others, and ``random_bits`` gives each element's
bits from the key and its flat index alone (``jax.random`` on Threefry: Salmon, Moraes, Dror and
Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.evaluate.lazy import Evaluation, constant
from pytest_nnxrng.evaluate.program import Program, Unselectable, is_key
from pytest_nnxrng.leaf.spots import chosen, unravel
from pytest_nnxrng.trace.derivation import Trace

__all__ = ["Spots", "chosen", "evaluate"]


@dataclass(frozen=True)
class Spots:
    """Elements of a leaf: flat indices, and the elements in the leaf's dtype.

    Of an array of typed keys, the uint32 key data: (count, words).
    """

    indices: tuple[int, ...]
    values: np.ndarray


def evaluate(
    trace: Trace, paths: Iterable[str] | None = None, count: int = 32
) -> tuple[dict[str, Spots], dict[str, str]]:
    """``count`` elements (``chosen``) of each leaf; and for leaves left out, the reason.

    Time and memory go with ``count``, whatever the size of the leaves. ``paths``: the leaves
    asked for; all by default.
    """
    program = trace.program
    assert program is not None
    top = Evaluation(Program(), program.closed, map(constant, program.inputs), eager=True)
    spots, reasons, values = dict[str, Spots](), dict[str, str](), dict[int, Any]()
    for path in [*program.outputs, *program.constants] if paths is None else paths:
        if path in program.constants:
            spots[path] = _taken(np.asarray(program.constants[path]), count)
            continue
        atom = program.closed.jaxpr.outvars[program.outputs[path]]
        try:
            spots[path] = _evaluated(top, atom, count, values)
        except Unselectable as error:
            reasons[path] = str(error)
        except RecursionError:
            reasons[path] = "passes through too many equations"
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            reasons[path] = f"could not be evaluated ({type(error).__name__}: {line})"
    return spots, reasons


def _taken(array: np.ndarray, count: int) -> Spots:
    indices = chosen(array.size, count)
    places = unravel(indices, array.shape)
    return Spots(tuple(indices.tolist()), array[places] if places else array.reshape(1))


def _evaluated(top: Evaluation, atom: Any, count: int, values: dict[int, Any]) -> Spots:
    indices = chosen(math.prod(atom.aval.shape), count)
    if not len(indices):
        none = np.zeros((0, 0), np.uint32) if is_key(atom.aval) else np.zeros(0, atom.aval.dtype)
        return Spots((), none)
    found = top.program.run(top.read(atom, indices), values)
    found = jax.random.key_data(found) if is_key(found) else found
    return Spots(tuple(indices.tolist()), np.array(found))
