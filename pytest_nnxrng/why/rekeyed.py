"""Modules that draw other keys than in the golden's call, from which count on, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_nnxrng.why.abreast import FACT, Found, Pair, Passage
from pytest_nnxrng.why.cause import Cause, few, line_of


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
