"""A page of the documentation as a story: its blocks are files, changes of files, and commands.

A ``python`` block that begins with ``# models.py`` is that file. A ``diff`` block that begins with
``--- models.py`` changes it. Each ``$`` of a ``console`` block is run, and what follows is what it
prints. ``WRITE_PAGES=1`` writes what was printed into the pages in place of comparing.

The cards that the page of a run shows are files in ``docs/cards``, named by the headings.
``docs/conf.py`` puts them into the gallery.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from projects import Project, Run
from repositories import git

from pytest_nnxrng.command import artifact, entry
from pytest_nnxrng.page import markup, overview
from pytest_nnxrng.page.cards import cards
from pytest_nnxrng.page.subject import Run as Page
from pytest_nnxrng.trace import source

DOCS = Path(__file__).parents[2] / "docs"
CARDS = DOCS / "cards"
REPORT = "nnx-report"
WRITE = "WRITE_PAGES"
_WIDE = 80  # columns
_FILE = re.compile(r"# (\S*\.(?:py|ini|gitignore))")


@dataclass
class Block:
    """A fenced block: its language, its lines, and the heading that it stands under."""

    language: str
    heading: str
    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def file(self) -> str | None:
        """The file that this block is."""
        found = _FILE.fullmatch(self.lines[0]) if self.lines else None
        return found[1] if found else None


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    made, heading = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        if made is None and line.startswith("```"):
            made = Block(line[3:].strip(), heading, number)
        elif made is not None and line == "```":
            yield made
            made = None
        elif made is not None:
            made.lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def hunks(diff: Block) -> Iterator[tuple[str, str, str]]:
    """The file of a diff, what each part of it takes out, and what it puts there."""
    file = diff.lines[0].removeprefix("--- ")
    for hunk in "\n".join(diff.lines[2:]).split("\n@@\n"):
        rows = hunk.split("\n")
        old = [row[1:] for row in rows if not row.startswith("+")]
        new = [row[1:] for row in rows if not row.startswith("-")]
        yield file, "\n".join(old) + "\n", "\n".join(new) + "\n"


def told(
    page: Path,
    project: Project,
    *,
    whole: bool,
    short: bool,
    shown: dict[str, str] | None = None,
) -> str:
    """The page as it is when each of its commands has run: the same text, if it is true.

    A page is one story from its first block to its last. With ``whole=False`` each heading is a
    story of its own, after the blocks under the first one. With ``short`` a run shows its failures
    alone, or its figures. ``shown`` gets the cards of each heading's last run.
    """
    text = page.read_text(encoding="utf-8")
    first = next(blocks(text)).heading
    lines = text.splitlines()
    shift, heading = 0, first
    undo: list[tuple[str, str, str]] = []
    # As in a terminal in the project's folder, though this process was started elsewhere.
    project.monkeypatch.setattr(source, "_HERE", project.path)
    for block in blocks(text):
        if block.heading != heading and not whole:
            for file, old, new in reversed(undo):
                project.change(file, new, old)
            undo.clear()
        heading = block.heading
        if block.language == "diff":
            for hunk in hunks(block):
                project.change(*hunk)
                undo.append(hunk)
        elif block.language == "console":
            report = () if shown is None else (f"--nnx-report={REPORT}",)
            seen = list(_ran(block, project, report, short=short))
            if shown is not None and heading != first:
                shown[heading.strip("`")] = _cards(project)
            start = block.line + shift
            lines[start : start + len(block.lines)] = seen
            shift += len(seen) - len(block.lines)
        elif block.file:
            project.write({block.file: block.text})
    return "\n".join(lines) + "\n"


def _cards(project: Project) -> str:
    """What the page of the last run shows of its changes, as it is read without a script."""
    found = artifact.read(REPORT, project.path / REPORT)
    run = Page(REPORT, found.folder, project.path, found.checks)
    made = cards(run.checks)
    return "".join(_card(run, number, one) for number, one in enumerate(made, 1))


def _card(run: Page, number: int, one: Any) -> str:
    card = overview.card(run, number, one)
    for element in card.iter():
        for child in [child for child in element if "hidden" in child.attrib]:
            element.remove(child)
        for name in ("id", "tabindex", "data-change"):
            element.attrib.pop(name, None)
        # Headings are the gallery's own; and one element a line is read in a diff.
        element.tag = {"h3": "p", "h4": "p"}.get(element.tag, element.tag)
    return re.sub(r"(</(?:p|li|ul|div|summary|details|article)>)", r"\1\n", markup.html(card))


def _ran(
    block: Block, project: Project, more: tuple[str, ...] = (), *, short: bool
) -> Iterator[str]:
    for line in block.lines:
        if line.startswith("$ "):
            yield line
            yield from _output(line[2:], project, more, short=short)


def _output(command: str, project: Project, more: tuple[str, ...], *, short: bool) -> list[str]:
    words = shlex.split(command)
    if words[0] == "pytest":
        return _excerpt(project.run(*words[1:], *more), short=short)
    if words[0] == "git":
        git(project.path, *words[1:])
        return []
    if words[0] == "nnxrng":
        return _without_pytest(words[1:])
    name, _, value = words[0].partition("=")
    assert value, f"the documentation cannot run {command!r}"
    flag = name.lower()  # of JAX, which read the variable when it was imported
    before = jax.config.values[flag]
    jax.config.update(flag, value != "0")
    try:
        return _excerpt(project.run(*words[2:], *more), short=short)
    finally:
        jax.config.update(flag, before)


def _without_pytest(words: list[str]) -> list[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        entry.main(words)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _excerpt(run: Run, *, short: bool) -> list[str]:
    """What a run printed, from its first section on; with ``short``, its failures alone."""
    lines = [_steady(line) for line in run.lines]
    starts = [n for n, line in enumerate(lines) if re.match(r"[=-]{3,} [A-Zn]", line)]
    assert starts, run.everything
    cut = lines[starts[0] :]
    if not short:
        while not cut[-1]:
            cut.pop()
        return ["...", *cut]
    inside: list[str] = []
    for line in cut[1:]:
        if re.match(r"[=-]{5,} ", line):
            break
        inside.append(line)
    while not inside[-1]:
        inside.pop()
    return [line for line in inside if not re.match(r"_{5,} ", line)]


def _steady(line: str) -> str:
    """Without what differs from run to run: a time, a commit."""
    ended = re.fullmatch(r"=+ (.*) in \d+\.\d+s(?: \(.*\))? =+", line)
    if ended:  # pytest fills the line, so that a slow run has fewer signs
        text = f" {ended[1]} in 1.23s "
        fill = "=" * ((_WIDE - len(text)) // 2)
        line = f"{fill}{text}{fill}".ljust(_WIDE, "=")
    return re.sub(r"main \([0-9a-f]{7}\)", "main (a1b2c3d)", line).rstrip()
