"""An Orbax checkpoint as a flat mapping of arrays, where orbax is installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytest_nnxrng.golden.errors import BadReference


def read(folder: Path) -> dict[str, Any]:
    """The arrays of the checkpoint in ``folder``, by dotted names.

    Raises:
      BadReference: when there is no orbax, or no checkpoint.
    """
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
