"""Two live values that were compared, as text and as HTML for a notebook."""

from __future__ import annotations

import re
import textwrap
from html import escape
from typing import Protocol

from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.report import text as failures
from pytest_nnxrng.why.cause import Cause

_SHOWN = 50

# The texts of a check speak of its golden. Here there is none, but a value that was expected.
_WORDS = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bthe golden's largest( element)?\b", r"the largest expected\1"),
        (r"\bthe golden's\b", "the expected"),
        (r"\bthe golden has it\b", "it is expected"),
        (r"\bthe golden does not have it\b", "it is not expected"),
        (r"\bin the golden\b", "in what was expected"),
        (r"\bthe golden\b", "what was expected"),
        (r"((?:^|: |; |\] )|, )golden(?= \S)", r"\1expected"),
        (r"\bgolden:", "expected:"),
    )
)


class Pair(Protocol):
    """What is told (``same.Same`` is one)."""

    @property
    def comparison(self) -> Comparison: ...
    @property
    def causes(self) -> tuple[Cause, ...]: ...
    @property
    def title(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def worded(line: str) -> str:
    """A line about a golden, as one about what was expected."""
    for pattern, word in _WORDS:
        line = pattern.sub(word, line)
    return line


def text(pair: Pair) -> str:
    """What differs, why, and what has no partner; 80 columns wide."""
    lines = [headline(pair)]
    for note in pair.notes:
        lines += textwrap.wrap(
            note,
            80,
            initial_indent="  ",
            subsequent_indent="          ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    if not pair.comparison.matches:
        body = failures.lines(pair.causes, pair.comparison)
        lines += [worded(line) for line in body]
    return "\n".join(lines)


def headline(pair: Pair) -> str:
    """How many leaves are not the same."""
    found = pair.comparison
    start = f"{pair.title}: " if pair.title else ""
    if found.matches and not found.leaves:
        return f"{start}nothing was compared: no leaf has a partner"
    if found.matches:
        by = f", {len(found.rounded)} of them by rounding" if found.rounded else ""
        count = f"{found.leaves} {'leaves are' if found.leaves != 1 else 'leaf is'} the same{by}"
        return f"{start}{count}" + ("; not all have a partner" if pair.notes else "")
    return f"{start}not the same: {len(found.differences)} of {found.leaves} leaves differ"


def html(pair: Pair) -> str:
    """A table of the leaves that differ, below their causes."""
    rows = [_row(difference) for difference in pair.comparison.differences[:_SHOWN]]
    more = len(pair.comparison.differences) - _SHOWN
    causes = "".join(
        f"<li><b>{escape(cause.word)}</b>: {escape(cause.text)}</li>" for cause in pair.causes
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in pair.notes)
    table = ""
    if rows:
        head = "<tr><th>leaf</th><th>differs in</th><th>expected</th><th>obtained</th></tr>"
        table = f"<table>{head}{''.join(rows)}</table>"
    rest = f"<p>... and {more} more</p>" if more > 0 else ""
    listed = f"<ul>{causes}{notes}</ul>" if causes or notes else ""
    return f"<div><p>{escape(headline(pair))}</p>{listed}{table}{rest}</div>"


def _row(difference: Difference) -> str:
    old, new, numbers = difference.expected, difference.obtained, difference.numbers
    cells = [difference.path or "(the value)", ", ".join(difference.kinds)]
    for leaf, value in (
        (old, numbers and numbers.expected),
        (new, numbers and numbers.obtained),
    ):
        form = "" if leaf is None else f"{leaf.type} {leaf.dtype}{list(leaf.shape)}"
        cells.append(f"{form} {value}" if value else form)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
