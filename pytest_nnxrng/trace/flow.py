"""A marked jaxpr -> for each call of a module a fingerprint of what it computes, and its draws.

At each mark a value becomes an atom: an input of the call it enters, an output of the call it
leaves. So what a module computes is told in terms of its inputs, its own leaves, keys and the
outputs of the modules that it calls, and is the same wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.extend.core import Literal

from pytest_nnxrng.leaf.paths import is_below
from pytest_nnxrng.trace.expression import IMPURE, RAW, Atom, Value, digest, stream_count
from pytest_nnxrng.trace.expression import KEY as KEY_HASH
from pytest_nnxrng.trace.fingerprint import Walk
from pytest_nnxrng.trace.jaxpr import CALLS, Purity, called, holds_keys, inner_jaxprs, opened
from pytest_nnxrng.trace.marks import Mark, Marks, is_mark, is_state
from pytest_nnxrng.trace.source import is_draw, where

_LEAF, _STREAM, _IN, _OUT, _ARGUMENT = "leaf ", "stream ", "in ", "out ", "argument "
_MARKED = digest(b"mark")
Inputs = dict[int, Value]


@dataclass
class Flow:
    """What flows through each call: ``passed`` to it, ``given`` by it; the keys that it drew.

    ``ends`` are all that the call gives, ``reach`` what each atom of a mark comes from.
    """

    passed: dict[int, Inputs] = field(default_factory=dict)
    given: dict[int, Inputs] = field(default_factory=dict)
    drawn: dict[int, list[Atom]] = field(default_factory=dict)
    state: dict[str, Value] = field(default_factory=dict)
    ends: list[Value] = field(default_factory=list)
    reach: dict[str, set[Atom]] = field(default_factory=dict)


def flow(marks: Marks, counts: Mapping[str, Any]) -> Flow:
    """Follow a marked call; ``counts`` are those of the streams, by the paths of the counts."""
    walk = _Marked(marks)
    inputs = [_input(path, marks, counts) for path in marks.inputs]
    inputs += [Value(digest(b"argument"), ((f"{_ARGUMENT}{i}",),)) for i in range(marks.arguments)]
    walk.flow.ends = outputs = walk.closed(marks.closed, inputs)
    ends = outputs[len(outputs) - len(marks.changed) :] if marks.changed else []
    walk.flow.state = dict(zip(marks.changed, ends, strict=True))
    return walk.flow


def _input(path: str, marks: Marks, counts: Mapping[str, Any]) -> Value:
    if path in counts:
        return stream_count("", np.asarray(counts[path]))
    if f"{_parent(path)}.count" in counts:
        return Value(KEY_HASH, ((f"{_STREAM}{_parent(path)}",),))
    return Value(digest(b"leaf"), ((f"{_LEAF}{path}",),))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


class _Unmarked(Purity):
    """A jaxpr with marks is none that may be read once for all its calls."""

    def _is_pure_equation(self, equation: Any) -> bool:
        return not is_mark(equation) and super()._is_pure_equation(equation)


class _Marked(Walk):
    def __init__(self, marks: Marks) -> None:
        super().__init__(where, lambda _: False)
        self.marks = marks
        self.purity = _Unmarked()
        self.flow = Flow()
        self._open: list[int] = []
        self._known: set[int] = set()

    def _equation(self, equation: Any, inputs: list[Value]) -> list[Value]:
        if (mark := self.marks.mark(equation)) is not None:
            return [self._mark(mark, equation, inputs[0])]
        inside = self.marks.call_of(equation)
        self._open += [] if inside is None else [inside]
        before = len(self.drawn)
        outputs = super()._equation(equation, inputs)
        for entry in self.drawn[before:]:
            if id(entry) not in self._known and is_draw(entry.equation):
                atoms = [a for a in entry.atoms if isinstance(a[0], str)]
                self._known.update([id(entry)] if atoms else [])
                if self._open:
                    self.flow.drawn.setdefault(self._open[-1], []).extend(atoms)
        if inside is not None:
            self._open.pop()
        return outputs

    def _mark(self, mark: Mark, equation: Any, value: Value) -> Value:
        side = self.flow.passed if mark.kind == "in" else self.flow.given
        side.setdefault(mark.call, {}).setdefault(mark.place, value)
        if holds_keys(equation.outvars[0].aval):
            return value  # so that it is known from which stream it comes
        kind = _IN if mark.kind == "in" else _OUT
        name = f"{kind}{mark.call} {mark.place}"
        # A function that is traced once and called twice has other inputs then.
        self.flow.reach.setdefault(name, set()).update(value.atoms)
        return Value(_MARKED, ((name,),))


def unused(marks: Marks, found: Flow) -> tuple[str, ...]:
    """The Variables that nothing of what the call gives depends on, as far as its jaxpr tells."""
    todo = {atom for value in found.ends for atom in value.atoms}
    seen: set[Atom] = set()
    while todo:
        atom = todo.pop()
        seen.add(atom)
        todo |= found.reach.get(str(atom[0]), set()) - seen
    return tuple(path for path in marks.inputs if (f"{_LEAF}{path}",) not in seen)


def fingerprints(marks: Marks, found: Flow, tags: Mapping[str, str]) -> dict[int, str]:
    """16 hex digits for each call; ``tags`` name the streams, by their paths."""
    children: dict[int, list[int]] = {}
    for number in marks.ended:
        parent = marks.calls[number].parent
        if parent is not None:
            children.setdefault(parent, []).append(number)
    owned = _owned(marks, found)
    return {
        number: _Naming(marks, number, children.get(number, []), tags).digest(
            found, owned.get(number, {})
        )
        for number in marks.ended
    }


def _owned(marks: Marks, found: Flow) -> dict[int, dict[str, Value]]:
    """The new values of Variables, by the call that computed each: an optimizer sets a model's."""
    jaxpr = marks.closed.jaxpr
    ends = jaxpr.outvars[len(jaxpr.outvars) - len(marks.changed) :] if marks.changed else []
    owned: dict[int, dict[str, Value]] = {}
    for (path, value), end in zip(found.state.items(), ends, strict=True):
        if _is_told(marks, jaxpr, end):
            continue
        call = _made_in(marks, jaxpr, end)
        if call is None:
            holders = [n for n in marks.ended if _holds(marks.calls[n].path, path)]
            longest = max(holders, key=lambda n: (len(marks.calls[n].path), n), default=None)
            call = marks.ended[-1] if longest is None else longest
        owned.setdefault(call, {})[path] = value
    return owned


def _is_told(marks: Marks, jaxpr: Any, variable: Any) -> bool:
    """Whether a module left this behind, whose mark tells it."""
    made = next((e for e in jaxpr.eqns if any(out is variable for out in e.outvars)), None)
    mark = None if made is None else marks.mark(made)
    return mark is not None and mark.kind == "out" and is_state(mark.place)


def _made_in(marks: Marks, jaxpr: Any, variable: Any) -> int | None:
    """The call whose equation gave a variable, inside of a function under ``nnx.jit``, too."""
    if isinstance(variable, Literal):
        return None
    made = next((e for e in jaxpr.eqns if any(out is variable for out in e.outvars)), None)
    if made is None:
        return None
    jaxprs = list(inner_jaxprs(made.params.values()))
    if made.primitive.name in CALLS and jaxprs:
        inner = opened(called(made))
        place = next(i for i, out in enumerate(made.outvars) if out is variable)
        if len(inner.outvars) == len(made.outvars):
            within = _made_in(marks, inner, inner.outvars[place])
            if within is not None:
                return within
    return marks.call_of(made)


def _holds(module: str, path: str) -> bool:
    return not module or is_below(path, module)


class _Naming:
    """Names for the atoms of one call's values that are the same wherever its module stands."""

    def __init__(
        self, marks: Marks, call: int, children: list[int], tags: Mapping[str, str]
    ) -> None:
        self.base = marks.calls[call].path
        self.call = call
        self.tags = tags
        self.children: dict[int, str] = {}
        times: dict[str, int] = {}
        for child in children:
            made = marks.calls[child]
            name = f"{self._relative(made.path)} {made.method}"
            times[name] = times.get(name, 0) + 1
            self.children[child] = f"{name} {times[name]}"
        self.keys: dict[Atom, int] = {}

    def digest(self, found: Flow, state: Mapping[str, Value]) -> str:
        parts = [
            self._value(f"out {j}", v)
            for j, v in sorted(found.given.get(self.call, {}).items())
            if not (is_state(j) and self._is_a_childs(v))
        ]
        for child, name in self.children.items():
            parts.append(digest(name.encode()))
            parts += [
                self._value(f"{i}", v) for i, v in sorted(found.passed.get(child, {}).items())
            ]
        parts += [self._value(self._relative(path), v) for path, v in sorted(state.items())]
        return digest(*parts).hex()[:16]

    def _is_a_childs(self, value: Value) -> bool:
        """Whether a module that it calls set this, which tells it itself."""
        kind, _, rest = str(value.atoms[0][0] if len(value.atoms) == 1 else "").partition(" ")
        whole = value.hash == _MARKED and f"{kind} " == _OUT
        return whole and int(rest.partition(" ")[0]) in self.children

    def _value(self, label: str, value: Value) -> bytes:
        names = "\n".join(map(self._name, value.atoms))
        return digest(label.encode(), value.hash, names.encode())

    def _name(self, atom: Atom) -> str:
        root = atom[0]
        if root == RAW:
            return "a key of its own"
        if root == IMPURE:
            return "impure"
        if not isinstance(root, str):
            return f"formal {root}"
        kind, _, rest = root.partition(" ")
        if f"{kind} " == _LEAF:
            return f"leaf {self._relative(rest)}"
        if f"{kind} " == _STREAM:
            number = self.keys.setdefault(atom, len(self.keys))
            return f"key {self.tags.get(rest, '')} {number}"
        if f"{kind} " == _ARGUMENT:
            return "argument"
        call, place = map(int, rest.split())
        if f"{kind} " == _IN:
            return f"in {place}" if call == self.call else "outside"
        return f"{self.children[call]} {place}" if call in self.children else "outside"

    def _relative(self, path: str) -> str:
        if not self.base:
            return path
        return path[len(self.base) :] if is_below(path, self.base) else f"/{path}"
