"""Word of what takes long, on the line below the terminal's cursor. Standard library alone.

Written to a duplicate of the terminal's descriptor, so that pytest's capturing, which moves the
descriptor itself, neither hides it nor keeps it; erased when the step is over. Nothing is written
where nobody looks: in CI, in a worker of pytest-xdist, to a file or a pipe.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

AFTER = 2.0  # seconds that a step may take without a word
EVERY = 0.5
_FEW = 1 << 24  # elements; fewer are done before anybody waits

Advance = Callable[[int], object]  # is told how many more elements are done

# Make sure of a line below, remember the place, go down; and the way back.
_DOWN, _UP = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[K", "\x1b8"


def silent(_: int) -> None:
    """The `Advance` of a step of which nothing is told."""


class Progress:
    """Tells of steps on the terminal ``fd``, which it owns; without one, of none."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd

    @contextlib.contextmanager
    def step(self, what: str, total: int = 0) -> Iterator[Advance]:
        """Tell of ``what`` while it runs, if it runs long. ``total`` elements are its whole."""
        if self._fd is None or 0 < total < _FEW:
            yield silent
            return
        done = _Count()
        ended = threading.Event()
        teller = threading.Thread(target=_tell, args=(self._fd, what, done, total, ended))
        teller.start()
        try:
            yield done.add
        finally:
            ended.set()
            teller.join()

    def close(self) -> None:
        """Give the terminal back."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


class _Count:
    def __init__(self) -> None:
        self.number, self._lock = 0, threading.Lock()

    def add(self, more: int) -> None:
        with self._lock:
            self.number += more


def _tell(fd: int, what: str, done: _Count, total: int, ended: threading.Event) -> None:
    start, shown = time.monotonic(), False
    with contextlib.suppress(OSError):  # the terminal is gone
        while not ended.wait(EVERY if shown else AFTER):
            width = os.get_terminal_size(fd).columns or 80  # 0: nobody told the terminal
            seconds = time.monotonic() - start
            os.write(fd, f"{_DOWN}{line(what, done.number, total, seconds, width)}{_UP}".encode())
            shown = True
        if shown:
            os.write(fd, f"{_DOWN}{_UP}".encode())


def line(what: str, done: int, total: int, seconds: float, width: int) -> str:
    """``nnx_snapshot: hashing LM, 42 % (3 s)``, cut so that it does not wrap."""
    share = f", {100 * min(done, total) // total} %" if total else ""
    text = f"nnx_snapshot: {what}{share} ({seconds:.0f} s)"
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown[: max(width - 1, 0)]


def on(stream: TextIO, environ: Mapping[str, str]) -> Progress:
    """Progress on the terminal that ``stream`` is; none in CI, or on no terminal.

    To be called while pytest captures nothing: a captured stream is no terminal.
    """
    if "CI" in environ or environ.get("TERM", "dumb") == "dumb":
        return Progress()
    try:
        return Progress(os.dup(stream.fileno()) if stream.isatty() else None)
    except (OSError, ValueError, AttributeError):  # a stream that was replaced or closed
        return Progress()
