"""What is known of a value of a jaxpr: a hash of how it is computed, and from which keys.

A value is a function of atoms (keys, mostly): a Merkle hash that refers to its atoms by
position, and the atoms themselves. So "the same initializer on another key" is equality of
hashes, and nothing has to be renamed afterwards.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xxhash
from jax.extend.core import ClosedJaxpr, Jaxpr

# ("params",) is a stream's base key, ("params", 3) its draw 3, ("params", 3, 0) draw 0 of the
# stream that was forked from it, "*" a count that is not known. (RAW, note) and
# (IMPURE, note) are what else a value depends on. A root of type int is a formal parameter.
Atom = tuple[Any, ...]
RAW, IMPURE = "!raw", "!impure"
UNKNOWN = "*"


def digest(*parts: bytes) -> bytes:
    """A 16-byte hash of ``parts``; where one ends and the next begins counts."""
    return xxhash.xxh3_128_digest(b"".join([len(p).to_bytes(4, "little") + p for p in parts]))


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of one variable of a jaxpr.

    ``const`` is the concrete value where it is a small integer array; it is how counts are
    followed. ``wrapped`` is the key that ``random_unwrap`` was given, on its result.
    """

    hash: bytes
    atoms: tuple[Atom, ...] = ()
    const: np.ndarray | None = None
    wrapped: Value | None = None


KEY = digest(b"key")


def stream_key(name: str) -> Value:
    return Value(KEY, ((name,),))


def key_name(data: Any, *, seeded: bool = False) -> str:
    """What a key is called that a build makes itself: ``key(3)``; "" for an array of keys.

    ``data`` are its words, or its seed if ``seeded``: those of a threefry key are the seed.
    """
    words = np.asarray(data)
    if seeded:
        return f"key({int(words)})" if words.ndim == 0 else ""
    if words.ndim != 1:
        return ""
    if words.size == 2:
        return f"key({int(words[0]) << 32 | int(words[1])})"
    return f"key({'.'.join(map(str, words.tolist()))})"


def stream_count(name: str, count: np.ndarray) -> Value:
    return Value(digest(b"count", name.encode()), (), count)


def is_key(atom: Atom) -> bool:
    return atom[0] not in (RAW, IMPURE)


def combine(tag: bytes, inputs: Sequence[Value], extra: Iterable[Atom] = ()) -> Value:
    """The function ``tag`` of ``inputs``: atoms are numbered by first appearance."""
    number: dict[Atom, int] = {}
    parts = [tag]
    for value in inputs:
        parts.append(value.hash)
        if value.atoms:
            places = [number.setdefault(atom, len(number)) for atom in value.atoms]
            parts.append(np.asarray(places, np.uint32).tobytes())
        else:
            parts.append(b"")
    for atom in extra:
        number.setdefault(atom, len(number))
    return Value(digest(*parts), tuple(number))


def canonical_params(params: Mapping[str, Any], nested: Callable[[Any], bytes]) -> bytes:
    """Bytes for the parameters of an equation; ``nested`` gives those of a jaxpr among them."""
    parts: list[bytes] = []
    for name in sorted(params):
        value = params[name]
        if value is not None and name not in ("sharding", "debug_info", "name"):
            parts += [name.encode(), canonical(value, nested)]
    return digest(*parts) if parts else b""


def canonical(value: Any, nested: Callable[[Any], bytes]) -> bytes:
    """Bytes that say what a parameter means: no ids, addresses, or names of variables."""
    if isinstance(value, ClosedJaxpr | Jaxpr):
        return nested(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}".encode()
    if isinstance(value, str | bytes | bool | int | float | complex):
        return repr(value).encode()
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return digest(str(value.dtype).encode(), str(value.shape).encode(), content(value))
    each = functools.partial(canonical, nested=nested)
    if isinstance(value, tuple | list):
        return digest(b"tuple", *map(each, value))
    if isinstance(value, dict):
        items = [digest(each(k), each(v)) for k, v in value.items()]
        return digest(b"dict", *sorted(items))
    if isinstance(value, set | frozenset):
        return digest(b"set", *sorted(map(each, value)))
    if isinstance(value, functools.partial):
        return digest(b"partial", *map(each, (value.func, value.args)))
    if isinstance(value, jax.sharding.Sharding):
        return f"sharding {getattr(value, 'spec', type(value).__name__)}".encode()
    if isinstance(value, jax.sharding.Mesh):
        return f"mesh {dict(value.shape)}".encode()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}".encode()
    return re.sub(r" (at )?0x[0-9a-f]+|\bid=\d+", "", f"{type(value)} {value!r}").encode()


def content(value: Any) -> bytes:
    """A hash of the elements of an array."""
    # Reading a large array once is what makes it part of the hash.
    data = np.ascontiguousarray(np.asarray(value))
    return xxhash.xxh3_128_digest(data.reshape(-1).view(np.uint8)) if data.size else b""
