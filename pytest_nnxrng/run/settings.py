"""The settings of a run, and the one rule of precedence: marker, option, ini, default.

Read at every start of pytest, whoever uses them: the classes are NamedTuples, of which ten are
made in the time of one frozen dataclass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, NamedTuple

FOLDER = "__nnx_snapshots__"
STORE_LIMIT = 256 << 10
_DTYPES = ("float64", "float32", "bfloat16", "float16")
MAX_SEED = 2**63 - 1 - 20_000
MAX_CPU_DEVICES = 1024
# What jax_default_matmul_precision takes, from jax 0.6 to 0.12.
PRECISIONS = (
    *("default", "high", "highest", "bfloat16", "tensorfloat32", "float32"),
    *("ANY_F8_ANY_F8_F32", "ANY_F8_ANY_F8_F32_FAST_ACCUM", "ANY_F8_ANY_F8_ANY"),
    *("ANY_F8_ANY_F8_ANY_FAST_ACCUM", "F16_F16_F16", "F16_F16_F32", "BF16_BF16_BF16"),
    *("BF16_BF16_F32", "BF16_BF16_F32_X3", "BF16_BF16_F32_X6", "BF16_BF16_F32_X9"),
    *("TF32_TF32_F32", "TF32_TF32_F32_X3", "F32_F32_F32", "F64_F64_F64"),
)


_NOTHING: Mapping[str, float] = MappingProxyType({})


class BadSetting(ValueError):
    """An option, ini value or marker that cannot be used; the message says how to mend it."""


class MissingDevice(BadSetting):
    """A device that was named, and is not here."""


class DeviceName(NamedTuple):
    """What a device is called: ``gpu``, ``gpu:1``, or ``all``."""

    platform: str
    number: int | None = None

    def __str__(self) -> str:
        return self.platform if self.number is None else f"{self.platform}:{self.number}"

    @property
    def kind(self) -> str:
        """The platform as ``jax.Device`` names it."""
        return "gpu" if self.platform in ("cuda", "rocm") else self.platform


class Mode(NamedTuple):
    """What the user asked for: ``--nnx-update-snapshots``, ``--nnx-refresh-snapshots``.

    ``against`` (``--nnx-against``) takes what has no golden for new, as nothing is written.
    ``only`` (``--nnx-update-only``) narrows an update to goldens all of whose causes are in it.
    ``move`` (``--nnx-move-snapshots``) moves goldens to where their tests are now.
    """

    update: bool = False
    refresh: bool = False
    only: frozenset[str] = frozenset()
    move: bool = False
    against: bool = False

    @property
    def writes_goldens(self) -> bool:
        return self.update or self.refresh or self.move


class Settings(NamedTuple):
    """What the user set, once, for the whole run.

    ``golden_root`` is where goldens lie in a run that has none in the repository: what the code
    ``against`` made, in a run that ``rehearses`` and writes them whatever became of the test.
    """

    seed: int = 0
    mode: Mode = Mode()
    prune: bool = False
    devices: tuple[DeviceName, ...] = ()
    devices_from: str = "--nnx-device"
    missing_skips: bool = False
    cpu_devices: int | None = None
    precision: str | None = None
    deterministic: bool = False
    folder: str = FOLDER
    store_limit: int = STORE_LIMIT
    weights_tol: Mapping[str, float] = _NOTHING
    outputs_tol: Mapping[str, float] = _NOTHING
    across_tol: Mapping[str, float] = _NOTHING
    strict: bool = False
    report: Path | None = None
    process_timeout: float = 300.0
    golden_root: Path | None = None
    against: str = ""
    rehearses: bool = False


def first(*values: Any) -> Any:
    """The first of ``values`` that is set: they stand in the order of precedence."""
    return next((value for value in values if value is not None and value != ""), None)


def seed(value: Any, source: str) -> int:
    """A seed given as an int or as text.

    Raises:
      BadSetting: for anything but an integer that jax.random.key takes with x64 off or on.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        number = int(value)
    except ValueError:
        raise BadSetting(f"{source}: {value!r} is not a seed. A seed is an integer: 7") from None
    if not 0 <= number <= MAX_SEED:
        raise BadSetting(f"{source}: the seed {number} is not between 0 and {MAX_SEED}")
    return number


def cpu_devices(value: str, source: str) -> int:
    """How many virtual CPU devices there shall be.

    Raises:
      BadSetting: for anything but an integer from 1 on, within reason.
    """
    number = int(value) if re.fullmatch("[0-9]{1,9}", value.strip()) else 0
    if not 1 <= number <= MAX_CPU_DEVICES:
        raise BadSetting(
            f"{source}: {value!r} is not a number of CPU devices. It is an integer from 1 to "
            f"{MAX_CPU_DEVICES}: 8"
        )
    return number


def precision(value: str, source: str) -> str:
    """A value of ``jax_default_matmul_precision``.

    Raises:
      BadSetting: for what JAX does not take.
    """
    if value not in PRECISIONS:
        raise BadSetting(
            f"{source}: {value!r} is not a precision. {', '.join(PRECISIONS[:6])} are, and dot "
            "algorithms such as F32_F32_F32"
        )
    return value


def tolerances(lines: Iterable[str], source: str) -> dict[str, float]:
    """``["float32 = 2e-6", "bfloat16 = 1e-2"]`` -> the tolerance of each dtype.

    Raises:
      BadSetting: for a line of another form, an unknown dtype, or a number below 0.
    """
    found: dict[str, float] = {}
    for line in lines:
        dtype, equals, number = (part.strip() for part in line.partition("="))
        if not equals or dtype not in _DTYPES:
            raise BadSetting(
                f"{source}: {line!r} is not of the form 'float32 = 1e-5' with one of "
                f"{', '.join(_DTYPES)}"
            )
        found[dtype] = tolerance(number, f"{source}: {dtype}")
    return found


def tolerance(value: Any, source: str) -> float:
    """A tolerance: a finite number that is not negative.

    Raises:
      BadSetting: for anything else.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadSetting(f"{source}: {value!r} is not a tolerance. It is a number: 1e-5") from None
    if not (math.isfinite(number) and number >= 0):
        raise BadSetting(f"{source}: {value!r} is not a tolerance. It is 0 or more, and finite")
    return number


def size(value: str, source: str) -> int:
    """``512``, ``64 KiB`` or ``1 MiB`` -> bytes.

    Raises:
      BadSetting: for anything else.
    """
    number, _, unit = value.strip().partition(" ")
    units = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    if not re.fullmatch("[0-9]{1,18}", number) or unit.strip() not in units:
        raise BadSetting(f"{source}: {value!r} is not a size. Sizes are written 512, 64 KiB, 1 MiB")
    return int(number) * units[unit.strip()]


def seconds(value: str, source: str) -> float:
    """``90`` -> seconds.

    Raises:
      BadSetting: for anything but a finite number above 0.
    """
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise BadSetting(f"{source}: {value!r} is not a time. A time is in seconds: 300")
    return number


def folder_name(value: str, source: str) -> str:
    """The name of the goldens' folder: one folder beside each test file.

    Raises:
      BadSetting: for a path.
    """
    if not value or PurePath(value).name != value or value in (".", "..") or "\\" in value:
        raise BadSetting(f"{source}: {value!r} is not the name of a folder, such as {FOLDER}")
    return value
