"""A call of a model: its modules, as rows, and what each call of one did, in the order they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Numbers, texts, bools, None, and lists of these. An attribute that is None may have no entry: it
# has one where Flax has a part in the class, to be told from those that a release does not know.
Row = Mapping[str, Any]
CLASS = "class"  # the entry of a row that holds the name of the module's class


@dataclass(frozen=True)
class Modules:
    """``rows`` by the paths of modules; ``library`` are those whose class Flax has a part in.

    Flax adds and renames attributes of its own layers. A golden does not keep ``library``.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    library: frozenset[str] = frozenset()


CALL = "__call__"
NOT_KEPT = "(not kept)"  # stands for operations that a golden had no room for
FUNCTION = "function"  # the class of what is none


@dataclass(frozen=True)
class Summary:
    """What is kept of one output: its form, a digest, statistics, and the elements ``at`` places.

    ``numbers`` are mean, std, min and max; a scalar, and what is constant, has one number.
    """

    form: str  # float32[1, 16, 64]
    digest: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    at: tuple[float, ...] = ()


@dataclass(frozen=True)
class Computation:
    """What a module computes from its inputs and its own leaves, wherever it stands in a model.

    ``fingerprint`` is "" where the call could not be traced. ``takes`` and ``gives`` are the forms
    of inputs and outputs, ``holds`` those of the module's own leaves. ``operations`` are its
    equations as text, those of modules that it calls aside; ``places`` the user's lines that made
    them, which no golden keeps.
    """

    cls: str
    method: str = CALL
    fingerprint: str = ""
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    holds: Mapping[str, str] = field(default_factory=dict)
    attributes: Row = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    places: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Call:
    """One call of a module: the module's path, what it computed, drew and gave.

    ``number`` tells calls of one method of one module apart. ``outputs`` are None where none were
    seen: inside of a JAX transformation, or too deep to be kept. ``parent`` is the place of the
    caller among the calls, ``where`` the line that called; a golden keeps neither.
    """

    path: str
    computation: Computation
    number: int = 0
    draws: tuple[str, ...] = ()
    outputs: tuple[Summary, ...] | None = None
    depth: int = field(default=0, compare=False)
    parent: int | None = field(default=None, compare=False)
    where: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The call for a reader: ``decoder.embed.attend``, ``cell (call 3)``."""
        method = "" if self.computation.method == CALL else self.computation.method
        name = ".".join(filter(None, [self.path, method])) or self.computation.cls
        return f"{name} (call {self.number + 1})" if self.number else name


@dataclass(frozen=True)
class Forward:
    """A whole call: those of modules, and the digests of what it was given.

    ``inputs`` are the arguments by name, ``weights`` digests and norms of the model's leaves or, of
    a large model, of groups by their common path, ``keys`` the base keys of its streams by tag.
    ``depth`` is how deep outputs were kept, None for all. ``untraced`` says why there are no
    fingerprints. ``steps`` are those of a training run: what each gave, and the state after it.
    """

    calls: tuple[Call, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    depth: int | None = None
    untraced: str = ""
    steps: tuple[Mapping[str, str], ...] = ()


def numbered(calls: Iterable[Call]) -> tuple[Call, ...]:
    """The calls with their numbers: how many of the same method of the module came before."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for call in calls:
        key = call.path, call.computation.method
        found.append(_with_number(call, counts[key]))
        counts[key] += 1
    return tuple(found)


def _with_number(call: Call, number: int) -> Call:
    made = object.__new__(Call)
    vars(made).update(vars(call), number=number)
    return made
