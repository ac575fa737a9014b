"""Where tests run: the text of ``--nnx-device`` -> names of devices; why a device is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_nnxrng.run.settings import BadSetting, DeviceName

PLATFORMS = ("cpu", "gpu", "tpu", "cuda", "rocm")
ALL = "all"
Device: TypeAlias = Any  # a jax.Device, of which jaxlib 0.12 has no stubs
_INDEX = re.compile(r"(0|[1-9][0-9]{0,5})\Z")
# What JAX's platforms are called in JAX_PLATFORMS, by the names that are asked for.
_PROVIDERS = {
    "cpu": ("cpu",),
    "gpu": ("cuda", "rocm", "gpu"),
    "cuda": ("cuda", "gpu"),
    "rocm": ("rocm", "gpu"),
    "tpu": ("tpu",),
}
# Without one of these files JAX does not try, and does not say so.
NODES: dict[str, tuple[str, ...]] = {
    "cuda": ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"),
    "rocm": ("/dev/kfd", "/dev/dxg"),
}
PLUGINS: dict[str, tuple[str, ...]] = {
    "cuda": ("jax_cuda12_plugin", "jax_cuda13_plugin"),
    "rocm": ("jax_rocm60_plugin", "jax_rocm7_plugin"),
}


@dataclass(frozen=True)
class Place:
    """A device under test: the name in test ids, and the jax.Device or why it is missing."""

    name: str
    device: Any = None
    missing: str = ""


def parse(text: str, source: str) -> tuple[DeviceName, ...]:
    """``cpu,gpu:1`` -> the names of the devices; ``all`` stands alone.

    Raises:
      BadSetting: for text of another form, and for a device named twice.
    """
    if text == ALL:
        return (DeviceName(ALL),)
    if text != "".join(text.split()):
        raise BadSetting(f"{source}: {text!r} has spaces. Several devices are written cpu,gpu")
    names: list[DeviceName] = []
    for part in text.split(","):
        name = _name(part, text, source)
        if name in names or DeviceName(name.platform, name.number or 0) in _indexed(names):
            raise BadSetting(f"{source}: {text!r} names {name} twice")
        names.append(name)
    return tuple(names)


def _name(part: str, text: str, source: str) -> DeviceName:
    platform, colon, index = part.partition(":")
    problem = None
    if not part:
        problem = f"{text!r} has an empty part"
    elif part == ALL:
        problem = f"{text!r}: all takes what is there, and stands alone"
    elif platform not in PLATFORMS and platform.lower() in (*PLATFORMS, ALL):
        problem = f"{part!r} is not a device; names are in lower case"
    elif platform not in PLATFORMS:
        problem = f"{part!r} is not a device"
    elif colon and not _INDEX.match(index):
        problem = f"{part!r} is not a device; an index is a number from 0 on"
    if problem is not None:
        raise BadSetting(
            f"{source}: {problem}. Devices are written {', '.join(PLATFORMS)}, with an index as in "
            "gpu:1, several as in cpu,gpu; or all"
        )
    return DeviceName(platform, int(index) if colon else None)


def _indexed(names: Sequence[DeviceName]) -> set[DeviceName]:
    return {DeviceName(name.platform, name.number or 0) for name in names}


def one(text: object, source: str) -> DeviceName:
    """The name of a single device, as a marker or a parameter gives it.

    Raises:
      BadSetting: for several, ``all``, or what is no text.
    """
    if not isinstance(text, str) or "," in text or text == ALL:
        raise BadSetting(f"{source}: {text!r} is not one device, such as 'gpu' or 'gpu:1'")
    return parse(text, source)[0]


def marked(args: Sequence[object], kwargs: Collection[str]) -> tuple[DeviceName, ...]:
    """What ``@pytest.mark.nnx_device("gpu", "tpu")`` names.

    Raises:
      BadSetting: for no device, keywords, or what names none.
    """
    source = "@pytest.mark.nnx_device"
    if kwargs or not args:
        raise BadSetting(f'{source} takes the names of devices: nnx_device("gpu", "tpu")')
    return tuple(one(arg, source) for arg in args)


def ids(names: Sequence[DeviceName]) -> tuple[str, ...]:
    """The names in test ids: as they were typed, ``cpu:0`` beside ``cpu:1``."""
    several = {name.platform for name in names if name.number is not None}
    return tuple(
        f"{name}:0" if name.number is None and name.platform in several else str(name)
        for name in names
    )


def surely_here(names: Sequence[DeviceName], cpu_devices: int, platforms: str) -> bool:
    """Whether JAX need not be asked: CPU devices that are there on every machine."""
    shown = not platforms or "cpu" in platforms.split(",")
    cpus = all(name.platform == "cpu" and (name.number or 0) < cpu_devices for name in names)
    return shown and cpus


def writer(selected: Sequence[str], platform: str, made_on: str | None, own: bool) -> int:
    """Which device of a run writes a golden, so that one does: its place among ``selected``.

    ``selected`` are the platforms of the run's devices; ``platform`` is that of the check,
    whose golden was made on ``made_on`` (None: there is none yet), or is that platform's
    ``own``. Where no device of the run made the shared golden, each platform has its own.
    """
    wanted = platform if own else made_on
    if wanted is None:
        return 0
    return selected.index(wanted if wanted in selected else platform)


def why_missing(
    platform: str,
    platforms: str,
    words: str,
    nodes: Mapping[str, bool],
    plugins: Mapping[str, bool],
) -> str:
    """Why JAX has no ``platform``, as far as can be told.

    ``platforms`` is JAX_PLATFORMS, ``words`` what JAX said; ``nodes`` and ``plugins`` tell for
    cuda and rocm whether there are device files and JAX's plugin.
    """
    providers = _PROVIDERS[platform]
    if platforms and not set(providers) & set(platforms.split(",")):
        return f"JAX_PLATFORMS={platforms} hides it: unset it, or name {providers[0]} in it, too"
    vendors = [vendor for vendor in providers if vendor in nodes]
    if vendors and not any(nodes[vendor] for vendor in vendors):
        files = [file for vendor in vendors for file in NODES[vendor]]
        return f"there is no such hardware: none of {', '.join(dict.fromkeys(files))} exists"
    bare = [vendor for vendor in vendors if nodes[vendor] and not plugins[vendor]]
    if bare and len(bare) == sum(nodes[vendor] for vendor in vendors):
        extra = {"cuda": "cuda12", "rocm": "rocm"}[bare[0]]
        return (
            f"there is hardware, but JAX's plugin for {bare[0]} is not installed: "
            f'pip install "jax[{extra}]"'
        )
    return words or f"JAX could not start {platform}, and does not say why"
