"""What must stand in the environment before JAX starts: settings in, variables out.

JAX reads these when it is imported or when its backend starts, once in a process. Nothing
here imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_nnxrng.device.notation import ALL, DeviceName

CPU_DEVICES = "JAX_NUM_CPU_DEVICES"
PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
PLATFORMS = "JAX_PLATFORMS"
# One who sets any of these has made up their mind on how GPU memory is shared. Both
# spellings of the fraction at once are an error in JAX.
_MEMORY = (
    PREALLOCATE,
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
# A superset of --xla_gpu_exclude_nondeterministic_ops, and known to older versions, too.
DETERMINISTIC = "--xla_gpu_deterministic_ops"
# What tells the runtime of each vendor which of its devices a process may see.
VISIBLE: dict[str, tuple[str, ...]] = {
    "cuda": ("CUDA_VISIBLE_DEVICES",),
    "rocm": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "tpu": ("TPU_VISIBLE_CHIPS",),
}
_VENDORS = {
    "gpu": ("cuda", "rocm"),
    "cuda": ("cuda",),
    "rocm": ("rocm",),
    "tpu": ("tpu",),
    ALL: ("cuda", "rocm", "tpu"),
}
_LIBTPU = "ALLOW_MULTIPLE_LIBTPU_LOAD"  # or the second process that loads it is refused
_SEEN_BY_NONE = ("", "-1", "NoDevFiles", "void", "none")


@dataclass(frozen=True)
class Wish:
    """What was asked for that a running JAX can no longer be given."""

    devices: tuple[DeviceName, ...] = ()
    cpu_devices: int | None = None
    precision: str | None = None
    deterministic: bool = False


@dataclass(frozen=True)
class Worker:
    """A worker of pytest-xdist: its number, of how many."""

    number: int
    count: int


def worker(environ: Mapping[str, str]) -> Worker | None:
    """The worker that this process is, or None."""
    number = environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    count = environ.get("PYTEST_XDIST_WORKER_COUNT", "")
    if not (number.isdecimal() and count.isdecimal()):
        return None
    return Worker(int(number), max(int(count), 1))


def plan(
    wish: Wish,
    environ: Mapping[str, str],
    as_worker: Worker | None = None,
    found: Callable[[str], Sequence[str]] = lambda vendor: (),
) -> dict[str, str]:
    """The variables to set, by name; what is not named stays as ``environ`` has it.

    ``found`` gives the devices of a vendor, as its runtime names them, on this machine.
    """
    changes: dict[str, str] = {}
    if wish.cpu_devices is not None:
        changes[CPU_DEVICES] = str(wish.cpu_devices)
    if wish.precision is not None and PRECISION not in environ:
        changes[PRECISION] = wish.precision
    flags = environ.get("XLA_FLAGS", "")
    # XLA ends the process at a flag that it does not know: only where it may be of use.
    if wish.deterministic and _asks_for_gpu(wish, environ) and DETERMINISTIC not in flags:
        changes["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}=true".strip()
    if as_worker is not None:
        # Each process would take three quarters of the memory of a GPU at its start.
        if not any(name in environ for name in _MEMORY):
            changes[PREALLOCATE] = "false"
        changes |= _share(wish.devices, environ, as_worker, found)
    return {name: value for name, value in changes.items() if environ.get(name) != value}


def _asks_for_gpu(wish: Wish, environ: Mapping[str, str]) -> bool:
    named = any(name.kind in ("gpu", ALL) for name in wish.devices)
    return named or not {"gpu", "cuda", "rocm"}.isdisjoint(environ.get(PLATFORMS, "").split(","))


def _share(
    names: Sequence[DeviceName],
    environ: Mapping[str, str],
    as_worker: Worker,
    found: Callable[[str], Sequence[str]],
) -> dict[str, str]:
    """Which devices this worker may see: those of a vendor are spread over the workers.

    An index counts all of them, and several of one kind are wanted in one process: then
    nothing is hidden.
    """
    kinds = [name.kind for name in names]
    changes: dict[str, str] = {}
    for name in names:
        if name.number is not None or kinds.count(name.kind) > 1:
            continue
        for vendor in _VENDORS.get(name.platform, ()):
            preset = next((v for v in VISIBLE[vendor] if v in environ), None)
            variable = preset or VISIBLE[vendor][-1]
            here = environ[preset].split(",") if preset else list(found(vendor))
            here = [device.strip() for device in here]
            if len(here) > 1 and not any(device in _SEEN_BY_NONE for device in here):
                part = share(here, as_worker)
                if vendor == "tpu":  # a process with several chips needs their topology
                    part = part[:1]
                    changes[_LIBTPU] = environ.get(_LIBTPU, "true")
                changes[variable] = ",".join(part)
    return changes


def share(devices: Sequence[str], as_worker: Worker) -> list[str]:
    """This worker's part of ``devices``; with more workers than devices, one that it shares."""
    number = as_worker.number % as_worker.count
    part = list(devices[number :: as_worker.count])
    return part or [devices[number % len(devices)]]
