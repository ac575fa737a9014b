"""A command's terminal: lines as wide as it is, colour where it has any, keys, and `Trouble`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

_CODES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_ASCII = str.maketrans("●○◆│├└─", "*o@|+`-")
NARROWEST = 20
END = ""  # no more keys will come


@dataclass
class Screen:
    """Where a command prints. ``width`` is in columns; ``colour`` says whether it may be used."""

    out: TextIO
    width: int = 80
    colour: bool = False

    @classmethod
    def of(cls, out: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Screen:
        """The screen of this process: NO_COLOR and FORCE_COLOR hold, COLUMNS is its width."""
        stream = sys.stdout if out is None else out
        colour = stream.isatty() and environ.get("TERM") != "dumb"
        if environ.get("FORCE_COLOR"):
            colour = True
        if environ.get("NO_COLOR"):
            colour = False
        return cls(stream, max(shutil.get_terminal_size().columns, NARROWEST), colour)

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line as it is, however long."""
        shown = printable(text)
        if not _draws_lines(self.out):
            shown = shown.translate(_ASCII).encode("ascii", "backslashreplace").decode()
        print(self.painted(shown, style), file=self.out)

    def say(self, text: str, style: str = "", *, indent: str = "", hang: str = "") -> None:
        """Print a text, wrapped; ``hang`` indents its later lines further."""
        for line in wrapped(printable(text), self.width, indent, indent + hang):
            self.line(line, style)

    def rows(self, rows: Sequence[Sequence[str]], *, head: bool = True, indent: str = "") -> None:
        """Print a table: columns aligned, the last one cut where the screen ends."""
        for number, text in enumerate(table(rows, self.width, indent)):
            self.line(text, "bold" if head and not number else "")

    def painted(self, text: str, style: str) -> str:
        code = _CODES[style]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def json(self, document: Any) -> None:
        text = json.dumps(document, indent=1, ensure_ascii=True)
        print(text, file=self.out)

    def flush(self) -> None:
        self.out.flush()


def _draws_lines(out: TextIO) -> bool:
    """Whether a stream takes every character: a console of old may not, nor a pipe under C."""
    return "utf" in (getattr(out, "encoding", None) or "utf-8").lower()


def printable(text: str) -> str:
    """A golden and a report are files: what they hold must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wrapped(text: str, width: int, indent: str = "", hang: str = "") -> list[str]:
    """The lines of a text. A path is never broken: it could not be copied."""
    return textwrap.wrap(
        text,
        max(width, NARROWEST),
        initial_indent=indent,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent.rstrip()]


def table(rows: Sequence[Sequence[str]], width: int, indent: str = "") -> list[str]:
    """Rows as aligned lines; numbers to the right. What is wider than the screen is cut."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells:
        return []
    if len(cells[0]) == 1:  # of names alone the ends say which is which
        return [_tail(f"{indent}{row[0]}".rstrip(), width, indent) for row in cells]
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    right = [all(_numeric(row[n]) for row in cells[1:]) for n in range(len(widths))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(w) if to_right else cell.ljust(w)
            for cell, w, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append(cut(f"{indent}{'  '.join(padded)}".rstrip(), width))
    return lines


def _tail(text: str, width: int, indent: str) -> str:
    room = width - len(indent) - 3
    return text if len(text) <= width else f"{indent}...{text[len(text) - room :]}"


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _numeric(cell: str) -> bool:
    return not cell or cell.strip("-+.,e0123456789") == ""


def plural(count: int, noun: str) -> str:
    """``1 golden``, ``2 goldens``, ``3 leaves``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun.removesuffix('f') + 'ves' if noun.endswith('leaf') else noun + 's'}"


class Trouble(Exception):
    """What ``nnxrng`` cannot do: the message says why, and the way out."""


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
