"""What a golden records of how it was made, held against another run: environment, streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Streams = Mapping[str, Mapping[str, Any]]
Changes = tuple[tuple[str, Any, Any], ...]


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What in an environment is not as it was recorded: name, then, now."""
    return tuple(
        (name, then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name != "device_count"  # which decides none
    )


def rekeyed_streams(recorded: Streams, running: Streams) -> frozenset[str]:
    """The streams whose base key is not the one that the golden recorded."""
    return frozenset(
        name
        for name, stream in running.items()
        if isinstance(recorded.get(name), dict) and _base(recorded[name]) != _base(stream)
    )


def _base(stream: Mapping[str, Any]) -> tuple[Any, Any]:
    return stream.get("impl"), stream.get("key")


def translated(ours: Streams, recorded: Streams, changes: Changes) -> dict[str, dict[str, Any]]:
    """Our base keys as the same seeds give them under the recorded implementation and offset.

    A threefry key is the seed in two words; an rbg key is that twice
    (https://docs.jax.dev/en/latest/jax.random.html, and key data read off).
    """
    offset = 0
    for name, old, new in changes:
        if name == "jax_random_seed_offset" and isinstance(old, int) and isinstance(new, int):
            offset = old - new
    found: dict[str, dict[str, Any]] = {}
    for name, stream in ours.items():
        there = recorded.get(name, stream)
        key, impl = list(stream["key"]), there.get("impl", stream["impl"])
        if len(key) % 2 == 0 and offset:
            seed = ((key[0] << 32 | key[1]) + offset) % (1 << 64)
            key = [seed >> 32, seed & 0xFFFFFFFF] * (len(key) // 2)
        width = len(there.get("key") or key)
        if width != len(key) and key[:2] * (len(key) // 2) == key:
            key = key[:2] * (width // 2)
        found[name] = {**stream, "impl": impl, "key": key}
    return found
