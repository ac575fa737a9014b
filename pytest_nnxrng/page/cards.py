"""Changes -> cards: what one edit did, told once, with the goldens that follow from it.

An inserted layer draws keys and adds leaves, in models of three sizes: that is six changes for the
command line, and one for a reader. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_nnxrng.report.blame import MISSING, UNREADABLE, Blame, Change
from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import FOLLOWS

_LAST = (MISSING, UNREADABLE)


@dataclass(frozen=True)
class Card:
    """One edit: the changes that it made, what they moved, and what follows."""

    changes: tuple[Change, ...]  # the one that tells most comes first
    moved: tuple[Check, ...]
    follow: tuple[Check, ...] = ()
    place: str = ""
    source: str = ""
    ids: tuple[str, ...] = ()  # what ``nnxrng accept --cause`` takes
    alone: bool = True  # whether that accepts some golden without another card's changes
    also: tuple[int, ...] = ()  # the cards that moved some of these goldens, too
    causes: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)  # of the first change

    @property
    def checks(self) -> tuple[Check, ...]:
        return (*self.moved, *self.follow)

    @property
    def words(self) -> tuple[str, ...]:
        """The causes, that of the first change first; what follows is told apart."""
        words = dict.fromkeys(change.word for change in self.changes)
        return tuple(w for w in words if w != FOLLOWS or len(words) == 1)

    @property
    def leaves(self) -> int:
        """How many leaves moved; one that several causes moved is one."""
        texts = {(change.word, change.text) for change in self.changes}
        named = {
            (check.golden, path)
            for check in self.moved
            for cause in check.causes
            if (cause["word"], cause["finding"] or cause["word"]) in texts
            for path in cause["leaves"]
        }
        return len(named) + sum(c.leaves for c in self.changes if c.word in _LAST)


def cards(checks: Sequence[Check]) -> list[Card]:
    """The cards of all checks that failed, those that moved most goldens first."""
    failed = [check for check in checks if check.failed]
    found: list[Card] = []
    # What can be accepted has its ids among itself, as in ``nnxrng pending``.
    for some in ([c for c in failed if c.obtained], [c for c in failed if not c.obtained]):
        found += _cards(some)
    return _crossed(sorted(found, key=_rank))


def _rank(card: Card) -> tuple[bool, int, bool, int]:
    first = card.words[0]
    return first in _LAST, -len(card.checks), first == "unknown", -card.leaves


def _cards(checks: Sequence[Check]) -> list[Card]:
    blame = Blame(checks)
    by_change: dict[int, list[Check]] = {change.number: [] for change in blame.changes}
    for check in checks:
        for number in blame.numbers([check]):
            by_change[number].append(check)
    groups = _groups(blame, by_change)
    return [_card(blame, group, by_change) for group in groups]


def _groups(blame: Blame, by_change: Mapping[int, Sequence[Check]]) -> list[list[int]]:
    """The numbers of changes, those together that one edit made."""
    union = {number: number for number in by_change}

    def top(number: int) -> int:
        while union[number] != number:
            number = union[number]
        return number

    seen: dict[object, int] = {}
    words = {change.number: change.word for change in blame.changes}
    for change in blame.changes:
        if change.word == FOLLOWS:
            continue
        where = _place(by_change[change.number], change)
        goldens = tuple(sorted({check.golden for check in by_change[change.number]}))
        for key in (where, goldens):
            if key and change.word not in (*_LAST, "unknown"):
                union[top(change.number)] = top(seen.setdefault(key, change.number))
    for number, checks in by_change.items():
        above = {top(n) for check in checks for n in blame.models(check)}
        if words[number] == FOLLOWS:
            # What follows from several edits stands by itself, and is told once.
            one = above.pop() if len(above) == 1 else seen.setdefault(FOLLOWS, number)
            union[top(number)] = top(one)
    found: dict[int, list[int]] = {}
    for number in by_change:
        found.setdefault(top(number), []).append(number)
    return list(found.values())


def _place(checks: Iterable[Check], change: Change) -> str:
    return next((c["place"] for c in _causes(checks, change) if c.get("place")), "")


def _causes(checks: Iterable[Check], change: Change) -> list[Mapping[str, Any]]:
    """The causes of checks that are this change."""
    return [
        cause
        for check in checks
        for cause in check.causes
        if (cause["word"], cause["finding"] or cause["word"]) == (change.word, change.text)
    ]


def _card(blame: Blame, numbers: Sequence[int], by_change: Mapping[int, Sequence[Check]]) -> Card:
    changes = [blame.changes[number - 1] for number in numbers]
    # First what names the user's line, and of these what moved most.
    changes.sort(key=lambda c: (c.word == FOLLOWS, not c.see, -c.leaves, c.number))
    first = changes[0]
    every = {id(check): check for n in numbers for check in by_change[n]}.values()
    follows = {c.number for c in changes if c.word == FOLLOWS}
    follow = [check for check in every if follows.issuperset(blame.numbers([check]))]
    moved = [check for check in every if check not in follow]
    if not moved:
        moved, follow = follow, []
    needs = [set(blame.numbers([check])) for check in every]
    alone = any(need.issubset(numbers) for need in needs)
    named = [c.number for c in changes] if alone else sorted(set().union(*needs))
    place, source = _place(by_change[first.number], first), first.see
    if place and source.startswith(f"{place}: "):
        source = source.removeprefix(f"{place}: ")
    return Card(
        tuple(changes),
        tuple(moved),
        tuple(follow),
        place or first.see,
        source if source != (place or first.see) else "",
        tuple(blame.changes[number - 1].id for number in named),
        alone,
        causes=tuple(_causes(by_change[first.number], first)),
    )


def _crossed(found: Sequence[Card]) -> list[Card]:
    """The cards, each with the numbers of those that moved some of its goldens, too."""
    made = []
    for card in found:
        goldens = {check.golden for check in card.checks}
        also = tuple(
            number
            for number, other in enumerate(found, 1)
            if other is not card and goldens & {check.golden for check in other.checks}
        )
        made.append(replace(card, also=also))
    return made
