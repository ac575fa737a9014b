"""Which draws made leaves, by counts alone: where a golden does not tell who drew which key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_nnxrng.leaf.paths import told
from pytest_nnxrng.why.cause import Cause, Evidence, line_of, named, once
from pytest_nnxrng.why.order import before_the_build

Link = int | str  # a count, or what stands for one that is not known


@dataclass(frozen=True)
class Shift:
    path: str
    stream: str
    old: tuple[Link, ...]
    new: tuple[Link, ...]

    @property
    def shift(self) -> int | None:
        """By how many draws, where both are known."""
        old, new = self.old[:1], self.new[:1]
        known = [link for link in (*old, *new) if isinstance(link, int)]
        return known[1] - known[0] if len(known) == 2 else 0 if old == new else None


def by_counts(evidence: Evidence, stream: str, moves: Sequence[Shift]) -> list[Cause]:
    """Of a golden that does not tell who drew which key: where counts grow apart."""
    here = sorted(moves, key=lambda move: [str(link).zfill(10) for link in move.new])
    runs: list[list[Shift]] = []
    for move in here:
        if runs and runs[-1][0].shift == move.shift:
            runs[-1].append(move)
        else:
            runs.append([move])
    shifts = [run[0].shift or 0 for run in runs]
    # Insertions alone (or removals alone) shift later leaves ever further.
    if (
        len(runs) > 1
        and not (shifts == sorted(shifts) and shifts[0] > 0)
        and not (shifts == sorted(shifts, reverse=True) and shifts[0] < 0)
    ):
        return [_reordered(evidence, stream, here)]
    before = _entry(evidence, stream, runs[0])
    causes = [before] if before else []
    steps = [b - a for a, b in zip([0, *shifts], shifts, strict=False)]
    left = list(zip(steps, runs, strict=True))[len(causes) :]
    return [*causes, *([_shifted(evidence, stream, left)] if left else [])]


def _entry(evidence: Evidence, stream: str, run: Sequence[Shift]) -> Cause | None:
    """Keys that were drawn before the build began, if that is by how much these moved."""
    then, now = (side.get(stream, {}).get("count") for side in evidence.streams)
    if not (isinstance(then, int) and isinstance(now, int)) or then == now:
        return None
    paths = once([move.path for move in run])
    same = now - then == run[0].shift
    return before_the_build(stream, (then, now), paths, evidence.proof) if same else None


def _reordered(evidence: Evidence, stream: str, moves: Sequence[Shift]) -> Cause:
    shown = ", ".join(
        f"{m.path}: {label(stream, m.old)} -> {label(stream, m.new)}" for m in moves[:4]
    )
    more = ", ..." if len(moves) > 4 else ""
    paths = once([m.path for m in moves])
    text = f"keys are drawn from `{stream}` in another order ({shown}{more}): {named(paths)}"
    return Cause("draws", paths, text, evidence.proof, f"`{stream}` in another order")


def _shifted(evidence: Evidence, stream: str, runs: Sequence[tuple[int, Sequence[Shift]]]) -> Cause:
    """Leaves of runs, before each of which so many keys more, or fewer, are drawn."""
    paths = once([move.path for _, run in runs for move in run])
    first = runs[0][1][0]
    if not runs[0][0]:
        text = (
            f"{first.path} draws {label(stream, first.new)}, in the golden "
            f"{label(stream, first.old)}: {named(paths)}"
        )
        return Cause("draws", paths, text, evidence.proof, text)
    by_step: dict[int, list[str]] = {}
    for step, run in runs:
        by_step.setdefault(step, []).append(run[0].path)
    told_ = [(_count(step), _each(firsts)) for step, firsts in by_step.items()]
    (what, where), *more = told_
    rest = "".join(f", and {count} before {of}" for count, of in more)
    verb = "is" if what.startswith("1 ") else "are"
    text = f"{what} {verb} drawn from `{stream}` before {where}{rest}: {named(paths)} moved"
    places = {_place(evidence, stream, run[0]) for step, run in runs if step > 0}
    place = places.pop() if len(places) == 1 else ""
    if place:
        text += f" (see {place})"
    finding = f"{what} from `{stream}` before {where}{rest}"
    return Cause("draws", paths, text, evidence.proof, finding, line_of(place))


def _count(step: int) -> str:
    return f"{abs(step)} {'more' if step > 0 else 'fewer'} key{'s' if abs(step) > 1 else ''}"


def _each(paths: Sequence[str]) -> str:
    """``up.kernel in each of blocks.0 to blocks.3``, ``each of a, b``, or the one path."""
    name, inside = told(paths)
    return f"{name}{inside}" if inside or len(paths) == 1 else f"each of {name}"


def _place(evidence: Evidence, stream: str, first: Shift) -> str:
    """Where this run draws the key that was this leaf's in the golden."""
    for draw in evidence.draws:
        name, chain = parse(draw.label)
        if name == stream and chain == first.old:
            inside = f" in {draw.module}" if draw.module else ""
            return f"{draw.where}{inside}" if draw.where else draw.module
    return ""


def parse(label: str) -> tuple[str, tuple[Link, ...]]:
    stream, _, chain = label.partition("#")
    links = chain.split("/") if chain else []
    return stream, tuple([int(link) if link.isdecimal() else link for link in links])


def label(stream: str, chain: Sequence[Link]) -> str:
    return f"{stream}#{'/'.join(map(str, chain))}"
