"""``--nnx-report=DIR``: a run as ``report.json``, for machines. Standard library alone.

The file's form is documented in the README; ``FORMAT`` counts its changes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_nnxrng.golden.inventory import Survey
from pytest_nnxrng.run.outcomes import Outcomes, findings, totals
from pytest_nnxrng.run.settings import BadSetting

if TYPE_CHECKING:
    from pytest_nnxrng.compare.differences import Difference
    from pytest_nnxrng.leaf.leaf import Leaf

FORMAT = 1
REPORT, OBTAINED = "report.json", "obtained"


def prepare(directory: Path) -> None:
    """Make room for a report: an earlier one's files go, nothing else does.

    Raises:
      BadSetting: when ``directory`` is a file, or holds an ``obtained`` that is not ours.
    """
    if directory.exists() and not directory.is_dir():
        raise BadSetting(f"--nnx-report: {directory} is a file; name a folder")
    obtained = directory / OBTAINED
    if obtained.exists():
        if not (directory / REPORT).exists():
            raise BadSetting(
                f"--nnx-report: {obtained} was not written by an earlier report; name another "
                "folder"
            )
        shutil.rmtree(obtained)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Marks the folder as ours from the start, so that a killed run can be repeated.
        (directory / REPORT).write_text("{}\n", encoding="utf-8")
    except OSError as error:
        raise BadSetting(
            f"--nnx-report: {directory} cannot be written: {error.strerror or error}"
        ) from None


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

    checks = sorted(outcomes.all(), key=lambda check: (check.test, check.golden))
    document = {
        "format": FORMAT,
        **({"against": against} if against else {}),
        "totals": asdict(totals(checks)),
        "findings": [asdict(finding) for finding in findings(checks)],
        "checks": [check.to_json() for check in checks],
        "unused": relative(survey.unused),
        "gone": relative(survey.gone),
    }
    text = json.dumps(_finite(document), indent=1, allow_nan=False)
    temporary = directory / f".{REPORT}.{os.getpid()}"
    temporary.write_text(f"{text}\n", encoding="utf-8")
    temporary.replace(directory / REPORT)


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


def _leaf(leaf: Leaf | None) -> dict[str, Any] | None:
    if leaf is None:
        return None
    draws = None if leaf.draws is None else list(leaf.draws)
    return {"type": leaf.type, "dtype": leaf.dtype, "shape": list(leaf.shape), "draws": draws}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
