"""What decides numbers, read from the running JAX. A proof is only as sound as this list."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib

from pytest_nnxrng.device.notation import Device

# Flags of jax.config that were seen to move random bits or results.
FLAGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_accurate_erf_inv",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
)
# Those that can be set again in a running process. Not jax_disable_most_optimizations: it is
# no part of JAX's compilation cache keys, so that what was compiled stays.
SETTABLE = frozenset(FLAGS) - {"jax_disable_most_optimizations"}
# Instruction sets between which results were seen to differ.
_FEATURES = ("fma", "avx2", "avx512f", "avx512_fp16", "amx_bf16")
_NEUTRAL_XLA_FLAGS = ("dump", "host_platform_device_count", "persistent_cache")


def read(device: Device) -> dict[str, Any]:
    """The environment that decides the numbers computed on ``device``: JSON scalars by name."""
    found: dict[str, Any] = {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "flax": flax.__version__,
        "platform": device.platform,
        "device": device.device_kind if device.platform != "cpu" else _cpu(),
    }
    for flag in FLAGS:
        value = getattr(jax.config, flag, None)
        if value is not None:
            found[flag] = value if isinstance(value, bool | int | float) else str(value)
    flags = sorted(
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if not any(neutral in flag for neutral in _NEUTRAL_XLA_FLAGS)
        and (device.platform == "gpu" or not flag.startswith("--xla_gpu_"))
    )
    if flags:
        found["xla_flags"] = " ".join(flags)
    return found


class BadFlag(ValueError):
    """A value that jax.config does not take, as in a golden that was edited by hand."""


def has(flag: str) -> bool:
    """Whether the running JAX knows this flag of jax.config."""
    return hasattr(jax.config, flag)


def settable(changes: Iterable[tuple[str, Any, Any]]) -> dict[str, Any]:
    """The recorded values of flags that can be set again.

    A flag that this JAX does not have cannot be set. One that the golden's JAX did not have has
    no recorded value, but for those whose value can be "unset".
    """
    return {
        name: old
        for name, old, _ in changes
        if name in SETTABLE
        and has(name)
        and (old is not None or name == "jax_default_matmul_precision")
    }


@contextlib.contextmanager
def under(flags: Mapping[str, Any]) -> Iterator[None]:
    """Run with these flags of jax.config set, and set them back."""
    before = {name: getattr(jax.config, name) for name in flags}
    try:
        for name, value in flags.items():
            try:
                jax.config.update(name, value)
            except Exception as error:  # jax.config raises what it likes for a bad value
                raise BadFlag(f"{name} cannot be {value!r}") from error
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@functools.cache
def _cpu() -> str:
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    return " ".join([platform.machine(), *(name for name in _FEATURES if name in flags)])
