"""How leaves are named and taken apart; paths that differ in a number alone as one pattern."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

_PLAIN_KEY = re.compile(r"(?!__metadata__\Z)[A-Za-z_][A-Za-z0-9_]*\Z")
Row: TypeAlias = Any  # a path, or [times, first, rows]
_NUMBER = re.compile(r"(?<![^.])(\d{1,9})(?![^.])")
_INDEX = re.compile(r"(?<!\d)(\d{1,9})(?![^.])")  # block_0 and block0 are numbered, too
_LONGEST = 1 << 20  # repetitions of a row
_EACH = 32  # characters' worth of time and memory that a path takes besides its own
LARGEST = 1 << 26  # characters that the paths of a golden may have
_LISTED = 3


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


def compact(paths: Sequence[str]) -> list[Row]:
    """The rows for ``paths``."""
    return _rows(paths) if not any("{" in path for path in paths) else list(paths)


def expand(rows: Any) -> list[str]:
    """The paths that ``rows`` stand for.

    Raises:
      ValueError: when these are no such rows, or stand for too many.
    """
    cost(rows)
    return list(_paths(rows))


def cost(rows: Any) -> int:
    """What it takes to expand ``rows``, in characters.

    Raises:
      ValueError: when these are no such rows, or stand for too many.
    """
    if not isinstance(rows, list) or (total := _cost(rows)) > LARGEST:
        raise ValueError("is not a list of paths, or of too many")
    return total


def _rows(paths: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    groups = [(key, list(group)) for key, group in itertools.groupby(paths, _head)]
    while groups:
        (before, number), first = groups[0]
        alike = 1
        if number is not None:
            template = [_NUMBER.sub("{}", path, count=1) for path in first]
            while alike < len(groups) and groups[alike][0] == (before, number + alike):
                if [_NUMBER.sub("{}", path, count=1) for path in groups[alike][1]] != template:
                    break
                alike += 1
        if alike > 1:
            rows.append([alike, number, _rows(template)])
        else:
            rows += first
        groups = groups[alike:]
    return rows


def _head(path: str) -> tuple[str, int | None]:
    """What stands before the first number in a path, and the number."""
    found = _NUMBER.search(path)
    if found is None or found.group(1) != str(int(found.group(1))):
        return path, None
    return path[: found.start()], int(found.group(1))


def _cost(rows: Any) -> int:
    total = 0
    for row in rows if isinstance(rows, list) else [None]:
        if isinstance(row, str):
            total += _EACH + len(row)
        elif (
            isinstance(row, list)
            and len(row) == 3
            and type(row[0]) is type(row[1]) is int
            and 0 <= row[0] <= _LONGEST
            and 0 <= row[1] <= _LONGEST
        ):
            total += row[0] * (_EACH + _cost(row[2]))
        else:
            raise ValueError("holds what is neither a path nor a repeated row")
    return total


def _paths(rows: Sequence[Row], numbers: tuple[int, ...] = ()) -> Iterator[str]:
    for row in rows:
        if isinstance(row, str):
            path = row
            for number in numbers:
                path = path.replace("{}", str(number), 1)
            yield path
        else:
            times, first, inner = row
            for number in range(first, first + times):
                yield from _paths(inner, (*numbers, number))


def pattern(path: str) -> str:
    """The path without its numbers: that of all that is repeated with it."""
    return _INDEX.sub("*", path)


def braced(paths: Sequence[str]) -> str:
    """``blocks.{i}.norm1`` for paths of one pattern: the numbers in which they differ."""
    rows = [_INDEX.split(path) for path in paths]
    return "".join(
        step if place % 2 == 0 or len(numbers) == 1 else "{i}"
        for place, step in enumerate(rows[0])
        for numbers in [{row[place] for row in rows}]
    )


def told(paths: Sequence[str]) -> tuple[str, str]:
    """What the paths are and where: ``("norm", " in each of blocks.0 to blocks.31")``."""
    split = [
        (path[: m.start()], int(m.group()), path[m.end() :].lstrip("."))
        if (m := _INDEX.search(path))
        else (path, -1, "")
        for path in paths
    ]
    one = len({(before, after) for before, _, after in split}) == 1
    if len(paths) < 2 or not one or split[0][1] < 0:
        return ", ".join(paths[:_LISTED]) + (", ..." if len(paths) > _LISTED else ""), ""
    before, first, after = split[0]
    last = split[-1][1]
    if [n for _, n, _ in split] == list(range(first, last + 1)) and len(split) > 2:
        where = f"{before}{first} to {before}{last}"
        return (after, f" in each of {where}") if after else (where, "")
    some = [f"{before}{n}" for _, n, _ in split[:_LISTED]]
    where = ", ".join(some) + (", ..." if len(split) > _LISTED else "")
    return (after, f" in each of {where}") if after else (where, "")
