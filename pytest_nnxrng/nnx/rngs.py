"""Seed and streams -> ``nnx.Rngs``."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.run.settings import BadSetting
from pytest_nnxrng.run.settings import seed as checked_seed

# Typeable by hand; never two streams on one key, never one seed's stream on another's.
OFFSETS = {"params": 0, "dropout": 10_000, "default": 20_000}


def streams(seed: int) -> dict[str, int]:
    """The seed of each stream of the ``rngs`` fixture."""
    return {name: seed + offset for name, offset in OFFSETS.items()}


def make(args: tuple[Any, ...], kwargs: Mapping[str, Any], seed: int, source: str) -> nnx.Rngs:
    """Make a fresh ``nnx.Rngs``.

    Nothing given means the run's ``seed``; an integer alone is a seed; anything else goes to
    ``nnx.Rngs`` as it is. ``source`` names where the arguments stand, for errors.

    Raises:
      BadSetting: when ``nnx.Rngs`` does not take them.
    """
    if not args and not kwargs:
        return nnx.Rngs(**streams(seed))
    if len(args) == 1 and not kwargs and _is_integer(args[0]):
        return nnx.Rngs(**streams(checked_seed(operator.index(args[0]), source)))
    try:
        return nnx.Rngs(*args, **kwargs)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        raise BadSetting(
            f"{source}: nnx.Rngs({shown}) is not possible: {error}. Give one integer (the seed) "
            "or what nnx.Rngs takes: params=0, dropout=1"
        ) from error


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (hasattr(value, "__index__") and not hasattr(value, "shape"))


def base_keys(rngs: nnx.Rngs) -> dict[str, dict[str, Any]]:
    """The base key of each stream, as goldens record it; draws do not change it."""
    found = {}
    for name, stream in rngs.items():
        key = stream.key[...]
        if not key.shape:
            words = np.asarray(jax.random.key_data(key)).ravel().tolist()
            found[name] = {"impl": str(jax.random.key_impl(key)), "key": words}
    return found
