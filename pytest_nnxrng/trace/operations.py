"""The equations of a marked jaxpr as text, by the call of a module to which each belongs.

``gelu: mul 0.044715``: the function of JAX that made it, the primitive, what is constant in it. The
line is the user's; of what JAX has cached, the line that called it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.extend.core import Literal

from pytest_nnxrng.trace.expression import canonical, content
from pytest_nnxrng.trace.jaxpr import CALLS, IDENTITIES, holds_keys, inner_jaxprs, opened
from pytest_nnxrng.trace.marks import Marks, is_mark
from pytest_nnxrng.trace.source import function, origin

_LONG = 60  # characters of a parameter
# What says nothing of the computation, or what another parameter says, too.
_SILENT = frozenset(
    [
        *("sharding", "out_sharding", "name", "debug_info", "jvp_jaxpr_fun", "jvp_jaxpr_thunk"),
        *("fwd_jaxpr_thunk", "bwd", "out_trees", "num_consts", "symbolic_zeros", "inline", "jaxpr"),
        *(
            "in_shardings",
            "out_shardings",
            "in_layouts",
            "out_layouts",
            "donated_invars",
            "ctx_mesh",
        ),
        *("keep_unused", "compiler_options_kvs", "call_jaxpr", "linear", "ft_in", "ft_out"),
        *("branches", "cond_jaxpr", "body_jaxpr", "weak_type", "prevent_cse", "differentiated"),
        *("policy", "cond_nconsts", "body_nconsts", "num_carry", "_split_transpose", "unroll"),
        *("mesh", "auto", "check_rep", "check_vma", "manual_axes", "in_specs", "out_specs"),
        *("is_initializer", "effects", "mode", "unique_indices", "indices_are_sorted"),
    ]
)
# Names that functions have in JAX and Flax, and not for who reads them.
_NAMELESS = re.compile(
    r"_|<|fn$|f$|fun$|call$|jit|JitFn|wrapper|__call__|run$|scan|body|step$|nnxrng"
)


@dataclass(frozen=True)
class Operation:
    """An equation as text, and the user's line that made it."""

    text: str
    place: str


def operations(marks: Marks) -> dict[int, list[Operation]]:
    """The equations of each call, in their order; of what belongs to none, by -1."""
    found: dict[int, list[Operation]] = {}
    for call, operation in _walk(marks, marks.closed, -1, "", ""):
        found.setdefault(call, []).append(operation)
    return found


def _walk(
    marks: Marks, closed: Any, call: int, within: str, place: str
) -> Iterator[tuple[int, Operation]]:
    jaxpr = opened(closed)
    consts = dict(zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=False))
    for equation in jaxpr.eqns:
        inside = marks.call_of(equation)
        here = call if inside is None else inside
        name, params = equation.primitive.name, equation.params
        at = _place(equation, place)
        jaxprs = list(inner_jaxprs(params.values()))
        if is_mark(equation) or (name in IDENTITIES and not jaxprs):
            continue
        if name not in CALLS or not jaxprs:
            made = within or function(equation)
            told = f"{made}: " if made and made != name else ""
            yield here, Operation(f"{told}{_text(equation, consts)}", at)
            inner = within
        else:
            inner = within or function(equation) or _function(params)
        for nested in jaxprs[: 1 if name.startswith("custom_") else None]:
            yield from _walk(marks, nested, here, inner, at)


def _function(params: Mapping[str, Any]) -> str:
    name = params.get("name")
    return name if isinstance(name, str) and not _NAMELESS.match(name) else ""


def _place(equation: Any, outer: str) -> str:
    """The user's line; where JAX has cached a function's equations, the line that called it."""
    line = origin(equation)[0]
    if not outer or not line:
        return line or outer
    return line if line.partition(":")[0] == outer.partition(":")[0] else outer


def _text(equation: Any, consts: Mapping[Any, Any]) -> str:
    operands = [_operand(atom, consts) for atom in equation.invars]
    known = operands if any(operand != "_" for operand in operands) else []
    params = [f"{k}={_param(v)}" for k, v in sorted(equation.params.items()) if _is_told(k, v)]
    return " ".join([equation.primitive.name, *known, *params])


def _is_told(name: str, value: Any) -> bool:
    if name in _SILENT or value is None or value is False or list(inner_jaxprs([value])):
        return False
    return not (isinstance(value, tuple | frozenset | dict) and not value)


def _operand(atom: Any, consts: Mapping[Any, Any]) -> str:
    if not isinstance(atom, Literal) and atom not in consts:
        return "_"
    value = atom.val if isinstance(atom, Literal) else consts[atom]
    if holds_keys(value):
        return "key"
    array = np.asarray(value)
    if array.size == 1:
        return str(array.reshape(-1)[0])
    return f"{array.dtype}{list(array.shape)}~{content(array).hex()[:8]}"


def _param(value: Any) -> str:
    text = _plainly(value)
    if len(text) <= _LONG:
        return text
    return f"{text[:40]}...{canonical(value, lambda _: b'').hex()[:8]}"


def _plainly(value: Any) -> str:
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return "(" + ",".join(map(_plainly, value)) + ")"
    if isinstance(value, np.dtype):
        return value.name
    if hasattr(value, "name") and not callable(value):
        return str(value.name)
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return re.sub(r" (at )?0x[0-9a-f]+|\bid=\d+|\s+", "", str(value))
