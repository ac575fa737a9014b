"""``"gpu:1"`` -> a JAX device; why one is missing; meshes of several."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.device import hardware, notation
from pytest_nnxrng.device.notation import ALL, Device, DeviceName, Place
from pytest_nnxrng.device.startup import CPU_DEVICES, PREALLOCATE, PRECISION, worker
from pytest_nnxrng.run.settings import BadSetting, MissingDevice

_KINDS = ("cpu", "gpu", "tpu")


_PARTS = ". Each worker of pytest-xdist sees a part of the devices: run without -n"


class TooFewDevices(Exception):
    """A mesh needs more devices than there are; the message says where to get them."""


def default() -> Device:
    """JAX's default device.

    Raises:
      BadSetting: when JAX starts no backend; the message says why, as far as can be told.
    """
    device = jax.config.jax_default_device
    if isinstance(device, jax.Device):
        return device
    try:
        return jax.local_devices(backend=device if isinstance(device, str) else None)[0]
    except Exception as error:  # a bare AssertionError, where JAX_PLATFORMS names but a GPU
        platforms = jax.config.jax_platforms or ""
        why = " ".join(str(error).split())
        first = platforms.split(",")[0]
        if first in notation.PLATFORMS:
            why = notation.why_missing(first, "", why, hardware.nodes(), hardware.plugins())
        shown = f" (JAX_PLATFORMS={platforms})" if platforms else ""
        raise BadSetting(f"JAX starts on no device{shown}: {why}") from None


def resolve(names: Sequence[DeviceName]) -> tuple[Place, ...]:
    """The devices called ``names``, or why they are missing; for ``all`` one of each platform.

    Raises:
      BadSetting: for two names of one device.
    """
    if [name.platform for name in names] == [ALL]:
        there = [(kind, _devices(kind)[0]) for kind in _KINDS]
        return tuple(Place(kind, devices[0]) for kind, devices in there if devices)
    made = [_place(name, shown) for name, shown in zip(names, notation.ids(names), strict=True)]
    seen: dict[Any, Place] = {}
    for place in made:
        if place.device is not None and seen.setdefault(place.device, place) is not place:
            raise BadSetting(f"{seen[place.device].name} and {place.name} are one device")
    return tuple(made)


def of(value: object, source: str) -> Device:
    """A ``jax.Device`` as it is, or the device that a text names.

    Raises:
      MissingDevice: when it is not here.
      BadSetting: when ``value`` is neither.
    """
    if isinstance(value, jax.Device):
        return value
    place = _place(notation.one(value, source), str(value))
    if place.missing:
        raise MissingDevice(missing([place]))
    return place.device


def _place(name: DeviceName, shown: str) -> Place:
    devices, why = _devices(name.platform)
    index = name.number or 0
    if index < len(devices):
        return Place(shown, devices[index])
    if devices:
        why = f"{name.platform} has {len(devices)}, counted from 0"
        if name.platform == "cpu":
            why += f"; for more: --nnx-cpu-devices={index + 1}"
    return Place(shown, None, f"there is no device {name}: {why}")


def missing(of: Sequence[Place]) -> str:
    """Why devices are missing, and what there is instead."""
    have = ", ".join(
        f"{d.platform}:{n}" for kind in _KINDS for n, d in enumerate(_devices(kind)[0])
    )
    return f"{'; '.join(place.missing for place in of)}. Available: {have or 'none'}"


def serves(name: DeviceName, device: Device) -> bool:
    """Whether ``device`` is what ``name`` names."""
    devices, _ = _devices(name.platform)
    return device in (devices if name.number is None else devices[name.number : name.number + 1])


def probe(names: Sequence[DeviceName]) -> str:
    """What is missing of ``names``, found out in a process of its own, which ends with it.

    Raises:
      BadSetting: for two names of one device.
    """
    code = (
        "import json, sys\n"
        "from pytest_nnxrng.device import notation, resolve\n"
        "from pytest_nnxrng.run.settings import BadSetting\n"
        "names = [notation.DeviceName(*name) for name in json.loads(sys.argv[1])]\n"
        "try: absent = [p for p in resolve.resolve(names) if p.missing]\n"
        "except BadSetting as error: print('BAD', error); sys.exit()\n"
        "print('MISSING', resolve.missing(absent) if absent else '')"
    )
    rows = json.dumps([(name.platform, name.number) for name in names])
    environ = {PREALLOCATE: "false", **os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, rows], env=environ, capture_output=True, text=True, check=False
    )
    word, _, text = done.stdout.strip().rpartition("\n")[2].partition(" ")
    if word == "MISSING":
        return text
    raise BadSetting(text or done.stderr.strip().rpartition("\n")[2] or "JAX could not be started")


def started() -> bool:
    """Whether JAX's backend has started: what is read at its start is read no more."""
    before = jax.config.jax_num_cpu_devices
    try:
        # No other public function tells; this one refuses then, and changes nothing.
        jax.config.update("jax_num_cpu_devices", before + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", before)
    return False


def catch_up(changes: Mapping[str, str]) -> tuple[str, ...]:
    """Give a JAX that is imported already what it would have read from the environment.

    Returns the variables that come too late, because its backend has started.
    """
    if PRECISION in changes:
        jax.config.update("jax_default_matmul_precision", changes[PRECISION])
    if started():
        return tuple(name for name in changes if name not in (PRECISION, PREALLOCATE))
    if CPU_DEVICES in changes:
        jax.config.update("jax_num_cpu_devices", int(changes[CPU_DEVICES]))
    return ()


def make_cpu_devices(number: int) -> None:
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
            f"--nnx-cpu-devices={number}: JAX has started already, with {len(devices)} of them. "
            "What is loaded before conftest.py, such as a plugin named by -p, must not use JAX "
            f"when it is imported; or set {CPU_DEVICES}={number} in the environment"
        )


def mesh(device: Device, axes: Mapping[str, int]) -> jax.sharding.Mesh:
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
            + (_PARTS if device.platform != "cpu" and worker(os.environ) else "")
        )
    chosen = np.array(every[:needed]).reshape(tuple(axes.values()))
    return jax.sharding.Mesh(chosen, tuple(axes))


def _devices(platform: str) -> tuple[list[Device], str]:
    """The devices of a platform, or why there are none."""
    # Not RuntimeError alone: JAX_PLATFORMS=cuda without a GPU raises a bare AssertionError.
    try:
        devices, words = jax.local_devices(backend=platform), ""
    except Exception as error:
        devices, words = [], " ".join(str(error).split())
    # Asked for one platform, JAX may give another.
    kind = DeviceName(platform).kind
    devices = [device for device in devices if device.platform == kind]
    if devices:
        return devices, ""
    platforms = jax.config.jax_platforms or ""
    nodes, plugins = hardware.nodes(), hardware.plugins()
    return [], notation.why_missing(platform, platforms, words, nodes, plugins)
