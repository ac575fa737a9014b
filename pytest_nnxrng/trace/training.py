"""A short training run, step by step: what each step gave, and the state that it left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.gist import told
from pytest_nnxrng.nnx.watch import held, nodes_of, raw_value, summaries

_BLOCK = 1 << 16


@dataclass
class Steps:
    """A training run as one function of its state and batches; the first call of it is recorded."""

    step: Callable[..., Any]
    rows: list[dict[str, str]] = field(default_factory=list)
    _recorded: bool = False

    def __call__(self, *args: Any) -> list[Any]:
        *state, batches = args
        found, records, self._recorded = [], not self._recorded, True
        for batch in batches:
            found.append(self.step(*state, batch))
            if records:
                self.rows.append(_row(found[-1], tuple(state)))
        return found

    def first(self, *args: Any) -> Any:
        """The first step alone."""
        *state, batches = args
        return self.step(*state, batches[0])


def _row(out: Any, state: tuple[Any, ...]) -> dict[str, str]:
    given = summaries(out, full=True)
    names = ["output"] if len(given) == 1 else [f"output.{i}" for i in range(len(given))]
    row = {name: told(one) for name, one in zip(names, given, strict=True)}
    for path, found in held(nodes_of(state, {})):
        if isinstance(found, nnx.Variable) and not isinstance(found, nnx.RngState):
            value = raw_value(found)
            if isinstance(value, jax.Array) and not value.is_deleted():
                row[path] = weight(value)
    return row


def weight(value: Any) -> str:
    """What is kept of a leaf: eight digits of its digest, and its norm."""
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{digest(array)[:8]} {_norm(array):.5g}"


def _norm(array: Any) -> float:
    flat = array.reshape(-1)
    parts = (flat[at : at + _BLOCK] for at in range(0, flat.size, _BLOCK))
    with np.errstate(all="ignore"):
        found = [float(np.square(np.abs(part).astype(np.float64)).sum()) for part in parts]
        return float(np.sqrt(sum(found)))
