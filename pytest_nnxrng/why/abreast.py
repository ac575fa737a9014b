"""The calls of modules of two records of one call, side by side, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_nnxrng.leaf.forward import Call, Forward
from pytest_nnxrng.leaf.gist import distance
from pytest_nnxrng.why.cause import Cause, ModelCheck

Found = tuple[float, Cause]  # where in the order of execution
Changes = Sequence[tuple[str, object, object]]
FACT = "the record of the call"


@dataclass(frozen=True)
class Pair:
    """One call in the golden, and the same one now."""

    old: Call
    new: Call

    @property
    def moved(self) -> bool | None:
        """Whether an output has other bits; None if outputs are not known of both."""
        if self.old.outputs is None or self.new.outputs is None:
            return None
        old, new = ([o.digest for o in side] for side in (self.old.outputs, self.new.outputs))
        return old != new

    @property
    def apart(self) -> float | None:
        """How far outputs are apart, as a share of the largest element."""
        if self.old.outputs is None or self.new.outputs is None:
            return None
        found = [distance(a, b) for a, b in zip(self.old.outputs, self.new.outputs, strict=False)]
        return max((d for d in found if d is not None), default=None)


@dataclass(frozen=True)
class Passage:
    """Two records of a call, side by side; ``paths`` are the leaves that differ."""

    old: Forward
    new: Forward
    paths: tuple[str, ...]
    changes: Changes = ()
    model: ModelCheck = field(default_factory=ModelCheck)

    @property
    def comparable(self) -> bool:
        """Whether both were traced, so that computations and their order can be compared."""
        return not (self.old.untraced or self.new.untraced)


def aligned(old: Sequence[Call], new: Sequence[Call]) -> tuple[list[Pair], list[Call], list[Call]]:
    """The calls of both sides by their names; one that has another name now, by its place."""
    theirs, ours = {c.name: c for c in old}, {c.name: c for c in new}
    gone = [c for c in old if c.name not in ours]
    came = [c for c in new if c.name not in theirs]
    renamed = _renamed(gone, came)
    paired = {id(a) for a, _ in renamed} | {id(b) for _, b in renamed}
    partner = {b.name: a for a, b in renamed}
    pairs = [
        Pair(theirs.get(c.name) or partner[c.name], c)
        for c in new
        if c.name in theirs or c.name in partner
    ]
    left = [[c for c in side if id(c) not in paired] for side in (gone, came)]
    return pairs, left[0], left[1]


def _renamed(gone: Sequence[Call], came: Sequence[Call]) -> list[tuple[Call, Call]]:
    """Calls that are the same under another path: equal computations in one order."""
    sides = [
        [(c.computation.fingerprint, c.computation.cls) for c in side] for side in (gone, came)
    ]
    if not all(code for side in sides for code, _ in side) or sides[0] != sides[1]:
        return []
    return list(zip(gone, came, strict=True))


def growth(pairs: Sequence[Pair], allowed: float) -> str:
    """Where a difference begins, passes the tolerance, and how far it comes, by a few elements."""
    far = [(pair.new.name, pair.apart) for pair in pairs if pair.apart]
    if not far:
        return ""
    told = [far[0]]
    told += [next(((n, d) for n, d in far if d and d > allowed), far[-1]), far[-1]]
    steps = [f"{d:.1g} at {n}" for n, d in dict.fromkeys(told) if d is not None]
    return f"at least {', '.join(steps)}"


def first_moved(pairs: Sequence[Pair], far: float = 0.0) -> Pair | None:
    """The first call whose output has other bits, and is as ``far`` from the golden's."""
    return next((p for p in pairs if p.moved and (p.apart is None or p.apart >= far)), None)
