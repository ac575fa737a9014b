"""Which goldens git would leave out of a commit: a clone lacks them, and its tests fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SECONDS = 10.0


def rules(files: Iterable[Path], directory: Path) -> list[str]:
    """The rules by which git ignores any of ``files``: ``.gitignore:1: *.safetensors``.

    None where git, or a repository, is not there. A file that is tracked is not ignored.
    """
    asked = "\0".join(map(os.fspath, files))
    command = ["git", "check-ignore", "--verbose", "--stdin", "-z"]
    try:
        answer = subprocess.run(
            command,
            input=asked.encode("utf-8", "surrogateescape"),
            capture_output=True,
            cwd=directory,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    fields = answer.stdout.decode("utf-8", "replace").split("\0")
    found = zip(fields[::4], fields[1::4], fields[2::4], strict=False)
    told = [f"{source}:{line}: {rule}" for source, line, rule in found if not rule.startswith("!")]
    return list(dict.fromkeys(told))
