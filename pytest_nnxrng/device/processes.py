"""What several processes under ``jax.distributed`` tell each other, each within a time limit.

Everything goes through one collective, a sum over all processes, made of JAX's public API. All
processes must call it in the same order; `exchange` tells where each of them stands, so that
what went apart is named.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

LIMIT: ContextVar[float] = ContextVar("seconds to wait for other processes", default=300.0)
LONGEST = 4096  # bytes of a message


class LostProcess(Exception):
    """Another process did not take part in what all must do together; says what to do."""


def count() -> int:
    """How many processes run this program; 1 without ``jax.distributed``."""
    return int(jax.process_count())


def index() -> int:
    """Which of them this is. Number 0 writes."""
    return int(jax.process_index())


def total(words: np.ndarray) -> np.ndarray:
    """The sum over all processes of their uint32 ``words``, of one length in all.

    Raises:
      LostProcess: when another process does not take part in time.
    """
    __tracebackhide__ = True
    assert words.dtype == np.uint32
    return _within(LIMIT.get(), lambda: _total(words))


def exchange(message: str) -> tuple[str, ...]:
    """Every process's message, in their order; what is over `LONGEST` bytes is cut off.

    Raises:
      LostProcess: when another process does not take part in time.
    """
    __tracebackhide__ = True
    text = message.encode()[:LONGEST]
    slots = np.zeros((count(), LONGEST), np.uint8)
    slots[index(), : len(text)] = np.frombuffer(text, np.uint8)
    told = total(slots.reshape(-1).view(np.uint32)).view(np.uint8).reshape(slots.shape)
    return tuple(bytes(row).rstrip(b"\0").decode("utf-8", "ignore") for row in told)


def _total(words: np.ndarray) -> np.ndarray:
    # What the test computes across processes must have ended: on CPUs two collectives at a time
    # may meet in another order elsewhere, and wait for each other for ever.
    for array in jax.live_arrays():
        if not array.is_deleted():
            array.block_until_ready()
    mesh = _mesh()
    mine = jax.device_put(words[None], mesh.devices.flat[index()])
    shape, along = (count(), len(words)), NamedSharding(mesh, PartitionSpec("process"))
    spread = jax.make_array_from_single_device_arrays(shape, along, [mine])
    return np.asarray(_sum()(spread).addressable_data(0))


@functools.cache
def _mesh() -> Mesh:
    first = {device.process_index: device for device in reversed(jax.devices())}
    return Mesh(np.array([first[number] for number in sorted(first)]), ("process",))


@functools.cache
def _sum() -> Callable[[jax.Array], jax.Array]:
    everywhere = NamedSharding(_mesh(), PartitionSpec())
    return jax.jit(lambda x: x.sum(axis=0, dtype=x.dtype), out_shardings=everywhere)


def _within(seconds: float, work: Callable[[], np.ndarray]) -> np.ndarray:
    """Do it in a thread of its own, free of the test's mesh and flags, and wait so long."""
    __tracebackhide__ = True
    done: list[Any] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise LostProcess(
            f"process {index()} of {count()} has waited {seconds:g} s for the others. One has "
            "ended, hangs, or runs other tests: look at the output of each. Nothing is written. "
            "If they need more time, set nnx_process_timeout (seconds) in the ini file"
        )
    if isinstance(done[0], Exception):
        told = " ".join(str(done[0]).split())[:200]
        raise LostProcess(
            f"process {index()} of {count()} has lost another one ({told}). It has ended or was "
            "killed: look at its output. Nothing is written. Start all processes again"
        )
    found: np.ndarray = done[0]
    return found
