"""What a run's checks found, by change: the causes of all its mismatches, those of one as one.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import FOLLOWS, KEYED, NOT_JUDGED, change_id

# What a golden lacks of which there is no cause.
SHORTFALLS = {
    "missing": "there is no golden yet",
    "unreadable": "the golden cannot be read",
    "locked": "the golden may not be written over",
}


@dataclass(frozen=True)
class Finding:
    """One change, wherever it showed: its word, its text, what it moved.

    ``place`` is the user's line that made it, ``model.py:14``, where that is known, and ``called``
    the line of the first check that it failed, with its ``keymap`` where keys moved. ``together``
    are the ids of the changes to accept with it, where no golden was moved by it alone, and
    ``of_tests`` where it failed no test alone: an update writes all goldens of a test, or none.
    What merely follows is named there by its word.
    """

    word: str
    text: str
    goldens: tuple[str, ...]
    leaves: int
    tests: int = 1
    place: str = ""
    called: str = ""
    keymap: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    of_tests: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What names it on a command line, in any report that has it."""
        return change_id(self.word, self.text)


def shortfalls(checks: Iterable[Check]) -> list[Finding]:
    """What failed by no cause, as findings: goldens that are missing or cannot be read."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        if check.failed and not check.causes and check.status in SHORTFALLS:
            groups.setdefault(check.status, []).append(check)
    return [
        Finding(
            word="missing" if status == "missing" else "unreadable",
            text=SHORTFALLS[status],
            goldens=tuple(dict.fromkeys(check.golden for check in rows)),
            leaves=0,
            tests=len({check.test for check in rows}),
            called=next((check.where for check in rows if check.where), ""),
        )
        for status, rows in groups.items()
    ]


def findings(checks: Iterable[Check]) -> list[Finding]:
    """The causes of a run's mismatches, those of one change as one, the widest first."""
    groups: dict[tuple[str, str], list[tuple[Check, int]]] = {}
    places: dict[tuple[str, str], str] = {}
    by_test: dict[str, set[str]] = {}
    for check in checks:
        if any(cause["word"] not in NOT_JUDGED for cause in check.causes):
            by_test.setdefault(check.test, set()).update(_ids(check))
        elif any(cause["word"] == FOLLOWS for cause in check.causes):
            by_test.setdefault(check.test, set()).add(FOLLOWS)
        for cause in check.causes:
            key = (cause["word"], cause["finding"] or cause["word"])
            groups.setdefault(key, []).append((check, len(cause["leaves"])))
            if cause.get("place"):
                places.setdefault(key, cause["place"])
    found = [
        Finding(
            word,
            text,
            goldens=tuple(dict.fromkeys(check.golden for check, _ in rows)),
            leaves=sum(leaves for _, leaves in rows),
            tests=len({check.test for check, _ in rows}),
            place=places.get((word, text), ""),
            called=next((check.where for check, _ in rows if check.where), ""),
            keymap=next((check.keymap for check, _ in rows if check.keymap), ())
            if word in KEYED
            else (),
            together=_together(change_id(word, text), [_ids(check) for check, _ in rows]),
            of_tests=_together(
                change_id(word, text), [by_test.get(check.test, set()) for check, _ in rows]
            ),
        )
        for (word, text), rows in groups.items()
    ]
    return sorted(found, key=lambda finding: -len(finding.goldens))


def _ids(check: Check) -> set[str]:
    return {change_id(cause["word"], cause["finding"] or cause["word"]) for cause in check.causes}


def _together(own: str, every: Sequence[set[str]]) -> tuple[str, ...]:
    """The ids of the changes that moved these, if each was moved by others than ``own``, too."""
    if {own} in every:
        return ()
    if {own, FOLLOWS} in every:
        return own, FOLLOWS
    return tuple(sorted(set().union(*every), key=lambda each: (each == FOLLOWS, each)))
