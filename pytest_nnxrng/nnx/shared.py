"""An ``nnx.Rngs`` that outlives a build: a default argument, or a global of a module."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flax import nnx

from pytest_nnxrng.nnx.flatten import UnsupportedValue, is_node, node_types


def shared_rngs(build: Any, model: Any) -> list[str]:
    """Where constructors of the model, or ``build`` itself, draw from such an Rngs."""
    try:
        classes = node_types(model)
    except UnsupportedValue:
        classes = []
    functions = [build, *[vars(cls).get("__init__") for cls in classes]]
    if inspect.isclass(build):
        functions.append(vars(build).get("__init__"))
    return list(dict.fromkeys(told for function in functions for told in _of(function)))


def _of(function: Any) -> Iterator[str]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.default, nnx.Rngs):
            yield f"{name}=nnx.Rngs(...) is a default argument, made once ({place})"
    for name in code.co_names:
        found = getattr(function, "__globals__", {}).get(name)
        if isinstance(found, nnx.Rngs) or (is_node(found) and isinstance(found, nnx.RngStream)):
            yield f"{name} is a global nnx.Rngs, made once (used in {place})"
