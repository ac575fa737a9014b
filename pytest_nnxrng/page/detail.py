"""A check -> all that a page can tell of it, as JSON: leaves, values, environment, what is missing.

Reads the golden and what the run obtained; what cannot be read is told in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_nnxrng.golden.document import fingerprint, load
from pytest_nnxrng.golden.errors import GoldenError
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.leaf.dtypes import is_key
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.page import heat
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.fold import natural
from pytest_nnxrng.run.outcomes import Check

_LEAVES = 200  # of a check
_SEEN = 24  # leaves of a check whose values are drawn
_LARGEST = 1 << 26  # elements of a leaf whose values are drawn

Row = dict[str, Any]


@dataclass
class Pictures:
    """How many leaves a page may still draw: it is to open at once."""

    left: int = 400
    each: int = _SEEN

    def share(self, checks: int) -> None:
        self.each = min(_SEEN, max(1, self.left // max(checks, 1)))


@dataclass(frozen=True)
class Side:
    """A golden, or what a run obtained: its manifest as JSON, its leaves, or why there is none."""

    document: Mapping[str, Any] | None = None
    golden: Golden | None = None
    lacks: str = ""
    leaves: Mapping[str, Leaf] = field(default_factory=dict)

    @property
    def keys(self) -> keymap.Keys | None:
        return None if self.document is None else keymap.of_manifest(self.document)


def side(path: Path, digest: str | None, name: str) -> Side:
    """What is at ``path``, if it is what the run had there."""
    try:
        if digest is None:
            return Side(lacks=f"{name}: there was none")
        if fingerprint(path) != digest:
            return Side(lacks=f"{name}: the file is not here, or no longer the run's")
        golden = read(path)
        found = {leaf.path: leaf for leaf in golden.leaves}
        return Side(load(path), golden, leaves=found)
    except (GoldenError, OSError) as error:
        told = error.problem if isinstance(error, GoldenError) else error.strerror
        return Side(lacks=f"{name}: {path.name} {told}")


def sides(check: Check, folder: Path, root: Path) -> tuple[Side, Side]:
    """The golden that a check was compared to, and what was obtained."""
    if check.obtained is None:
        why = "what the run obtained is not kept in the report"
        return Side(lacks=""), Side(lacks=check.withheld or why)
    golden = side(root / check.golden, check.obtained["against"], "golden")
    return golden, side(folder / check.obtained["path"], check.obtained["digest"], "now")


def detail(check: Check, golden: Side, obtained: Side, pictures: Pictures) -> Row:
    """All there is to tell of a check that failed."""
    told = {row["leaf"]: row for row in check.differences}
    paths = sorted(told or obtained.leaves, key=natural)
    leaves, drawn = [], 0
    for path in paths[:_LEAVES]:
        here, there = golden.leaves.get(path), obtained.leaves.get(path)
        row = _leaf(path, told.get(path, {}), here, there)
        if drawn < pictures.each and pictures.left > 0:
            seen = _values(here, there)
            drawn, pictures.left = drawn + bool(seen), pictures.left - bool(seen)
        elif here or there:
            seen = {
                "absent": [
                    "its values are not drawn: the page draws those of "
                    f"{pictures.each} leaves of a check"
                ]
            }
        else:
            seen = {}
        leaves.append({**row, **{k: v for k, v in seen.items() if v}})
    return {
        "lacks": [side.lacks for side in (golden, obtained) if side.lacks],
        "withheld": check.withheld,
        "causes": [dict(cause) for cause in check.causes],
        "modules": [dict(row) for row in check.modules],
        "environment": _environment(golden, obtained),
        "leaves": leaves,
        "more": max(0, len(paths) - _LEAVES),
        "alike": check.leaves - len(told) if told else 0,
        "notes": list(check.notes),
    }


def _environment(golden: Side, obtained: Side) -> list[list[str]] | None:
    if golden.document is None or obtained.document is None:
        return None
    old, new = golden.document["environment"], obtained.document["environment"]
    return [
        [name, str(old.get(name, "-")), str(new.get(name, "-"))]
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _leaf(path: str, row: Mapping[str, Any], here: Leaf | None, there: Leaf | None) -> Row:
    """What the manifests and the comparison say of a leaf."""
    forms = [_form(row.get(name), leaf) for name, leaf in (("expected", here), ("obtained", there))]
    return {
        "path": path,
        "kinds": row.get("kinds", []),
        "rng": bool(row.get("rng")),
        "forms": forms,
        "numbers": row.get("numbers"),
        "statistics": [dict(leaf.statistics) if leaf else None for leaf in (here, there)],
    }


def _form(row: Mapping[str, Any] | None, leaf: Leaf | None) -> Row | None:
    """What a leaf is, on one side: by the report, or else by the manifest."""
    if leaf is not None:
        draws = None if leaf.draws is None else list(leaf.draws)
        return {"what": f"{leaf.type} {leaf.dtype}{list(leaf.shape)}", "draws": draws}
    if row is None:
        return None
    return {"what": f"{row['type']} {row['dtype']}{row['shape']}", "draws": row["draws"]}


def _values(here: Leaf | None, there: Leaf | None) -> Row:
    """The pictures of a leaf's values, and what of them there is not."""
    absent: list[str] = []
    arrays = [_read(leaf, name, absent) for leaf, name in ((here, "golden"), (there, "now"))]
    floats = [None if array is None else heat.numbers(array) for array in arrays]
    found: Row = {"absent": absent}
    if any(values is not None for values in floats):
        found["heat"] = heat.heat(*floats)
        found["histogram"] = heat.histogram(*floats)
    golden, obtained = arrays
    alike = here and there and (here.dtype, here.shape) == (there.dtype, there.shape)
    if here and alike and golden is not None and obtained is not None:
        found["worst"] = heat.worst(golden, obtained, here)
    return found


def _read(leaf: Leaf | None, name: str, absent: list[str]) -> Any:
    if leaf is None:
        return None
    if is_key(leaf.dtype):
        absent.append(f"{name}: PRNG keys have no order to be drawn in")
        return None
    if leaf.read is None:
        why = "its values are not stored" if leaf.digest else "abstract: it has no values"
        absent.append(f"{name}: {why}")
        return None
    if leaf.size > _LARGEST:
        absent.append(f"{name}: {leaf.size:,} elements are too many to be drawn here")
        return None
    try:
        return leaf.read()
    except GoldenError as error:
        absent.append(f"{name}: {error.problem}")
        return None
