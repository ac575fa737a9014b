"""``"gpu:1"`` -> a JAX device; why one is missing."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Mapping

import jax
import numpy as np

from pytest_nnxrng.settings import BadSetting
from pytest_nnxrng.startup import CPU_DEVICES


class TooFewDevices(Exception):
    """A mesh needs more devices than there are; the message says where to get them."""


_FORM = re.compile(r"(?P<platform>cpu|gpu|tpu|cuda|rocm)(:(?P<index>\d+))?\Z")


def find(name: str | None, source: str = "--nnx-device") -> jax.Device:
    """The device called ``name``, or JAX's default device for None.

    Raises:
      BadSetting: when ``name`` is not of the form ``cpu`` or ``gpu:1``, or there is no such
        device; the message names what is there.
    """
    if name is None:
        default = jax.config.jax_default_device
        if isinstance(default, jax.Device):
            return default
        default = default if isinstance(default, str) else None
        return jax.local_devices(backend=default)[0]
    match = _FORM.match(name)
    if not match:
        raise BadSetting(
            f"{source}: {name!r} is not a device. Devices are written cpu, gpu, tpu, cuda, rocm, "
            "or with an index, gpu:1"
        )
    platform, index = match["platform"], int(match["index"] or 0)
    devices, reason = _devices(platform)
    if index < len(devices):
        return devices[index]
    have = ", ".join(f"{d.platform}:{d.id}" for d in _all()) or "none"
    if devices:
        reason = f"there are {len(devices)}"
    raise BadSetting(f"{source}: there is no device {name} ({reason}). Available: {have}")


def probe(name: str) -> None:
    """``find`` in a process of its own, so that this one starts no backend.

    Raises:
      BadSetting: as ``find``.
    """
    code = (
        "import sys; from pytest_nnxrng import devices, settings\n"
        "try: devices.find(sys.argv[1])\n"
        "except settings.BadSetting as error: sys.exit(f'BadSetting {error}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().rpartition("\n")[2]
    if done.returncode:
        raise BadSetting(last.removeprefix("BadSetting "))


def make_cpu_devices(number: int, source: str = "--nnx-cpu-devices") -> None:
    """Have ``number`` CPU devices when the backend starts, or have them already.

    Raises:
      BadSetting: when the backend has started with another number.
    """
    try:
        jax.config.update("jax_num_cpu_devices", number)
        return
    except RuntimeError:  # JAX's word for a backend that has started
        devices, _ = _devices("cpu")
    if len(devices) != number:
        raise BadSetting(
            f"{source}={number}: JAX has started already, with {len(devices)} of them. What is "
            "loaded before conftest.py, such as a plugin named by -p, must not use JAX when it "
            f"is imported; or set {CPU_DEVICES}={number} in the environment"
        )


def mesh(device: jax.Device, axes: Mapping[str, int]) -> jax.sharding.Mesh:
    """A mesh with these axes, in this order, over devices of the platform of ``device``.

    ``device`` is the first of it.

    Raises:
      BadSetting: for no axes, or sizes that are not positive integers.
      TooFewDevices: when the platform has too few.
    """
    shown = f"nnx_mesh({', '.join(f'{name}={size!r}' for name, size in axes.items())})"
    for size in axes.values():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise BadSetting(f"{shown}: {size!r} is not the size of an axis. Sizes are 1 or more")
    if not axes:
        raise BadSetting(f"{shown}: a mesh needs axes: nnx_mesh(data=2, model=4)")
    needed = math.prod(axes.values())
    others = [other for other in jax.devices(device.platform) if other != device]
    every = [device, *others]
    if jax.process_count() > 1:
        every = jax.devices(device.platform)  # in all processes in one order
    if needed > 1 + len(others):
        raise TooFewDevices(
            f"{shown} needs {needed} devices; {device.platform} has {1 + len(others)} here. A CPU "
            f"has as many as you ask for: pytest --nnx-cpu-devices={needed}"
            + ("" if device.platform == "cpu" else " --nnx-device=cpu")
        )
    chosen = np.array(every[:needed]).reshape(tuple(axes.values()))
    return jax.sharding.Mesh(chosen, tuple(axes))


def _devices(platform: str) -> tuple[list[jax.Device], str]:
    # Not RuntimeError alone: JAX_PLATFORMS=cuda without a GPU raises a bare AssertionError.
    try:
        devices = jax.local_devices(backend=platform)
    except Exception as error:
        return [], " ".join(str(error).split()) or f"JAX could not start {platform}"
    known = {"cuda": "gpu", "rocm": "gpu"}.get(platform, platform)
    return [device for device in devices if device.platform == known], f"no {platform} here"


def _all() -> list[jax.Device]:
    found = {}
    for platform in ("cpu", "gpu", "tpu"):
        for device in _devices(platform)[0]:
            found[f"{device.platform}:{device.id}"] = device
    return list(found.values())
