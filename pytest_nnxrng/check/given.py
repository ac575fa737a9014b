"""What a check or a comparison is given: every option can be used, or is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from pytest_nnxrng.check import variants
from pytest_nnxrng.check.state import CheckOptions, SnapshotError
from pytest_nnxrng.leaf.dtypes import rounding
from pytest_nnxrng.run import settings

_FLAGS = ("exact", "abstract", "sharding", "per_platform", "static", "grad")


def checked(given: CheckOptions, by: str = "nnx_snapshot") -> CheckOptions:
    """The options, their dtypes as names and their ways of building as `variants` has them.

    ``by`` is the function that was given them, as messages name it.

    Raises:
      SnapshotError: for options that exclude each other or cannot be used.
    """
    __tracebackhide__ = True
    if given.name is not None and not isinstance(given.name, str):
        raise SnapshotError(
            f"nnx_snapshot(...) takes a name and options, and gives back the assertions: "
            f"{_article(given.name)} came, and nothing was checked. Check it with "
            "nnx_snapshot.check(value), and with options: nnx_snapshot(tol=1e-4).check(value)"
        )
    for flag in _FLAGS:
        if type(getattr(given, flag)) is not bool:
            value = getattr(given, flag)
            raise SnapshotError(f"nnx_snapshot({flag}=...): {value!r} is neither True nor False")
    if given.exact and (given.tol is not None or given.atol):
        raise SnapshotError("exact=True accepts equal bits alone: leave out tol and atol")
    if given.abstract and given.also:
        raise SnapshotError("also=... builds the model: leave out abstract=True")
    _refuse_filter(given.only, by)
    if given.method is not None and not isinstance(given.method, str):
        raise SnapshotError(f"method=...: {given.method!r} is no name of a method")
    if given.depth is not None and (type(given.depth) is not int or given.depth < 1):
        raise SnapshotError(f"depth=...: {given.depth!r} is no number of levels; 1 is the model")
    try:
        settings.tolerance(given.atol, f"{by}(atol=...)")
        tol = _tolerances(given.tol, f"{by}(tol=...)")
    except settings.BadSetting as error:
        raise SnapshotError(str(error)) from None
    return given.but(tol=tol, also=variants.wanted(given.also))


def _tolerances(tol: Any, source: str) -> Any:
    if not isinstance(tol, Mapping):
        if tol is not None:
            settings.tolerance(tol, source)
        return tol
    return {_dtype(key, source): settings.tolerance(value, source) for key, value in tol.items()}


def _dtype(key: Any, source: str) -> str:
    """The name of a dtype that rounds, given as its name or as itself."""
    try:
        name = key if isinstance(key, str) else np.dtype(key).name
    except TypeError:
        name = repr(key)
    if name not in rounding():
        raise settings.BadSetting(
            f"{source}: {name!r} is no dtype that rounds by itself. These do: "
            f"{', '.join(rounding())}. A complex number has the tolerance of its "
            "parts, a Python float that of float32"
        )
    return name


def _refuse_filter(only: Any, by: str) -> None:
    try:
        nnx.filterlib.to_predicate(True if only is None else only)
    except (TypeError, ValueError):
        raise SnapshotError(
            f"{by}(only=...): {only!r} is no nnx filter. A type of Variable is one: only=nnx.Param"
        ) from None


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1].upper() in tuple("AEIOU") else f"a {name}"
