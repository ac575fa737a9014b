"""Which changes moved which golden, and how each is named on a command line.

Standard library alone. What has no cause of its own follows from what moved its test's model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_nnxrng.report.findings import SHORTFALLS
from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import FOLLOWS, change_id

MISSING, UNREADABLE = "missing", "unreadable"
# What stands for a golden that has no causes of its own.
WORDS = {
    FOLLOWS: "nothing else that the report names",
    MISSING: SHORTFALLS[MISSING],
    UNREADABLE: SHORTFALLS[UNREADABLE],
}

Key: TypeAlias = tuple[str, str]  # a change's word and text


@dataclass(frozen=True)
class Change:
    """One change over all goldens, with the number by which it is named on a command line."""

    number: int
    word: str
    text: str
    leaves: int
    see: str = ""
    likely: bool = False

    @property
    def accepted_as(self) -> str:
        """The word that accepts it: what is likely is not proven."""
        return "unknown" if self.likely else self.word

    @property
    def id(self) -> str:
        """The same in every report: a number is one report's."""
        return change_id(self.word, self.text)


class Blame:
    """The changes that moved what each check obtained, those of most goldens first."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._tests: dict[str, set[Key]] = {}
        for check in checks:
            models = [cause for cause in check.causes if cause["word"] != FOLLOWS]
            self._tests.setdefault(check.test, set()).update(map(_key, models))
        # In one golden alone it is no more than likely: then it is so in all.
        likely = {
            self._change(check, cause)
            for check in checks
            for cause in check.causes
            if cause["evidence"] == "likely"
        }
        found = self._all(checks)
        self._numbers = {key: n for n, key in enumerate(found, 1)}
        self.changes: tuple[Change, ...] = tuple(
            Change(number, *key, *found[key], likely=key in likely)
            for key, number in self._numbers.items()
        )

    def numbers(self, checks: Iterable[Check]) -> tuple[int, ...]:
        """The numbers of the changes that moved a golden, of which these are the checks."""
        return tuple(sorted({self._numbers[key] for check in checks for key in self._of(check)}))

    def models(self, check: Check) -> tuple[int, ...]:
        """The numbers of the changes that moved the other checks of a check's test."""
        return tuple(sorted(self._numbers[key] for key in self._tests[check.test]))

    def _change(self, check: Check, cause: Mapping[str, Any]) -> Key:
        """The change that a cause is of. What follows is told apart by what it follows from."""
        if cause["word"] != FOLLOWS:
            return _key(cause)
        word, text = self._without(check, cause["finding"])
        return word, f"likely {text}" if cause["evidence"] == "likely" else text

    def _of(self, check: Check) -> dict[Key, tuple[int, str]]:
        """Each change with the number of leaves that it moved and the line to see."""
        found: dict[Key, tuple[int, str]] = {}
        for cause in check.causes:
            key = self._change(check, cause)
            count, place = found.get(key, (0, ""))
            see = cause["text"].partition(" (see ")[2].removesuffix(")")
            found[key] = (count + len(cause["leaves"]), place or see or cause["place"])
        if not found:
            found[self._without(check)] = (len(check.differences) or check.leaves, "")
        return found

    def _without(self, check: Check, elsewhere: str = "") -> Key:
        """What stands for the causes of a check that has none of its own.

        ``elsewhere`` tells of the model that it follows from, where another test checked that.
        """
        if check.status in (MISSING, UNREADABLE):
            return check.status, WORDS[check.status]
        of_its_test = sorted(f"{word}: {text}" for word, text in self._tests[check.test])
        if not of_its_test and elsewhere:
            return FOLLOWS, elsewhere
        return FOLLOWS, f"from {'; '.join(of_its_test) or WORDS[FOLLOWS]}"

    def _all(self, checks: Sequence[Check]) -> dict[Key, tuple[int, str]]:
        """Each change's leaves and place, those of most goldens first, what has no cause last."""
        goldens: dict[Key, set[str]] = {}
        leaves: dict[Key, int] = {}
        see: dict[Key, str] = {}
        for check in checks:
            for key, (count, place) in self._of(check).items():
                goldens.setdefault(key, set()).add(check.golden)
                leaves[key] = leaves.get(key, 0) + count
                see[key] = see.get(key) or place
        order = sorted(goldens, key=lambda key: (key[0] in WORDS, -len(goldens[key]), key))
        return {key: (leaves[key], see[key]) for key in order}


def _key(cause: Mapping[str, Any]) -> Key:
    return cause["word"], cause["finding"] or cause["word"]
