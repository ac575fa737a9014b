"""The golden's format: leaves in memory, a JSON manifest and a safetensors file on disk.

A manifest is made for review: sorted, one leaf a line, the same bytes whenever it is made
from the same values. Reading trusts nothing: whatever a file holds, the outcome is a
``Golden`` or a ``GoldenError`` that names the file and the way out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_nnxrng.inventory import Owner, parse_owner
from pytest_nnxrng.leaf import Leaf, UnsupportedDtype, dtype_of, storage
from pytest_nnxrng.sketch import digest

FORMAT = 1
UPDATE = "pytest --nnx-update-snapshots"


class GoldenError(Exception):
    """A golden that cannot be used: which file, what is wrong with it, and the way out.

    ``replaceable`` tells whether ``--nnx-update-snapshots`` may write over it: never over a
    file that holds, or stands for, something that this run cannot see.
    """

    def __init__(self, path: Path, problem: str, remedy: str, *, replaceable: bool) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path, self.problem, self.remedy = path, problem, remedy
        self.replaceable = replaceable


@dataclass(frozen=True)
class Golden:
    """A stored snapshot, or one about to be stored."""

    owner: Owner
    environment: Mapping[str, Any]
    leaves: tuple[Leaf, ...]
    aliases: Mapping[str, str]
    streams: Mapping[str, Any] = field(default_factory=dict)
    values: str | None = None


def _encode(leaf: Leaf) -> np.ndarray:
    assert leaf.read is not None
    array = leaf.read()
    shape = (*array.shape, 2) if array.dtype.kind == "c" else array.shape
    return np.ascontiguousarray(array).reshape(-1).view(storage(leaf.dtype)).reshape(shape)


def _decode(dtype: str, stored: np.ndarray) -> np.ndarray:
    wanted = dtype_of(dtype)
    shape = stored.shape[:-1] if wanted.kind == "c" else stored.shape
    return np.ascontiguousarray(stored).reshape(-1).view(wanted).reshape(shape)


# -- writing ---------------------------------------------------------------------------


def json_string(text: str) -> str:
    """``text`` as a JSON string literal, readable: non-ASCII letters stay as they are."""
    literal = json.dumps(text, ensure_ascii=False)
    return literal if literal.isprintable() else json.dumps(text)


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
    lines = [f"{_line(key)}: {_block(value)}" for key, value in head.items()]
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
    if leaf.sharding is not None:
        row["sharding"] = list(leaf.sharding)
    if leaf.draws is not None:
        row["draws"] = list(leaf.draws)
    if leaf.initializer is not None:
        row["initializer"] = leaf.initializer
    row.update(leaf.statistics)
    if leaf.digest is not None:
        row["digest"] = leaf.digest
        if not leaf.stored:
            row["stored"] = False
    if leaf.sketch is not None:
        row["sketch"] = leaf.sketch
    return row


def write_values(path: Path, leaves: Iterable[Leaf]) -> None:
    """Write the elements of ``leaves`` to a safetensors file at ``path``.

    Raises:
      OSError: when the file cannot be written (no space, no permission, ...).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({leaf.path: _encode(leaf) for leaf in leaves}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


# -- reading ---------------------------------------------------------------------------


def read(path: Path) -> Golden:
    """Read the manifest at ``path``; the elements are read when a leaf's ``read`` is called.

    Raises:
      FileNotFoundError: when there is no golden.
      GoldenError: when there is one that cannot be used.
    """
    return _parse(path, _load_json(path, _read_text(path)))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GoldenError(
            path,
            f"cannot be read ({error.strerror or error})",
            "Make it readable",
            replaceable=False,
        ) from error
    if not data.strip():
        raise _broken(path, "is empty")
    if data.startswith(b"version https://git-lfs"):
        raise _pointer(path)
    if re.search(rb"^(<{7}|>{7}) ", data, re.MULTILINE):
        raise GoldenError(
            path,
            "holds the conflict markers of an unfinished merge",
            f"Take one side (git checkout --ours or --theirs), or write it anew with {UPDATE}",
            replaceable=True,
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(path, "is not UTF-8 text") from error


def _load_json(path: Path, text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("one name stands twice")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        data: Any = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
        if "\\ud" in text.lower():  # half a surrogate pair could not be printed, nor sent
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"is not a whole JSON file ({_short(error)})") from error
    if not isinstance(data, dict) or type(data.get("format")) is not int or data["format"] < 1:
        raise _broken(path, 'has no "format": it is not a golden of pytest-nnxrng')
    if data["format"] > FORMAT:
        raise GoldenError(
            path,
            f"has format {data['format']}; this pytest-nnxrng reads formats up to {FORMAT}",
            "Upgrade it: pip install -U pytest-nnxrng",
            replaceable=False,
        )
    return data


class _Invalid(Exception):
    pass


def _parse(path: Path, data: dict[str, Any]) -> Golden:
    try:
        values = data.get("values")
        if values is not None and not _is_values_name(path, values):
            raise _Invalid(f'"values" names {_short(values)!r}, not a file of this golden')
        aliases = _get(data, "aliases", dict)
        if not all(isinstance(target, str) for target in aliases.values()):
            raise _Invalid('"aliases" is not a map of paths')
        rows = _get(data, "leaves", dict)
        reader = _ValuesReader(path, path.parent / values) if values is not None else None
        return Golden(
            owner=parse_owner(data.get("owner")),
            environment=_get(data, "environment", dict),
            leaves=tuple(_parse_leaf(name, row, reader) for name, row in rows.items()),
            aliases=aliases,
            streams=_get(data, "streams", dict),
            values=values,
        )
    except (_Invalid, ValueError, RecursionError) as error:
        raise _broken(path, f"has been edited or damaged: {error}") from error


def _parse_leaf(path: str, row: Any, reader: _ValuesReader | None) -> Leaf:
    if not isinstance(row, dict):
        raise _Invalid(f"leaf {path} is not an object")
    try:
        return _leaf_from_json(path, dict(row), reader)
    except _Invalid as error:
        raise _Invalid(f"leaf {path}: {error}") from error


def _leaf_from_json(path: str, row: dict[str, Any], reader: _ValuesReader | None) -> Leaf:
    shape = _get(row, "shape", list)
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise _Invalid(f'"shape" is {_short(shape)}')
    dtype, digest = _get(row, "dtype", str), row.get("digest")
    draws, sharding = row.get("draws"), row.get("sharding")
    if digest is not None:
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{32}", digest):
            raise _Invalid('"digest" is not 32 hex digits')
        try:
            dtype_of(dtype)
        except UnsupportedDtype:
            raise _Invalid(f'"dtype" is {_short(dtype)!r}') from None
    if draws is not None and not (
        isinstance(draws, list) and all(isinstance(draw, str) for draw in draws)
    ):
        raise _Invalid('"draws" is not a list of texts')
    if sharding is not None and not isinstance(sharding, list):
        raise _Invalid('"sharding" is not a list')
    for name in ("initializer", "sketch"):
        if not isinstance(row.get(name, ""), str):
            raise _Invalid(f'"{name}" is not text')
    stored = digest is not None and row.get("stored", True) is True
    leaf = Leaf(
        path=path,
        type=_get(row, "type", str),
        shape=tuple(shape),
        dtype=dtype,
        rng=row.get("rng", False) is True,
        sharding=None if sharding is None else tuple(_tuples(sharding)),
        digest=digest,
        statistics={k: v for k, v in row.items() if k in _STATISTICS and _is_number(v)},
        sketch=row.get("sketch"),
        draws=None if draws is None else tuple(draws),
        initializer=row.get("initializer"),
        stored=stored,
    )
    if not stored or reader is None:
        return leaf
    return Leaf(**{**leaf.__dict__, "read": lambda: reader.read(leaf)})


_STATISTICS = ("value", "constant", "mean", "std", "min", "max", "nonfinite")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _tuples(value: list[Any]) -> list[Any]:
    return [tuple(_tuples(item)) if isinstance(item, list) else item for item in value]


def _get(data: dict[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        raise _Invalid(f'"{name}" is missing' if name not in data else f'"{name}" is {value!r:.40}')
    return value


# What safetensors lets through of numpy: shapes too large, dtypes that numpy has not.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError)


@dataclass(frozen=True)
class _ValuesReader:
    """Reads single leaves of a values file; safetensors itself checks sizes against the file."""

    manifest: Path
    path: Path

    def read(self, leaf: Leaf) -> np.ndarray:
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            raise GoldenError(
                self.manifest,
                f"its values file {self.path.name} is missing",
                f"Restore it (git checkout -- {self.path.name}), or write it anew with {UPDATE}",
                replaceable=True,
            )
        try:
            with self.path.open("rb") as file:
                start = file.read(64)
        except OSError as error:
            raise GoldenError(
                self.path,
                f"cannot be read ({error.strerror or error})",
                "Make it readable",
                replaceable=False,
            ) from error
        if start.startswith(b"version https://git-lfs"):
            raise _pointer(self.path)
        try:
            with safe_open(os.fspath(self.path), framework="numpy") as file:
                stored = file.get_tensor(leaf.path)
        except (SafetensorError, *_UNREADABLE) as error:
            problem = f"does not hold the values of {leaf.path or 'the value'} ({_short(error)})"
            raise _broken(self.path, problem) from error
        return self._checked(leaf, stored)

    def _checked(self, leaf: Leaf, stored: np.ndarray) -> np.ndarray:
        shape = leaf.shape
        if leaf.dtype.startswith("key<"):
            shape = tuple(stored.shape) if stored.shape[:-1] == shape else (*shape, 0)
        elif dtype_of(leaf.dtype).kind == "c":
            shape = (*shape, 2)
        if stored.dtype != dtype_of(storage(leaf.dtype)) or tuple(stored.shape) != shape:
            raise _broken(
                self.path,
                f"holds {stored.dtype}{list(stored.shape)} for {leaf.path or 'the value'}, "
                f"where the manifest says {leaf.dtype}{list(leaf.shape)}",
            )
        values = _decode(leaf.dtype, stored)
        if digest(values) != leaf.digest:
            raise _broken(
                self.path,
                f"holds other values of {leaf.path or 'the value'} than those that the manifest "
                "was made with",
            )
        return values


def _is_values_name(manifest: Path, name: Any) -> bool:
    stem = re.escape(manifest.name.removesuffix(".json"))
    return isinstance(name, str) and bool(
        re.fullmatch(rf"{stem}\.[0-9a-f]{{8}}\.safetensors", name)
    )


def _broken(path: Path, problem: str) -> GoldenError:
    return GoldenError(
        path,
        problem,
        f"Restore it from version control, or write it anew with {UPDATE}",
        replaceable=True,
    )


def _pointer(path: Path) -> GoldenError:
    return GoldenError(
        path,
        "is a Git LFS pointer, not the file itself",
        "Fetch it: git lfs pull",
        replaceable=False,
    )


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
