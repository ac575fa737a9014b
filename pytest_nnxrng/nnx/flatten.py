"""Any NNX value or pytree -> leaves. The one file that knows how NNX holds state.

Values are walked one level at a time through JAX's pytree registry, in which NNX
registers its own nodes. So nothing is split, merged or cloned (which reorders
``nnx.Dict`` members), and what is read is what is there at this moment.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from pytest_nnxrng.leaf.dtypes import UnsupportedDtype, storage
from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.leaf.paths import prefixes, step
from pytest_nnxrng.leaf.placement import Placement, normal, placement
from pytest_nnxrng.leaf.slabs import Slabs
from pytest_nnxrng.nnx import spread

_SCALARS: dict[type, tuple[str, str]] = {
    bool: ("python bool", "bool"),
    int: ("python int", "int64"),
    float: ("python float", "float64"),
    complex: ("python complex", "complex128"),
}
# The first is today's name; the second is the one of flax 0.11.
NODES: tuple[type, ...] = tuple({getattr(nnx, "Pytree", nnx.Object), nnx.Object})
_REF: tuple[type, ...] = tuple(t for t in [getattr(jax, "Ref", None)] if t is not None)


# Before nnx.List (flax 0.11) a node's plain lists and dicts hold data and static values alike.
_PLAIN_CONTAINERS = not hasattr(nnx, "List")
_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


class UnsupportedValue(TypeError):
    """A value that cannot be kept in a golden; the message names the leaf."""


def is_node(value: object) -> bool:
    """Whether ``value`` is an NNX graph node: a Module, Optimizer, Metric, Rngs, ..."""
    return isinstance(value, NODES)


def holds_nnx(value: Any) -> bool:
    """Whether anything in ``value`` is NNX's: a node, a Variable, a State."""

    def known(x: Any) -> bool:
        return isinstance(x, nnx.Variable | nnx.State) or is_node(x)

    return any(map(known, jax.tree_util.tree_leaves(value, is_leaf=known)))


class _Place(NamedTuple):
    """Where a value is: the keys that lead to it, and ``path_string`` of them."""

    path: tuple[Any, ...] = ()
    steps: str = ""

    def below(self, key: Any) -> _Place:
        return _Place((*self.path, key), self.steps + step(key))

    @property
    def name(self) -> str:
        return self.steps.removeprefix(".")

    def __str__(self) -> str:
        return self.name or "the value"


def flatten(value: Any, only: Any = None) -> Flat:
    """Take the leaves of ``value``: any NNX graph node, State, array, scalar or pytree of these.

    ``only`` is an ``nnx`` filter; leaves that it rejects are left out. Aliases are reported
    for what is left.

    Raises:
      UnsupportedValue: for a tracer, a deleted buffer, or a type that no golden can hold.
    """
    walk = _Walk(None if only is None else nnx.filterlib.to_predicate(only))
    walk.visit(_Place(), value)
    leaves = sorted(walk.leaves, key=lambda leaf: leaf.path)
    for one, other in itertools.pairwise(leaves):
        if one.path == other.path:
            raise UnsupportedValue(
                f"two leaves are named {one.path}: a pytree type gives both the same key"
            )
    # A shared node without leaves, an activation say, ties nothing.
    held = {"", *(above for leaf in leaves for above in prefixes(leaf.path))}
    aliases = {path: first for path, first in walk.aliases.items() if first in held}
    return Flat(tuple(leaves), aliases)


class _Walk:
    def __init__(self, only: Callable[[tuple[Any, ...], Any], bool] | None) -> None:
        self.only = only
        self.leaves: list[Leaf] = []
        self.aliases: dict[str, str] = {}
        # The objects themselves are kept, so that no id is reused during the walk.
        self.seen: dict[int, tuple[str, Any]] = {}
        self.open: set[int] = set()
        self.nodes = 0  # how many NNX nodes are open

    def visit(self, place: _Place, value: Any) -> None:
        if isinstance(value, nnx.Variable):
            if self._keeps(place, value) and self._is_new(place, value):
                self._variable(place, value)
        elif is_node(value):
            # A filter may have left out what was below the node where it was met first.
            if self._is_new(place, value) if self.only is None else id(value) not in self.open:
                self._each(place, value, self.visit)
        elif _is_leaf(value):
            if self._keeps(place, value):
                self.leaves.append(_leaf(place, value))
        else:
            self._each(place, value, self.visit)

    def _keeps(self, place: _Place, value: Any) -> bool:
        return self.only is None or self.only(place.path, value)

    def _is_new(self, place: _Place, value: Any) -> bool:
        first, _ = self.seen.setdefault(id(value), (place.name, value))
        if first == place.name:
            return True
        self.aliases[place.name] = first
        return False

    def _each(self, place: _Place, value: Any, visit: Callable[..., None]) -> None:
        if id(value) in self.open:
            raise UnsupportedValue(f"{place} contains itself")
        self.open.add(id(value))
        nodes = self.nodes
        self.nodes += is_node(value)
        for key, child in _children(place, value):
            if not (_PLAIN_CONTAINERS and nodes and _is_static(child)):
                visit(place.below(key), child)
        self.nodes = nodes
        self.open.discard(id(value))

    def _variable(self, place: _Place, variable: Any) -> None:
        kind: dict[str, Any] = {
            "type": getattr(variable, "var_type", type(variable)).__name__,
            "rng": isinstance(variable, nnx.RngState),
            "sharding": _sharding(variable),
        }
        raw = variable.get_raw_value() if hasattr(variable, "get_raw_value") else variable.raw_value

        def visit(place: _Place, value: Any) -> None:
            if _is_leaf(value):
                self.leaves.append(_leaf(place, value, **kind))
            else:
                self._each(place, value, visit)

        visit(place, raw)


def node_types(value: Any) -> list[type]:
    """The classes of the NNX nodes of ``value``, each once."""
    walk = _Nodes(None)
    walk.visit(_Place(), value)
    found = [node for _, node in walk.seen.values() if is_node(node)]
    return list(dict.fromkeys(type(node) for node in found))


class _Nodes(_Walk):
    """Where nodes and Variables are; no array is looked at, so tracers may be among them."""

    def visit(self, place: _Place, value: Any) -> None:
        if isinstance(value, nnx.Variable):
            self._is_new(place, value)
        elif is_node(value):
            if self._is_new(place, value):
                self._each(place, value, self.visit)
        elif not _is_leaf(value):
            self._each(place, value, self.visit)


def nodes(value: Any) -> dict[int, str]:
    """The path of each NNX node and Variable of ``value``, by its id.

    Raises:
      UnsupportedValue: as ``flatten`` does, for what cannot be walked.
    """
    return {id(found): name for name, found in objects(value)}


def objects(value: Any) -> list[tuple[str, Any]]:
    """Each NNX node and Variable of ``value`` with its path, once.

    Raises:
      UnsupportedValue: as ``flatten`` does, for what cannot be walked.
    """
    walk = _Nodes(None)
    walk.visit(_Place(), value)
    return list(walk.seen.values())


def _children(place: _Place, value: Any) -> Iterator[tuple[Any, Any]]:
    try:
        # The first call asks about `value` itself, which may be its own child.
        asked = itertools.count()
        found = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda _: next(asked) > 0)[0]
    except (TypeError, ValueError) as error:
        raise UnsupportedValue(f"{place} cannot be flattened: {error}") from error
    if len(found) == 1 and not found[0][0]:
        if not is_node(value):
            raise _unsupported(place, value)
        # A node of a class that opted out of being a pytree (nnx.Module with pytree=False).
        for name, child in sorted(vars(value).items()):
            if isinstance(child, nnx.Variable) or is_node(child) or _holds_variables(child):
                yield name, child
        return
    children = [(plain_key(key_path[0]), child) for key_path, child in found]
    yield from _filed_by_id(value, children) if isinstance(value, dict) else children


def _filed_by_id(value: dict[Any, Any], children: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Objects that a dict files under their own id (Keras does): by their place in it.

    An id, and so the order that pytrees give such keys, is another one in each process.
    """
    by_id = [key for key, child in value.items() if isinstance(key, int) and key == id(child)]
    if not by_id:
        return children
    places = {key: place for place, key in enumerate(by_id)}
    kept = [(key, child) for key, child in children if key not in places]
    return kept + [(f"id {places[key]}", value[key]) for key in by_id]


def _is_static(value: Any) -> bool:
    """Whether a plain list or dict of a node holds ``value`` as NNX before nnx.List saw it."""
    if isinstance(value, nnx.Variable) or is_node(value) or isinstance(value, _ARRAYS):
        return False
    children = jax.tree_util.tree_leaves(value, is_leaf=lambda x: x is not value)
    return len(children) == 1 and children[0] is value


def _holds_variables(value: Any) -> bool:
    def is_data(x: Any) -> bool:
        return isinstance(x, nnx.Variable | jax.Array | np.ndarray) or is_node(x)

    return any(map(is_data, jax.tree_util.tree_leaves(value, is_leaf=is_data)))


def plain_key(key: Any) -> Any:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


def _is_leaf(value: Any) -> bool:
    leaf_types = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct, *_REF)
    return isinstance(value, leaf_types) or type(value) in _SCALARS


def _leaf(
    place: _Place,
    value: Any,
    *,
    type: str = "",
    rng: bool = False,
    sharding: tuple[Any, ...] = (),
) -> Leaf:
    if isinstance(value, _REF):
        value = value[...]  # type: ignore[index]
    if isinstance(value, jax.core.Tracer):
        raise UnsupportedValue(
            f"{place} is a tracer ({value.aval}): the check was called inside a JAX "
            "transformation (jit, grad, vmap, ...). Return the value and check it outside."
        )
    if isinstance(value, bool | int | float | complex) and not isinstance(value, np.generic):
        return _scalar(place, value, type or "scalar", rng, sharding)
    dtype, shape = _dtype(value), tuple(int(n) for n in value.shape)
    if not isinstance(value, jax.ShapeDtypeStruct):
        try:
            storage(dtype)
        except UnsupportedDtype:
            raise _unsupported(place, value) from None
    read, slabs = _reader(place, value), None
    if isinstance(value, jax.Array) and spread.is_spread(value):
        slabs = _slabs(value)
        read = slabs.whole
    placed = _placed(value) if shape else None
    devices = frozenset(value.devices()) if isinstance(value, jax.Array) else frozenset()
    return Leaf(
        place.name,
        type or "array",
        shape,
        dtype,
        rng,
        sharding,
        placed,
        devices=devices,
        read=read,
        fetched=_is_fetched(value),
        slabs=slabs,
    )


def _placed(value: Any) -> Placement | None:
    sharding = getattr(value, "sharding", None)
    if isinstance(sharding, jax.sharding.NamedSharding):
        return placement(sharding.spec, dict(sharding.mesh.shape))
    if not isinstance(sharding, jax.sharding.Sharding) or len(sharding.device_set) < 2:
        return None
    # What has no names is either on all devices or split in a way that only its type tells.
    return Placement(() if sharding.is_fully_replicated else (type(sharding).__name__,))


def _slabs(value: jax.Array) -> Slabs:
    keys = jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
    return spread.slabs(jax.random.key_data(value) if keys else value)


def _is_fetched(value: Any) -> bool:
    """Whether reading copies: numpy sees what lies whole in host memory where it is."""
    if isinstance(value, np.ndarray):
        return not (value.flags.c_contiguous and value.dtype.isnative)
    if not isinstance(value, jax.Array):
        return False
    devices = value.devices()
    return len(devices) > 1 or next(iter(devices)).platform != "cpu"


def _dtype(value: Any) -> str:
    return _dtype_name(value.dtype)


@functools.lru_cache(maxsize=64)
def _dtype_name(dtype: Any) -> str:
    return dtype.name if isinstance(dtype, np.dtype) else str(dtype)


def _scalar(place: _Place, value: Any, type: str, rng: bool, sharding: Any) -> Leaf:
    dtype, stored = _SCALARS[value.__class__]
    try:
        array = np.asarray(value, stored)
    except OverflowError:
        raise UnsupportedValue(
            f"{place} is the Python int {value}, which does not fit in 64 bits"
        ) from None
    return Leaf(place.name, type, (), dtype, rng=rng, sharding=sharding, read=lambda: array)


def _reader(place: _Place, value: Any) -> Callable[[], np.ndarray] | None:
    if isinstance(value, jax.ShapeDtypeStruct):
        return None
    if isinstance(value, np.ndarray | np.generic):
        # Read where it lies, while the check lasts: nothing reads it once the test goes on.
        return lambda: _host(value)
    if value.is_deleted():
        raise UnsupportedValue(
            f"{place} has been deleted or donated to a jitted function; "
            "check it before it is donated."
        )
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return lambda: np.asarray(jax.random.key_data(value))
    return lambda: np.ascontiguousarray(np.asarray(value)).reshape(value.shape)


def _host(value: Any) -> np.ndarray:
    """The elements in C order and native bytes: the same array, if it has them so."""
    native = value.dtype.newbyteorder("=")
    return np.ascontiguousarray(np.asarray(value, native)).reshape(np.shape(value))


def _sharding(variable: Any) -> tuple[Any, ...]:
    # flax 0.12 calls it out_sharding, earlier ones sharding_names or sharding.
    metadata = variable.get_metadata() if hasattr(variable, "get_metadata") else {}
    for name in ("out_sharding", "sharding_names", "sharding"):
        value = metadata.get(name)
        if value is not None:
            spec = getattr(value, "spec", value)
            return normal(spec if isinstance(spec, tuple | list) else (str(spec),))
    return ()


def _unsupported(place: _Place, value: Any) -> UnsupportedValue:
    dtype = f" of dtype {value.dtype}" if isinstance(value, np.ndarray | np.generic) else ""
    return UnsupportedValue(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}{dtype}, which a "
        "golden cannot hold. It holds arrays, Python numbers, and NNX nodes and pytrees of them; "
        "leave this out with nnx_snapshot(only=...)."
    )
