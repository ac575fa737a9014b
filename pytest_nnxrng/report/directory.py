"""The folder of ``--nnx-report``: what in it is ours, and where in it a golden's place is.

Standard library alone. Nothing is written outside of the folder, and nothing is removed that
does not carry our mark.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pytest_nnxrng.golden.inventory import REPORT_MARK
from pytest_nnxrng.run.settings import BadSetting

REPORT, OBTAINED, PAGE, MODELS = "report.json", "obtained", "index.html", "models"
BY = "pytest-nnxrng"
PARENT = "__parent__"  # stands for ``..`` in the place of a golden that is not below rootdir
_MARKED = f'{{"by": "{BY}"}}\n'
# How our reports begin, whitespace apart; the last two are those of versions without the mark.
_OURS = (f'{{"by":"{BY}"', '{"format":1,"totals":{', "{}")


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
