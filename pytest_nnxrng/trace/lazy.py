"""A jaxpr evaluated for chosen elements of its outputs, backwards from what is wanted.

What JAX compiles as one computation is compiled as one here too, on the chosen elements, so that
XLA contracts and reassociates the same operations; the rest runs equation by equation, as it does
in an ordinary call. Arrays of up to ``WHOLE`` elements are evaluated whole.
"""

from __future__ import annotations

import functools
import math
import operator
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from pytest_nnxrng.leaf.spots import Selection, unravel
from pytest_nnxrng.trace.elements import apply, find, starts
from pytest_nnxrng.trace.jaxpr import (
    CALLS,
    IDENTITIES,
    called,
    fold,
    inner_jaxprs,
    is_impure,
    opened,
)
from pytest_nnxrng.trace.program import (
    Frame,
    Program,
    Source,
    Unselectable,
    Wanted,
    host,
    is_key,
    spread,
)
from pytest_nnxrng.trace.scans import Scan
from pytest_nnxrng.trace.selection import ELEMENTWISE, MOVES, SAME

WHOLE = 4096  # elements of an array that is evaluated whole

# What an ordinary call compiles as one computation.
_COMPILED = frozenset({"jit", "pjit", "scan"})
# By closed jaxpr, and whether threefry is partitionable. JAX keeps the jaxprs of its functions,
# so that what is compiled for one model serves the next.
_UNITS: weakref.WeakKeyDictionary[Any, dict[bool, Compiled]] = weakref.WeakKeyDictionary()


class Evaluation:
    """A ``Frame``; ``eager``: its equations run one by one, as in an ordinary call."""

    def __init__(
        self,
        program: Program,
        closed: Any,
        sources: Iterable[Source],
        eager: bool = False,
        in_turn: bool = False,
    ) -> None:
        self.program: Program = program
        self.eager: bool = eager
        self.in_turn: bool = in_turn
        self.jaxpr: Any = opened(closed)
        consts = zip(self.jaxpr.constvars, getattr(closed, "consts", ()), strict=True)
        self._sources = {var: constant(_typed(value, var.aval)) for var, value in consts}
        self._sources.update(zip(self.jaxpr.invars, sources, strict=True))
        self._producers = {
            var: (equation, i)
            for equation in self.jaxpr.eqns
            for i, var in enumerate(equation.outvars)
        }
        self._nodes: dict[Any, int | str] = {}
        self._inside: dict[Any, Any] = {}
        # In order, so that a long chain of small values (counts, say) does not nest.
        for equation in self.jaxpr.eqns:
            for var in filter(_is_small, equation.outvars):
                self._find(var, None)

    def read(self, atom: Any, indices: Selection | None = None) -> int:
        found = self._find(atom, indices)
        if isinstance(found, str):
            raise Unselectable(found)
        return found

    def known(self, atom: Any) -> Any:
        if isinstance(atom, Literal):
            return _literal(atom)
        if atom in self._sources:
            return self._sources[atom].known()
        equation, _ = self._producers[atom]
        return fold(equation, [self.known(a) for a in equation.invars])

    def is_broadcast(self, atom: Any) -> bool:
        if self.eager or isinstance(atom, Literal) or atom not in self._producers:
            return False
        equation, _ = self._producers[atom]
        sizes = [math.prod(a.aval.shape) for a in equation.invars]
        stretches = equation.primitive.name == "broadcast_in_dim"
        return stretches and bool(1 < sizes[0] < math.prod(atom.aval.shape))

    def _find(self, atom: Any, indices: Selection | None) -> int | str:
        key = (id(atom), None if indices is None else indices.tobytes())
        if key not in self._nodes:
            try:
                self._nodes[key] = self._node(atom, indices)
            except Unselectable as error:
                self._nodes[key] = str(error)
        return self._nodes[key]

    def _node(self, atom: Any, indices: Selection | None) -> int:
        if indices is not None and _is_small(atom):
            size = math.prod(atom.aval.shape)
            # XLA rewrites what it sees of a computation, and a gather would hide it.
            if size > 1 and not self.eager and self._is_elementwise(atom):
                return self._output(*self._producers[atom], indices)
            whole = self._find(atom, None)
            if isinstance(whole, int):
                return self._take(whole, indices, size)
        if isinstance(atom, Literal):
            return self.program.add(functools.partial(_literal, atom))
        if indices is None and not _is_small(atom):
            raise Unselectable("is needed whole")
        if atom in self._sources:
            return self._sources[atom].read(self, indices)
        return self._output(*self._producers[atom], indices)

    def _is_elementwise(self, atom: Any) -> bool:
        if isinstance(atom, Literal) or atom not in self._producers:
            return False
        name = self._producers[atom][0].primitive.name
        return name in ELEMENTWISE or name in SAME or name in MOVES

    def _take(self, whole: int, indices: Selection, size: int) -> int:
        if size == 1:
            n = 2 if self.in_turn else len(indices)
            if self.eager:
                return self.program.add(lambda x: host(x).reshape(-1)[np.zeros(n, int)], whole)
            return self.program.add(lambda x: spread(x, n), whole)
        places = self.program.give(indices.astype(np.int32))
        return self.program.add(lambda x, i: host(x).reshape(-1)[i], whole, places)

    def _output(self, equation: Any, i: int, indices: Selection | None) -> int:
        """Output ``i`` of an equation."""
        name, shape = equation.primitive.name, equation.outvars[i].aval.shape
        if name in IDENTITIES and name not in ELEMENTWISE:
            return self.read(equation.invars[i], indices)
        if indices is None and self._can_bind(equation):
            return self._bound(equation, i)
        if self.eager and name in _COMPILED:
            return self._compiled(equation, i, indices)
        inner, operands = self._inner(equation)
        if inner is not None:
            return self._child(inner, operands).read(opened(inner).outvars[i], indices)
        if name == "scan" and (indices is not None or i < self._scan(equation).carried):
            scan = self._scan(equation)
            if indices is not None:
                return scan.elements(i, indices)
            return self.program.add(operator.itemgetter(0), scan.carry(i))
        if indices is not None:
            return find(self, equation, i, indices)
        if self.in_turn:
            raise Unselectable(f"passes through {name} in a loop")
        flat = self._output(equation, i, np.arange(math.prod(shape), dtype=np.int64))
        return self.program.add(lambda x: x.reshape(shape), flat)

    def _can_bind(self, equation: Any) -> bool:
        name, params = equation.primitive.name, equation.params
        compiled = self.eager and name in _COMPILED and not any(params.get("donated_invars", ()))
        return all(map(_is_small, [*equation.invars, *equation.outvars])) and (
            compiled or name not in CALLS
        )

    def _bound(self, equation: Any, i: int) -> int:
        """An equation on whole operands."""
        name, add = equation.primitive.name, self.program.add
        node: int
        if "callback" in name or any(map(is_impure, equation.effects)):
            raise Unselectable(f"has a side effect ({name})")
        if id(equation) not in self._inside:
            operands = [self.read(atom) for atom in equation.invars]
            node = self._inside[id(equation)] = add(apply(equation), *operands)
            if is_key(equation.outvars[0].aval):
                self.program.keys.add(node)
        node = self._inside[id(equation)]
        multiple = equation.primitive.multiple_results
        return add(operator.itemgetter(i), node) if multiple else node

    def _compiled(self, equation: Any, i: int, indices: Selection | None) -> int:
        """An output of what an ordinary call compiles as one computation."""
        if equation.primitive.name in CALLS:
            units = _UNITS.setdefault(called(equation), {})
            setting = bool(jax.config.jax_threefry_partitionable)
            if setting not in units:
                units[setting] = Compiled(called(equation))
            unit = units[setting]
        else:
            key = ("unit", id(equation))
            if key not in self._inside:
                avals = [_abstract(atom.aval) for atom in equation.invars]
                self._inside[key] = Compiled(jax.make_jaxpr(apply(equation))(*avals))
            unit = self._inside[key]
        inputs, function = unit.compiled(i, indices)
        copies = self._inside.setdefault(("copies", id(equation)), {})
        for node in unit.program.needed(inputs):
            if node in unit.program.given and node not in copies:
                copies[node] = self.give(equation, unit.program.given[node])
        arguments = [self.program.copy(unit.program, node, copies) for node in inputs]
        return self.program.add(function, *arguments)

    def _scan(self, equation: Any) -> Scan:
        key = ("scan", id(equation))
        if key not in self._inside:
            self._inside[key] = Scan(self, equation)
        found: Scan = self._inside[key]
        return found

    def turn(self, program: Program, body: Any, sources: Iterable[Source]) -> Evaluation:
        return Evaluation(program, body, sources, in_turn=True)

    def unit(self, closed: Any) -> Compiled:
        return Compiled(closed)

    def give(self, equation: Any, value: np.ndarray | Wanted) -> int:
        if isinstance(value, Wanted):
            return self.read(equation.invars[value.position], value.indices)
        return self.program.give(value)

    def _inner(self, equation: Any) -> tuple[Any, Sequence[Any]]:
        name, params = equation.primitive.name, equation.params
        if name == "cond":
            branches, (taken,) = params["branches"], starts(self, equation.invars[:1])
            return branches[min(max(taken, 0), len(branches) - 1)], equation.invars[1:]
        if name in CALLS and any(inner_jaxprs(params.values())):
            inner = called(equation)
            if len(opened(inner).invars) == len(equation.invars):
                return inner, equation.invars
        return None, ()

    def _operand(self, atom: Any, frame: Frame, indices: Selection | None) -> int:
        return self.read(atom, indices)

    def _child(self, inner: Any, operands: Sequence[Any]) -> Evaluation:
        key = (id(inner), *map(id, operands))
        if key not in self._inside:
            sources = [
                Source(functools.partial(self._operand, atom), functools.partial(self.known, atom))
                for atom in operands
            ]
            self._inside[key] = Evaluation(self.program, inner, sources, self.eager, self.in_turn)
        found: Evaluation = self._inside[key]
        return found


class Compiled:
    """A closed jaxpr whose outputs, or elements of them, are compiled on their own."""

    def __init__(self, closed: Any) -> None:
        self.program: Program = Program()
        self._outputs = opened(closed).outvars
        sources = [
            Source(functools.partial(self._input, i)) for i in range(len(opened(closed).invars))
        ]
        self._frame = Evaluation(self.program, closed, sources)
        self._memo: dict[int, tuple[list[int], Callable[..., Any]]] = {}
        self._functions: dict[int, Callable[..., Any]] = {}
        self._shared: dict[Any, Callable[..., Any]] = {}

    def _input(self, i: int, frame: Frame, indices: Selection | None) -> int:
        return self.program.give(Wanted(i, indices))

    def target(self, i: int, indices: Selection | None) -> int:
        return self._frame.read(self._outputs[i], indices)

    def given(self, targets: Sequence[int]) -> dict[int, Any]:
        given = self.program.given
        return {node: given[node] for node in self.program.needed(targets) if node in given}

    def compiled(self, i: int, indices: Selection | None) -> tuple[list[int], Callable[..., Any]]:
        """A compiled function for ``target(i, indices)``, and the nodes that it takes."""
        target = self.target(i, indices)
        if target not in self._memo:
            self._memo[target] = self._compile(target)
        return self._memo[target]

    def _compile(self, target: int) -> tuple[list[int], Callable[..., Any]]:
        # Keys from outside, so that layers that differ in their keys alone share what is compiled.
        program = self.program
        keys = program.keys - {target}
        needed = program.needed([target], keys)
        used = {argument for node in needed for argument in program.nodes[node][1]}
        inputs = sorted((used & keys) | {node for node in needed if node in program.given})

        def run(*values: Any) -> Any:
            return program.run(target, dict(zip(inputs, values, strict=True)))

        def compiled(*values: Any) -> Any:
            if target not in self._functions:
                text = _text(jax.make_jaxpr(run)(*values))
                self._functions[target] = self._shared.setdefault(text, jax.jit(run))
            return self._functions[target](*values)

        return inputs, compiled


def constant(value: Any) -> Source:
    """An input that is the same in each call."""

    def read(frame: Frame, indices: Selection | None) -> int:
        if indices is None:
            return frame.program.add(lambda: value)
        return frame.program.give(np.asarray(value)[unravel(indices, np.shape(value))])

    is_index = getattr(value, "dtype", None) is not None and not is_key(value)
    is_index = is_index and value.dtype.kind in "iub" and value.size <= WHOLE
    return Source(read, (lambda: np.asarray(value)) if is_index else (lambda: None))


def _typed(value: Any, aval: Any) -> Any:
    # A captured float64 numpy array stays one until it is used.
    return value.astype(aval.dtype) if isinstance(value, np.ndarray) else value


def _text(closed: Any) -> tuple[Any, ...]:
    """What a jaxpr does, all of it."""
    literals = [a.val for e in closed.jaxpr.eqns for a in e.invars if isinstance(a, Literal)]
    arrays = [*closed.consts, *[value for value in literals if np.ndim(value)]]
    data = [jax.random.key_data(x) if is_key(x) else x for x in arrays]
    return str(closed.jaxpr), *[(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in data]


def _is_small(atom: Any) -> bool:
    shape = getattr(atom.aval, "shape", None)
    return shape is not None and bool(math.prod(shape) <= WHOLE)


def _literal(atom: Any) -> np.ndarray:
    return np.asarray(atom.val, atom.aval.dtype)


def _abstract(aval: Any) -> Any:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
