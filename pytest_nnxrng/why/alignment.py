"""Two sequences of owners of draws -> what was put in, taken out or moved between them.

The longest run of owners that stand in the same order in both is what stayed. All else is an
edit: exact, with nothing guessed from counts.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """Places between two owners that stayed: ``out`` of the golden's, ``put`` into ours.

    ``edited`` and ``moved`` say by how much what follows stands later, all gaps before counted:
    by what was put in or taken out, and by what was moved past it.
    """

    out: tuple[int, ...]
    put: tuple[int, ...]
    edited: int
    moved: int

    @property
    def more(self) -> int:
        return len(self.put) - len(self.out)


@dataclass(frozen=True)
class Alignment:
    """``stayed`` and ``moved`` pair places in the golden's sequence with places in ours.

    ``gaps[i]`` stands before ``stayed[i]``; the last one after all.
    """

    stayed: tuple[tuple[int, int], ...]
    moved: tuple[tuple[int, int], ...]
    gaps: tuple[Gap, ...]


def align(theirs: Sequence[str], ours: Sequence[str]) -> Alignment:
    """Align by name; the second draw of one owner is another than its first."""
    here = {key: place for place, key in enumerate(_numbered(ours))}
    both = [(a, here[key]) for a, key in enumerate(_numbered(theirs)) if key in here]
    stayed = _increasing(both)
    kept_a, kept_b = {a for a, _ in both}, {b for _, b in both}
    gaps, edited, before = list[Gap](), 0, (-1, -1)
    for a, b in (*stayed, (len(theirs), len(ours))):
        out = tuple([i for i in range(before[0] + 1, a) if i not in kept_a])
        put = tuple([i for i in range(before[1] + 1, b) if i not in kept_b])
        edited += len(put) - len(out)
        gaps.append(Gap(out, put, edited, b - a - edited))
        before = a, b
    return Alignment(stayed, tuple(sorted(set(both) - set(stayed))), tuple(gaps))


def _numbered(names: Iterable[str]) -> list[tuple[str, int]]:
    seen, found = Counter[str](), []
    for name in names:
        found.append((name, seen[name]))
        seen[name] += 1
    return found


def _increasing(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The longest run of pairs that rise on both sides; all of them rise on the first."""
    ends, last, before = list[int](), list[int](), list[int]()
    for i, (_, b) in enumerate(pairs):
        at = bisect.bisect_left(ends, b)
        before.append(last[at - 1] if at else -1)
        ends[at : at + 1], last[at : at + 1] = [b], [i]
    found, i = list[tuple[int, int]](), last[-1] if last else -1
    while i >= 0:
        found.append(pairs[i])
        i = before[i]
    return tuple(reversed(found))
