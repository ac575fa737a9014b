"""Single keys from a terminal, without waiting for Enter."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

END = ""  # no more keys will come


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """What reads the next key, or ``END`` when the terminal is gone."""
    if sys.platform == "win32":
        import msvcrt

        yield msvcrt.getwch
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)  # what was typed ahead counts
        yield lambda: _read(fd)
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _read(fd: int) -> str:
    try:
        key = os.read(fd, 1)
        if key == b"\x1b":  # an arrow or the like, whose other bytes are no keys
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 16)
            os.set_blocking(fd, True)
    except OSError:
        return END
    return END if key in (b"", b"\x03", b"\x04") else key.decode("ascii", "replace")
