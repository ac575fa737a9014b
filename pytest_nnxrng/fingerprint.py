"""A jaxpr -> for each of its outputs, the keys it follows from and a hash of the rest.

One forward pass over the equations. Keys are followed symbolically (``random_fold_in`` of a
stream's base key and a count that constant propagation knows), so that a function cached by
``jax.jit`` reads like a fresh one.

Method: DESIGN.md section 3, FACTS-determinism.md section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from pytest_nnxrng.expression import (
    IMPURE,
    KEY,
    RAW,
    UNKNOWN,
    Atom,
    Value,
    canonical_params,
    combine,
    content,
    digest,
    is_key,
)
from pytest_nnxrng.folding import LARGEST, fold

_CALLS = frozenset(
    [
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "call",
        "remat2",
        "remat",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "custom_jvp_call_jaxpr",
        "custom_vmap_call",
        "custom_lin",
        "run_scoped",
    ]
)
_MAPPED = frozenset({"shard_map", "xla_pmap"})
# They say where a value lies or how it is compiled; the value stays what it is.
_IDENTITIES = frozenset(
    [
        "sharding_constraint",
        "reshard",
        "mesh_cast",
        "device_put",
        "copy",
        "copy_p",
        "stop_gradient",
        "optimization_barrier",
        "layout_constraint",
        "name",
    ]
)
# Equations whose outputs have atoms that none of their inputs has, or that must be logged.
_KEY_SOURCES = frozenset({"random_fold_in", "random_seed", "random_wrap", "random_unwrap"})
_LONGEST_UNROLL = 200_000  # equations


@dataclass(frozen=True, slots=True)
class Drawn:
    """A ``random_fold_in`` on the way: the keys it gave, and the equation."""

    atoms: tuple[Atom, ...]
    equation: Any


class Walk:
    """One pass over one jaxpr. ``where(equation)`` gives a source line for notes.

    ``given(array)`` says whether a captured array is an argument of the build, so that it is
    known to be the same in the build itself.
    """

    def __init__(self, where: Callable[[Any], str], given: Callable[[Any], bool]) -> None:
        self.drawn: list[Drawn] = []
        self._where = where
        self._given = given
        self._memo: dict[Any, list[tuple[bytes, tuple[int, ...], np.ndarray | None]]] = {}
        self._pure: dict[int, bool] = {}
        self._sizes: dict[int, int] = {}
        self._hashes: dict[int, bytes] = {}

    def closed(self, closed: Any, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a ``ClosedJaxpr`` (or ``Jaxpr`` without constants) on ``inputs``."""
        jaxpr = _open(closed)
        if not self._is_pure(closed):
            return self._run(jaxpr, self._constants(closed), inputs)
        number: dict[Atom, int] = {}
        key = (
            id(jaxpr),
            *[
                (v.hash, *[number.setdefault(atom, len(number)) for atom in v.atoms])
                for v in inputs
            ],
        )
        if key not in self._memo:
            outputs = self._run(jaxpr, [], inputs)
            self._memo[key] = [
                (out.hash, tuple([number[atom] for atom in out.atoms]), out.const)
                for out in outputs
            ]
        atoms = tuple(number)
        return [
            Value(code, tuple([atoms[place] for place in places]), const)
            for code, places, const in self._memo[key]
        ]

    def _run(self, jaxpr: Any, consts: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
        env: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any, equation: Any = None) -> Value:
            return self._literal(atom, equation) if isinstance(atom, Literal) else env[atom]

        for equation in jaxpr.eqns:
            outputs = self._equation(equation, [read(atom, equation) for atom in equation.invars])
            env.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list[Value]) -> list[Value]:
        name = equation.primitive.name
        if name == "random_fold_in":
            return [self._fold_in(equation, *inputs)]
        if name in ("random_seed", "random_wrap", "random_unwrap"):
            return [_rewrapped(equation, inputs[0])]
        if name in _IDENTITIES and len(inputs) == len(equation.outvars):
            return inputs
        if name == "scan":
            return self._scan(equation, inputs)
        if name == "while":
            return self._while(equation, inputs)
        if name == "cond":
            return self._cond(equation, inputs)
        jaxprs = list(_jaxprs(equation.params.values()))
        if name in _CALLS and jaxprs:
            inner = _called(equation)
            if len(_open(inner).invars) == len(inputs):
                return self.closed(inner, inputs)
        if name in _MAPPED and len(jaxprs) == 1 and len(_open(jaxprs[0]).invars) == len(inputs):
            return self._mapped(equation, jaxprs[0], inputs)
        tag = digest(name.encode(), canonical_params(equation.params, self._nested))
        extra: list[Atom] = []
        if name in ("new_ref", "mutable_array") or any(
            hasattr(effect, "input_index") for effect in equation.effects
        ):
            raise NotImplementedError("an array reference (jax.Ref) is used while building")
        if "callback" in name or any(map(_is_impure, equation.effects)):
            extra.append((IMPURE, f"depends on a host callback or side effect ({name})"))
        elif (
            jaxprs
            and name not in ("reduce", "reduce_window", "scatter")
            and any(not self._is_pure(inner) for inner in jaxprs)
        ):
            extra.append((IMPURE, f"passes through the primitive {name}, which is not understood"))
        return _outputs(equation, inputs, tag, extra)

    def _fold_in(self, equation: Any, key: Value, count: Value) -> Value:
        uniform = count.const is not None and len(np.unique(count.const)) == 1
        keys = [atom for atom in key.atoms if is_key(atom)]
        bare = any(len(atom) == 1 for atom in keys)
        if not uniform and not bare:
            return combine(b"random_fold_in", [key, count])
        link = int(count.const.flat[0]) if uniform and count.const is not None else UNKNOWN
        atoms = [(*atom, link) if is_key(atom) else atom for atom in key.atoms]
        if keys:
            self.drawn.append(Drawn(tuple([atom for atom in atoms if is_key(atom)]), equation))
        if len(keys) < len(key.atoms) or not keys or not uniform:
            # The count is not in a label alone here, so it has to be in the hash.
            chained = Value(digest(b"fold", key.hash), tuple(dict.fromkeys(atoms)))
            return combine(b"random_fold_in", [chained, count])
        code = KEY if key.hash == KEY else digest(b"fold", key.hash)
        return Value(code, tuple(atoms))

    def _cond(self, equation: Any, inputs: list[Value]) -> list[Value]:
        index, *operands = inputs
        branches = equation.params["branches"]
        if index.const is not None and index.const.size == 1:
            return self.closed(branches[min(max(int(index.const), 0), len(branches) - 1)], operands)
        taken = [self.closed(branch, operands) for branch in branches]
        outputs = []
        for values in zip(*taken, strict=True):
            first = values[0]
            same = first.const is not None and all(
                v.const is not None and np.array_equal(v.const, first.const) for v in values
            )
            out = combine(b"cond", [index, *values])
            outputs.append(Value(out.hash, out.atoms, first.const if same else None))
        return outputs

    def _scan(self, equation: Any, inputs: list[Value]) -> list[Value]:
        params, body = equation.params, equation.params["jaxpr"]
        # Ranks tell constants and carries from what is scanned over; the names of the
        # parameters that would say so differ between versions of JAX.
        inner = _open(body)
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
        if not self._is_pure(body) and length * self._size(body) <= _LONGEST_UNROLL:
            return self._unrolled(equation, inputs, first, last)
        tag = digest(b"scan", str(length).encode(), str(params.get("reverse")).encode())
        return self._loop(tag, body, [], inputs, range(len(inputs)), first, carried)

    def _unrolled(self, equation: Any, inputs: list[Value], first: int, last: int) -> list[Value]:
        length, body = equation.params["length"], equation.params["jaxpr"]
        carried = last - first
        consts, carry, stacked = inputs[:first], inputs[first:last], inputs[last:]
        steps: list[list[Value]] = [[] for _ in range(length)]
        order = range(length)
        for step in reversed(order) if equation.params["reverse"] else order:
            slices = [_slice(value, step) for value in stacked]
            outputs = self.closed(body, [*consts, *carry, *slices])
            carry, steps[step] = outputs[:carried], outputs[carried:]
        stacks = [_stack([ys[i] for ys in steps]) for i in range(len(equation.outvars) - carried)]
        return [*carry, *stacks]

    def _while(self, equation: Any, inputs: list[Value]) -> list[Value]:
        params = equation.params
        tests, bodies = params["cond_nconsts"], params["body_nconsts"]
        carry = range(tests + bodies, len(inputs))
        test_inputs = [*range(tests), *carry]
        formals = [_formal(i, v) for i, v in enumerate(equation.invars)]
        test = self.closed(params["cond_jaxpr"], [formals[i] for i in test_inputs])
        used = range(tests, len(inputs))
        return self._loop(
            b"while", params["body_jaxpr"], test, inputs, used, tests + bodies, len(carry)
        )

    def _loop(
        self,
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
        formals = [_formal(i, v) for i, v in zip(used, _open(body).invars, strict=True)]
        outer, self.drawn = self.drawn, []
        updates = self.closed(body, formals)
        inner, self.drawn = self.drawn, outer
        for drawn in inner:
            self.drawn.append(Drawn(tuple(_substitute(drawn.atoms, inputs)), drawn.equation))
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

    def _mapped(self, equation: Any, inner: Any, inputs: list[Value]) -> list[Value]:
        rest = {k: v for k, v in equation.params.items() if v is not inner}
        tag = digest(equation.primitive.name.encode(), canonical_params(rest, self._nested))
        shards = [
            value
            if outer.aval.shape == formal.aval.shape
            else Value(digest(b"shard", tag, value.hash), value.atoms)
            for value, outer, formal in zip(
                inputs, equation.invars, _open(inner).invars, strict=True
            )
        ]
        return [
            combine(digest(tag, str(i).encode()), [out])
            for i, out in enumerate(self.closed(inner, shards))
        ]

    def _constants(self, closed: Any) -> list[Value]:
        consts = getattr(closed, "consts", ())
        if not any(np.size(value) > 1 or _is_key(value) for value in consts):
            return [self._constant(value, None) for value in consts]
        users: dict[Any, Any] = {}
        for equation in _open(closed).eqns:
            for atom in equation.invars:
                if not isinstance(atom, Literal):
                    users.setdefault(atom, equation)
        return [
            self._constant(value, users.get(var))
            for var, value in zip(_open(closed).constvars, consts, strict=True)
        ]

    def _literal(self, literal: Any, equation: Any) -> Value:
        return self._constant(literal.val, equation, literal.aval)

    def _constant(self, value: Any, equation: Any, aval: Any = None) -> Value:
        place = self._where(equation) if equation is not None else ""
        place = f" at {place}" if place else ""
        if not isinstance(value, np.ndarray | np.generic | jax.Array):
            value = np.asarray(value, getattr(aval, "dtype", None))
        if _is_key(value):
            code = digest(b"raw", str(value.dtype).encode(), content(jax.random.key_data(value)))
            origin = "given as an argument" if self._given(value) else f"captured{place}"
            return Value(code, ((RAW, f"raw key {origin}"),))
        if id(value) not in self._hashes or value.size == 1:
            kind = f"{value.dtype}{value.shape}".encode()
            self._hashes[id(value)] = digest(b"const", kind, content(value))
        code = self._hashes[id(value)]
        const = None
        if value.size <= LARGEST and value.dtype.kind in "iub":
            const = np.asarray(value)
        if value.size <= 1 or self._given(value):
            return Value(code, (), const)
        what = "numpy" if isinstance(value, np.ndarray) else "jax"
        note = f"depends on a {what} array {value.dtype}{list(value.shape)} captured{place}"
        return Value(code, ((IMPURE, note),), const)

    def _is_pure(self, closed: Any) -> bool:
        jaxpr = _open(closed)
        if id(jaxpr) not in self._pure:
            self._pure[id(jaxpr)] = (
                not len(getattr(closed, "consts", ()))
                and not any(map(_is_impure, jaxpr.effects))
                and all(map(self._is_pure_equation, jaxpr.eqns))
            )
        return self._pure[id(jaxpr)]

    def _is_pure_equation(self, equation: Any) -> bool:
        return (
            equation.primitive.name not in _KEY_SOURCES
            and "callback" not in equation.primitive.name
            and not any(isinstance(a, Literal) and np.size(a.val) > 1 for a in equation.invars)
            and all(map(self._is_pure, _jaxprs(equation.params.values())))
        )

    def _size(self, closed: Any) -> int:
        jaxpr = _open(closed)
        if id(jaxpr) not in self._sizes:
            nested = [self._size(j) for e in jaxpr.eqns for j in _jaxprs(e.params.values())]
            self._sizes[id(jaxpr)] = len(jaxpr.eqns) + sum(nested)
        return self._sizes[id(jaxpr)]

    def _nested(self, closed: Any) -> bytes:
        formals = [_formal(i, v) for i, v in enumerate(_open(closed).invars)]
        outer, self.drawn = self.drawn, []
        outputs = self.closed(closed, formals)
        self.drawn = outer
        # The formals come first, so that an output says which of them it uses where.
        return combine(b"jaxpr", [*formals, *outputs]).hash


def _substitute(atoms: Iterable[Atom], inputs: Sequence[Value]) -> Iterator[Atom]:
    for root, *chain in atoms:
        if isinstance(root, int):
            for atom in inputs[root].atoms:
                yield (*atom, *chain) if is_key(atom) else atom
        else:
            yield (root, *chain)


def _rewrapped(equation: Any, value: Value) -> Value:
    name = equation.primitive.name
    if name == "random_wrap" and value.wrapped is not None:
        return value.wrapped
    params = sorted((k, str(v)) for k, v in equation.params.items() if k in ("impl", "shape"))
    raw: list[Atom] = []
    if name == "random_seed" and not value.atoms:
        seed = "..." if value.const is None or value.const.size != 1 else int(value.const)
        raw = [(RAW, f"raw key jax.random.key({seed})")]
    elif name == "random_wrap" and not any(map(is_key, value.atoms)):
        raw = [(RAW, "raw key made from constant key data")]
    out = combine(digest(name.encode(), str(params).encode()), [value], raw)
    return Value(out.hash, out.atoms, None, value if name == "random_unwrap" else None)


def _outputs(equation: Any, inputs: list[Value], tag: bytes, extra: Iterable[Atom]) -> list[Value]:
    if len(equation.outvars) == 1:
        out = combine(tag, inputs, extra)
        const = fold(equation, [value.const for value in inputs])
        return [out if const is None else Value(out.hash, out.atoms, const)]
    return [
        combine(digest(tag, str(i).encode()), inputs, extra) for i in range(len(equation.outvars))
    ]


def _slice(value: Value, step: int) -> Value:
    const = None if value.const is None else value.const[step]
    return Value(digest(b"slice", str(step).encode(), value.hash), value.atoms, const)


def _stack(values: list[Value]) -> Value:
    out = combine(b"stack", values)
    consts = [value.const for value in values if value.const is not None]
    if len(consts) < len(values) or not consts:
        return out
    return Value(out.hash, out.atoms, np.stack(consts))


def _is_impure(effect: Any) -> bool:
    # Reading a mesh axis's index is an effect too.
    return type(effect).__name__ != "NamedAxisEffect"


def _open(closed: Any) -> Any:
    return getattr(closed, "jaxpr", closed)


def _jaxprs(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _jaxprs(value)


def _called(equation: Any) -> Any:
    found = [equation.params.get(name) for name in ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")]
    known = [value for value in found if isinstance(value, ClosedJaxpr | Jaxpr)]
    return known[0] if known else next(_jaxprs(equation.params.values()))


def _formal(place: int, variable: Any) -> Value:
    if _is_key(variable.aval):
        return Value(KEY, ((place,),))
    return Value(digest(b"formal", str(variable.aval).encode()), ((place,),))


def _is_key(array: Any) -> bool:
    dtype = getattr(array, "dtype", None)
    return dtype is not None and bool(jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key))
