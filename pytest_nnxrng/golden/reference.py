"""Weights from elsewhere, as a golden would hold them: safetensors, npz, Orbax, a flat mapping.

Nothing is unpickled: an ``.npz`` that holds objects is refused.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import UnsupportedDtype, dtype_of
from pytest_nnxrng.leaf.leaf import Leaf

Names = Mapping[str, str] | Callable[[str], str | None] | Sequence[tuple[str, str]] | None
Reader = Callable[[], np.ndarray]
_INDEX = ".safetensors.index.json"
_LISTED = 8


class BadReference(ValueError):
    """A reference that cannot be read, or whose names do not lead to one leaf each."""


@dataclass(frozen=True)
class Tensor:
    """An array of a reference: its form, and a way to its elements."""

    shape: tuple[int, ...]
    dtype: str
    read: Reader


@dataclass(frozen=True)
class Reference:
    """Arrays by our names, from ``source``. Made by ``reference``.

    ``transpose`` are patterns of our names whose last two axes are swapped, and ``change`` is
    a function of our name and the array for what needs more.
    """

    source: str
    tensors: Mapping[str, Tensor]
    transpose: tuple[str, ...] = ()
    change: Callable[[str, np.ndarray], np.ndarray] | None = None
    dropped: tuple[str, ...] = field(default=(), repr=False)

    def beside(self, leaves: Iterable[Leaf]) -> tuple[tuple[Leaf, ...], tuple[str, ...]]:
        """Those of the reference that have a partner among ``leaves``, and what has none.

        Types, RNG state and, between floats, dtypes are ours: a file of weights knows none.
        """
        ours = {leaf.path: leaf for leaf in leaves}
        both = [path for path in ours if path in self.tensors]
        made = [self._leaf(path, ours[path]) for path in both]
        mine = [path for path, leaf in ours.items() if path not in self.tensors and not leaf.rng]
        theirs = [path for path in self.tensors if path not in ours]
        notes = [_unmatched("not in the reference", mine), _unmatched("only there", theirs)]
        return tuple(made), tuple(note for note in notes if note)

    def is_swapped(self, path: str) -> bool:
        """Whether ``transpose`` names this leaf of ours."""
        return any(re.search(pattern, path) for pattern in self.transpose)

    def _leaf(self, path: str, ours: Leaf) -> Leaf:
        array = self._array(path)
        dtype = str(array.dtype)
        if dtype != ours.dtype and _are_floats(dtype, ours.dtype) and array.shape == ours.shape:
            array, dtype = array.astype(dtype_of(ours.dtype)), ours.dtype
        made = np.ascontiguousarray(array).reshape(array.shape)
        return ours.but(
            shape=array.shape,
            dtype=dtype,
            digest=digest(made),
            read=lambda: made,
            slabs=None,
            fetched=False,
        )

    def _array(self, path: str) -> np.ndarray:
        array = self.tensors[path].read()
        if self.is_swapped(path):
            if array.ndim < 2:
                raise BadReference(
                    f"{path}: transpose names it, and it has {array.ndim} axes in {self.source}"
                )
            array = np.swapaxes(array, -1, -2)
        return array if self.change is None else np.asarray(self.change(path, array))


def _are_floats(one: str, other: str) -> bool:
    return all(name.startswith(("float", "bfloat")) for name in (one, other))


def _unmatched(what: str, paths: list[str]) -> str:
    if not paths:
        return ""
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return f"{what}: {', '.join(sorted(paths)[:_LISTED])}{more}"


def reference(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    names: Names = None,
    transpose: str | Sequence[str] = (),
    change: Callable[[str, np.ndarray], np.ndarray] | None = None,
) -> Reference:
    r"""Weights from elsewhere, to hold a model against: ``check(model, against=reference(...))``.

    Args:
      source: a ``.safetensors`` file, a folder of several with their index, an ``.npz``, the
        folder of an Orbax checkpoint (where orbax is installed), or a mapping of arrays.
      names: their names -> ours: a mapping, a function (None leaves one out), or pairs of a
        pattern and what takes its place: ``(r"layers\.(\d+)\.attn", r"blocks.\1.attention")``.
        A mapping names all that is looked at.
      transpose: patterns of our names whose last two axes are swapped there, as those of a
        torch Linear's weight are: ``r"\.kernel$"``.
      change: a function of our name and the array, for what needs more.

    Raises:
      BadReference: when it cannot be read, or two of their names lead to one of ours.
    """
    __tracebackhide__ = True
    given = _read(source)
    shown = "a mapping" if isinstance(source, Mapping) else os.fspath(source)
    patterns = (transpose,) if isinstance(transpose, str) else tuple(transpose)
    for pattern in patterns:
        _compiled(pattern, "transpose")
    tensors: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped = []
    for theirs, ours in called(given, names).items():
        if ours is None:
            dropped.append(theirs)
            continue
        if ours in tensors:
            raise BadReference(f"names: {origin[ours]} and {theirs} both become {ours}")
        tensors[ours], origin[ours] = given[theirs], theirs
    return Reference(shown, tensors, patterns, change, tuple(dropped))


def called(theirs: Iterable[str], names: Names) -> dict[str, str | None]:
    """What each of their names is called here; None for what is left out.

    Raises:
      BadReference: for names that are not there, and patterns that are none.
    """
    __tracebackhide__ = True
    every = list(theirs)
    if names is None:
        return {name: name for name in every}
    if isinstance(names, Mapping):
        absent = [name for name in names if name not in every]
        if absent:
            close = ", ".join(sorted(every)[:_LISTED]) or "nothing"
            raise BadReference(f"names: {absent[0]!r} is not there; it holds {close}")
        return {name: names.get(name) for name in every}
    if callable(names):
        return {name: names(name) for name in every}
    pairs = [(_compiled(pattern, "names"), instead) for pattern, instead in names]
    return {name: _substituted(name, pairs) for name in every}


def _substituted(name: str, pairs: Iterable[tuple[re.Pattern[str], str]]) -> str:
    __tracebackhide__ = True
    for pattern, instead in pairs:
        try:
            name = pattern.sub(instead, name)
        except (re.error, IndexError) as error:
            raise BadReference(
                f"names: {instead!r} cannot take the place of a match: {error}"
            ) from None
    return name


def _compiled(pattern: str, what: str) -> re.Pattern[str]:
    __tracebackhide__ = True
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise BadReference(f"{what}: {pattern!r} is not a pattern: {error}") from None


def renamed(leaves: Iterable[Leaf], names: Names) -> tuple[Leaf, ...]:
    """Leaves under other names, sorted; those that ``names`` leaves out are gone.

    Raises:
      BadReference: when two get one name.
    """
    __tracebackhide__ = True
    given = {leaf.path: leaf for leaf in leaves}
    made: dict[str, Leaf] = {}
    for theirs, ours in called(given, names).items():
        if ours is None:
            continue
        if ours in made:
            raise BadReference(f"names: {made[ours].path} and {theirs} both become {ours}")
        made[ours] = given[theirs]
    return tuple(made[path].but(path=path) for path in sorted(made))


# -- reading -------------------------------------------------------------------------------


def _read(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    __tracebackhide__ = True
    if isinstance(source, Mapping):
        return {str(name): _tensor(str(name), value) for name, value in source.items()}
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(path)
        if path.name.endswith(_INDEX):
            return _shards(path)
        if path.suffix == ".npz":
            return _npz(path)
        if path.suffix == ".safetensors":
            return _safetensors(path)
    except BadReference:
        raise
    except Exception as error:  # safetensors, zipfile and numpy each raise their own
        raise BadReference(f"{path} cannot be read: {error}") from None
    if not path.exists():
        raise BadReference(f"{path} is not there")
    raise BadReference(
        f"{path} is no reference: .safetensors, .npz and folders of these are read. Nothing is "
        "unpickled: convert a .bin, .pt or .pkl to safetensors first"
    )


def _tensor(name: str, value: Any) -> Tensor:
    __tracebackhide__ = True
    array = np.asarray(value)
    try:
        dtype_of(str(array.dtype))
    except UnsupportedDtype:
        raise BadReference(f"{name}: {array.dtype} is no dtype of an array of numbers") from None
    return Tensor(array.shape, str(array.dtype), lambda: array)


def _folder(path: Path) -> dict[str, Tensor]:
    __tracebackhide__ = True
    indices, files = sorted(path.glob(f"*{_INDEX}")), sorted(path.glob("*.safetensors"))
    if len(indices) == 1:
        return _shards(indices[0])
    if files:
        return _together({file.name: _safetensors(file) for file in files})
    return {name: _tensor(name, value) for name, value in _orbax(path).items()}


def _shards(index: Path) -> dict[str, Tensor]:
    __tracebackhide__ = True
    row = json.loads(index.read_text(encoding="utf-8"))
    places = row.get("weight_map") if isinstance(row, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise BadReference(f'{index} is no index of shards: it has no "weight_map" of file names')
    shards: dict[str, dict[str, Tensor]] = {}
    for name in dict.fromkeys(places.values()):
        if Path(name).name != name:
            raise BadReference(f"{index} names {name!r}, which is not a file beside it")
        if not (index.parent / name).exists():
            raise BadReference(f"{index} names {name}, which is not there")
        shards[name] = _safetensors(index.parent / name)
    absent = [name for name, file in places.items() if name not in shards[file]]
    if absent:
        raise BadReference(f"{index} has {absent[0]} in {places[absent[0]]}, which does not")
    return {name: shards[file][name] for name, file in places.items()}


def _together(shards: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    __tracebackhide__ = True
    found: dict[str, Tensor] = {}
    for file, tensors in shards.items():
        twice = found.keys() & tensors.keys()
        if twice:
            raise BadReference(f"{file}: {min(twice)} is in another file beside it, too")
        found |= tensors
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    __tracebackhide__ = True
    from safetensors import safe_open

    found = {}
    # The file's own reader gives BF16 as numpy, where the one for bytes does not.
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            found[name] = Tensor(tuple(part.get_shape()), part.get_dtype(), _reader(path, name))
    return found


def _reader(path: Path, name: str) -> Reader:
    def read() -> np.ndarray:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            found: np.ndarray = file.get_tensor(name)
            return found

    return read


def _npz(path: Path) -> dict[str, Tensor]:
    __tracebackhide__ = True
    with np.load(path, allow_pickle=False) as file:
        return {name: _tensor(name, file[name]) for name in file.files}


def _orbax(folder: Path) -> dict[str, Any]:
    """The arrays of the Orbax checkpoint in ``folder``, by dotted names.

    Raises:
      BadReference: when there is no orbax, or no checkpoint.
    """
    __tracebackhide__ = True
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise BadReference(
            f"{folder} holds no .safetensors; to read it as an Orbax checkpoint, install "
            "orbax-checkpoint"
        ) from None
    try:
        # It warns that arrays come back on the devices that they were saved from, if these exist.
        with warnings.catch_warnings(), ocp.PyTreeCheckpointer() as checkpointer:
            warnings.simplefilter("ignore")
            tree = checkpointer.restore(folder.resolve())
    except Exception as error:
        raise BadReference(f"{folder} is no Orbax checkpoint: {error}") from None
    return dict(_flat(tree, ()))


def _flat(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        # An nnx.Variable is kept as {"value": array}.
        inner = tree["value"] if tree.keys() == {"value"} and path else None
        if inner is not None and not isinstance(inner, dict):
            yield ".".join(path), np.asarray(inner)
            return
        for key, value in tree.items():
            yield from _flat(value, (*path, str(key)))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _flat(value, (*path, str(number)))
    elif tree is not None and np.asarray(tree).dtype != object:
        yield ".".join(path), np.asarray(tree)
