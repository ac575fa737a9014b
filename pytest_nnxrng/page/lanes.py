"""The key map as SVG: a stream is a lane, the golden's above the obtained one, shifts as slants.

Made from the same draws as the map of the terminal (``report.keymap``). Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_nnxrng.page.markup import Element, add, tag
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.keymap import Draw, Keys, Segment

_STEP, _RADIUS = 30, 9
_HEAD, _APART = 20, 74  # above the labels; between two lanes
_MOST = 14  # draws of a segment that are all drawn
_LONGEST = 26  # characters of a label
_LEFT = 70
_WIDEST = 48  # cells of a lane, after which its rest is one


@dataclass(frozen=True)
class Cell:
    """A draw, or a stretch of draws that are not drawn one by one."""

    draws: tuple[Draw, ...]
    kind: str  # same moved more fewer
    x: int

    @property
    def draw(self) -> Draw:
        return self.draws[0]

    @property
    def whole(self) -> bool:
        return len(self.draws) == 1


@dataclass
class _Lanes:
    """Two lanes of one stream, as they are laid out."""

    golden: list[Cell] = field(default_factory=list)
    obtained: list[Cell] = field(default_factory=list)
    pairs: list[tuple[Cell, Cell, int]] = field(default_factory=list)


def pictures(golden: Keys | None, obtained: Keys | None) -> Element | None:
    """The maps of all streams that drew keys; None if none did."""
    old = keymap.lanes(golden) if golden else {}
    new = keymap.lanes(obtained) if obtained else {}
    both = golden is not None and obtained is not None
    found = []
    for name in sorted(old.keys() | new.keys()):
        here, there = old.get(name, []), new.get(name, [])
        if not here and not there:
            continue
        keys = [_key(k, name) for k in (golden, obtained) if k]
        found.append(_stream(name, " -> ".join(dict.fromkeys(keys)), here, there, both))
    if not found:
        return None
    return tag("div", found, _text(golden, obtained), class_="keymap")


def differ(golden: Keys | None, obtained: Keys | None) -> bool:
    """Whether two builds draw other keys."""
    if golden is None or obtained is None:
        return False
    old, new = keymap.lanes(golden), keymap.lanes(obtained)
    return any(
        any(segment.shift != 0 for segment in keymap.segments(old.get(name, []), new.get(name, [])))
        or _key(golden, name) != _key(obtained, name)
        for name in old.keys() | new.keys()
    )


def _key(keys: Keys, name: str) -> str:
    key = keys.streams.get(name, {}).get("key")
    return " ".join(map(str, key)) if isinstance(key, list) else "unknown"


def _stream(
    name: str, key: str, here: Sequence[Draw], there: Sequence[Draw], both: bool
) -> Element:
    made = keymap.segments(here, there)
    alike = both and all(segment.shift == 0 for segment in made)
    if both:
        count = f"{len(here):,} keys, drawn alike" if alike else _counts(made, here, there)
    else:
        count = f"{len(here or there):,} keys"
    title = tag(
        "p", tag("strong", name), f" (base key {key}): ", tag("span", count), class_="stream"
    )
    if alike:
        made = [Segment(tuple(here), ())]  # one lane says it all
    lanes = _layout(made, "same" if alike or not both else "")
    rows = [lanes.golden, lanes.obtained]
    labels = ["golden", "now"] if both and not alike else ["", ""]
    if not both and there:
        labels = ["", ""]
    return tag("div", title, tag("div", _svg(name, rows, labels, lanes.pairs), class_="scroll"))


def _counts(made: Sequence[Segment], here: Sequence[Draw], there: Sequence[Draw]) -> str:
    more = sum(len(s.obtained) for s in made if not s.golden)
    fewer = sum(len(s.golden) for s in made if not s.obtained)
    moved = sum(len(s.golden) for s in made if s.shift)
    told = [f"{len(here):,} keys in the golden, {len(there):,} now"]
    told += [f"{more:,} more"] if more else []
    told += [f"{fewer:,} fewer"] if fewer else []
    told += [f"{moved:,} moved"] if moved else []
    return "; ".join(told)


def _layout(made: Iterable[Segment], kind: str) -> _Lanes:
    lanes = _Lanes()
    rest = list(made)
    while rest and max(len(lanes.golden), len(lanes.obtained)) < _WIDEST:
        segment = rest.pop(0)
        shift = segment.shift
        if shift is None:
            side, cells = (
                (lanes.golden, segment.golden)
                if segment.golden
                else (lanes.obtained, segment.obtained)
            )
            own = kind or ("fewer" if segment.golden else "more")
            for part in _parts(cells):
                side.append(Cell(part, own, _next(side)))
            continue
        word = "moved" if shift else "same"
        for old, new in zip(_parts(segment.golden), _parts(segment.obtained), strict=True):
            one = Cell(old, word, _next(lanes.golden))
            other = Cell(new, word, _next(lanes.obtained))
            lanes.golden.append(one)
            lanes.obtained.append(other)
            lanes.pairs.append((one, other, shift))
    _rest(lanes, rest)
    return lanes


def _rest(lanes: _Lanes, rest: Sequence[Segment]) -> None:
    """The end of a lane that is too long to be drawn: how many keys there are more."""
    for side, name in ((lanes.golden, "golden"), (lanes.obtained, "obtained")):
        draws = tuple(draw for segment in rest for draw in getattr(segment, name))
        if draws:
            side.append(Cell(draws, "rest", _next(side)))


def _next(cells: Sequence[Cell]) -> int:
    return cells[-1].x + _STEP if cells else _LEFT


def _parts(draws: Sequence[Draw]) -> list[tuple[Draw, ...]]:
    """Each draw by itself; of a long stretch those of the middle together."""
    if len(draws) <= _MOST:
        return [(draw,) for draw in draws]
    ends = [(draw,) for draw in (*draws[:6], *draws[-4:])]
    return [*ends[:6], tuple(draws[6:-4]), *ends[6:]]


# -- drawing -----------------------------------------------------------------------------------


def _svg(
    name: str,
    rows: Sequence[Sequence[Cell]],
    labels: Sequence[str],
    pairs: Sequence[tuple[Cell, Cell, int]],
) -> Element:
    above, below = (_room(cells) for cells in rows)
    wide = max((cell.x for cells in rows for cell in cells), default=0) + 2 * _STEP
    wide += max(above, below)
    top = _HEAD + above
    bottom = top + _APART if rows[1] else top
    if not rows[0]:
        top = bottom = _HEAD
    high = bottom + (below if rows[1] else 0) + 2 * _RADIUS
    made = tag(
        "svg",
        viewBox=f"0 0 {wide} {high}",
        width=wide,
        height=high,
        role="group",
        aria_label=f"key map of the stream {name}",
    )
    for cells, y in zip(rows, (top, bottom), strict=True):
        if cells:
            add(made, tag("path", d=f"M{_LEFT - 16} {y}H{cells[-1].x + 16}", class_="lane"))
    for one, other, shift in pairs:
        kind = f"link {one.kind}"
        line = f"M{one.x} {top + _RADIUS}L{other.x} {bottom - _RADIUS}"
        add(made, tag("path", d=line, class_=kind, data_shift=shift))
    add(made, _shifts(pairs, (top + bottom) // 2 + 4))
    for label, y in zip(labels, (top, bottom), strict=True):
        if label:
            add(made, tag("text", label, x=4, y=y + 4, class_="side"))
    for cells, y, up in zip(rows, (top, bottom), (True, False), strict=True):
        add(made, (_cell(name, cell, y, up=up) for cell in cells))
    return made


def _room(cells: Iterable[Cell]) -> int:
    """How high the slanted labels of a lane are."""
    longest = max((len(_short(_label(cell))) for cell in cells), default=0)
    return round(longest * 4.7) + 8


def _shifts(pairs: Sequence[tuple[Cell, Cell, int]], y: int) -> list[Element]:
    """How far a run of keys moved, once between the lanes."""
    found = []
    for number, (one, other, shift) in enumerate(pairs):
        if shift and (number == 0 or pairs[number - 1][2] != shift):
            x = (one.x + other.x) // 2
            found.append(tag("text", f"{shift:+d}", x=x, y=y, class_="shift"))
    return found


def _cell(name: str, cell: Cell, y: int, *, up: bool) -> Element:
    draw, label = cell.draw, _label(cell)
    where = "golden" if up else "now"
    draws = cell.draws if cell.kind != "rest" else ()
    leaves = "\n".join(leaf.partition(" (")[0] for d in draws for leaf in d.leaves)
    told = f"{name}#{draw.number}, {cell.kind}: {label}"
    if not cell.whole:
        told = f"{name}#{draw.number} to #{cell.draws[-1].number}: {label}"
    mark = _mark(cell, y)
    number = str(draw.number) if cell.whole else "…"
    turn, at = (-45, y - _RADIUS - 5) if up else (45, y + _RADIUS + 8)
    return tag(
        "g",
        tag("title", told),
        mark,
        tag("text", number, x=cell.x, y=y + 4, class_="number"),
        tag("text", _short(label), x=cell.x, y=at, transform=f"rotate({turn} {cell.x} {at})"),
        class_=f"draw {cell.kind}{'' if draw.leaves else ' nothing'}",
        data_leaves=leaves or None,
        data_where=where,
    )


def _mark(cell: Cell, y: int) -> Element:
    """A square is a stretch, a diamond a key that several leaves were made from."""
    r = _RADIUS + 1
    if not cell.whole:
        return tag("rect", x=cell.x - r, y=y - r, width=2 * r, height=2 * r, rx=3)
    if len({leaf for leaf in cell.draw.leaves if not leaf.endswith(")")}) > 1:
        r += 3
        return tag("path", d=f"M{cell.x} {y - r}l{r} {r}l-{r} {r}l-{r} -{r}z")
    return tag("circle", cx=cell.x, cy=y, r=r)


def _label(cell: Cell) -> str:
    if not cell.whole:
        return f"{len(cell.draws):,} more keys"
    draw = cell.draw
    if draw.leaves:
        return ", ".join(draw.leaves)
    return f"({draw.owner})" if draw.owner else "(nothing random)"


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:8]}…{text[9 - _LONGEST :]}"


def _text(golden: Keys | None, obtained: Keys | None) -> Element:
    one = obtained or golden
    if golden and obtained:
        lines = keymap.aligned(golden, obtained, 100)
    else:
        lines = keymap.picture(one, 100) if one else []
    return tag(
        "details", tag("summary", "the same as text"), tag("pre", "\n".join(lines)), class_="astext"
    )
