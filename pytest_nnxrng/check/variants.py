"""Other ways to build a model than an ordinary call: under ``nnx.jit``, and sharded over a mesh.

They are compared with the ordinary call of the same run; no golden is needed for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from pytest_nnxrng.check.state import SnapshotError
from pytest_nnxrng.compare.differences import Comparison, compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device.notation import Device
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.leaf.placement import axes
from pytest_nnxrng.nnx.flatten import flatten, is_node
from pytest_nnxrng.trace import derivation
from pytest_nnxrng.trace.build import Build

WORDS = ("jit", "sharded")


@dataclass(frozen=True)
class Variant:
    """A way of building, and what it gives beside an ordinary call."""

    how: str
    comparison: Comparison


def wanted(also: Any) -> dict[str, Mesh | None]:
    """``"jit"``, ``("jit", "sharded")`` or ``{"sharded": mesh}`` -> the ways, each with its mesh.

    Raises:
      SnapshotError: for a word that names no way, or what is not a mesh.
    """
    __tracebackhide__ = True
    given = also if isinstance(also, Mapping) else None
    words = (
        [also] if isinstance(also, str) else list(also) if isinstance(also, Iterable) else [also]
    )
    found: dict[str, Mesh | None] = {}
    for word in words:
        if word not in WORDS:
            raise SnapshotError(
                f"nnx_snapshot(also=...): {word!r} is not a way of building. Ways are 'jit' and "
                "'sharded': also=('jit', 'sharded'), or also={'sharded': nnx_mesh(data=2, model=4)}"
            )
        mesh = given[word] if given is not None else None
        if mesh is not None and (word == "jit" or not isinstance(mesh, Mesh)):
            raise SnapshotError(
                f"nnx_snapshot(also=...): {word!r} takes "
                + ("no mesh, None" if word == "jit" else "a jax.sharding.Mesh, or None")
                + f": {type(mesh).__name__} came"
            )
        found[str(word)] = mesh
    return found


def built_alike(
    ways: Mapping[str, Mesh | None],
    model: Any,
    build: Build | None,
    tolerance: Tolerance,
    device: Device,
) -> tuple[Variant, ...]:
    """Build in each of these ways, on copies of the arguments, and compare with ``model``.

    Raises:
      SnapshotError: when one of them cannot be built.
    """
    if build is None:
        raise SnapshotError(
            "nnx_snapshot(also=...) builds again, on a copy of the arguments, and NNX cannot copy "
            "these. Leave out also="
        )
    eager = flatten(model, build.only)
    leaves, found = digested(eager.leaves), []
    for word, mesh in ways.items():
        if word == "sharded":
            mesh = mesh or _mesh(model, device)
            how = f"sharded over {', '.join(f'{name}={n}' for name, n in mesh.shape.items())}"
        else:
            how = "under nnx.jit"
        try:
            other = flatten(_jitted(build, mesh), build.only)
        except Exception as error:  # whatever a constructor, nnx.jit or XLA raises
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise SnapshotError(
                f"nnx_snapshot(also={word!r}): the model cannot be built {how} ({told})"
            ) from error
        aliases = (eager.aliases, other.aliases)
        found.append(Variant(how, compare(leaves, digested(other.leaves), tolerance, aliases)))
    return tuple(found)


def _jitted(build: Build, mesh: Mesh | None) -> Any:
    args, kwargs = derivation.copy_arguments(build.args, build.kwargs)
    flat, treedef = jax.tree.flatten((args, kwargs), is_leaf=is_node)
    # NNX nodes go in as arguments, since the build draws from them; all else is static.
    places = [at for at, value in enumerate(flat) if is_node(value)]

    @nnx.jit
    def make(nodes: Any) -> Any:
        values = list(flat)
        for at, node in zip(places, nodes, strict=True):
            values[at] = node
        inner, named = jax.tree.unflatten(treedef, values)
        model = build.build(*inner, **named)
        if mesh is not None:
            state = nnx.state(model, lambda _, x: not isinstance(x, nnx.RngState))
            split = nnx.get_named_sharding(state, mesh)
            nnx.update(model, jax.lax.with_sharding_constraint(state, split))
        return model

    if mesh is None:
        return make([flat[at] for at in places])
    with _under(mesh):
        return make([flat[at] for at in places])


def _under(mesh: Mesh) -> AbstractContextManager[Any]:
    # Before jax.set_mesh (0.7) a mesh was its own context.
    enter: Callable[[Mesh], AbstractContextManager[Any]] | None = getattr(jax, "set_mesh", None)
    return mesh if enter is None else enter(mesh)


def _mesh(model: Any, device: Device) -> Mesh:
    """A mesh of the axes that the model's metadata names, over as many devices as these divide."""
    devices = jax.devices(device.platform)  # in all processes in one order
    if len(devices) < 2:
        raise SnapshotError(
            f"nnx_snapshot(also='sharded') needs 2 or more devices; {device.platform} has 1 here. "
            "A CPU has as many as you ask for: pytest --nnx-cpu-devices=8"
        )
    split = _split_axes(model)
    sizes = {name: 1 for _, names in split for name in names}
    if not sizes:
        raise SnapshotError(
            "nnx_snapshot(also='sharded'): no Variable of the model says how it is sharded. Say it "
            "with nnx.with_partitioning(init, (None, 'model')), or leave 'sharded' out"
        )
    for prime in _primes(len(devices)):
        for name in sorted(sizes, key=lambda name: sizes[name]):
            wider = {**sizes, name: sizes[name] * prime}
            if all(n % math.prod(wider[x] for x in names) == 0 for n, names in split):
                sizes = wider
                break
    count = math.prod(sizes.values())
    if count < 2:
        raise SnapshotError(
            f"nnx_snapshot(also='sharded'): no axis that is to be split divides by a factor of "
            f"{len(devices)} devices. Pass a mesh: also={{'sharded': nnx_mesh(...)}}"
        )
    return Mesh(np.array(devices[:count]).reshape(tuple(sizes.values())), tuple(sizes))


def _split_axes(model: Any) -> list[tuple[int, tuple[str, ...]]]:
    """(size, mesh axes) of every axis of a Variable that its metadata splits."""
    state = nnx.state(model, lambda _, x: not isinstance(x, nnx.RngState))
    specs = jax.tree.leaves(
        nnx.get_partition_spec(state), is_leaf=lambda x: isinstance(x, PartitionSpec)
    )
    found = []
    for spec, value in zip(specs, jax.tree.leaves(state), strict=True):
        found += [(n, names) for n, names in zip(value.shape, axes(spec), strict=False) if names]
    return found


def _primes(number: int) -> list[int]:
    found = [p for p in range(2, number + 1) if number % p == 0 and all(p % q for q in range(2, p))]
    return [p for p in found for _ in range(_times(number, p))]


def _times(number: int, prime: int) -> int:
    return 0 if number % prime else 1 + _times(number // prime, prime)
