"""The values of a golden's leaves in a safetensors file: written whole, read leaf by leaf.

Each tensor is checked against the manifest's shape, dtype and digest, so that what is read
is what was written, or a ``GoldenError`` that names the file and the way out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_nnxrng.golden.consistency import told_otherwise
from pytest_nnxrng.golden.document import (
    UPDATE,
    GoldenError,
    broken,
    load,
    pointer,
    short,
    unreadable,
)
from pytest_nnxrng.golden.inventory import regular
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import dtype_of, is_key, storage
from pytest_nnxrng.leaf.leaf import Leaf


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


def _encode(leaf: Leaf) -> np.ndarray:
    assert leaf.read is not None
    array = leaf.read()
    shape = (*array.shape, 2) if array.dtype.kind == "c" else array.shape
    return np.ascontiguousarray(array).reshape(-1).view(storage(leaf.dtype)).reshape(shape)


def _decode(dtype: str, stored: np.ndarray) -> np.ndarray:
    wanted = dtype_of(dtype)
    shape = stored.shape[:-1] if wanted.kind == "c" else stored.shape
    return np.ascontiguousarray(stored).reshape(-1).view(wanted).reshape(shape)


# What safetensors lets through of numpy: shapes too large, dtypes that numpy has not.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError)


@dataclass(frozen=True)
class Reader:
    """Reads single leaves of a values file; safetensors itself checks sizes against the file."""

    manifest: Path
    path: Path

    def lacking(self) -> GoldenError | None:
        """Why there are no values: the file is not there, cannot be read, or only stands for it."""
        try:
            regular(self.path)
            with self.path.open("rb") as file:
                start = file.read(64)
        except FileNotFoundError:
            if self._is_replaced():
                return GoldenError(
                    self.manifest,
                    "was replaced by another run while this one read it",
                    "Run this one again",
                    replaceable=False,
                )
            return GoldenError(
                self.manifest,
                f"its values file {self.path.name} is missing",
                f"Restore it (git checkout -- {self.path.name}), or write it anew with {UPDATE}",
                replaceable=True,
            )
        except OSError as error:
            return unreadable(self.path, error)
        return pointer(self.path) if start.startswith(b"version https://git-lfs") else None

    def _is_replaced(self) -> bool:
        """Whether the manifest names other values by now, or none."""
        try:
            named = load(self.manifest).get("values")
        except (OSError, GoldenError):
            return False
        return str(named).rsplit(".", 2)[-2:] != self.path.name.rsplit(".", 2)[-2:]

    def read(self, leaf: Leaf) -> np.ndarray:
        from safetensors import SafetensorError, safe_open

        lacking = self.lacking()
        if lacking is not None:
            raise lacking
        try:
            with safe_open(os.fspath(self.path), framework="numpy") as file:
                stored = file.get_tensor(leaf.path)
        except (SafetensorError, *_UNREADABLE) as error:
            problem = f"does not hold the values of {leaf.path or 'the value'} ({short(error)})"
            raise broken(self.path, problem) from error
        return self._checked(leaf, stored)

    def _checked(self, leaf: Leaf, stored: np.ndarray) -> np.ndarray:
        shape = leaf.shape
        if is_key(leaf.dtype):
            shape = tuple(stored.shape) if stored.shape[:-1] == shape else (*shape, 0)
        elif dtype_of(leaf.dtype).kind == "c":
            shape = (*shape, 2)
        if stored.dtype != dtype_of(storage(leaf.dtype)) or tuple(stored.shape) != shape:
            raise broken(
                self.path,
                f"holds {stored.dtype}{list(stored.shape)} for {leaf.path or 'the value'}, "
                f"where the manifest says {leaf.dtype}{list(leaf.shape)}",
            )
        return checked(self.path, leaf, _decode(leaf.dtype, stored))


def checked(file: Path, leaf: Leaf, values: np.ndarray) -> np.ndarray:
    """Return ``values``, which ``file`` holds for ``leaf``.

    Raises:
      GoldenError: when they are not those of its digest.
    """
    if digest(values) != leaf.digest:
        raise broken(
            file,
            f"holds other values of {leaf.path or 'the value'} than those that the manifest "
            "was made with",
        )
    if wrong := told_otherwise(leaf, values):
        raise broken(file, f"holds other values of {leaf.path or 'the value'} than told: {wrong}")
    return values
