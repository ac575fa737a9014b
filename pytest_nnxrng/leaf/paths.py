"""How leaves are named: the keys that lead to a leaf, as one text, and texts taken apart again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_PLAIN_KEY = re.compile(r"(?!__metadata__\Z)[A-Za-z_][A-Za-z0-9_]*\Z")


def path_string(path: Iterable[Any]) -> str:
    """``('layers', 0, 'a.b')`` -> ``layers.0["a.b"]``: no two paths share a name."""
    return "".join(map(step, path)).removeprefix(".")


def step(key: Any) -> str:
    """One key as it stands in a path, with the sign before it: ``.layers``, ``["a.b"]``."""
    if isinstance(key, str):
        name = str.__str__(key)  # an Enum of texts formats itself in its own way
        return f".{name}" if _PLAIN_KEY.match(name) else f"[{json_string(name)}]"
    if isinstance(key, int) and not isinstance(key, bool):
        return f".{int(key)}"
    return f"[{type(key).__name__}:{json_string(repr(key))}]"


def json_string(text: str) -> str:
    """``text`` as a JSON string literal, readable: non-ASCII letters stay as they are."""
    literal = json.dumps(text, ensure_ascii=False)
    return literal if literal.isprintable() else json.dumps(text)


def is_below(path: str, *roots: str) -> bool:
    """Whether ``path`` is one of ``roots``, or lies in one."""
    return any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)


def prefixes(path: str) -> set[str]:
    """The path, and all before it in which it may lie."""
    return {path, *(path[:i] for i, c in enumerate(path) if c in ".[")}


def parent(path: str) -> str:
    """``layers.0.kernel`` -> ``layers.0``."""
    return path.rpartition(".")[0]


def tail(path: str) -> str:
    """``layers.0.kernel`` -> ``.kernel``: what `parent` leaves, with the sign before it."""
    head, dot, last = path.rpartition(".")
    return f"{dot}{last}" if head else path
