"""A check -> all that a page can tell of it, as JSON: leaves, values, environment, what is missing.

Reads the golden and what the run obtained; what cannot be read is told in words.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_nnxrng.compare.numbers import exact, inexact
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.golden.document import GoldenError, fingerprint, load
from pytest_nnxrng.golden.manifest import Golden, read
from pytest_nnxrng.leaf.dtypes import is_inexact, is_key
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.scale import Scale
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.fold import natural
from pytest_nnxrng.run.outcomes import Check

MOST = 32  # cells each way
_LEVELS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_HOLE = "."  # a cell in which a number is not finite
_BINS = 24
_WORST = 5

Floats = NDArray[np.float64]
_LEAVES = 200  # of a check
_SEEN = 24  # leaves of a check whose values are drawn
_LARGEST = 1 << 26  # elements of a leaf whose values are drawn
Row = dict[str, Any]


def numbers(array: NDArray[Any]) -> Floats | None:
    """The elements as float64; None of what has no order, as complex numbers have none."""
    if array.dtype.kind == "c":
        return None
    return array.astype(np.float64)


@np.errstate(invalid="ignore", over="ignore")
def heat(golden: Floats | None, obtained: Floats | None) -> dict[str, Any] | None:
    """Both on one scale, and how far they are apart; None of what is a single element."""
    sides = {"golden": golden, "now": obtained}
    some = {name: values for name, values in sides.items() if values is not None and values.size}
    there = {name: flat(values) for name, values in some.items()}
    if not any(values.size > 1 for values in there.values()):
        return None
    finite = [values[np.isfinite(values)] for values in there.values()]
    low = min((float(f.min()) for f in finite if f.size), default=0.0)
    high = max((float(f.max()) for f in finite if f.size), default=0.0)
    made: dict[str, Any] = {"low": low, "high": high}
    for name, values in there.items():
        cells = pooled(values, mean=True)
        made[name] = letters(cells, low, high)
        made[f"{name}_rows"], made[f"{name}_sampled"] = cells.shape[0], cells.size < values.size
    if len(some) == 2 and some["golden"].shape == some["now"].shape:
        apart = np.abs(there["golden"] - there["now"])
        most = apart[np.isfinite(apart)]
        made["most"] = float(most.max()) if most.size else 0.0
        made["apart"] = letters(pooled(apart, mean=False), 0.0, made["most"])
    return made


def flat(values: Floats) -> Floats:
    """Any shape as rows and columns: the last axis is across; a vector is one row."""
    return values.reshape(1, -1) if values.ndim < 2 else values.reshape(-1, values.shape[-1])


def pooled(values: Floats, *, mean: bool) -> Floats:
    """No more than ``MOST`` cells each way, each the mean or the greatest of its area."""
    for axis in (0, 1):
        size = values.shape[axis]
        if size > MOST:
            starts = np.linspace(0, size, MOST, endpoint=False).astype(int)
            add = np.add if mean else np.maximum
            values = add.reduceat(values, starts, axis=axis)
            if mean:
                counts = np.diff([*starts, size])
                values = values / (counts[:, None] if axis == 0 else counts)
    return values


def letters(cells: Floats, low: float, high: float) -> str:
    """A letter a cell, in C order."""
    span = high - low
    with np.errstate(invalid="ignore"):
        share = (cells - low) / span if span > 0 else np.zeros_like(cells)
        levels = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0) * 63.999, 0, 63)
    holes = ~np.isfinite(cells)
    return "".join(
        _HOLE if hole else _LEVELS[int(level)]
        for level, hole in zip(levels.ravel(), holes.ravel(), strict=True)
    )


def histogram(golden: Floats | None, obtained: Floats | None) -> dict[str, Any] | None:
    """How many elements lie where, in bins that are the same for both."""
    sides = {"golden": golden, "now": obtained}
    finite = {n: v[np.isfinite(v)] for n, v in sides.items() if v is not None and v.size > 1}
    some = [values for values in finite.values() if values.size]
    if not some:
        return None
    low, high = min(float(v.min()) for v in some), max(float(v.max()) for v in some)
    if not low < high or not np.isfinite(high - low):
        return None
    counts = {n: np.histogram(v, _BINS, (low, high))[0].tolist() for n, v in finite.items()}
    return {"low": low, "high": high, **counts}


@np.errstate(invalid="ignore", over="ignore")
def worst(golden: NDArray[Any], obtained: NDArray[Any], leaf: Leaf) -> list[list[Any]]:
    """The elements furthest apart: index, golden, obtained, how far, in units of the last place."""
    a, b = numbers(golden), numbers(obtained)
    if a is None or b is None or a.shape != b.shape:
        return []
    apart = np.abs(a.ravel() - b.ravel())
    odd = ~np.isfinite(apart) & ~((a == b) | (np.isnan(a) & np.isnan(b))).ravel()
    order = np.where(odd, np.inf, np.nan_to_num(apart))
    found = []
    for at in np.argsort(-order, kind="stable")[:_WORST]:
        if not order[at]:
            break
        one, other = golden.reshape(-1)[at : at + 1], obtained.reshape(-1)[at : at + 1]
        row = leaf.but(shape=(1,))
        if is_inexact(leaf.dtype):
            told = inexact(one, other, Tolerance({}), row, Scale(0.0))
        else:
            told = exact(one, other, row)
        index = ", ".join(str(int(i)) for i in np.unravel_index(int(at), leaf.shape))
        how_far = f"{apart[at]:.3g}" if np.isfinite(apart[at]) else "not finite"
        found.append([f"[{index}]", told.expected, told.obtained, how_far, told.ulp])
    return found


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
    floats = [None if array is None else numbers(array) for array in arrays]
    found: Row = {"absent": absent}
    if any(values is not None for values in floats):
        found["heat"] = heat(*floats)
        found["histogram"] = histogram(*floats)
    golden, obtained = arrays
    alike = here and there and (here.dtype, here.shape) == (there.dtype, there.shape)
    if here and alike and golden is not None and obtained is not None:
        found["worst"] = worst(golden, obtained, here)
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
