"""Causes from who drew which key: the golden's sequence of owners held against this run's."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_nnxrng.leaf.paths import braced, expand, parent, pattern, told
from pytest_nnxrng.why.alignment import Alignment, Gap, align
from pytest_nnxrng.why.cause import Cause, Drawing, Evidence, line_of, named, once

_SHOWN = 4  # modules, lines


class Move(Protocol):
    """A leaf whose key is another one of its stream; the links count draws, fork by fork."""

    @property
    def path(self) -> str: ...
    @property
    def old(self) -> tuple[int | str, ...]: ...
    @property
    def new(self) -> tuple[int | str, ...]: ...


@dataclass(frozen=True)
class Moved:
    """A leaf whose key is another draw of its stream: the places of both in the sequences."""

    path: str
    old: int
    new: int


@dataclass(frozen=True)
class Sequences:
    """The owners of a stream's draws in the golden, under this run's names, and in this run.

    ``draws`` are this run's, one for each owner.
    """

    stream: str
    theirs: Sequence[str]
    ours: Sequence[str]
    draws: Sequence[Drawing]


def by_owners(evidence: Evidence, stream: str, moves: Sequence[Move]) -> list[Cause] | None:
    """The causes for which leaves draw other keys of ``stream``; None where owners do not tell."""
    found: list[Cause] = []
    top, entry = _levels(evidence, stream, moves), _entry(evidence, stream)
    shifted = [m.path for m in moves if m.old[:1] != m.new[:1]]
    if entry is not None and entry[0] != entry[1] and shifted:
        found.append(before_the_build(stream, entry, once(shifted), evidence.proof))
    for (then, now), here in top.items():
        of = _sequences(evidence, stream, then, now)
        causes = None if of is None else reordered(of, here, evidence.proof)
        if causes is None:
            return None
        found += causes
    return found


def before_the_build(
    stream: str, entry: tuple[int, int], paths: tuple[str, ...], proof: str
) -> Cause:
    more = entry[1] - entry[0]
    count = f"{abs(more)} {'more' if more > 0 else 'fewer'} key{'s' if abs(more) > 1 else ''}"
    text = (
        f"{count} had been drawn from `{stream}` before this build began "
        f"({entry[0]} in the golden, {entry[1]} now): {named(paths)} moved"
    )
    return Cause("draws", paths, text, proof, f"{count} from `{stream}` before the build")


_Links = tuple[int | str, ...]


def _levels(
    evidence: Evidence, stream: str, moves: Sequence[Move]
) -> dict[tuple[_Links, _Links], list[Moved]]:
    """The moves within the stream, (), and within each of its forks, by the draws forked from."""
    entry = _entry(evidence, stream) or (0, 0)
    found: dict[tuple[_Links, _Links], list[Moved]] = {}
    for move in moves:
        for depth, (old, new) in enumerate(zip(move.old, move.new, strict=True)):
            if isinstance(old, int) and isinstance(new, int):
                old, new = (old, new) if depth else (old - entry[0], new - entry[1])
                if old != new:
                    level = move.old[:depth], move.new[:depth]
                    found.setdefault(level, []).append(Moved(move.path, old, new))
    return found


def _entry(evidence: Evidence, stream: str) -> tuple[int, int] | None:
    old, new = (side.get(stream, {}).get("count") for side in evidence.streams)
    return (old, new) if isinstance(old, int) and isinstance(new, int) else None


def _sequences(
    evidence: Evidence, stream: str, then: Sequence[int | str], now: Sequence[int | str]
) -> Sequences | None:
    theirs, ours = (
        owners(side.get(stream, {}), links)
        for side, links in zip(evidence.streams, (then, now), strict=True)
    )
    entry = _entry(evidence, stream)
    if not theirs or not ours or entry is None:
        return None
    if evidence.renamed:
        theirs = renamed(theirs, evidence.renamed)
    theirs, ours = (
        unlike(theirs, ours, evidence.expected),
        unlike(ours, theirs, evidence.obtained),
    )
    label = "#".join([stream, "/".join(map(str, now))]) + "/" if now else f"{stream}#"
    by_label = {draw.label: draw for draw in evidence.draws}
    first = 0 if now else entry[1]
    draws = [by_label.get(f"{label}{first + i}", Drawing("")) for i in range(len(ours))]
    return Sequences(f"{label}".rstrip("/#"), theirs, ours, draws)


def owners(stream: Mapping[str, Any], links: Sequence[int | str]) -> list[str]:
    """The owners of the draws of a stream, or of a fork by its links; [] where they are unknown."""
    rows = stream.get("draws")
    if links:
        forks = stream.get("forks")
        rows = forks.get("/".join(map(str, links))) if isinstance(forks, dict) else None
    return expand(rows) if rows else []


def reordered(of: Sequences, moves: Sequence[Moved], proof: str) -> list[Cause] | None:
    """The causes for which these leaves moved; None where the sequences do not show it."""
    aligned = align(of.theirs, of.ours)
    at = {b: i for i, (_, b) in enumerate(aligned.stayed)}
    pairs = {*aligned.stayed, *aligned.moved}
    if any((move.old, move.new) not in pairs for move in moves):
        return None
    active = _active(aligned)
    by_order = [m.path for m in moves if m.new not in at or aligned.gaps[at[m.new]].moved]
    causes = []
    for each, numbers in _groups(of, aligned):
        paths = [m.path for m in moves if m.new in at and not active[at[m.new]].isdisjoint(numbers)]
        gaps = [aligned.gaps[i] for i in numbers]
        if paths and each:
            causes.append(_by_each(of, each, gaps, once(paths), proof))
        elif paths:
            causes.append(_edit(of, gaps, once(paths), proof))
    if by_order:
        causes.append(_order(of, aligned, once(by_order), proof))
    return causes


def _groups(of: Sequences, aligned: Alignment) -> list[tuple[int, list[int]]]:
    """The numbers of the gaps that hold more or fewer draws, those of one change together.

    That is the same module in several places, put there by the same lines; or modules that stayed,
    and each draws so many keys more, or fewer: biases that came or went.
    """
    before, now = _with_parents(of.theirs), _with_parents(of.ours)
    found: dict[Any, tuple[int, list[int]]] = {}
    for number, gap in enumerate(aligned.gaps):
        if not gap.more:
            continue
        theirs, ours = [of.theirs[i] for i in gap.out], [of.ours[i] for i in gap.put]
        each = 0 if theirs and ours else _each(ours, before) - _each(theirs, now)
        lines = [_source(of.draws[i], _roots(ours, before), before)[1] for i in gap.put]
        change = each or (_below(theirs, now), _below(ours, before), *lines)
        found.setdefault(change, (each, []))[1].append(number)
    return list(found.values())


def _each(names: Sequence[str], known: frozenset[str]) -> int:
    """How many of these draws are each module's, if all modules stayed and draw as many."""
    times = Counter(names)
    alike = len(set(times.values())) == 1 and known.issuperset(names)
    return times[names[0]] if alike else 0


def _below(names: Sequence[str], known: frozenset[str]) -> tuple[str, ...]:
    """The owners under what stayed: ``attn.query.kernel``, wherever this attention stands."""
    above = [parent(_roots([name], known)[0]) for name in names]
    return tuple(pattern(name[len(at) :]) for name, at in zip(names, above, strict=True))


def _active(aligned: Alignment) -> list[set[int]]:
    """For each gap those, up to itself, by which what follows it stands elsewhere."""
    found, now = [], set[int]()
    for number, gap in enumerate(aligned.gaps):
        now = {*now, number} if gap.more else now
        if not gap.edited:
            now = set()
        found.append(now)
    return found


def _edit(of: Sequences, gaps: Sequence[Gap], paths: tuple[str, ...], proof: str) -> Cause:
    what = f"{_keys(gaps[0].more)} drawn from `{of.stream}`"
    before, now = _with_parents(of.theirs), _with_parents(of.ours)
    put = [_roots([of.ours[i] for i in gap.put], before) for gap in gaps]
    out = [_roots([of.theirs[i] for i in gap.out], now) for gap in gaps]
    sources = [
        _source(of.draws[i], roots, before)
        for gap, roots in zip(gaps, put, strict=True)
        for i in gap.put
    ]
    cls, where = (_only(found) for found in zip(*sources, strict=True)) if sources else ("", "")
    by, inside = _who(put)
    without, within = _who(out)
    by += f" ({cls})" if cls and len(put[0]) == 1 else ""
    if put[0] and out[0]:
        what += f" by {by}{inside}, which stands where the golden has {without}"
    elif put[0]:
        what += f" by {by}{inside}"
    else:
        gone = all(root not in now for roots in out for root in roots)
        what += f" {'without' if gone else 'by'} {without}{within}"
    text = f"{what}: {named(paths)} moved" + (f" (see {where})" if where else "")
    return Cause("draws", paths, text, proof, what, line_of(where))


def _by_each(
    of: Sequences, each: int, gaps: Sequence[Gap], paths: tuple[str, ...], proof: str
) -> Cause:
    """Modules that stayed, of which each draws so many keys more, or fewer."""
    names, draws = [of.ours[i] for gap in gaps for i in gap.put], list[Drawing]()
    if names:
        draws = [of.draws[i] for gap in gaps for i in gap.put]
    else:
        names = [of.theirs[i] for gap in gaps for i in gap.out]
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(map(_shown, names)):
        columns.setdefault(pattern(name), []).append(name)
    rows = [(braced(column), *told(column)) for column in columns.values()]
    sources = [
        _source(draw, [name], frozenset([name])) for draw, name in zip(draws, names, strict=False)
    ]
    cls = _only([of for of, _ in sources])
    what = f"{_keys(each)} drawn from `{of.stream}` by {_listed(rows, f' ({cls})' if cls else '')}"
    lines = list(dict.fromkeys([where for _, where in sources]))
    where = lines[0] if len(lines) == 1 else ", ".join(map(line_of, lines[:_SHOWN]))
    text = f"{what}: {named(paths)} moved" + (f" (see {where})" if where else "")
    return Cause("draws", paths, text, proof, what, line_of(lines[0]) if lines else "")


def _listed(rows: Sequence[tuple[str, str, str]], cls: str) -> str:
    """``b (Linear) in each of blocks.0 to blocks.3``, ``each of q, k, v in each of ...``.

    Of each kind of module: its paths as one, its name, and in what it stands.
    """
    _, name, inside = rows[0]
    if len(rows) == 1:
        several = not inside and "," in name
        return f"each of {name}{cls}" if several else f"{name}{cls}{inside}"
    alike = len({inside for _, _, inside in rows}) == 1
    names = [name if alike else whole for whole, name, _ in rows]
    more = ", ..." if len(names) > _SHOWN else ""
    return f"each of {', '.join(names[:_SHOWN])}{more}{cls}{inside if alike else ''}"


def _keys(more: int) -> str:
    count = f"{abs(more)} {'more' if more > 0 else 'fewer'} key{'s' if abs(more) > 1 else ''}"
    return f"{count} {'are' if abs(more) > 1 else 'is'}"


def _who(instances: Sequence[Sequence[str]]) -> tuple[str, str]:
    """The owners of alike gaps: their names, and where these are repeated."""
    if len(instances) == 1:
        roots = [_shown(root) for root in instances[0]]
        name, inside = told(roots)
        return name + inside, ""
    columns = [told([_shown(root) for root in column]) for column in zip(*instances, strict=False)]
    each = "each of " if columns and not columns[0][1] and "," in columns[0][0] else ""
    return each + " and ".join(name for name, _ in columns), columns[0][1] if columns else ""


def _module(path: str) -> str:
    # What a Dropout keeps of its fork is the Dropout's.
    return path.removesuffix(".rngs.key")


def _shown(path: str) -> str:
    return _module(path) or "the model itself"


def _source(draw: Drawing, roots: Sequence[str], known: frozenset[str]) -> tuple[str, str]:
    """The class of the module that draws, and the line that makes it if it is new, else draws."""
    for site in draw.sites:
        for root in roots:
            if site.path == _module(root):
                return site.cls, draw.where if root in known else site.where
    return "", draw.where


def _only(found: Iterable[str]) -> str:
    every = set(found)
    return every.pop() if len(every) == 1 else ""


def _roots(names: Iterable[str], known: frozenset[str]) -> list[str]:
    """The outermost paths at or above ``names`` that are not among ``known``, each once."""
    found = []
    for name in names:
        above = [p for p in _above(name) if p not in known]
        found.append(above[0] if above else name)
    return list(dict.fromkeys(found))


def _above(name: str) -> list[str]:
    steps = name.split(".")
    return [".".join(steps[:n]) for n in range(1, len(steps) + 1)]


def _with_parents(names: Iterable[str]) -> frozenset[str]:
    return frozenset(["", *itertools.chain.from_iterable(map(_above, names))])


def _order(of: Sequences, aligned: Alignment, paths: tuple[str, ...], proof: str) -> Cause:
    found: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for run in _runs(aligned.moved):
        row = _place(of, aligned, run)
        found.setdefault(tuple(map(pattern, row)), []).append(row)
    shown = []
    for rows in list(found.values())[:3]:
        (name, inside), (other, _) = told([r[0] for r in rows]), told([r[2] for r in rows])
        shown.append(f"{name} {rows[0][1]} {other}{inside}")
    more = ", ..." if len(found) > 3 else ""
    what = f"keys are drawn from `{of.stream}` in another order ({', '.join(shown)}{more})"
    return Cause("draws", paths, f"{what}: {named(paths)} moved", proof, what)


def _place(
    of: Sequences, aligned: Alignment, run: Sequence[tuple[int, int]]
) -> tuple[str, str, str]:
    """What moved, ``before`` or ``after``, and what it is drawn before or after now."""
    (a, b), name = run[0], _shown(_common([of.ours[b] for _, b in run]))
    earlier = [pair for pair in aligned.stayed if pair[0] < a]
    preceding = [pair for pair in aligned.stayed if pair[1] < b]
    later = len(preceding) > len(earlier)
    near = preceding[-1][1] if later else aligned.stayed[len(preceding)][1]
    depth = name.count(".") + 1
    other = _shown(".".join(of.ours[near].split(".")[:depth]))
    return name, "after" if later else "before", other


def _runs(places: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Pairs of places, those together that follow one another on both sides."""
    found: list[list[tuple[int, int]]] = []
    for a, b in places:
        if found and (found[-1][-1][0] + 1, found[-1][-1][1] + 1) == (a, b):
            found[-1].append((a, b))
        else:
            found.append([(a, b)])
    return found


def _common(names: Sequence[str]) -> str:
    steps = zip(*[name.split(".") for name in names], strict=False)
    shared = itertools.takewhile(lambda step: len(set(step)) == 1, steps)
    return ".".join([step[0] for step in shared])


def renamed(names: Sequence[str], pairs: Mapping[str, str]) -> list[str]:
    """The golden's owners under this run's names: leaves as ``pairs`` say, modules as theirs."""
    modules: dict[str, str] = {}
    for old, new in pairs.items():
        old_steps, new_steps = old.split("."), new.split(".")
        while old_steps and new_steps and old_steps[-1] == new_steps[-1]:
            old_steps.pop()
            new_steps.pop()
            modules.setdefault(".".join(old_steps), ".".join(new_steps))
    found = []
    for name in names:
        known = [p for p in reversed(_above(name)) if p in modules]
        moved = pairs.get(name)
        if moved is None and known:
            moved = (modules[known[0]] + name[len(known[0]) :]).lstrip(".")
        found.append(name if moved is None else moved)
    return found


def unlike(names: Sequence[str], others: Sequence[str], leaves: Iterable[str]) -> list[str]:
    """The owners, a leaf as its module's where the other side has the module but not the leaf.

    So a kernel that is constant on one side is no draw more or less.
    """
    known, own, is_leaf = set(others), _with_parents(others), set(leaves)
    return [
        parent(name) if name in is_leaf and name not in known and parent(name) in own else name
        for name in names
    ]
