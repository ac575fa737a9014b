"""Many paths -> few patterns: ``blocks.{0..2}.attn.{k,o,q,v}.kernel``. Standard library alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

_MOST_NAMES = 6  # of one place, in a pattern
_PART = re.compile(r'\.|(?=\[)(?=(?:[^"]*"[^"]*")*[^"]*\Z)')

Pattern = tuple[frozenset[str], ...]


def natural(path: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``layers.2`` before ``layers.10``."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", path)
    )


def folded(paths: Iterable[str]) -> list[str]:
    """The fewest patterns found that stand for exactly these paths, in natural order.

    A pattern is a product: each way to choose one name at each of its places is one of the paths.
    """
    by_length: dict[int, list[Pattern]] = {}
    for path in dict.fromkeys(paths):
        parts = _PART.split(path)
        by_length.setdefault(len(parts), []).append(tuple(frozenset([part]) for part in parts))
    found = [shown(p) for patterns in by_length.values() for p in _merged(patterns)]
    return sorted(found, key=natural)


def _merged(patterns: list[Pattern]) -> list[Pattern]:
    before = 0
    while len(patterns) != before:
        before = len(patterns)
        # From the end: the names inside a layer unite before the layers do.
        for place in reversed(range(len(patterns[0]))):
            groups: dict[Pattern, set[str]] = {}
            for pattern in patterns:
                rest = (*pattern[:place], frozenset[str](), *pattern[place + 1 :])
                groups.setdefault(rest, set()).update(pattern[place])
            patterns = [
                (*rest[:place], frozenset(names), *rest[place + 1 :])
                for rest, names in groups.items()
            ]
    return patterns


def shown(pattern: Sequence[Collection[str]]) -> str:
    """A pattern as text."""
    text = ""
    for names in pattern:
        part = _names(names)
        text += part if part.startswith("[") or not text else f".{part}"
    return text


def _names(names: Collection[str]) -> str:
    if len(names) == 1:
        return next(iter(names))
    numbers = sorted(int(name) for name in names if name.isdecimal())
    if len(numbers) == len(names) and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    ordered = sorted(names, key=natural)
    more = f",... {len(ordered)} in all" if len(ordered) > _MOST_NAMES else ""
    return f"{{{','.join(ordered[:_MOST_NAMES])}{more}}}"
