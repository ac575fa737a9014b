"""Loops of a jaxpr: what their outputs follow from, read off the body once or turn by turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pytest_nnxrng.trace.expression import KEY, Atom, Value, combine, digest, is_key
from pytest_nnxrng.trace.jaxpr import Purity, holds_keys, opened

_LONGEST_UNROLL = 200_000  # equations


@dataclass(frozen=True, slots=True)
class Drawn:
    """A ``random_fold_in`` on the way: the keys it gave, and the equation."""

    atoms: tuple[Atom, ...]
    equation: Any


class Walker(Protocol):
    """What reads the bodies of loops."""

    drawn: list[Drawn]
    purity: Purity

    def closed(self, closed: Any, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a jaxpr on ``inputs``."""


def scan(walk: Walker, equation: Any, inputs: list[Value]) -> list[Value]:
    params, body = equation.params, equation.params["jaxpr"]
    # Ranks tell constants and carries from what is scanned over; the names of the
    # parameters that would say so differ between versions of JAX.
    inner = opened(body)
    scanned = sum(
        outer.aval.ndim != formal.aval.ndim
        for outer, formal in zip(equation.invars, inner.invars, strict=True)
    )
    carried = sum(
        outer.aval.ndim == formal.aval.ndim
        for outer, formal in zip(equation.outvars, inner.outvars, strict=True)
    )
    first, last = len(inputs) - scanned - carried, len(inputs) - scanned
    length = params["length"]
    if not walk.purity.is_pure(body) and length * walk.purity.size(body) <= _LONGEST_UNROLL:
        return _unrolled(walk, equation, inputs, first, last)
    tag = digest(b"scan", str(length).encode(), str(params.get("reverse")).encode())
    return _loop(walk, tag, body, [], inputs, range(len(inputs)), first, carried)


def _unrolled(
    walk: Walker, equation: Any, inputs: list[Value], first: int, last: int
) -> list[Value]:
    length, body = equation.params["length"], equation.params["jaxpr"]
    carried = last - first
    consts, carry, stacked = inputs[:first], inputs[first:last], inputs[last:]
    steps: list[list[Value]] = [[] for _ in range(length)]
    order = range(length)
    for step in reversed(order) if equation.params["reverse"] else order:
        slices = [_slice(value, step) for value in stacked]
        outputs = walk.closed(body, [*consts, *carry, *slices])
        carry, steps[step] = outputs[:carried], outputs[carried:]
    stacks = [_stack([ys[i] for ys in steps]) for i in range(len(equation.outvars) - carried)]
    return [*carry, *stacks]


def while_(walk: Walker, equation: Any, inputs: list[Value]) -> list[Value]:
    params = equation.params
    tests, bodies = params["cond_nconsts"], params["body_nconsts"]
    carry = range(tests + bodies, len(inputs))
    test_inputs = [*range(tests), *carry]
    formals = [formal(i, v) for i, v in enumerate(equation.invars)]
    test = walk.closed(params["cond_jaxpr"], [formals[i] for i in test_inputs])
    used = range(tests, len(inputs))
    return _loop(
        walk, b"while", params["body_jaxpr"], test, inputs, used, tests + bodies, len(carry)
    )


def _loop(
    walk: Walker,
    tag: bytes,
    body: Any,
    test: list[Value],
    inputs: list[Value],
    used: Sequence[int],
    first: int,
    carried: int,
) -> list[Value]:
    """A loop whose body is read once, over formal parameters.

    ``inputs[i] for i in used`` are the body's; ``inputs[first:first + carried]`` start the
    carry. An output depends on what its update reads, on the updates of those carries,
    and on ``test``.
    """
    formals = [formal(i, v) for i, v in zip(used, opened(body).invars, strict=True)]
    outer, walk.drawn = walk.drawn, []
    updates = walk.closed(body, formals)
    inner, walk.drawn = walk.drawn, outer
    for drawn in inner:
        walk.drawn.append(Drawn(tuple(_substitute(drawn.atoms, inputs)), drawn.equation))
    results = []
    for i, update in enumerate(updates):
        pending, closure = [update, *test], dict[int, Value]()
        if i < carried:
            closure[first + i] = update
        number: dict[Atom, int] = {(first + i,): 0} if i < carried else {}
        parts = [tag, str(i < carried).encode()]
        while pending:
            value = pending.pop(0)
            places = [number.setdefault(atom, len(number)) for atom in value.atoms]
            parts += [value.hash, np.asarray(places, np.uint32).tobytes()]
            for atom in value.atoms:
                root = atom[0]
                is_carry = isinstance(root, int) and first <= root < first + carried
                parts.append(b"carry" if is_carry else b"input")
                if is_carry and root not in closure:
                    closure[root] = updates[root - first]
                    pending.append(updates[root - first])
        starts = []
        for atom in number:
            atoms = tuple(_substitute([atom], inputs))
            code = inputs[atom[0]].hash if isinstance(atom[0], int) else b""
            starts.append(Value(code, atoms))
        results.append(combine(digest(*parts), starts))
    return results


def _substitute(atoms: Iterable[Atom], inputs: Sequence[Value]) -> Iterator[Atom]:
    for root, *chain in atoms:
        if isinstance(root, int):
            for atom in inputs[root].atoms:
                yield (*atom, *chain) if is_key(atom) else atom
        else:
            yield (root, *chain)


def _slice(value: Value, step: int) -> Value:
    const = None if value.const is None else value.const[step]
    return Value(digest(b"slice", str(step).encode(), value.hash), value.atoms, const)


def _stack(values: list[Value]) -> Value:
    out = combine(b"stack", values)
    consts = [value.const for value in values if value.const is not None]
    if len(consts) < len(values) or not consts:
        return out
    return Value(out.hash, out.atoms, np.stack(consts))


def formal(place: int, variable: Any) -> Value:
    if holds_keys(variable.aval):
        return Value(KEY, ((place,),))
    return Value(digest(b"formal", str(variable.aval).encode()), ((place,),))
