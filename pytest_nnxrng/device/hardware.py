"""What this machine has, without asking JAX, which would take hold of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pytest_nnxrng.device.notation import NODES, PLUGINS

_SMI_SECONDS = 20


def found(vendor: str, root: Path = Path("/"), smi: str = "nvidia-smi") -> Sequence[str]:
    """The devices of ``vendor`` (cuda, rocm, tpu) by the numbers that its runtime knows."""
    if vendor == "cuda":
        count = _nvidia(smi) if _nodes(root, vendor) else 0
    elif vendor == "rocm":
        count = sum(
            _is_gpu(file) for file in root.glob("sys/class/kfd/kfd/topology/nodes/*/gpu_id")
        )
    else:
        count = len(list(root.glob("dev/accel[0-9]*"))) or len(list(root.glob("dev/vfio/[0-9]*")))
    return [str(number) for number in range(count)]


def _nvidia(smi: str) -> int:
    try:
        done = subprocess.run(
            [smi, "-L"], capture_output=True, text=True, check=True, timeout=_SMI_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(re.findall(r"^GPU \d+:", done.stdout, re.MULTILINE))


def _is_gpu(file: Path) -> bool:
    # A CPU is a node of that topology, too; its id is 0.
    try:
        return file.read_text(encoding="ascii").strip() not in ("", "0")
    except (OSError, ValueError):
        return False


def nodes(root: Path = Path("/")) -> dict[str, bool]:
    """Whether there are the device files without which JAX does not try a vendor's backend."""
    return {vendor: _nodes(root, vendor) for vendor in NODES}


def _nodes(root: Path, vendor: str) -> bool:
    return any((root / file.lstrip("/")).exists() for file in NODES[vendor])


def plugins() -> dict[str, bool]:
    """Whether JAX's plugin for a vendor is installed."""
    return {vendor: any(map(find_spec, names)) for vendor, names in PLUGINS.items()}
