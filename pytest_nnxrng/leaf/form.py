"""What a golden keeps of an array of floats whose values it does not store, and its JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_nnxrng.leaf import packing
from pytest_nnxrng.leaf.cells import SEGMENTS, SUMS
from pytest_nnxrng.leaf.grid import at_places
from pytest_nnxrng.leaf.scale import LEAST, Scale

SHIFT = 64  # where sums overflow


@dataclass(frozen=True)
class Form:
    """How a sketch is made; sketches of one form compare.

    ``early`` goldens hold one without parities, of all elements and of numbers, not steps;
    ``starts`` are the magnitudes from which on elements are set aside.
    """

    early: bool = False
    starts: tuple[float, ...] = ()
    shift: int = 0


@dataclass(frozen=True)
class Aside:
    """The elements of a sketch's array that are set aside as one group: from ``start`` on."""

    start: float
    count: int
    lowest: float  # magnitude
    highest: float
    inner: Sketch | None = None  # where the lowest is not the highest


@dataclass(frozen=True)
class Sketch:
    """What is kept of an array of floats: see `sketch`. Equal values, equal sketches."""

    size: int  # real numbers: twice the elements of a complex array
    sums: tuple[float, ...]  # 48: three sets of 16 buckets
    segments: tuple[float, ...]  # 12 signed sums, one a contiguous segment
    lowest: tuple[float, ...]  # 12, 0 where a segment has no finite element
    highest: tuple[float, ...]
    kind: str = ""  # the dtype of its real numbers; not known of an early one
    wide: bool = False  # an early one of float64: all bits of the numbers are kept
    nonfinite: int = 0  # those set aside are counted in
    nonfinite_digest: str = ""  # 16 hex digits over (position, kind); NaNs are all alike
    parities: bytes = b""
    shift: int = 0
    aside: tuple[Aside, ...] = ()

    @property
    def form(self) -> Form:
        return Form(not self.kind, tuple(group.start for group in self.aside), self.shift)

    @property
    def by_steps(self) -> bool:
        """Whether it is one of places in a format, not of numbers."""
        return bool(self.kind) and packing.by_steps(self.kind)

    @property
    def scale(self) -> float:
        """The largest magnitude among the finite elements, exactly; of a complex one, a part's."""
        return self.sizes.largest

    @property
    def sizes(self) -> Scale:
        """The scale of the elements."""
        ends = self.lowest + self.highest
        if self.by_steps:
            ends = tuple(map(float, at_places(self.kind, ends)))
        rest = math.ldexp(max(map(abs, ends)), self.shift)
        groups = tuple((group.start, group.highest) for group in self.aside)
        return Scale(rest or float(bool(groups)), groups)

    def to_json(self) -> dict[str, object]:
        """A dict for `json.dumps`."""
        sums, ends = self.sums + self.segments, self.lowest + self.highest
        if self.kind:
            data = packing.pack(sums, ends, self.parities, self.kind)
        else:
            data = packing.pack_floats(sums + ends, self.wide)
        value: dict[str, object] = {"size": self.size, "data": data}
        if self.nonfinite:
            value["nonfinite"] = [self.nonfinite, self.nonfinite_digest]
        if self.shift:
            value["shift"] = self.shift
        if self.aside:
            value["aside"] = [_aside_to_json(group) for group in self.aside]
        return value

    @classmethod
    def from_json(cls, value: object, kind: str) -> Sketch:
        """The inverse of `to_json`, for the real dtype ``kind``. ValueError for all else."""
        names = {"size", "data", "nonfinite", "shift", "aside"}
        if not isinstance(value, Mapping) or not value.keys() <= names:
            raise ValueError("a sketch is an object of size, data and nonfinite")
        size = _count(value.get("size"), least=0)
        nonfinite = value.get("nonfinite", [0, ""])
        if not isinstance(nonfinite, list) or len(nonfinite) != 2:
            raise ValueError("a sketch's nonfinite is a count and a digest")
        count, kinds = _count(nonfinite[0], least=int("nonfinite" in value)), nonfinite[1]
        if not isinstance(kinds, str) or not re.fullmatch("[0-9a-f]{16}" if count else "", kinds):
            raise ValueError("a sketch's nonfinite is a count and 16 hex digits")
        if count > size:
            raise ValueError("a sketch has more non-finite elements than elements")
        early = packing.unpack_floats(value.get("data"))
        if early is not None:
            numbers, (kind, wide, parities) = early[0], ("", early[1], b"")
            if value.keys() & {"shift", "aside"}:
                raise ValueError("a sketch of an early form has no shift and nothing aside")
        else:
            wide = False
            numbers, parities = packing.unpack(value.get("data"), kind)
        low, high = numbers[-2 * SEGMENTS : -SEGMENTS], numbers[-SEGMENTS:]
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise ValueError("a sketch's minimum exceeds its maximum")
        shift = value.get("shift", 0)
        if type(shift) is not int or shift not in ({SHIFT} if "shift" in value else {0}):
            raise ValueError(f"a sketch's shift is {SHIFT}")
        aside = _aside_from_json(value.get("aside", []), size, kind)
        if sum(group.count for group in aside) > count:
            raise ValueError("a sketch sets more elements aside than it digests")
        sums, signed = numbers[:SUMS], numbers[SUMS : SUMS + SEGMENTS]
        return cls(size, sums, signed, low, high, kind, wide, count, kinds, parities, shift, aside)


def _aside_to_json(group: Aside) -> list[object]:
    row: list[object] = [group.start, group.count, group.lowest, group.highest]
    return row if group.inner is None else [*row, group.inner.to_json()]


def _aside_from_json(rows: object, size: int, kind: str) -> tuple[Aside, ...]:
    if not isinstance(rows, list):
        raise ValueError("what a sketch sets aside is a list")
    found: list[Aside] = []
    for row in rows:
        if not isinstance(row, list) or len(row) not in (4, 5):
            raise ValueError("what a sketch sets aside is a start, a count and two extremes")
        start, count, lowest, highest = row[0], _count(row[1], least=1), row[2], row[3]
        numbers = (found[-1].highest if found else 2.0**LEAST, start, lowest, highest)
        if not all(type(x) in (int, float) and math.isfinite(x) for x in numbers):
            raise ValueError("what a sketch sets aside is told by finite numbers")
        if list(numbers) != sorted(numbers) or math.frexp(start)[0] != 0.5:
            raise ValueError("what a sketch sets aside begins at a power of two, the least first")
        inner = Sketch.from_json(row[4], kind) if len(row) == 5 else None
        if (inner is None) != (lowest == highest) or (inner is not None and inner.size != size):
            raise ValueError("what a sketch sets aside has a sketch of its own, or is all alike")
        found.append(Aside(float(start), count, float(lowest), float(highest), inner))
    return tuple(found)


def _count(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 53:
        raise ValueError(f"a sketch counts its elements: {value!r:.40}")
    return value
