"""What becomes of a golden; when an unused golden is proven unused. Pure functions.

Whether a source text may define a test is part of that proof: what cannot be told counts as one.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from pytest_nnxrng.run.settings import Mode


class Status(Enum):
    """What a check found."""

    MISSING = "missing"
    MATCHED = "matched"
    ROUNDED = "rounded"  # matched within the tolerance
    DIFFERENT = "different"
    UNREADABLE = "unreadable"  # damaged: may be written anew
    LOCKED = "locked"  # not ours to write over: a newer format, an LFS pointer, no permission

    @property
    def bad(self) -> bool:
        """Whether the check did not find what its golden holds."""
        return self not in (Status.MATCHED, Status.ROUNDED)


class Outcome(Enum):
    """How the test's call phase ended; PENDING while it has not."""

    PENDING = "pending"
    PASSED = "passed"
    OTHER = "other"  # failed, skipped, xfailed, xpassed, a failed subtest, crashed


@dataclass(frozen=True)
class Decision:
    """Whether the check fails its test, and whether its golden is (to be) written."""

    fails: bool
    writes: bool
    moves: bool = False


def decide(
    status: Status,
    mode: Mode,
    outcome: Outcome,
    *,
    gains: bool = False,
    repeats: bool = True,
    agrees: bool = True,
    left: bool = False,
    astray: bool = False,
    causes: Collection[str] = (),
) -> Decision:
    """What becomes of a golden. The whole policy is in this one function.

    ``causes`` are the words for why a golden is DIFFERENT. ``gains`` says that one that matches
    would hold something else if it were written anew: another environment, values.
    ``repeats`` is False for a build
    that gave two different models, ``agrees`` for one that gives another model in another way:
    it fails and is never written. ``left`` says that the golden is left to the test on another
    device of this run, which writes it. ``astray`` says that a golden that agrees stands under
    another name than the check's, or bears another's: one that was looked for at its own place is
    MISSING there. With ``outcome`` PENDING, ``writes`` says what is to be
    made ready.
    """
    good = not status.bad
    if not (repeats and agrees):
        return Decision(fails=True, writes=False)
    if mode.against:
        return Decision(fails=not good and status is not Status.MISSING, writes=False)
    accepted = mode.update and status is not Status.LOCKED
    if mode.only:
        accepted = status is Status.DIFFERENT and bool(causes) and mode.only.issuperset(causes)
    moving = astray and (good or status is Status.MISSING)
    moving = moving and (mode.move or (mode.update and not mode.only))
    wanted = accepted and not good and not moving
    if mode.refresh and good and gains:
        wanted, moving = True, False
    may = not left and outcome in (Outcome.PENDING, Outcome.PASSED)
    return Decision(
        fails=not good and not accepted and not moving,
        writes=wanted and may,
        moves=moving and may,
    )


class Use(Enum):
    """What is known of a golden on disk at the end of a run."""

    USED = "used"
    UNKNOWN = "unknown"  # its test did not run to a pass here: nothing is said of it
    UNUSED = "unused"  # its function lives and passed without it: listed, never pruned
    GONE = "gone"  # its function is gone: proven unused


@dataclass(frozen=True)
class Collected:
    """What was collected of one test file, before any deselection.

    ``functions`` maps (class, function) to the parameters of its items; ``whole`` says that
    the file was asked for as a whole, not by node ids.
    """

    whole: bool
    functions: Mapping[tuple[str, str], frozenset[str | None]]


@dataclass(frozen=True)
class File:
    """A golden's test file: ``exists`` on disk, ``collected`` in this run, ``source`` text."""

    exists: bool
    collected: Collected | None
    source: str = ""


def use(
    owner: tuple[str, str, str | None] | None,
    file: File,
    passed: Iterable[tuple[str, str, str | None]],
) -> Use:
    """What is known of a golden that no check of this run touched.

    ``owner`` is its (class, function, parameters), None when that cannot be read; ``passed``
    are the tests of its file that ran to a pass.
    """
    if owner is None:
        return Use.UNKNOWN
    if not file.exists:
        return Use.GONE
    cls, function, _ = owner
    if file.collected is None or not file.collected.whole:
        return Use.UNUSED if owner in set(passed) else Use.UNKNOWN
    items = file.collected.functions.get((cls, function))
    if items is None:
        whole_class = any(name == cls for name, _ in file.collected.functions)
        lives = may_define(file.source, cls, function, class_collected=whole_class)
        return Use.UNKNOWN if lives else Use.GONE
    every = {(cls, function, parameters) for parameters in items}
    return Use.UNUSED if every <= set(passed) else Use.UNKNOWN


@dataclass(frozen=True)
class Run:
    """What a run was asked for and what went wrong in it, as far as pruning is concerned.

    ``narrowed`` names the options that keep tests from being seen; ``troubles`` says what
    happened: collection errors, crashed workers, files that collected nothing.
    """

    narrowed: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def prune_refusal(run: Run) -> str | None:
    """Why nothing may be pruned in this run, or None."""
    reasons = [f"{option} leaves tests out" for option in run.narrowed] + list(run.troubles)
    if not reasons:
        return None
    then = "Run it over the whole suite" if run.narrowed else "Mend that first, then run it again"
    return (
        f"--nnx-prune-snapshots deletes nothing here: {'; '.join(reasons)}. "
        f"{then}: pytest --nnx-prune-snapshots"
    )


# -- whether a source text may define a test ------------------------------------------------


def may_define(source: str, cls: str, function: str, *, class_collected: bool) -> bool:
    """Whether a test that was not collected here may be defined by ``source`` elsewhere.

    A test behind an ``if`` is not collected everywhere, and yet lives. It need not be a
    ``def``: a call may make it, an import may bring it, a base class may hold it. What
    cannot be told counts as defined. ``class_collected`` tells that other tests of its class
    were collected, so that the class itself is not behind an ``if``.
    """
    tree = _parse(source)
    if tree is None:
        return True
    scope = cls.split(".") if cls else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == function:
            return True  # setattr, globals()["test_it"] = ...
        if any(_may_be(key, name) for key in _set_by_name(node) for name in (function, *scope)):
            return True
    scopes: list[ast.AST] = [tree]
    inherits = False
    for name in scope:
        bound = [node for scope in scopes for node in _bindings(scope, name)]
        classes = [node for node in bound if isinstance(node, ast.ClassDef)]
        if not classes:
            return bool(bound)
        inherits |= any(node.bases for node in classes)
        scopes = [*classes]
    if any(node for scope in scopes for node in _bindings(scope, function)):
        return True
    return inherits and (not class_collected or f"def {function}(" in source)


@functools.lru_cache(maxsize=4)
def _parse(source: str) -> ast.AST | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bindings(scope: ast.AST, name: str, nested: bool = False) -> Iterator[ast.AST]:
    """What binds ``name`` in the body of ``scope``, or may: an ``import *`` behind an ``if``."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == name:
                yield node
            continue
        if isinstance(node, ast.alias):
            if (node.asname or node.name) == name or (node.name == "*" and nested):
                yield node
        elif isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            yield node
        yield from _bindings(node, name, nested or not isinstance(node, ast.ImportFrom))


def _set_by_name(node: ast.AST) -> Iterator[ast.expr | None]:
    """The keys under which a node binds names that no ``def`` holds; None for any key."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        if _is_namespace(node.value):
            yield node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "setattr" and len(node.args) > 1:
            yield node.args[1]
        elif node.func.id == "exec":
            yield None
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "update" and _is_namespace(node.func.value):
            yield from (ast.Constant(word.arg) if word.arg else None for word in node.keywords)
            for given in node.args:
                yield from given.keys if isinstance(given, ast.Dict) else [None]
        elif node.func.attr in ("setdefault", "__setitem__") and _is_namespace(node.func.value):
            yield node.args[0] if node.args else None


def _is_namespace(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "__dict__"
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("globals", "vars", "locals")
    )


def _may_be(key: ast.expr | None, name: str) -> bool:
    return re.fullmatch(_pattern(key), name, re.DOTALL) is not None


def _pattern(key: ast.expr | None) -> str:
    """What texts an expression may come to, as a regular expression."""
    if isinstance(key, ast.Constant):
        return re.escape(str(key.value))
    if isinstance(key, ast.JoinedStr):
        return "".join(map(_pattern, key.values))
    if isinstance(key, ast.BinOp) and isinstance(key.op, ast.Add):
        return _pattern(key.left) + _pattern(key.right)
    if isinstance(key, ast.BinOp) and isinstance(key.op, ast.Mod):
        return _filled(key.left, r"%[^a-zA-Z%]*[a-zA-Z]")
    method = key.func if isinstance(key, ast.Call) else None
    if isinstance(method, ast.Attribute) and method.attr == "format":
        return _filled(method.value, r"\{[^{}]*\}")
    return ".*"


def _filled(template: ast.expr, hole: str) -> str:
    if not isinstance(template, ast.Constant) or not isinstance(template.value, str):
        return ".*"
    return ".*".join(map(re.escape, re.split(hole, template.value)))
