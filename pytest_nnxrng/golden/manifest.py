"""The golden's format: leaves in memory, a JSON manifest and a safetensors file on disk.

A manifest is made for review: sorted, one leaf a line, the same bytes whenever it is made
from the same values. Reading trusts nothing: whatever a file holds, the outcome is a
``Golden`` or a ``GoldenError`` that names the file and the way out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_nnxrng.golden import execution
from pytest_nnxrng.golden.consistency import contradiction
from pytest_nnxrng.golden.document import FORMAT, GoldenError, broken, load, short, too_large
from pytest_nnxrng.golden.execution import packed, unpacked
from pytest_nnxrng.golden.inventory import Owner, parse_owner
from pytest_nnxrng.golden.values import Reader, checked
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype, dtype_of
from pytest_nnxrng.leaf.forward import Forward, Row
from pytest_nnxrng.leaf.leaf import Leaf, constant
from pytest_nnxrng.leaf.paths import LARGEST, cost
from pytest_nnxrng.leaf.placement import Placement, Spec, normal
from pytest_nnxrng.leaf.sketch import Sketch, real_of
from pytest_nnxrng.leaf.spots import decode

_NEWER = 20  # times that other runs may replace a golden while it is read
_DIMENSIONS = 256  # of a leaf, at most: numpy makes no array of more than 64


@dataclass(frozen=True)
class Golden:
    """A stored snapshot, or one about to be stored."""

    owner: Owner
    environment: Mapping[str, Any]
    leaves: tuple[Leaf, ...]
    aliases: Mapping[str, str]
    streams: Mapping[str, Any] = field(default_factory=dict)
    values: str | None = None
    modules: Mapping[str, Row] | None = None  # None: not recorded
    calls: Forward | None = None  # of a check of a call

    def without_values(self) -> Golden:
        """What the manifest alone holds."""
        held = [leaf.but(read=None) if leaf.stored else leaf for leaf in self.leaves]
        return replace(self, leaves=tuple(held))


# -- writing ---------------------------------------------------------------------------


def dumps(golden: Golden) -> str:
    """The manifest's text: sorted, one leaf a line, ending in a newline."""
    owner = golden.owner
    head = {
        "format": FORMAT,
        "owner": {
            "class": owner.cls,
            "function": owner.function,
            "parameters": owner.parameters,
            "check": owner.check,
            "kind": owner.kind,
        },
        "environment": dict(sorted(golden.environment.items())),
        "streams": dict(sorted(golden.streams.items())),
        "values": golden.values,
        "aliases": dict(sorted(golden.aliases.items())),
    }
    if golden.modules:
        head["modules"] = packed(golden.modules)
    lines = [f"{_line(key)}: {_block(value)}" for key, value in head.items()]
    if golden.calls is not None:
        lines.append(f'"calls": {execution.text_of(execution.dumped(golden.calls))}')
    ordered = sorted(golden.leaves, key=lambda leaf: leaf.path)
    rows = [f"    {_line(leaf.path)}: {_line(_leaf_to_json(leaf))}" for leaf in ordered]
    lines.append('"leaves": {\n' + ",\n".join(rows) + "\n  }")
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def _block(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return _line(value)
    rows = [f"    {_line(key)}: {_line(item)}" for key, item in value.items()]
    return "{\n" + ",\n".join(rows) + "\n  }"


def _leaf_to_json(leaf: Leaf) -> dict[str, Any]:
    row: dict[str, Any] = {"type": leaf.type, "dtype": leaf.dtype, "shape": list(leaf.shape)}
    if leaf.rng:
        row["rng"] = True
    if leaf.fixed_key:
        row["fixed_key"] = True
    if leaf.sharding is not None:
        row["sharding"] = list(leaf.sharding)
    if leaf.placed is not None:
        row["placed"] = list(leaf.placed.spec)
        if leaf.placed.unseen:
            row["unseen"] = list(leaf.placed.unseen)
    if leaf.draws is not None:
        row["draws"] = list(leaf.draws)
    if leaf.initializer is not None:
        row["initializer"] = leaf.initializer
    row.update(leaf.statistics)
    if leaf.digest is not None:
        row["digest"] = leaf.digest
        if not leaf.stored and constant(leaf) is None:
            row["stored"] = False
    if leaf.sketch is not None:
        row["sketch"] = leaf.sketch.to_json()
    if leaf.spots is not None:
        row["spots"] = leaf.spots
    if leaf.kept:
        row["kept"] = True
    return row


# -- reading ---------------------------------------------------------------------------


def lacking(path: Path, golden: Golden) -> GoldenError | None:
    """Why the values of the golden at ``path`` are not there, if they are not."""
    return Reader(path, values_path(path, golden.values)).lacking() if golden.values else None


def settled(path: Path) -> tuple[Golden, GoldenError | None]:
    """The golden at ``path``, and why its values are not there, though nobody just replaced them.

    Raises:
      FileNotFoundError: when there is no golden.
      GoldenError: when there is one that cannot be used.
    """
    golden = read(path)
    for _ in range(_NEWER):
        lacks = lacking(path, golden)
        named, golden = golden.values, golden if lacks is None else read(path)
        if named == golden.values:
            return golden, lacks
    return golden, lacking(path, golden)


def read(path: Path) -> Golden:
    """Read the manifest at ``path``; the elements are read when a leaf's ``read`` is called.

    Raises:
      FileNotFoundError: when there is no golden.
      GoldenError: when there is one that cannot be used.
    """
    return _parse(path, load(path))


class _Invalid(Exception):
    pass


def _parse(path: Path, data: dict[str, Any]) -> Golden:
    try:
        values = data.get("values")
        if values is not None and not _is_values_name(values):
            raise _Invalid(f'"values" names {short(values)!r}, not a file of this golden')
        aliases = _get(data, "aliases", dict)
        if not all(isinstance(target, str) for target in aliases.values()):
            raise _Invalid('"aliases" is not a map of paths')
        rows = _get(data, "leaves", dict)
        reader = Reader(path, values_path(path, values)) if values is not None else None
        return Golden(
            owner=parse_owner(data.get("owner")),
            environment=_parse_environment(data),
            leaves=tuple(_parse_leaf(path, name, row, reader) for name, row in rows.items()),
            aliases=aliases,
            streams=_parse_streams(data),
            values=values,
            modules=unpacked(data["modules"]) if "modules" in data else None,
            calls=execution.loaded(data["calls"]) if "calls" in data else None,
        )
    except (_Invalid, ValueError, RecursionError) as error:
        raise broken(path, f"has been edited or damaged: {error}") from error


def _parse_environment(data: dict[str, Any]) -> dict[str, Any]:
    environment: dict[str, Any] = _get(data, "environment", dict)
    if not all(isinstance(value, str | int | float) for value in environment.values()):
        raise _Invalid('"environment" is not a map of texts and numbers')
    if not all(f"{key}{value}".isprintable() for key, value in environment.items()):
        raise _Invalid('"environment" holds what cannot be printed')
    return environment


def _parse_streams(data: dict[str, Any]) -> dict[str, Any]:
    streams: dict[str, Any] = _get(data, "streams", dict)
    for name, stream in streams.items():
        row = stream if isinstance(stream, dict) else {}
        # A stream whose counts are not known, as of a finished model, has none.
        counts = [n for c in ("count", "end") if c in row for n in _listed(row[c])]
        words = _listed(row.get("key")) + counts
        if not isinstance(row.get("impl"), str) or not isinstance(row.get("key"), list):
            raise _Invalid(f'"streams": {name} has no "impl" or no "key"')
        if not all(type(word) is int and 0 <= word < 2**32 for word in words):
            raise _Invalid(f'"streams": the key or counts of {name} are not 32-bit numbers')
    _check_owners(streams)
    return streams


def _check_owners(streams: dict[str, Any]) -> None:
    """Who drew the keys: a golden of an earlier version does not say."""
    total = 0
    for name, stream in streams.items():
        forks = stream.get("forks", {})
        if not isinstance(forks, dict):
            raise _Invalid(f'"streams": "forks" of {name} is not an object')
        for key, rows in [("draws", stream.get("draws", [])), *forks.items()]:
            try:
                total += cost(rows)
            except ValueError as error:
                raise _Invalid(f'"streams": {short(key)} of {short(name)} {error}') from None
    if total > LARGEST:
        raise _Invalid('"streams" stand for too many draws')


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _parse_leaf(manifest: Path, path: str, row: Any, reader: Reader | None) -> Leaf:
    if not path.isprintable():
        raise _Invalid(f"leaf {path} has a name that cannot be printed")
    if not isinstance(row, dict):
        raise _Invalid(f"leaf {path} is not an object")
    try:
        return _leaf_from_json(manifest, path, row, reader)
    except _Invalid as error:
        raise _Invalid(f"leaf {path}: {error}") from error


_BLANK = Leaf("", "", (), "")
_HEX = re.compile(r"[0-9a-f]{32}")


def _leaf_from_json(manifest: Path, path: str, row: dict[str, Any], reader: Reader | None) -> Leaf:
    """One leaf of a golden. A golden has thousands: what most rows lack is asked for once."""
    shape, dtype = _shape(row), _get(row, "dtype", str)
    digest = row.get("digest")
    if digest is not None and not (isinstance(digest, str) and _HEX.fullmatch(digest)):
        raise _Invalid('"digest" is not 32 hex digits')
    if not _OF_NUMBERS.isdisjoint(row):
        try:
            dtype_of(dtype)
        except UnsupportedDtype:
            raise _Invalid(f'"dtype" is {short(dtype)!r}') from None
    if not isinstance(row.get("initializer", ""), str):
        raise _Invalid('"initializer" is not text')
    leaf: Leaf = _BLANK.but(
        path=path,
        type=_printable(row, "type"),
        shape=shape,
        dtype=dtype,
        digest=digest,
        statistics={k: row[k] for k in _STATISTICS if k in row and type(row[k]) in _NUMBERS},
        draws=_draws(row.get("draws")),
        initializer=row.get("initializer"),
        stored=digest is not None,
        read=None if digest is None or reader is None else lambda: reader.read(leaf),
    )
    if not _RARE.isdisjoint(row):
        leaf = _with_rest(leaf, row)
    if wrong := contradiction(leaf):
        raise _Invalid(wrong)
    if digest is not None and (elements := constant(leaf)) is not None:
        return leaf.but(stored=False, read=lambda: checked(manifest, leaf, elements))
    return leaf


def _shape(row: dict[str, Any]) -> tuple[int, ...]:
    shape = _get(row, "shape", list)
    if len(shape) > _DIMENSIONS or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise _Invalid(f'"shape" is {short(shape)}')
    return tuple(shape)


def _draws(draws: Any) -> tuple[str, ...] | None:
    if draws is None:
        return None
    if type(draws) is not list or not all(type(d) is str and d.isprintable() for d in draws):
        raise _Invalid('"draws" is not a list of texts')
    return tuple(draws)


def _with_rest(leaf: Leaf, row: dict[str, Any]) -> Leaf:
    """With what few leaves have."""
    for name in ("rng", "fixed_key", "stored", "kept"):
        if not isinstance(row.get(name, False), bool):
            raise _Invalid(f'"{name}" is {short(row[name])}')
    placed, unseen = _spec(row, "placed"), row.get("unseen", [])
    if not isinstance(unseen, list) or not all(isinstance(name, str) for name in unseen):
        raise _Invalid('"unseen" is not a list of texts')
    if too_large(row.get("sketch")):
        raise _Invalid('"sketch" holds too large a number')
    try:
        sketch = _sketch(row["sketch"], leaf.dtype, leaf.shape) if "sketch" in row else None
        if "spots" in row:
            decode(row["spots"], leaf.dtype, leaf.shape)
    except ValueError as error:
        raise _Invalid(str(error)) from None
    stored = leaf.stored and row.get("stored", True)
    return leaf.but(
        rng=row.get("rng", False),
        fixed_key=row.get("fixed_key", False),
        sharding=_spec(row, "sharding"),
        placed=None if placed is None else Placement(placed, tuple(unseen)),
        sketch=sketch,
        spots=row.get("spots"),
        stored=stored,
        read=leaf.read if stored else None,
        kept=row.get("kept", False),
    )


def _sketch(value: Any, dtype: str, shape: tuple[int, ...]) -> Sketch:
    real = real_of(dtype_of(dtype))
    if real is None:
        raise _Invalid(f'"sketch" of {dtype}, which has none')
    parts = dtype_of(dtype).itemsize // real.itemsize
    sketch = Sketch.from_json(value, real.name)
    if sketch.size != math.prod(shape) * parts:
        raise _Invalid(f'"sketch" is one of {sketch.size} numbers, the leaf has others')
    return sketch


_STATISTICS = ("value", "constant", "mean", "std", "min", "max", "nonfinite")
_OF_NUMBERS = frozenset({"digest", "spots", "sketch", *_STATISTICS})
_NUMBERS = frozenset({int, float, str})
_RARE = frozenset(
    (
        *("rng", "fixed_key", "sharding", "placed", "unseen"),
        *("sketch", "spots", "stored", "kept"),
    )
)


def _spec(row: Mapping[str, Any], name: str) -> Spec | None:
    value = row.get(name)
    if value is not None and not isinstance(value, list):
        raise _Invalid(f'"{name}" is not a list')
    return None if value is None else normal(value)


def _get(data: dict[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        raise _Invalid(f'"{name}" is missing' if name not in data else f'"{name}" is {value!r:.40}')
    return value


def _printable(row: dict[str, Any], name: str) -> str:
    text: str = _get(row, name, str)
    if not text.isprintable():
        raise _Invalid(f'"{name}" cannot be printed')
    return text


def _is_values_name(name: Any) -> bool:
    return isinstance(name, str) and bool(
        re.fullmatch(r"[^./\\:\0\n][^/\\:\0\n]{0,240}\.[0-9a-f]{8}\.safetensors", name)
    )


def values_path(manifest: Path, name: str) -> Path:
    """Where the values are that ``manifest`` calls ``name``.

    Of a golden that was moved by hand they are called as the manifest is, or still as it was.
    """
    stem = manifest.name.removesuffix(".json")
    own = manifest.with_name(f"{stem}.{name.rsplit('.', 2)[1]}.safetensors")
    named = manifest.with_name(name)
    return named if named == own or not own.exists() else own
