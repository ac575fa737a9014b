"""Paths that differ in a number alone, told together."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_LISTED = 3


def pattern(path: str) -> str:
    """The path without its numbers: that of all that is repeated with it."""
    return NUMBER.sub("*", path)


def told(paths: Sequence[str]) -> tuple[str, str]:
    """What the paths are and where: ``("norm", " in each of blocks.0 to blocks.31")``."""
    split = [
        (path[: m.start()], int(m.group()), path[m.end() :].lstrip("."))
        if (m := NUMBER.search(path))
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
