"""Who draws each key of a stream: the Variable that the key reaches, or the module being built.

While a constructor is traced, each call of a stream leaves its number in the name scope of the
equations that it makes, and the modules under construction are read off the Python stack. Objects
become paths once the model is there.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import jax
from flax import nnx

from pytest_nnxrng.leaf.paths import parent as parent_of
from pytest_nnxrng.nnx.flatten import UnsupportedValue, is_node, nodes
from pytest_nnxrng.trace.source import is_users, place_of

_SCOPE = "nnxrng_draw"
_number = itertools.count()


@dataclass(frozen=True)
class Site:
    """A module under construction: its path, its class, and the user's line that makes it."""

    path: str
    cls: str
    where: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """``where`` is set in the user's code, ``module`` in a constructor of one."""

    where: str
    module: Any


@dataclass
class Calls:
    """The calls of streams during one trace, each with its stack, innermost frame first."""

    stacks: dict[int, tuple[_Frame, ...]] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    _within: dict[int, dict[int, str]] = field(default_factory=dict)
    _anchors: dict[int, str] = field(default_factory=dict)

    def locate(self, model: Any) -> None:
        """Note where the nodes of the model are that was built."""
        try:
            self.places = nodes(model)
        except UnsupportedValue:
            self.places = {}

    def stack(self, equation: Any) -> tuple[_Frame, ...]:
        """The stack of the call that made ``equation``; () of a function cached before."""
        name_stack = getattr(getattr(equation, "source_info", None), "name_stack", "")
        found = re.findall(rf"{_SCOPE}(\d+)", str(name_stack))
        return self.stacks.get(int(found[-1]), ()) if found else ()

    def learn(self, equation: Any, leaf: str) -> None:
        """A draw reaches ``leaf`` alone: so the module whose constructor drew it holds it."""
        chain = _modules(self.stack(equation))
        root = self._root(chain)
        if root is None:
            return
        inside, parent = self._inside(root).get(id(chain[0])), parent_of(leaf)
        if inside is not None and (parent == inside or parent.endswith(f".{inside}") or not inside):
            anchor = parent.removesuffix(inside).removesuffix(".") if inside else parent
            self._anchors.setdefault(id(root), anchor)

    def sites(self, equation: Any) -> tuple[Site, ...]:
        """The modules under construction, innermost first."""
        stack = self.stack(equation)
        chain, found = _modules(stack), []
        for i, module in enumerate(chain):
            within = max(at for at, frame in enumerate(stack) if frame.module is module)
            where = next((frame.where for frame in stack[within + 1 :] if frame.where), "")
            found.append(Site(self._path(chain[i:]), type(module).__name__, where))
        return tuple(found)

    def _path(self, chain: Sequence[Any]) -> str:
        """The path of the first of these; of one that is not in the model, as near as is known."""
        root = self._root(chain)
        if root is None:
            return self.places[id(chain[0])]
        inside, anchor = self._inside(root).get(id(chain[0])), self._anchors.get(id(root))
        if inside is not None and anchor is not None:
            return ".".join(filter(None, [anchor, inside]))
        known = [self.places[id(m)] for m in chain if id(m) in self.places]
        return ".".join(filter(None, [*known[:1], f"({type(chain[0]).__name__})"]))

    def _root(self, chain: Sequence[Any]) -> Any:
        """The outermost of the modules around the first that are not in the model; None if it is.

        Those made inside of ``nnx.vmap`` or ``nnx.jit`` are copied on the way out.
        """
        lost = list(itertools.takewhile(lambda m: id(m) not in self.places, chain))
        return lost[-1] if lost else None

    def _inside(self, root: Any) -> dict[int, str]:
        if id(root) not in self._within:
            try:
                self._within[id(root)] = nodes(root)
            except UnsupportedValue:
                self._within[id(root)] = {}
        return self._within[id(root)]


def _modules(stack: Iterable[_Frame]) -> list[Any]:
    """The modules of a stack, each once."""
    return list({id(f.module): f.module for f in stack if f.module is not None}.values())


@contextmanager
def watched(calls: Calls, until: Any) -> Iterator[None]:
    """Note each call of a stream; the stack is read up to the function whose code is ``until``."""
    draw = nnx.RngStream.__call__

    def call(self: Any) -> Any:
        number = next(_number)
        calls.stacks[number] = tuple(_read(sys._getframe(1), until))
        with jax.named_scope(f"{_SCOPE}{number}"):
            return draw(self)

    nnx.RngStream.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nnx.RngStream.__call__ = draw  # type: ignore[method-assign]


def _read(frame: FrameType | None, until: Any) -> Iterator[_Frame]:
    while frame is not None and frame.f_code is not until:
        code = frame.f_code
        users = is_users(code.co_filename)
        module = _under_construction(frame) if users or code.co_name == "__init__" else None
        if users or module is not None:
            where = place_of(code.co_filename, frame.f_lineno) if users else ""
            yield _Frame(where, module)
        frame = frame.f_back


def _under_construction(frame: FrameType) -> Any:
    code = frame.f_code
    if not code.co_argcount or code.co_varnames[0] != "self":
        return None
    found = frame.f_locals.get("self")
    is_module = is_node(found) and not isinstance(found, nnx.Rngs | nnx.RngStream)
    return found if is_module else None


def owner(sites: Sequence[Site], leaves: Sequence[str]) -> str:
    """The leaf that a draw reaches; of several or none, the module that they or it belong to."""
    if len(leaves) == 1:
        return leaves[0]
    if leaves:
        return _common(leaves)
    return sites[0].path if sites else ""


def _common(paths: Sequence[str]) -> str:
    steps = zip(*[path.split(".")[:-1] for path in paths], strict=False)
    return ".".join([s[0] for s in itertools.takewhile(lambda s: len(set(s)) == 1, steps)])


def reached(leaves: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Label of a draw -> the leaves that follow from it or from what was forked from it."""
    found: dict[str, list[str]] = {}
    for path, labels in leaves.items():
        for draw in dict.fromkeys(part for label in labels for part in _and_its_sources(label)):
            found.setdefault(draw, []).append(path)
    return found


def _and_its_sources(label: str) -> Iterator[str]:
    while label:
        yield label
        label = label.rpartition("/")[0]
