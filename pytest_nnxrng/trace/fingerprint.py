"""A jaxpr -> for each of its outputs, the keys it follows from and a hash of the rest.

One forward pass over the equations. Keys are followed symbolically (``random_fold_in`` of a
stream's base key and a count that constant propagation knows), so that a function cached by
``jax.jit`` reads like a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from pytest_nnxrng.trace.expression import (
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
    key_name,
    stream_key,
)
from pytest_nnxrng.trace.jaxpr import (
    CALLS,
    IDENTITIES,
    LARGEST,
    MAPPED,
    Purity,
    called,
    fold,
    holds_keys,
    inner_jaxprs,
    is_impure,
    opened,
)
from pytest_nnxrng.trace.loops import Drawn, formal, scan, while_


class Walk:
    """One pass over one jaxpr. ``where(equation)`` gives a source line for notes.

    ``given(array)`` says whether a captured array is an argument of the build, so that it is
    known to be the same in the build itself.
    """

    def __init__(
        self,
        where: Callable[[Any], str],
        given: Callable[[Any], bool],
        *,
        own_keys: bool = False,
    ) -> None:
        self.drawn: list[Drawn] = []
        self.raw: dict[Atom, set[str]] = {}  # keys that are no stream's -> their lines
        self.purity: Purity = Purity()
        self._where = where
        self._given = given
        self._own_keys = own_keys  # keys that the build makes itself are its streams
        self._memo: dict[Any, list[tuple[bytes, tuple[int, ...], np.ndarray | None]]] = {}
        self._hashes: dict[int, bytes] = {}

    def closed(self, closed: Any, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a ``ClosedJaxpr`` (or ``Jaxpr`` without constants) on ``inputs``."""
        jaxpr = opened(closed)
        if not self.purity.is_pure(closed):
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
            made = self._rewrapped(equation, inputs[0])
            for atom in made.atoms:
                if atom[0] == RAW and atom not in inputs[0].atoms:
                    self.raw.setdefault(atom, set()).add(self._where(equation))
            return [made]
        if name in IDENTITIES and len(inputs) == len(equation.outvars):
            return inputs
        if name == "scan":
            return scan(self, equation, inputs)
        if name == "while":
            return while_(self, equation, inputs)
        if name == "cond":
            return self._cond(equation, inputs)
        jaxprs = list(inner_jaxprs(equation.params.values()))
        if name in CALLS and jaxprs:
            inner = called(equation)
            if len(opened(inner).invars) == len(inputs):
                return self.closed(inner, inputs)
        if name in MAPPED and len(jaxprs) == 1 and len(opened(jaxprs[0]).invars) == len(inputs):
            return self._mapped(equation, jaxprs[0], inputs)
        tag = digest(name.encode(), canonical_params(equation.params, self._nested))
        extra: list[Atom] = []
        if name in ("new_ref", "mutable_array") or any(
            hasattr(effect, "input_index") for effect in equation.effects
        ):
            raise NotImplementedError("an array reference (jax.Ref) is used while building")
        if "callback" in name or any(map(is_impure, equation.effects)):
            extra.append((IMPURE, f"depends on a host callback or side effect ({name})"))
        elif (
            jaxprs
            and name not in ("reduce", "reduce_window", "scatter")
            and any(not self.purity.is_pure(inner) for inner in jaxprs)
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

    def _mapped(self, equation: Any, inner: Any, inputs: list[Value]) -> list[Value]:
        rest = {k: v for k, v in equation.params.items() if v is not inner}
        tag = digest(equation.primitive.name.encode(), canonical_params(rest, self._nested))
        shards = [
            value
            if outer.aval.shape == formal.aval.shape
            else Value(digest(b"shard", tag, value.hash), value.atoms)
            for value, outer, formal in zip(
                inputs, equation.invars, opened(inner).invars, strict=True
            )
        ]
        return [
            combine(digest(tag, str(i).encode()), [out])
            for i, out in enumerate(self.closed(inner, shards))
        ]

    def _constants(self, closed: Any) -> list[Value]:
        consts = getattr(closed, "consts", ())
        if not any(np.size(value) > 1 or holds_keys(value) for value in consts):
            return [self._constant(value, None) for value in consts]
        users: dict[Any, Any] = {}
        for equation in opened(closed).eqns:
            for atom in equation.invars:
                if not isinstance(atom, Literal):
                    users.setdefault(atom, equation)
        return [
            self._constant(value, users.get(var))
            for var, value in zip(opened(closed).constvars, consts, strict=True)
        ]

    def _literal(self, literal: Any, equation: Any) -> Value:
        return self._constant(literal.val, equation, literal.aval)

    def _constant(self, value: Any, equation: Any, aval: Any = None) -> Value:
        place = self._where(equation) if equation is not None else ""
        place = f" at {place}" if place else ""
        if not isinstance(value, np.ndarray | np.generic | jax.Array):
            value = np.asarray(value, getattr(aval, "dtype", None))
        if holds_keys(value):
            if self._own_keys and (name := key_name(jax.random.key_data(value))):
                return stream_key(name)
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

    def _rewrapped(self, equation: Any, value: Value) -> Value:
        makes = equation.primitive.name in ("random_seed", "random_wrap") and not value.atoms
        if self._own_keys and makes and value.wrapped is None and value.const is not None:
            seeded = equation.primitive.name == "random_seed"
            if name := key_name(value.const, seeded=seeded):
                return stream_key(name)
        return _rewrapped(equation, value)

    def _nested(self, closed: Any) -> bytes:
        formals = [formal(i, v) for i, v in enumerate(opened(closed).invars)]
        outer, self.drawn = self.drawn, []
        outputs = self.closed(closed, formals)
        self.drawn = outer
        # The formals come first, so that an output says which of them it uses where.
        return combine(b"jaxpr", [*formals, *outputs]).hash


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
