"""The calls of modules of two records of one call, side by side; which of them drew other keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_nnxrng.leaf.forward import Call, Forward
from pytest_nnxrng.leaf.gist import distance
from pytest_nnxrng.why.cause import Cause, ModelCheck, few, line_of

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


def draws(passage: Passage, pairs: Sequence[Pair], known: Sequence[Found]) -> list[Found]:
    """The causes beside those that are ``known``: other base keys, other counts."""
    drawing = [(i, p) for i, p in enumerate(pairs) if p.old.draws and p.new.draws]
    drawing = [(i, p) for i, p in drawing if p.moved is not False]
    found: list[Found] = []
    tags = {draw.partition("#")[0] for _, pair in drawing for draw in pair.new.draws}
    rekeyed = [tag for tag in sorted(tags) if _is_rekeyed(tag, passage)]
    if rekeyed and not any(n == "jax_default_prng_impl" for n, _, _ in passage.changes):
        first = next(i for i, p in drawing if p.new.draws[0].partition("#")[0] in rekeyed)
        came = [path for tag in rekeyed for path in _came(tag, passage)]
        every = set(rekeyed) == tags == _tags(passage.new.keys)
        word = "seed" if every and not came else "stream"
        text = f"the base keys of {', '.join(f'`{tag}`' for tag in rekeyed)} are others"
        text += f", since {few(came)} came or went" if came else ""
        found.append((first, Cause(word, passage.paths, text, FACT, text)))
    other = [(i, p) for i, p in drawing if p.old.draws != p.new.draws]
    if not other:
        return found
    i, pair = other[0]
    if any(at < i and cause.word in ("calls", "computation") for at, cause in known):
        return found  # what draws before it is what changed
    if len(pair.old.draws) != len(pair.new.draws):
        return found  # told as another computation
    then, now = pair.old.draws[0], pair.new.draws[0]
    more = len(other) - 1
    text = f"{pair.new.name} draws {now}, in the golden {then}" + _times(drawing, pair)
    text += f"; and so do {more} more calls" if more else ""
    found.append((i, Cause("draws", passage.paths, text, FACT, text, line_of(pair.new.where))))
    return found


def _is_rekeyed(tag: str, passage: Passage) -> bool:
    """Whether streams of this tag that both calls had have other base keys."""
    old, new = passage.old.keys, passage.new.keys
    if tag not in old or tag not in new or old[tag] == new[tag]:
        return False
    both = [name for name in _streams(tag, old) if name in new]
    return any(old[name] != new[name] for name in both) if both else _is_one_digest(tag, passage)


def _is_one_digest(tag: str, passage: Passage) -> bool:
    """Whether no more than a digest of all is known on a side: that of a large model."""
    return not (_streams(tag, passage.old.keys) and _streams(tag, passage.new.keys))


def _came(tag: str, passage: Passage) -> list[str]:
    """The streams that one side alone has, where both know theirs."""
    if _is_one_digest(tag, passage):
        return []
    sides = [_streams(tag, side) for side in (passage.old.keys, passage.new.keys)]
    return [name.partition(" ")[2] for name in sorted({*sides[0]} ^ {*sides[1]})]


def _streams(tag: str, keys: Mapping[str, str]) -> list[str]:
    return [name for name in keys if name.startswith(f"{tag} ")]


def _tags(keys: Mapping[str, str]) -> set[str]:
    return {name for name in keys if " " not in name}


def _times(drawing: Sequence[tuple[int, Pair]], pair: Pair) -> str:
    """How many calls of the model before it that shift amounts to, if it is their number."""
    counts = [_count(side.draws[0]) for side in (pair.old, pair.new)]
    if None in counts or pair is not drawing[0][1]:
        return ""
    shift = (counts[1] or 0) - (counts[0] or 0)
    tag = pair.new.draws[0].partition("#")[0]
    labels = [d for _, p in drawing for d in p.new.draws if d.partition("#")[0] == tag]
    each = len(set(labels))
    if not shift or shift % each:
        return ""
    times = abs(shift) // each
    calls = "once" if times == 1 else f"{times} times"
    return f": as if the model had been called {calls} {'more' if shift > 0 else 'less'} before"


def _count(label: str) -> int | None:
    number = label.partition("#")[2]
    return int(number) if number.isdigit() else None
