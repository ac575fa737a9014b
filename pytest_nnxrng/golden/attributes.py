"""The rows of modules in a manifest: one a line, equal ones by reference to the first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pytest_nnxrng.leaf.modules import CLASS, Row


def packed(rows: Mapping[str, Row]) -> dict[str, Any]:
    """The rows by their paths, sorted; one that equals an earlier one is the path of that one.

    A transformer's layers are alike but for the first: so they are read, and changed, once.
    """
    first: dict[str, str] = {}
    found: dict[str, Any] = {}
    for path in sorted(rows):
        row = dict(rows[path])
        text = json.dumps(row)
        like = first.setdefault(text, path)
        found[path] = row if like == path or len(text) <= len(json.dumps(like)) else like
    return found


def unpacked(data: Any) -> dict[str, Row]:
    """The rows as `packed` wrote them.

    Raises:
      ValueError: for anything else.
    """
    if not isinstance(data, dict):
        raise ValueError('"modules" is not a map of modules')
    found: dict[str, Row] = {}
    for path, entry in data.items():
        row = data.get(entry) if isinstance(entry, str) else entry
        if not isinstance(row, dict) or not isinstance(row.get(CLASS, ""), str):
            raise ValueError(f'"modules": {path} is neither a module nor like one')
        if not all(value is None or _is_plain(value) for value in row.values()):
            raise ValueError(f'"modules": {path} holds what is no number, text or list of these')
        found[path] = row
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(item is None or _is_plain(item) for item in value)
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
