"""Whether a source text may define a test: what cannot be told counts as defined."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator


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
