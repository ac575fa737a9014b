"""The modules of a value, as rows: the class of each, and its static attributes by name."""

from __future__ import annotations

from collections.abc import Mapping
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
