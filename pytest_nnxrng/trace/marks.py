"""A call of a model -> a jaxpr in which it is marked where each call of a module begins and ends.

The call runs under ``jax.make_jaxpr`` on a copy of its arguments. Arrays that enter or leave a
module go through the identity ``checkpoint_name``, whose name says which call and which array; a
name scope tells to which call an equation belongs. The modules of the copy carry their paths as a
static attribute: so they are known inside of ``nnx.jit`` and ``nnx.scan``, which make objects of
their own, and what JAX has cached of the user's own call is not taken for this one.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pytest_nnxrng.leaf.forward import FUNCTION
from pytest_nnxrng.leaf.gist import form
from pytest_nnxrng.leaf.paths import parent, prefixes
from pytest_nnxrng.nnx.arguments import copy_arguments, set_value
from pytest_nnxrng.nnx.watch import arrays, held, is_array, is_seen, raw_value, wrapped
from pytest_nnxrng.nnx.watch import is_state as belongs_to_nnx
from pytest_nnxrng.trace.derivation import Untraceable, keeping_tracers, one_line
from pytest_nnxrng.trace.source import caller

_SITE = "_nnxrng_site"
_turn = itertools.count()
_STATE = 1 << 20  # places of Variables, after those of arguments and outputs
_MARK = re.compile(r"nnxrng (\d+) (in|out) (\d+) (\d+)\Z")
_SCOPE = re.compile(r"nnxrng(\d+)_call(\d+)")


@dataclass
class Marked:
    """One call of a module during the trace; the forms of what it took and gave."""

    path: str
    cls: str
    method: str
    parent: int | None
    depth: int
    inside: bool  # of a JAX transformation, which has no values in the real call
    where: str
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mark:
    """An array that enters (``in``) or leaves (``out``) a call, and which one it is."""

    kind: str
    call: int
    place: int


def is_mark(equation: Any) -> bool:
    """Whether an equation is a mark, of whatever trace."""
    return equation.primitive.name == "name" and bool(_MARK.match(str(equation.params.get("name"))))


def is_state(place: int) -> bool:
    """Whether this is the place of a Variable."""
    return place >= _STATE


@dataclass
class Marks:
    """The calls of a trace in the order in which they begin, and their numbers as they end.

    ``turn`` is the number of the trace: what JAX has cached of an earlier one has others.
    """

    turn: int
    calls: list[Marked] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    closed: Any = None
    variables: dict[str, Any] = field(default_factory=dict)  # path -> a Variable of the copy
    inputs: list[str] = field(default_factory=list)  # of the Variables among the jaxpr's inputs
    arguments: int = 0
    changed: list[str] = field(default_factory=list)  # Variables whose new values are outputs

    def mark(self, equation: Any) -> Mark | None:
        """What a mark of this trace marks; None of an equation that is none."""
        found = is_mark(equation) and _MARK.match(equation.params["name"])
        if not found or int(found[1]) != self.turn:
            return None
        return Mark(found[2], int(found[3]), int(found[4]))

    def call_of(self, equation: Any) -> int | None:
        """The number of the call in which an equation stands, as far as it tells by itself."""
        names = _SCOPE.findall(str(getattr(equation.source_info, "name_stack", "")))
        own = [int(call) for turn, call in names if int(turn) == self.turn]
        return own[-1] if own else None


Models = Callable[[tuple[Any, ...], Mapping[str, Any]], Mapping[str, Any]]


def marked(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    models: Models,
    values: Mapping[str, Any],
    name: str = "",
) -> Marks:
    """Trace ``function(*args, **kwargs)``; ``models`` finds the models among its arguments.

    ``values`` are what the Variables at these paths hold at the beginning. ``name`` is that of a
    function of the user's, whose call is one, too.

    Raises:
      Untraceable: if it cannot run on abstract values, or what it is given cannot be copied.
    """
    marks = Marks(next(_turn))
    leaves, tree = jax.tree_util.tree_flatten((args, dict(kwargs)), is_leaf=belongs_to_nnx)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    lifted = {p: v for p, v in values.items() if isinstance(v, jax.Array)}
    marks.inputs, marks.arguments = list(lifted), len(places)

    def run(state: list[Any], given: list[Any]) -> Any:
        filled = list(leaves)
        for place, value in zip(places, given, strict=True):
            filled[place] = value
        copied, named = copy_arguments(*jax.tree_util.tree_unflatten(tree, filled))
        found = models(copied, named)
        objects = held(found)
        marks.variables = {p: v for p, v in objects if isinstance(v, nnx.Variable)}
        reset(objects, {**values, **dict(zip(lifted, state, strict=True))})
        nodes = [(path, node) for path, node in objects if is_seen(node)]
        for path, node in nodes:
            setattr(node, _SITE, f"{marks.turn} {path}")
        before = {path: raw_value(v) for path, v in marks.variables.items()}
        around = _Around(marks, {id(found) for _, found in objects}, _below(marks.variables))
        with wrapped([node for _, node in nodes], around):
            out = around.root(function, name, copied, named)
        after = {path: raw_value(v) for path, v in marks.variables.items()}
        new = {
            path: value
            for path, value in after.items()
            if value is not before[path]
            and isinstance(value, jax.Array)
            # Counts move with draws, which are told by themselves.
            and not isinstance(marks.variables[path], nnx.RngState)
        }
        marks.changed = list(new)
        return arrays(out), list(new.values())

    try:
        with keeping_tracers():
            marks.closed = jax.make_jaxpr(run)(list(lifted.values()), [leaves[i] for i in places])
    except Exception as error:
        raise Untraceable(one_line(error)) from error
    return marks


def reset(objects: Sequence[tuple[str, Any]], values: Mapping[str, Any]) -> None:
    """Give Variables what they held before the call; those that it made are taken away."""
    nodes = dict(objects)
    for path, found in objects:
        if not isinstance(found, nnx.Variable):
            continue
        if path in values:
            set_value(found, values[path])
        elif (name := path.rpartition(".")[2]) in vars(nodes.get(parent(path), found)):
            delattr(nodes[parent(path)], name)


Below = Mapping[str, Sequence[tuple[int, Any, Any]]]


def _below(variables: Mapping[str, Any]) -> Below:
    """Path of a module -> the Variables in it, each with its number and what it holds now."""
    found: dict[str, list[tuple[int, Any, Any]]] = {}
    for path, variable in variables.items():
        # Draws move counts: they are followed by themselves.
        if not isinstance(variable, nnx.RngState):
            for above in {"", *prefixes(path)}:
                row = found.setdefault(above, [])
                row.append((_STATE + len(row), variable, raw_value(variable)))
    return found


@dataclass
class _Around:
    marks: Marks
    own: set[int]  # ids of the nodes and Variables of the copy itself
    below: Below
    stack: list[int] = field(default_factory=list)

    def root(self, function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        """The outermost call."""
        if not name:
            return function(*args, **kwargs)
        return self._call("", FUNCTION, name, False, function, args, kwargs, ())

    def __call__(
        self, module: Any, method: str, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        turn, _, path = str(getattr(module, _SITE, "")).partition(" ")
        if turn != str(self.marks.turn):
            return call(*args, **kwargs)
        inside = id(module) not in self.own
        held = () if inside else self.below.get(path, ())
        return self._call(path, type(module).__name__, method, inside, call, args, kwargs, held)

    def _call(
        self,
        path: str,
        cls: str,
        method: str,
        inside: bool,
        call: Any,
        args: Any,
        kwargs: Any,
        held: Sequence[tuple[int, Any, Any]],
    ) -> Any:
        number, parent = len(self.marks.calls), self.stack[-1] if self.stack else None
        args, kwargs = _named(f"{self.marks.turn} in {number}", (args, kwargs), self.own)
        found = Marked(path, cls, method, parent, len(self.stack) + 1, inside, caller())
        found.takes = _forms((args, kwargs))
        self.marks.calls.append(found)
        # What others have set in it is given to it, as arguments are: a kernel that is normalised.
        self._mark_state(f"{self.marks.turn} in {number}", held)
        before = [(place, v, raw_value(v)) for place, v, _ in held]
        self.stack.append(number)
        try:
            with jax.named_scope(f"nnxrng{self.marks.turn}_call{number}"):
                given = call(*args, **kwargs)
        finally:
            self.stack.pop()
        given = _named(f"{self.marks.turn} out {number}", given, self.own)
        self._mark_state(f"{self.marks.turn} out {number}", before)
        found.gives = _forms(given)
        self.marks.ended.append(number)
        return given

    def _mark_state(self, name: str, held: Sequence[tuple[int, Any, Any]]) -> None:
        """Mark what is no longer held as it was."""
        for place, variable, before in held:
            value = raw_value(variable)
            if value is not before and isinstance(value, jax.Array):
                set_value(variable, checkpoint_name(value, f"nnxrng {name} {place}"))


def _forms(value: Any) -> tuple[str, ...]:
    return tuple(form(x.dtype, tuple(x.shape)) for x in arrays(value))


def _named(name: str, value: Any, own: set[int]) -> Any:
    """The value with its arrays marked, those in a State of gradients, too.

    What is no pytree, and what belongs to the model, stays as it is.
    """
    if isinstance(value, jax.Array):
        return checkpoint_name(value, f"nnxrng {name} 0")
    try:
        leaves, tree = jax.tree_util.tree_flatten(value, is_leaf=belongs_to_nnx)
    except (TypeError, ValueError):
        return value
    count = itertools.count()

    def one(leaf: Any) -> Any:
        foreign = isinstance(leaf, nnx.Variable) and id(leaf) not in own
        raw = raw_value(leaf) if foreign else leaf
        place = next(count) if is_array(raw) else 0
        if not isinstance(raw, jax.Array):
            return leaf
        if foreign:
            return leaf.replace(checkpoint_name(raw, f"nnxrng {name} {place}"))
        return checkpoint_name(leaf, f"nnxrng {name} {place}")

    marked = [one(leaf) for leaf in leaves]
    with contextlib.suppress(Exception):  # a class that wants more than its leaves
        return jax.tree_util.tree_unflatten(tree, marked)
    return value
