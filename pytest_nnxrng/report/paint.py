"""A failure's text on pytest's terminal: its colours, its line in the short summary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_STYLES: tuple[tuple[re.Pattern[str], dict[str, bool]], ...] = (
    (re.compile(r"  (file|against|called|leaves|keys) "), {}),
    (re.compile(r"to (accept|write|move): "), {"green": True}),
    (re.compile(r"  why "), {"yellow": True, "bold": True}),
    (re.compile(r"  not as recorded"), {"yellow": True, "bold": True}),
    (re.compile(r"  \S+  \S+ \S+(, \d+)*\]?\Z"), {"bold": True}),
    (re.compile(r"      .*golden .* now "), {"red": True}),
    (re.compile(r"\S.*: "), {"red": True, "bold": True}),
)


def style(line: str) -> dict[str, bool]:
    """The markup of a line of ``text.failure``, as pytest's terminal writer takes it."""
    return next((markup for pattern, markup in _STYLES if pattern.match(line)), {})


@dataclass(frozen=True)
class _Crash:
    """What pytest's short summary and JUnit file show of a failure, and ``--tb=line`` as text.

    It has all that pytest's own has: other plugins read the ``path`` and ``lineno``, too.
    """

    message: str
    place: str = ""

    @property
    def path(self) -> str:
        return self.place.rpartition(":")[0]

    @property
    def lineno(self) -> int:
        line = self.place.rpartition(":")[2]
        return int(line) if line.isdecimal() else 0

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class Failure(str):
    """A failure's text as a report's ``longrepr``: it paints itself on a terminal."""

    reprcrash: _Crash
    is_line: bool

    @classmethod
    def of(cls, text: str, headline: str, place: str = "", *, is_line: bool = False) -> Failure:
        """``is_line``: the terminal shows the headline alone, as ``--tb=line`` asks for."""
        made = cls(text)
        made.reprcrash = _Crash(headline, place)
        made.is_line = is_line
        return made

    def toterminal(self, writer: Any) -> None:
        """Write the text to a ``pytest`` terminal writer, with colour if it has any."""
        for line in [] if self.is_line else self.splitlines():
            writer.line(line, **style(line))
