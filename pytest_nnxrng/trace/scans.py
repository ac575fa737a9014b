"""Chosen elements of what a scan gives: the turns that they belong to, and no others.

Small carries (keys, counts) run through all turns, without anything that they do not need.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pytest_nnxrng.leaf.spots import Selection
from pytest_nnxrng.trace.program import Frame, Program, Source, Unselectable, Wanted


@dataclass(frozen=True)
class _Input:
    """What the turns of a loop get from a node outside.

    ``fixed``: all the same; ``rows``: each its own array; ``elements``: each one element.
    """

    kind: str
    node: int


class Scan:
    """A scan in a frame: each of its outputs stacks what its turns give, or is carried."""

    def __init__(self, frame: Frame, equation: Any) -> None:
        self._frame, self._equation = frame, equation
        self._body = equation.params["jaxpr"]
        inner = self._body.jaxpr
        # The parameters that would say what is carried differ between versions of JAX.
        pairs = zip(equation.invars, inner.invars, strict=True)
        scanned = sum(a.aval.ndim != b.aval.ndim for a, b in pairs)
        pairs = zip(equation.outvars, inner.outvars, strict=True)
        self.carried: int = sum(a.aval.ndim == b.aval.ndim for a, b in pairs)
        self._last = len(equation.invars) - scanned
        self._first = self._last - self.carried
        self._carries: dict[int, int] = {}

    def elements(self, i: int, indices: Selection) -> int:
        """Elements of output ``i``: the turns that they belong to, one after the other."""
        if i < self.carried or self._frame.in_turn:
            raise Unselectable("is carried through a scan" if i < self.carried else "nests scans")
        var = self._body.jaxpr.outvars[i]
        turn, rest = np.divmod(indices, math.prod(var.aval.shape))
        program = Program()
        inputs: dict[int, _Input] = {}
        sources = [
            Source(functools.partial(self._input, program, inputs, k, turn))
            for k in range(len(self._equation.invars))
        ]
        target = self._frame.turn(program, self._body, sources).read(var, rest)
        for node in program.needed([target]):
            value = program.given.get(node)
            if isinstance(value, np.ndarray):
                inputs[node] = _Input("elements", self._frame.program.give(value))
        order = [node for node in program.needed([target]) if node in inputs]
        kinds = [inputs[node].kind for node in order]

        def function(*values: Any) -> Any:
            fixed = {n: v for n, v, k in zip(order, values, kinds, strict=True) if k == "fixed"}
            mapped = {
                # Twice, so that the compiler sees vectors and scalars as it does in the loop.
                node: jnp.stack([jnp.asarray(value)] * 2, 1) if kind == "elements" else value
                for node, value, kind in zip(order, values, kinds, strict=True)
                if kind != "fixed"
            }
            return _mapped(lambda now: program.run(target, fixed | now), mapped, len(turn))

        return self._frame.program.add(function, *[inputs[node].node for node in order])

    def carry(self, k: int) -> int:
        """Carry ``k``: (after the last turn, stacked as each turn finds it)."""
        if k not in self._carries:
            self._carries[k] = self._carry(k)
        return self._carries[k]

    def _input(
        self,
        program: Program,
        inputs: dict[int, _Input],
        k: int,
        turn: Selection,
        frame: Frame,
        indices: Selection | None,
    ) -> int:
        """Input ``k`` of the body in each turn of ``turn``, as a node of ``program``."""
        outer, read = self._equation.invars[k], self._frame.read
        shape = self._body.jaxpr.invars[k].aval.shape
        size, add = math.prod(shape), self._frame.program.add
        if k < self._first:
            kind, found = "fixed" if indices is None else "elements", read(outer, indices)
        elif k < self._last:
            if indices is not None:
                raise Unselectable("is carried through a scan")
            places = self._frame.program.give(turn.astype(np.int32))
            kind, found = "rows", add(_at, self.carry(k - self._first), places)
        elif indices is None:
            rows = (turn[:, None] * size + np.arange(size)).ravel()
            kind, found = "rows", add(lambda x: x.reshape(len(turn), *shape), read(outer, rows))
        else:
            kind, found = "elements", read(outer, turn * size + indices)
        node = program.give(Wanted(k, indices))
        inputs[node] = _Input(kind, found)
        return node

    def _carry(self, k: int) -> int:
        unit, updates, pending = self._frame.unit(self._body), dict[int, int](), [k]
        while pending:
            carry = pending.pop()
            updates[carry] = unit.target(carry, None)
            used = [w for w in unit.given([updates[carry]]).values() if self._role(w) == 1]
            pending += [c for w in used if (c := w.position - self._first) not in updates]
        order, given = [*updates], unit.given([*updates.values()])
        fixed, carried, scanned = [
            [node for node, value in given.items() if self._role(value) == role]
            for role in range(3)
        ]
        if any(given[node].indices is not None for node in [*carried, *scanned]):
            raise Unselectable("is carried through a scan")

        def function(*values: Any) -> Any:
            known = dict(zip(fixed, values, strict=False))
            init = values[len(fixed) : len(fixed) + len(order)]

            def turn(carry: Any, slices: Any) -> Any:
                state = {n: carry[order.index(given[n].position - self._first)] for n in carried}
                now = known | state | dict(zip(scanned, slices, strict=True))
                return tuple([unit.program.run(updates[c], now) for c in order]), carry

            slices = values[len(fixed) + len(order) :]
            length, reverse = [self._equation.params[name] for name in ("length", "reverse")]
            after, found = jax.lax.scan(turn, init, slices, length, reverse)
            return after[0], found[0]

        frame, equation = self._frame, self._equation
        return frame.program.add(
            function,
            *[frame.give(equation, given[node]) for node in fixed],
            *[frame.read(equation.invars[self._first + c]) for c in order],
            *[frame.give(equation, given[node]) for node in scanned],
        )

    def _role(self, value: Any) -> int:
        """0: the same in all turns; 1: carried; 2: scanned over."""
        if not isinstance(value, Wanted):
            return 0
        return int(value.position >= self._first) + int(value.position >= self._last)


def _at(carry: Any, turns: Any) -> Any:
    return carry[1][turns]


def _mapped(function: Callable[[Any], Any], values: Any, length: int) -> Any:
    _, stacked = jax.lax.scan(lambda _, now: (None, function(now)), None, values, length)
    # XLA would push a slice within the loop down to the operands.
    return stacked[:, 0]
