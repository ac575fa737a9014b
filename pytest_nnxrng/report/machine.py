"""``--nnx-report=DIR``: a run as ``report.json``, for machines. Standard library alone.

The file's form is documented in ``docs/reference/report.md``; ``FORMAT`` counts its changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_nnxrng.golden.inventory import Survey
from pytest_nnxrng.report.directory import BY, REPORT
from pytest_nnxrng.run.outcomes import Check, Outcomes, findings, totals

if TYPE_CHECKING:
    from pytest_nnxrng.compare.changed import Change
    from pytest_nnxrng.compare.differences import Difference
    from pytest_nnxrng.leaf.leaf import Leaf

FORMAT = 1


def write(
    directory: Path,
    outcomes: Outcomes,
    survey: Survey,
    rootdir: Path,
    against: dict[str, Any] | None = None,
) -> None:
    """Write ``report.json``; ``against`` tells of code that took the goldens' place."""

    def relative(paths: tuple[Path, ...]) -> list[str]:
        return [os.path.relpath(path, rootdir).replace(os.sep, "/") for path in paths]

    checks = ordered(outcomes)
    document = {
        "by": BY,
        "format": FORMAT,
        "run": versions(),
        **({"against": against} if against else {}),
        "totals": asdict(totals(checks)),
        "findings": [{"id": finding.id, **asdict(finding)} for finding in findings(checks)],
        "checks": [check.to_json() for check in checks],
        "unused": relative(survey.unused),
        "gone": relative(survey.gone),
    }
    text = json.dumps(finite(document), indent=1, allow_nan=False)
    temporary = directory / f".{REPORT}.{os.getpid()}"
    temporary.write_text(f"{text}\n", encoding="utf-8")
    temporary.replace(directory / REPORT)


def ordered(outcomes: Outcomes) -> list[Check]:
    """The checks of a run, in the order in which every report has them."""
    return sorted(outcomes.all(), key=lambda check: (check.test, check.golden))


def versions() -> dict[str, str]:
    """What this run ran on, for telling several reports apart; nothing is imported for it."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in ("jax", "jaxlib", "flax"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def difference(found: Difference) -> dict[str, Any]:
    """A differing leaf as a row of the report."""
    numbers = None if found.numbers is None else asdict(found.numbers)
    return {
        "leaf": found.path,
        "kinds": list(found.kinds),
        "rng": found.rng,
        "expected": _leaf(found.expected),
        "obtained": _leaf(found.obtained),
        "numbers": numbers,
        "tied": list(found.alias) if "aliasing" in found.kinds else None,
    }


def module(found: Change) -> dict[str, Any]:
    """A static attribute that is not the golden's as a row of the report."""
    row = {"module": found.path, "attribute": found.attribute}
    return {**row, "expected": found.expected, "obtained": found.obtained}


def _leaf(leaf: Leaf | None) -> dict[str, Any] | None:
    if leaf is None:
        return None
    draws = None if leaf.draws is None else list(leaf.draws)
    return {"type": leaf.type, "dtype": leaf.dtype, "shape": list(leaf.shape), "draws": draws}


def finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
