"""``--nnx-report=DIR``: a folder, what in it is ours, and a run as ``report.json``, for machines.

The file's form is documented in ``docs/reference/report.md``; ``FORMAT`` counts its changes.
Standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_nnxrng.golden.inventory import REPORT_MARK, Survey
from pytest_nnxrng.report.findings import findings
from pytest_nnxrng.run.outcomes import Check, Outcomes, totals
from pytest_nnxrng.run.settings import BadSetting

if TYPE_CHECKING:
    from pytest_nnxrng.compare.differences import Change, Difference
    from pytest_nnxrng.leaf.leaf import Leaf


REPORT, OBTAINED, PAGE, MODELS = "report.json", "obtained", "index.html", "models"
BY = "pytest-nnxrng"
PARENT = "__parent__"  # stands for ``..`` in the place of a golden that is not below rootdir
_MARKED = f'{{"by": "{BY}"}}\n'
# How our reports begin, whitespace apart; the last two are those of versions without the mark.
_OURS = (f'{{"by":"{BY}"', '{"format":1,"totals":{', "{}")
FORMAT = 1


def prepare(directory: Path) -> None:
    """Make room for a report: an earlier one's files go, nothing else does.

    Raises:
      BadSetting: when ``directory`` is a file, or holds what an earlier report did not write.
    """
    if directory.exists() and not directory.is_dir():
        raise BadSetting(f"--nnx-report: {directory} is a file; name a folder")
    report, page = directory / REPORT, directory / PAGE
    folders = (directory / OBTAINED, directory / MODELS)
    for path in (report, page, *folders):
        if path.is_symlink():
            raise _not_ours(path, "is a link")
    if report.exists() and not _is_our_report(report):
        raise _not_ours(report, "was not written by --nnx-report")
    if page.exists() and not _is_our_page(page):
        raise _not_ours(page, "was not written by --nnx-report")
    for folder in filter(Path.exists, folders):
        if not folder.is_dir():
            raise _not_ours(folder, "is not a folder")
        if not (report.exists() and (folder / REPORT_MARK).is_file()) and os.listdir(folder):
            raise _not_ours(folder, "was not written by --nnx-report (or by an older version)")
    try:
        for folder in filter(Path.exists, folders):
            shutil.rmtree(folder)  # which follows no link
        page.unlink(missing_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        # Marks the folder as ours from the start, so that a killed run can be repeated.
        report.write_text(_MARKED, encoding="utf-8")
    except OSError as error:
        raise BadSetting(
            f"--nnx-report: {directory} cannot be written: {error.strerror or error}"
        ) from None


def _not_ours(path: Path, problem: str) -> BadSetting:
    return BadSetting(f"--nnx-report: {path} {problem}; remove it, or name another folder")


def _is_our_page(path: Path) -> bool:
    return f'<meta name="generator" content="{BY}">' in _head(path)


def _is_our_report(path: Path) -> bool:
    head = _head(path)
    return "".join(head.split()).startswith(_OURS[:2]) or head.strip() == _OURS[2]


def _head(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(200).decode("utf-8", "ignore")
    except OSError:
        return ""


def place(directory: Path, golden: Path, rootdir: Path, below: str = OBTAINED) -> Path:
    """Where in the report's folder ``directory`` stands what is kept for ``golden``.

    The folder ``below`` is made, and marked as ours.
    """
    folder = directory / below
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_MARK).touch()
    return folder / within(golden, rootdir)


def within(golden: Path, rootdir: Path) -> Path:
    """A golden's place in a folder of ours; what stands above ``rootdir`` is below ``PARENT``."""
    try:
        parts = Path(os.path.relpath(golden, rootdir)).parts
    except ValueError:  # on another drive
        parts = ("..", *golden.parts[1:])
    return Path(*(PARENT if part == os.pardir else part for part in parts))


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
