"""The parts of a jaxpr that are wanted, as a program; and what its rules ask of the jaxpr."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from pytest_nnxrng.leaf.spots import Selection


class Unselectable(Exception):
    """Elements that cannot be evaluated one by one; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """An input of a compiled program: whole, or some of its elements."""

    position: int
    indices: Selection | None


class Program:
    """A computation: nodes, each a function of the values of nodes before it.

    ``given`` are those that are data to a compiled program: elements of its inputs, and numpy
    vectors, so that XLA cannot fold what follows from them in other arithmetic than at run time.
    ``keys`` are PRNG keys, which are the same however they are evaluated. ``counting`` are
    integers that follow from an element's place.
    """

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self.counting: set[int] = set()
        self.nodes: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        self.given: dict[int, np.ndarray | Wanted] = {}

    def add(self, function: Callable[..., Any], *arguments: int) -> int:
        """A node: ``function`` of the values of ``arguments``."""
        self.nodes.append((function, arguments))
        return len(self.nodes) - 1

    def give(self, value: np.ndarray | Wanted) -> int:
        """A node that is data."""
        node = self.add(lambda: value)
        self.given[node] = value
        return node

    def needed(self, targets: Sequence[int], known: Container[int] = ()) -> list[int]:
        """The nodes that ``targets`` follow from, in order, but for those ``known``."""
        found, pending = set[int](), [*targets]
        while pending:
            node = pending.pop()
            if node not in found and node not in known:
                found.add(node)
                pending += self.nodes[node][1]
        return sorted(found)

    def copy(self, source: Program, target: int, copies: dict[int, int]) -> int:
        """The node of another program, here; ``copies`` are those that are, and gets the others."""
        for node in source.needed([target], copies):
            function, arguments = source.nodes[node]
            copies[node] = self.add(function, *[copies[argument] for argument in arguments])
        return copies[target]

    def run(self, target: int, values: dict[int, Any]) -> Any:
        """The value of ``target``; ``values`` holds those that are known, and gets the others."""
        for node in self.needed([target], values):
            function, arguments = self.nodes[node]
            values[node] = function(*[values[argument] for argument in arguments])
        return values[target]


@dataclass(frozen=True)
class Source:
    """How a frame gets one of its inputs: as a node, and where it is a constant, its value."""

    read: Callable[[Frame, Selection | None], int]
    known: Callable[[], Any] = lambda: None


class Frame(Protocol):
    """A jaxpr whose variables become nodes of a program, as far as they are wanted.

    ``eager``: its equations run one by one, as in an ordinary call. ``in_turn``: it is the body
    of a loop, and element i of a selection belongs to turn i; the program sees one of them at a
    time, twice.
    """

    program: Program
    eager: bool
    in_turn: bool

    def read(self, atom: Any, indices: Selection | None = None) -> int:
        """The node of ``atom``: of its elements at ``indices``, or of all of it.

        Raises:
          Unselectable: if it cannot be evaluated so.
        """

    def known(self, atom: Any) -> Any:
        """The value of ``atom`` if it is an integer constant; None if not."""

    def is_broadcast(self, atom: Any) -> bool:
        """Whether the compiler sees that ``atom`` is an array broadcast to more elements."""

    def give(self, equation: Any, value: np.ndarray | Wanted) -> int:
        """The node of data of a program that has the operands of ``equation`` for inputs."""

    def turn(self, program: Program, body: Any, sources: Iterable[Source]) -> Frame:
        """The body of a loop, with a program of its own."""

    def unit(self, closed: Any) -> Unit:
        """A jaxpr with a program of its own."""


class Unit(Protocol):
    """A jaxpr as a program of its own."""

    program: Program

    def target(self, i: int, indices: Selection | None) -> int:
        """The node of output ``i``, or of its elements at ``indices``."""

    def given(self, targets: Sequence[int]) -> dict[int, Any]:
        """The data that ``targets`` follow from, by node."""


def is_key(value: Any) -> bool:
    """Whether a value or abstract value holds typed PRNG keys."""
    return bool(jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key))


def host(x: Any) -> Any:
    """``x`` in host memory, if it may be: not while tracing, and no typed keys."""
    # An eager gather in JAX takes a hundred times as long as numpy's.
    return x if isinstance(x, jax.core.Tracer) or is_key(x) else np.asarray(x)


def spread(x: Any, n: int) -> Any:
    """(n,): an array of one element, spread so that a compiler sees it is."""
    return jax.lax.broadcast_in_dim(x.reshape(()), (n,), ())
