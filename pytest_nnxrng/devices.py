"""``"gpu:1"`` -> a JAX device; why one is missing."""

from __future__ import annotations

import re
import subprocess
import sys

import jax

from pytest_nnxrng.settings import BadSetting

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
        return jax.devices(default)[0] if isinstance(default, str) else jax.devices()[0]
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


def _devices(platform: str) -> tuple[list[jax.Device], str]:
    # Not RuntimeError alone: JAX_PLATFORMS=cuda without a GPU raises a bare AssertionError.
    try:
        devices = jax.devices(platform)
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
