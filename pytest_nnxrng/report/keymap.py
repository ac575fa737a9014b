"""The key map: which keys a build drew from which stream, in order, and what each became.

A stream is a lane. Of one golden each draw is a row; of two, the golden's lane stands above the
obtained one, aligned by what the keys became, so that what was put in between shows as a gap and
what comes after it as a shift. Standard library alone: manifests' rows go in, lines come out.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_nnxrng.leaf.paths import expand

_NOTHING = "nothing random"
_MOST = 5_000  # draws of a lane that are aligned
_LABEL = re.compile(r"(.*)#(\d+)((?:/.*)?)", re.DOTALL)
_SHOWN = 8


@dataclass(frozen=True)
class Keys:
    """What is known of a build's draws.

    ``streams`` are a manifest's, ``draws`` maps each leaf to the labels of the keys that made
    it, in order. ``owners`` names, where a golden recorded it, for what each key of a stream
    was drawn, from the first that this build drew on.
    """

    streams: Mapping[str, Mapping[str, Any]]
    draws: Mapping[str, Sequence[str]]
    owners: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, streams: Mapping[str, Mapping[str, Any]], draws: Mapping[str, Sequence[str]]
    ) -> Keys:
        """With the owners that the streams name; those of an early golden name none."""
        owners: dict[str, list[str]] = {}
        for name, stream in streams.items():
            with contextlib.suppress(ValueError):
                owners[name] = expand(stream.get("draws"))
        return cls(streams, draws, owners)


@dataclass(frozen=True)
class Draw:
    """A key of a stream: its number, the leaves that it became, and for what it was drawn.

    ``owner`` is "" for the model itself, None where it is not known.
    """

    number: int
    leaves: tuple[str, ...] = ()
    owner: str | None = None

    @property
    def told(self) -> str:
        """What the key became, in words."""
        if not self.leaves:
            by = "" if self.owner is None else f" ({self.owner or 'the model itself'})"
            return f"{_NOTHING}{by}"
        return ", ".join(self.leaves)


def of_manifest(document: Mapping[str, Any]) -> Keys:
    """The keys of a manifest, as JSON holds it; one of an early version knows no owners."""
    leaves = document["leaves"]
    draws = {
        path: [label for label in row["draws"] if isinstance(label, str)]
        for path, row in sorted(leaves.items())
        if isinstance(row.get("draws"), list)
    }
    return Keys.of(document["streams"], draws)


def lanes(keys: Keys) -> dict[str, list[Draw]]:
    """The draws of each stream, in order, those that became nothing random included."""
    made: dict[str, dict[int, list[str]]] = {}
    for path, labels in keys.draws.items():
        for label in labels:
            if found := _LABEL.fullmatch(label):
                name, number, chain = found[1], int(found[2]), found[3]
                leaf = f"{path} ({chain[1:]})" if chain else path
                made.setdefault(name, {}).setdefault(number, []).append(leaf)
    found_lanes = {}
    for name in sorted(keys.streams.keys() | made.keys()):
        here, stream = made.get(name, {}), keys.streams.get(name, {})
        first, end = _whole(stream.get("count")), _whole(stream.get("end"))
        owners = dict(enumerate(keys.owners.get(name, ()), first))
        numbers = sorted({*here, *range(first, min(end, first + _MOST))})
        found_lanes[name] = [Draw(n, tuple(here.get(n, ())), owners.get(n)) for n in numbers]
    return found_lanes


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


# -- one golden --------------------------------------------------------------------------------


def picture(keys: Keys, width: int = 80) -> list[str]:
    """The lanes of one build, a draw a row; runs of keys that became nothing are one row."""
    lines: list[str] = []
    for name, lane in lanes(keys).items():
        if not lane:
            lines.append(f"{name}  {_key(keys, name)}  no key drawn")
            continue
        lines.append(f"{name}  {_key(keys, name)}  {_count(len(lane))}")
        rows = [(_label(group), group[0]) for group in _groups(lane)]
        wide = max(len(label) for label, _ in rows)
        for number, (label, draw) in enumerate(rows, 1):
            corner = "└" if number == len(rows) else "├"
            lines.append(f"  {corner}─{_mark(draw)} {label:<{wide}}  {_become(draw)}")
    return [_cut(line, width) for line in lines]


def _key(keys: Keys, name: str) -> str:
    stream = keys.streams.get(name, {})
    key = stream.get("key")
    return f"key {' '.join(map(str, key))}" if isinstance(key, list) else "key unknown"


def _count(keys: int) -> str:
    return f"{keys:,} key{'' if keys == 1 else 's'}"


def _groups(lane: Sequence[Draw]) -> list[list[Draw]]:
    """The draws, those in a row that became nothing random and have no owner together."""
    groups: list[list[Draw]] = []
    for draw in lane:
        plain = not draw.leaves and draw.owner is None
        before = groups[-1][-1] if groups else None
        joined = before and not before.leaves and before.owner is None
        if plain and before and joined and before.number == draw.number - 1:
            groups[-1].append(draw)
        else:
            groups.append([draw])
    return groups


def _label(draws: Sequence[Draw]) -> str:
    first, last = draws[0], draws[-1]
    return f"#{first.number}" if first is last else f"#{first.number} .. #{last.number}"


def _mark(draw: Draw) -> str:
    return "○" if not draw.leaves else "◆" if _uses(draw) > 1 else "●"


def _uses(draw: Draw) -> int:
    """How many leaves have a key for themselves: those that are split first share none."""
    return len({leaf for leaf in draw.leaves if not leaf.endswith(")")})


def _become(draw: Draw) -> str:
    uses = _uses(draw)
    if uses < 2:
        return draw.told
    return f"{draw.told}  (used {'twice' if uses == 2 else f'{uses} times'})"


# -- two goldens -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """A stretch of two lanes: draws of the golden and of the run that are alike, or one's alone."""

    golden: tuple[Draw, ...]
    obtained: tuple[Draw, ...]

    @property
    def shift(self) -> int | None:
        """By how much the keys moved; None where there is nothing on one side."""
        if not self.golden or not self.obtained:
            return None
        return self.obtained[0].number - self.golden[0].number


def segments(golden: Sequence[Draw], obtained: Sequence[Draw]) -> list[Segment]:
    """Two lanes aligned by what their keys became, in as long stretches as can be."""
    # A golden of an earlier version knows no owners.
    owned = all(draw.owner is not None for draw in (*golden, *obtained))
    one, two = _tokens(golden, owned), _tokens(obtained, owned)
    found: list[Segment] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind == "replace":
            found += [Segment(tuple(golden[a:b]), ()), Segment((), tuple(obtained[c:d]))]
        else:
            found.append(Segment(tuple(golden[a:b]), tuple(obtained[c:d])))
    return found


def _tokens(lane: Sequence[Draw], owned: bool) -> list[Any]:
    """What makes a draw the same one: its leaves or owner, else its place after those before."""
    tokens: list[Any] = []
    before, since = "", 0
    for draw in lane[:_MOST]:
        if owned:
            tokens.append(draw.owner)
            continue
        name = "\n".join(draw.leaves)
        before, since = (name, 0) if name else (before, since + 1)
        tokens.append((before, since))
    return tokens


def aligned(golden: Keys, obtained: Keys, width: int = 80) -> list[str]:
    """The lanes of two builds, the golden's above; streams that are alike are one line."""
    old, new = lanes(golden), lanes(obtained)
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        here, there = old.get(name, []), new.get(name, [])
        keys = [_key(keys, name) for keys in (golden, obtained)]
        head = keys[0] if keys[0] == keys[1] else f"{keys[0]} -> {keys[1]}"
        found = segments(here, there)
        if not here and not there:
            lines.append(f"{name}  {head}  no key drawn")
        elif all(segment.shift == 0 for segment in found):
            lines.append(f"{name}  {head}  {_count(len(here))}, drawn alike")
        else:
            lines.append(f"{name}  {head}  {_count(len(here))} -> {len(there):,}")
            lines += _banks(found, width)
            lines += _moved(found)
    return [_cut(line, width) for line in lines]


def _banks(found: Sequence[Segment], width: int) -> list[str]:
    """The segments as cells, golden above obtained, in as many banks as the width asks for."""
    cells = [(_span(s.golden), _span(s.obtained), _verdict(s)) for s in found]
    lines: list[str] = []
    bank: list[tuple[str, str, str]] = []
    for cell in cells:
        if bank and 13 + sum(_wide(c) + 3 for c in [*bank, cell]) > width:
            lines += _bank(bank)
            bank = []
        bank.append(cell)
    return lines + _bank(bank)


def _wide(cell: Iterable[str]) -> int:
    return max(map(len, cell))


def _bank(cells: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = []
    for row, label in enumerate(("golden", "now", "")):
        parts = [cell[row].center(_wide(cell)) for cell in cells]
        bar = " │ " if label else "   "
        lines.append(f"  {label:<8}{bar}{bar.join(parts)}{bar}".rstrip())
    return lines


def _span(draws: Sequence[Draw]) -> str:
    return _label(draws) if draws else ""


def _verdict(segment: Segment) -> str:
    shift = segment.shift
    if shift is None:
        count = len(segment.golden) or len(segment.obtained)
        return f"{count} {'more' if segment.obtained else 'fewer'}"
    return "same" if not shift else f"{shift:+d}"


def _moved(found: Sequence[Segment]) -> list[str]:
    """What becomes of each key that is not drawn alike."""
    ours = {d.leaves: d for segment in found for d in segment.obtained if d.leaves}
    theirs = {d.leaves: d for segment in found for d in segment.golden if d.leaves}
    lines: list[str] = []
    for segment in found:
        rows: list[str] = []
        for old, new in _pairs(segment):
            elsewhere = (new or old).leaves in (theirs if old is None else ours)
            if segment.shift is None and elsewhere and old is None:
                continue  # told where the golden has it
            there = ours.get(old.leaves) if new is None else new
            if segment.shift is None or (there and (there.leaves or there.owner is not None)):
                rows.append(_told(old, there))
        if segment.shift != 0:
            lines += [f"    {row}" for row in rows[:_SHOWN]]
            lines += [f"    ... and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []
    return lines


def _pairs(segment: Segment) -> list[tuple[Any, Any]]:
    if segment.shift is None:
        return [(d, None) for d in segment.golden] + [(None, d) for d in segment.obtained]
    return list(zip(segment.golden, segment.obtained, strict=True))


def _told(old: Draw | None, new: Draw | None) -> str:
    if old is None:
        assert new is not None
        return f"more   #{new.number}  {new.told}"
    if new is None:
        return f"fewer  #{old.number}  {old.told}"
    return f"moved  #{old.number} -> #{new.number}  {new.told}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."
