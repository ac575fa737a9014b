"""What went and what came: rules that map the paths of a golden onto those of a run.

Trees are matched, not leaves: a rule such as ``q -> q_proj`` maps all leaves that it fits, one to
one, and is believed for the evidence of all of them together: contents, draws, the order of
construction, types, shapes and names. Where two rules are as good, neither is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.leaf.paths import braced, parent, pattern, told
from pytest_nnxrng.leaf.statistics import statistics
from pytest_nnxrng.why.alignment import align
from pytest_nnxrng.why.cause import Evidence, comparable
from pytest_nnxrng.why.order import owners

Steps = tuple[str, ...]

# What one mapped leaf says for its rule; less than _ENOUGH in all is no evidence.
_SAME_VALUES, _SAME_DRAW, _SAME_KEYS, _SAME_PLACE = 100, 80, 40, 30
_MADE_ALIKE, _SAME_TYPE, _SAME_NAME, _SAME_CONSTANT = 4, 2, 3, 2
_ENOUGH = 30


@dataclass(frozen=True)
class Rule:
    """``old`` steps become ``new`` ones, after ``head`` and before whatever follows."""

    head: Steps
    old: Steps
    new: Steps

    def maps(self, path: str) -> str | None:
        steps = tuple(path.split("."))
        at = len(self.head)
        if (
            tuple(map(pattern, steps[:at])) != self.head
            or steps[at : at + len(self.old)] != self.old
        ):
            return None
        return ".".join((*steps[:at], *self.new, *steps[at + len(self.old) :]))


def renames(
    evidence: Evidence, removed: Sequence[str], added: Sequence[str]
) -> list[dict[str, str]]:
    """Old path -> new path, for each rule that is believed."""
    gone = {path: evidence.expected[path] for path in removed}
    came = {leaf.path: leaf for leaf in _digested(evidence.obtained[path] for path in added)}
    owned = _places(evidence)
    places = _counted(evidence) if owned is None else owned
    scores: dict[tuple[str, str], int] = {}

    def score(old: str, new: str) -> int:
        if (old, new) not in scores:
            scores[old, new] = _score(evidence, gone[old], came[new], places)
        return scores[old, new]

    by_form: dict[Any, list[str]] = {}
    for path, leaf in came.items():
        by_form.setdefault(leaf.shape, []).append(path)
    rules = {
        _rule(old, new): None
        for old, leaf in gone.items()
        for new in by_form.get(leaf.shape, ())[:_MOST]
        if _may_be(old, new) and score(old, new) > 0
    }
    found: list[dict[str, str]] = []
    while gone and came and rules:
        ranked = []
        for rule in rules:
            pairs = _mapped(rule, gone, came, score)
            total = sum(score(a, b) for a, b in pairs.items())
            every = owned is None and pairs and _is_all(pairs, gone, came, score)
            # However many constants are alike: that alone is no evidence.
            if every or any(score(a, b) >= _ENOUGH for a, b in pairs.items()):
                ranked.append((total, len(pairs), rule, pairs))
        if not ranked:
            break
        ranked.sort(key=lambda row: (-row[0], -row[1], len(row[2].head), row[2].old, row[2].new))
        best = next((row[3] for row in ranked if not _has_rival(row, ranked)), None)
        if best is None:
            break
        found.append(best)
        gone = {path: leaf for path, leaf in gone.items() if path not in best}
        came = {path: leaf for path, leaf in came.items() if path not in best.values()}
    return found


_Ranked = tuple[int, int, Rule, dict[str, str]]


def _has_rival(row: _Ranked, ranked: Sequence[_Ranked]) -> bool:
    """Whether a rule as good maps one of the leaves elsewhere, or another one onto the same."""
    total, _, _, pairs = row
    back = {b: a for a, b in pairs.items()}
    return any(
        other[0] >= total
        and any(pairs.get(a, b) != b or back.get(b, a) != a for a, b in other[3].items())
        for other in ranked
    )


_MOST = 200  # leaves of one shape that one that went is tried with


def _mapped(
    rule: Rule, gone: Iterable[str], came: Mapping[str, Leaf], score: Any
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for old in gone:
        new = rule.maps(old)
        if new is not None and new in came and new not in pairs.values() and score(old, new) > 0:
            pairs[old] = new
    return pairs


def _is_all(pairs: Mapping[str, str], gone: Any, came: Any, score: Any) -> bool:
    """Whether one rule leaves nothing over on either side, and all that it maps was made alike."""
    if len(pairs) < len(gone) or len(pairs) < len(came):
        return False
    return all(score(a, b) >= _MADE_ALIKE + _SAME_TYPE for a, b in pairs.items())


def _may_be(old: str, new: str) -> bool:
    """Whether the numbers in both paths are the same; of some more on one side nothing is known."""
    here, there = ([s for s in path.split(".") if s.isdecimal()] for path in (old, new))
    return here == there or len(here) != len(there)


def _rule(old: str, new: str) -> Rule:
    a, b = old.split("."), new.split(".")
    head: list[str] = []
    tail = 0
    while tail < min(len(a), len(b)) and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    a, b = a[: len(a) - tail], b[: len(b) - tail]
    while a and b and a[0] == b[0]:
        head.append(pattern(a.pop(0)))
        b.pop(0)
    return Rule(tuple(head), tuple(a), tuple(b))


def _score(evidence: Evidence, old: Leaf, new: Leaf, places: Mapping[str, Any]) -> int:
    """How much speaks for it that one leaf is the other, if their shapes are the same."""
    if old.shape != new.shape or old.rng != new.rng:
        return 0
    total = _SAME_TYPE * (old.type == new.type) + _SAME_NAME * (
        old.path.rpartition(".")[2] == new.path.rpartition(".")[2]
    )
    place = places.get(f"<{old.path}")
    if place is not None and place == places.get(f">{new.path}"):
        total += _SAME_PLACE
    random = _is_random(old), _is_random(new)
    if random[0] != random[1]:
        return total if total >= _SAME_PLACE else 0
    same = old.dtype == new.dtype and (
        (bool(old.digest) and old.digest == new.digest)
        or (bool(old.spots) and old.spots == new.spots)
    )
    if same:
        return total + (_SAME_VALUES if random[0] else _SAME_CONSTANT + _MADE_ALIKE)
    if old.draws and new.draws:
        alike = comparable(evidence) and old.initializer == new.initializer
        if old.draws == new.draws:
            return total + (_SAME_DRAW if alike else _SAME_KEYS)
        return total + (_MADE_ALIKE if alike else 0)
    if old.draws is None and new.draws is None and old.digest and new.digest:
        return 0  # finished values that are not the same, of draws that are not known
    return total


def _is_random(leaf: Leaf) -> bool:
    return bool(leaf.draws) if leaf.draws is not None else "constant" not in leaf.statistics


def _digested(leaves: Iterable[Leaf]) -> Iterator[Leaf]:
    """With digests and statistics, which only a golden's leaves have as they come."""
    for leaf in leaves:
        if leaf.read is None or leaf.statistics:
            yield leaf
        else:
            (known,) = digested([leaf])
            yield known.but(statistics=statistics(leaf.contents()))


def _places(evidence: Evidence) -> dict[str, Any] | None:
    """Leaves by where they are made between what stayed: ``<old path``, ``>new path`` -> a place.

    A leaf that takes no key is made where its module draws. None if no golden tells it.
    """
    found: dict[str, Any] = {}
    known = False
    for stream in evidence.streams[0].keys() & evidence.streams[1].keys():
        forks = [side[stream].get("forks") for side in evidence.streams]
        both = forks[0].keys() & forks[1].keys() if all(map(_is_rows, forks)) else set[str]()
        for links in ("", *sorted(both)):
            theirs, ours = (
                owners(side[stream], tuple(filter(None, links.split("/"))))
                for side in evidence.streams
            )
            if not theirs or not ours:
                continue
            known = True
            for number, gap in enumerate(align(theirs, ours).gaps):
                place = (stream, links, number)
                _note(found, "<", [theirs[i] for i in gap.out], evidence.expected, place)
                _note(found, ">", [ours[i] for i in gap.put], evidence.obtained, place)
    return found if known else None


def _is_rows(forks: Any) -> bool:
    return isinstance(forks, dict)


def _counted(evidence: Evidence) -> dict[str, Any]:
    """The same where counts alone are known: how far behind the last draw of what stayed."""
    stayed: dict[str, list[tuple[int, int]]] = {}
    for path, old in evidence.expected.items():
        then, now = _draw(old), _draw(evidence.obtained.get(path))
        if then and now and then[0] == now[0]:
            stayed.setdefault(then[0], []).append((then[1], now[1]))
    found: dict[str, Any] = {}
    for side, (sign, mine, others) in enumerate(
        (
            ("<", evidence.expected, evidence.obtained),
            (">", evidence.obtained, evidence.expected),
        )
    ):
        for path in mine.keys() - others.keys():
            stream, count = _draw(mine[path]) or ("", 0)
            before = [pair for pair in stayed.get(stream, ()) if pair[side] < count]
            if before:
                last = max(before, key=lambda pair: pair[side])
                found[f"{sign}{path}"] = (stream, last, count - last[side])
    return found


def _draw(leaf: Leaf | None) -> tuple[str, int] | None:
    """The one draw that a leaf is made of, if its count is known."""
    if leaf is None or leaf.draws is None or len(leaf.draws) != 1:
        return None
    stream, _, count = leaf.draws[0].partition("#")
    return (stream, int(count)) if count.isdecimal() else None


def _note(
    found: dict[str, Any], sign: str, names: Sequence[str], leaves: Mapping[str, Leaf], gap: Any
) -> None:
    for place, name in enumerate(names):
        found.setdefault(f"{sign}{name}", (*gap, place))
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    for path in leaves:
        module = parent(path)
        if module in first and f"{sign}{path}" not in found:
            found[f"{sign}{path}"] = (*gap, first[module], path.rpartition(".")[2])


def shown(pairs: Mapping[str, str]) -> str:
    """``blocks.{i}.q -> blocks.{i}.q_proj``, or the one leaf that it maps."""
    old, new = next(iter(pairs.items()))
    if len(pairs) == 1:
        return f"{old} -> {new}"
    rule = _rule(old, new)
    olds, news = (
        list(dict.fromkeys(side))
        for side in zip(*[_tops(a, b, rule) for a, b in pairs.items()], strict=True)
    )
    if len(olds) == 1:
        return f"{olds[0]} -> {news[0]}"
    (name, inside), (other, _) = told(olds), told(news)
    if inside or len(olds) > 2:
        return f"{braced(olds)} -> {braced(news)}"
    return f"{name} -> {other}"


def _tops(old: str, new: str, rule: Rule) -> tuple[str, str]:
    steps, at = old.split("."), len(rule.head)
    # A step more, where one side would be no step at all.
    rest = steps[at + len(rule.old) :][: int(not (rule.old and rule.new))]
    return ".".join((*steps[:at], *rule.old, *rest)), ".".join((*steps[:at], *rule.new, *rest))
