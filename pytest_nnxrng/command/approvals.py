"""``approvals.json``, which a report's page saves: goldens that were chosen, each by its digest."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_nnxrng.command.artifact import safe
from pytest_nnxrng.command.trouble import Trouble
from pytest_nnxrng.report.directory import BY

FORMAT = 1
_LARGEST = 64 << 20  # bytes


def load(name: str) -> dict[str, str]:
    """The goldens that ``name`` approves, each with the digest of what the page showed.

    Raises:
      Trouble: when it is no such file.
    """
    path = Path(name)
    if not path.is_file():
        raise Trouble(f"--from: there is no file {name}. A report's page saves it: approvals.json")
    if path.stat().st_size > _LARGEST:
        raise Trouble(f"--from: {name} is too large to be an approvals.json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise Trouble(
            f"--from: {name} is not a whole JSON file. Save it from the page again"
        ) from None
    if not isinstance(document, dict) or document.get("by") != BY:
        raise Trouble(f"--from: {name} was not saved by a page of pytest-nnxrng")
    if document.get("format") != FORMAT:
        raise Trouble(
            f"--from: {name} has format {document.get('format')!r:.20}; this pytest-nnxrng reads "
            f"format {FORMAT}. Upgrade it: pip install -U pytest-nnxrng"
        )
    rows = document.get("approved")
    if not isinstance(rows, list) or not rows:
        raise Trouble(f"--from: {name} approves nothing")
    return dict(_row(name, row) for row in rows)


def _row(name: str, row: object) -> tuple[str, str]:
    found = (row.get("golden"), row.get("digest")) if isinstance(row, dict) else (None, None)
    golden, digest = found
    if not isinstance(golden, str) or not isinstance(digest, str):
        raise Trouble(f"--from: {name} has been edited or damaged. Save it from the page again")
    safe(golden)
    return golden, digest
