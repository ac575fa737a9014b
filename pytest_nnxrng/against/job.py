"""What the run on other code is to do: from this process to that one, and to its workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

JOB = "PYTEST_NNXRNG_AGAINST"  # names the file, in the environment
WATCH = "PYTEST_NNXRNG_AGAINST_WATCH"  # a pipe that ends when this process does
FILE = "job.json"


class Job(NamedTuple):
    """The folders, and the import paths of this run as they are in ``tree``.

    ``tree`` holds the files of the revision where ``checkout`` holds the present ones; they are
    one where another interpreter alone is asked. ``tests`` are the files of the tests.
    """

    temporary: str
    checkout: str
    tree: str
    label: str
    paths: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    @property
    def goldens(self) -> Path:
        return Path(self.temporary) / "goldens"

    def save(self) -> Path:
        path = Path(self.temporary) / FILE
        path.write_text(json.dumps(self._asdict()), encoding="utf-8")
        return path


def load(path: str | Path) -> Job:
    row = json.loads(Path(path).read_text(encoding="utf-8"))
    return Job(**{**row, "paths": tuple(row["paths"]), "tests": tuple(row["tests"])})


def current(environ: Mapping[str, str]) -> Job | None:
    """The job of this process; None in an ordinary run."""
    return load(environ[JOB]) if JOB in environ else None
