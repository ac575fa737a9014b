"""A run's end on pytest's terminal, 80 columns wide, and the colours of a failure."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_nnxrng.report.findings import Finding
from pytest_nnxrng.run.outcomes import Totals
from pytest_nnxrng.run.settings import Mode
from pytest_nnxrng.why.words import FOLLOWS, NEVER_WRITTEN, NOT_JUDGED

_COMPARE = Mode()
_WIDTH = 80
_PATHS = 8
_FINDINGS = 8
_STYLES: tuple[tuple[re.Pattern[str], dict[str, bool]], ...] = (
    (re.compile(r"  (file|against|called|leaves|keys) "), {}),
    (re.compile(r"to (accept|write|move): "), {"green": True}),
    (re.compile(r"  why "), {"yellow": True, "bold": True}),
    (re.compile(r"  not as recorded"), {"yellow": True, "bold": True}),
    (re.compile(r"  \S+  \S+ \S+(, \d+)*\]?\Z"), {"bold": True}),
    (re.compile(r"      .*golden .* now "), {"red": True}),
    (re.compile(r"\S.*: "), {"red": True, "bold": True}),
)


def lines(
    totals: Totals,
    unused: Sequence[Sequence[str]],
    gone: Sequence[Sequence[str]],
    deleted: Sequence[Sequence[str]],
    notes: Sequence[str],
    findings: Sequence[Finding] = (),
    against: str = "",
    mode: Mode = _COMPARE,
    report: str = "",
) -> list[str]:
    """The figures of the run, and what needs the reader's hand; goldens by their files.

    ``against`` is the line of figures of a run that has no goldens in the repository. What ``mode``
    asked for in vain is not advised again. ``report`` is the folder that the run wrote to.
    """
    found = _wrap(against or _counts(totals, len(unused) + len(gone), len(deleted)))
    for told in (*_figures(totals), *_changes(findings, against, mode, report), *notes):
        # A command is a line of its own, however long.
        found += [told] if told.startswith("  ") else _wrap(told)
    if against:
        return found
    found += _ways_out(totals, findings, mode)
    if unused:
        found += ["Unused: their tests passed without them. To remove them:", *_removal(unused)]
    if gone:
        found += _listed("Unused: their tests are gone (pytest --nnx-prune-snapshots):", gone)
    if deleted:
        found += _listed("Deleted, their tests being gone:", deleted)
    return found


def _figures(totals: Totals) -> list[str]:
    """What the counts alone do not tell of how things were compared."""
    figures = (
        (
            totals.headroom,
            f"Rounding came nearest to its tolerance at {totals.headroom:.2g} of it "
            f"({totals.worst}).",
        ),
        (
            totals.unproven_rounding,
            f"{totals.unproven_rounding} matched only by rounding although the environment is "
            "the one recorded: those numbers do not repeat to the bit here, or the code that makes "
            "them changed.",
        ),
        (totals.spotted, f"Checked by spots, up to 32 elements of a leaf: {totals.spotted}."),
        (
            totals.proven,
            "Not computed, as the keys, initializers and environment are those of the golden: "
            f"{totals.proven}.",
        ),
        (
            totals.left,
            f"One device writes the goldens that several share: {totals.left} left to "
            f"{totals.left_to}. Run again without --nnx-update-snapshots to compare them.",
        ),
        (
            totals.unread,
            f"Checked without values, the golden or the check being abstract: {totals.unread}.",
        ),
        (
            totals.unfingerprinted,
            f"Recorded under another JAX, {totals.unfingerprinted} of them: draws, shapes, dtypes, "
            "types, structure and spots were compared, initializers could not be.",
        ),
        (
            totals.unrecorded,
            "Recorded before goldens kept the static state of modules (classes, rates, "
            f"activations), which was not compared: {totals.unrecorded}. "
            "--nnx-refresh-snapshots records it.",
        ),
    )
    return [text for number, text in figures if number]


def _changes(findings: Sequence[Finding], against: str, mode: Mode, report: str) -> list[str]:
    """Each change with its extent and, of several, the command that accepts it."""
    judged = [finding for finding in findings if _is_judged(finding)]
    offers = not against and not _is_in_vain(mode) and len(judged) > 1
    offered = {
        # Changes that go together have one command, below the last of them.
        _acceptance(finding, report): number
        for number, finding in enumerate(findings[:_FINDINGS])
        if offers and finding in judged and not _is_named(finding, mode)
    }
    found = []
    for number, finding in enumerate(findings[:_FINDINGS]):
        found.append(_finding(finding))
        found += [f"  {command}" for command, last in offered.items() if last == number]
    follow = {golden for f in findings if f.word == FOLLOWS for golden in f.goldens}
    if follow:
        told = f"{len(follow)} follow{'s' if len(follow) == 1 else ''}: not judged."
        found.append(told if against else told + _of_what_follows(mode))
    if len(findings) > _FINDINGS:
        found.append(f"... and {len(findings) - _FINDINGS} more causes")
    return found


def _of_what_follows(mode: Mode) -> str:
    """What to know before a change is accepted from which something follows."""
    if mode.only and FOLLOWS not in mode.only:
        return (
            " Goldens of one test are written together, and these were not named: name the word "
            "follows, too, in --nnx-update-only."
        )
    if not mode.update:
        return (
            " Goldens of one test are written together: look at what follows, too, since what "
            "accepts a change names the word follows."
        )
    return ""


def _ways_out(totals: Totals, findings: Sequence[Finding], mode: Mode) -> list[str]:
    """The commands that move, write or accept goldens."""
    found = []
    if totals.movable:
        found += _wrap(
            f"Equal to goldens of tests that are gone: {totals.movable}. To move these to where "
            "their tests are now: pytest --nnx-move-snapshots"
        )
    if _is_in_vain(mode):
        return found
    never = findings and all(finding.word in NEVER_WRITTEN for finding in findings)
    if totals.missing > totals.movable or (totals.changed and not never):
        found.append("To write or accept them: pytest --nnx-update-snapshots")
    judged = [finding for finding in findings if _is_judged(finding)]
    some = totals.missing or len(findings) > 1 or totals.changed > 1
    follows = any(finding.word == FOLLOWS for finding in findings)
    settled = all(_is_named(finding, mode) for finding in judged)
    settled &= not follows or FOLLOWS in mode.only
    if totals.changed and some and judged and not settled:
        named = ",".join([*sorted({finding.word for finding in judged}), *[FOLLOWS] * follows])
        found += _wrap(f"To accept only what moved by certain causes: --nnx-update-only={named}")
    return found


def _is_in_vain(mode: Mode) -> bool:
    """Whether an update was asked for, and what still fails was not to be written."""
    return mode.update and not mode.only


def _is_judged(finding: Finding) -> bool:
    return finding.word not in NOT_JUDGED | NEVER_WRITTEN


def _is_named(finding: Finding, mode: Mode) -> bool:
    return finding.word in mode.only or finding.id in mode.only


def _finding(finding: Finding) -> str:
    goldens = f"{len(finding.goldens)} golden{'s' if len(finding.goldens) > 1 else ''}"
    leaves = f", {finding.leaves} {'leaves' if finding.leaves > 1 else 'leaf'}"
    tests = f", {finding.tests} tests" if finding.tests > 1 else ""
    # A change of static state is one of modules, and of no leaf.
    extent = goldens + (leaves if finding.leaves else "") + tests
    place = f" at {finding.place}" if finding.place else ""
    return f"{finding.word}: {finding.text} ({extent}){place}"


def _acceptance(finding: Finding, report: str) -> str:
    """The command that accepts this change alone, or with those that go with it."""
    if report:
        ids = ",".join(finding.together or (finding.id,))
        return shlex.join(["nnxrng", "accept", report, "--cause", ids])
    return f"pytest --nnx-update-only={','.join(finding.of_tests or (finding.id,))}"


def against(label: str, totals: Totals, unrun: int) -> str:
    """``against main (a1b2c3d): 23 the same, 2 changed, 1 new``, the checks that these are.

    ``unrun`` of those that are missing there are of tests that the other code cannot run.
    """
    counts = [
        (totals.matched, "the same"),
        (totals.rounded, "the same by rounding"),
        (totals.changed, "changed"),
        (totals.missing - unrun, "new"),
        (unrun, "that it cannot run"),
        (totals.unreadable, "unreadable"),
    ]
    shown = ", ".join(f"{n} {word}" for n, word in counts if n or word == "the same")
    return f"against {label}: {shown}"


def unrun(why: Mapping[str, str]) -> list[str]:
    """Lines on tests that the other code cannot run."""
    shown = [f"It cannot run {test}: {told}" for test, told in list(why.items())[:_FINDINGS]]
    return shown + ([f"... and {len(why) - _FINDINGS} more tests"] if len(why) > _FINDINGS else [])


def _counts(totals: Totals, unused: int, deleted: int) -> str:
    counts = [
        (totals.matched, "matched"),
        (totals.rounded, "matched by rounding"),
        (totals.written, "written"),
        (totals.moved, "moved"),
        (totals.left, "left to another device"),
        (totals.missing, "missing"),
        (totals.changed, "changed"),
        (totals.unreadable, "unreadable"),
        (unused, "unused"),
        (deleted, "deleted"),
    ]
    return ", ".join(f"{n} {word}" for n, word in counts if n or word == "matched") + "."


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _listed(title: str, goldens: Sequence[Sequence[str]]) -> list[str]:
    files = [f"  {file}" for golden in goldens[:_PATHS] for file in golden]
    return [title, *files, *_more(goldens)]


def _removal(goldens: Sequence[Sequence[str]]) -> list[str]:
    """A command that can be pasted, a file a line."""
    words = ["git rm --", *(shlex.quote(file) for golden in goldens[:_PATHS] for file in golden)]
    lines = [f"  {word} \\" for word in words]
    return [*lines[:-1], lines[-1].removesuffix(" \\"), *_more(goldens)]


def _more(goldens: Sequence[Sequence[str]]) -> list[str]:
    more = len(goldens) - _PATHS
    return [f"  ... and {more} more goldens (--nnx-report=DIR lists all)"] if more > 0 else []


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
