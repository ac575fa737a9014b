"""Each operation that a change makes on files, reported just before it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.numpy

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link"}
Reached = Callable[[str, tuple[Any, ...]], None]
_reached: Reached | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _reached is None:
        return
    if event in _EVENTS:
        _reached(event, args)
    elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        _reached("create", args[:1])


@contextmanager
def watched(reached: Reached) -> Iterator[None]:
    """Call ``reached`` before each operation; what it raises, the operation does."""
    global _reached
    if not getattr(sys, "_faults_watched", False):
        sys.addaudithook(_hook)  # for good: there is no way to take one away
        sys._faults_watched = True  # type: ignore[attr-defined]
    real = os.fsync, Path.write_text, safetensors.numpy.save_file

    def fsync(opened: int) -> None:
        reached("fsync", (str(Path(f"/proc/self/fd/{opened}").readlink()),))
        real[0](opened)

    def write_text(self: Path, text: str, **options: Any) -> int:
        real[1](self, text[: len(text) // 2], **options)
        reached("half", (self,))
        return real[1](self, text, **options)

    def save_file(tensors: Any, path: Path, *more: Any) -> None:
        reached("write", (path,))
        own = path.with_name(".tmpAb1Cd2")  # as safetensors calls what it renames in the end
        try:
            own.write_bytes(b"half")
            reached("half", (own,))
        finally:
            own.unlink()
        real[2](tensors, path, *more)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        reached("half", (path,))
        path.write_bytes(whole)

    os.fsync, Path.write_text = fsync, write_text  # type: ignore[assignment]
    safetensors.numpy.save_file = save_file
    _reached = reached
    try:
        yield
    finally:
        _reached = None
        os.fsync, Path.write_text, safetensors.numpy.save_file = real  # type: ignore[misc]
