"""What numbers tell of leaves whose derivation tells nothing; ``unknown`` where that is little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_nnxrng.compare.differences import Difference
from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.leaf.dtypes import is_inexact, is_key, is_small_float
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.spots import elements
from pytest_nnxrng.why import releases
from pytest_nnxrng.why.cause import (
    LIKELY,
    STATE,
    Cause,
    Evidence,
    ModelCheck,
    comparable,
    few,
    is_derived,
    named,
)
from pytest_nnxrng.why.draws import has_unknown_count, ratio, seed_of
from pytest_nnxrng.why.words import KEYED, REDRAWS, RELEASED

PRNG = ("jax_threefry_partitionable", "jax_default_prng_impl", "jax_random_seed_offset")
# Settings that move outputs of the same model, those first that move them most.
_MOVERS = (
    "platform",
    "jax_default_matmul_precision",
    "jax_enable_x64",
    "xla_flags",
    "device",
    "jax",
)
_SHOWN = 3

Verdict = tuple[str, str, str]  # the word, the text, the proof


def by_numbers(
    evidence: Evidence, differences: Sequence[Difference], causes: Sequence[Cause]
) -> list[Cause]:
    """The causes of leaves that no derivation explains, beside those that are known."""
    words = {cause.word for cause in causes}
    groups: dict[Verdict, list[str]] = {}
    for d in differences:
        verdict = _verdict(evidence, d, words)
        if verdict[0] in RELEASED:
            verdict = releases.of_leaf(evidence, d) or verdict
        groups.setdefault(verdict, []).append(d.path)
    return [
        Cause(word, tuple(paths), f"{text}: {named(paths)}", proof, text)
        for (word, text, proof), paths in groups.items()
        if word
    ]


def _verdict(evidence: Evidence, d: Difference, words: set[str]) -> Verdict:
    if d.rng:
        if words & KEYED or _is_rekeyed(evidence, d, words):
            return "", "", ""  # it follows from what has been named
        return "rng_state", "keys or counts of streams are not those of the golden", "values"
    if evidence.kind != "init" and evidence.model.causes:
        return _told(evidence.model, _of_a_model_that_differs(evidence))
    if _is_small(d):
        return "rounding", "beyond the tolerance, yet of rounding's size", "size"
    if evidence.kind == "init":
        return _built(evidence, d)
    if evidence.model.matched:
        return _told(evidence.model, _of_a_model_that_matches(evidence))
    return _finished(evidence, d, words)


def _told(model: ModelCheck, verdict: Verdict) -> Verdict:
    """No more than likely of a model that was another when it was checked."""
    word, text, _ = verdict
    if not model.likely or word == "unknown":
        return verdict
    return word, f"likely: {text}; its state has moved since that check", LIKELY


def _of_a_model_that_matches(evidence: Evidence) -> Verdict:
    tests = evidence.model.tests
    matches = f"the model matches in {few(tests)}" if tests else "the model matches"
    if evidence.changes:
        text = f"{matches}; the environment or the forward pass moved"
        return "unknown", f"{text} ({_listed(evidence.changes)})", ""
    return "forward", f"{matches}, its output does not", "the model's own check"


def _of_a_model_that_differs(evidence: Evidence) -> Verdict:
    if evidence.model.moved:
        by = few(evidence.model.tests) or "this test"
        return "follows", f"the model that {by} checked before differs", ""
    if evidence.changes:
        text = "no leaf that the model kept moved; the environment or the forward pass did"
        return "unknown", f"{text} ({_listed(evidence.changes)})", ""
    return "forward", "no leaf that the model kept moved, its output did", "the model's own check"


def _built(evidence: Evidence, d: Difference) -> Verdict:
    """Of a leaf of a model whose build was called."""
    if is_derived(d.path, evidence) and comparable(evidence) and _unmoved(d.path, evidence):
        names = sorted({name for name, _, _ in evidence.changes})
        if not names:
            return "values", "same keys, same initializer, other numbers", evidence.proof
        return "unknown", f"same keys, same initializer; {', '.join(names)} changed", ""
    told = _of_the_given_streams(evidence, d)
    if told is not None:
        return told
    old, new = d.expected, d.obtained
    known = old is not None and "constant" in old.statistics and not comparable(evidence)
    if known and old is not None and new is not None and (constants := _constants(old, new)):
        return "initializer", constants, "values"
    reason = evidence.untraceable and f" (not traced: {evidence.untraceable})"
    if is_derived(d.path, evidence) and has_unknown_count(evidence.obtained[d.path]):
        reason = " (the count of its key is computed while building, so it is not known)"
    elif is_derived(d.path, evidence):
        reason = " (the keys are the same; initializers do not compare across versions)"
    return "unknown", f"nothing is proven{reason}", ""


def _of_the_given_streams(evidence: Evidence, d: Difference) -> Verdict | None:
    """Of a build that cannot be traced: what became of the streams that it was given."""
    old, new = d.expected, d.obtained
    if not evidence.untraceable or old is None or new is None:
        return None
    if is_derived(d.path, evidence) and _unmoved(d.path, evidence):
        return "values", "the same draw, other numbers in places", evidence.proof
    if not may_be_redrawn(old, new):
        if d.numbers is not None and _is_edit(d):
            return "values", "a few elements are not those of the golden", "values"
        return None
    theirs, ours = evidence.streams
    both = sorted(theirs.keys() & ours.keys())
    moved = [name for name in both if theirs[name].get("key") != ours[name].get("key")]
    if moved:
        change = ", ".join(f"{n} {seed_of(theirs[n])} -> {seed_of(ours[n])}" for n in moved)
        if len(moved) == len(both):
            return "seed", f"another seed ({change})", "base keys"
        return "stream", f"another base key of the stream ({change})", "base keys"
    counts = [(name, _drawn(theirs[name]), _drawn(ours[name])) for name in both]
    other = [
        row for row in counts if row[1] is not None and row[2] is not None and row[1] != row[2]
    ]
    if len(other) == 1:
        name, then, now = other[0]
        return "draws", f"{now} keys are drawn from `{name}` in all, in the golden {then}", "counts"
    return None


def _drawn(stream: Mapping[str, Any]) -> int | None:
    count, end = stream.get("count"), stream.get("end")
    return end - count if isinstance(count, int) and isinstance(end, int) else None


def _finished(evidence: Evidence, d: Difference, words: set[str]) -> Verdict:
    """Of a leaf of a value that came finished."""
    old, new = d.expected, d.obtained
    if evidence.earlier.checked:
        return _since(evidence.earlier)
    if is_derived(d.path, evidence) and _unmoved(d.path, evidence):
        if _moved_whole(d):
            return "values", "the same draw, and every element moved since", evidence.proof
        return "values", "the same draw, other numbers in places", evidence.proof
    if old is not None and new is not None:
        if old.type not in ("Param", "LoRAParam") and old.type in STATE:
            return "values", f"what a {old.type} holds is not what the golden has", "values"
        constants = _constants(old, new)
        if constants:
            return "initializer", constants, "values"
    if d.numbers is not None and _is_edit(d):
        if d.numbers.total == 1:
            return "values", "another number than the golden's", "values"
        return "values", "a few elements are not those of the golden", "values"
    redraw = next((word for word in REDRAWS if word in words), "")
    if redraw and old is not None and new is not None and may_be_redrawn(old, new):
        text = "likely the same: drawn anew, though the values do not tell from which key"
        return redraw, text, LIKELY
    return "unknown", "nothing is proven of these leaves", ""


def _since(earlier: ModelCheck) -> Verdict:
    """Of a model that this test checked before, and that has been trained or called since."""
    (name,) = earlier.tests
    if earlier.causes and earlier.moved:
        return "follows", f"the model differed before this, in `{name}`", "an earlier check"
    matches = "where what it kept matches" if earlier.causes else "which matches"
    return "values", f"the model moved otherwise since `{name}`, {matches}", "an earlier check"


def _constants(old: Leaf, new: Leaf) -> str:
    """What a parameter that is one number throughout tells, on the golden's side or on ours."""
    if old.type not in ("Param", "LoRAParam") or old.shape != new.shape or not old.shape:
        return ""
    ours = _constant(new)
    then = old.statistics.get("constant")
    if ours is None:
        return ""
    if then is not None:
        return f"constant {ours:g} now, {then} in the golden"
    return "constant now, random in the golden" if old.size > 1 else ""


def _constant(leaf: Leaf) -> float | None:
    found = elements(leaf) if leaf.read is None else leaf.read()
    if found is None or not found.size or not is_inexact(leaf.dtype):
        return None
    flat = found.reshape(-1)
    return float(flat[0].real) if bool((flat == flat[0]).all()) else None


def may_be_redrawn(old: Leaf, new: Leaf) -> bool:
    """Whether the new elements look like another sample of what the old ones were drawn from."""
    both = [
        np.asarray(x, np.float64).reshape(-1) for x in map(_elements, (old, new)) if x is not None
    ]
    if len(both) < 2 or both[0].shape != both[1].shape or not np.isfinite(both).all():
        return False
    a, b = both
    if not a.any() or not b.any() or (a == b).any() or ratio(old, new) is not None:
        return False
    if len(a) < _FEWEST:
        return True  # too few to tell anything, and each of them moved
    spread, few = a.std(), 1 / len(a) ** 0.5
    if not spread or not b.std():
        return False
    related = abs(np.corrcoef(a, b)[0, 1])
    return bool(
        related < 5 * few
        and abs(b.std() / spread - 1) < 0.02 + 5 * few
        and abs(b.mean() - a.mean()) < 6 * spread * few
    )


_FEWEST = 16


def _elements(leaf: Leaf) -> Any:
    if not is_inexact(leaf.dtype):
        return None
    return elements(leaf) if leaf.read is None or leaf.slabs is not None else leaf.read()


def _is_rekeyed(evidence: Evidence, d: Difference, words: set[str]) -> bool:
    """Whether a key is another by the flags that keys are made, split and folded under."""
    changed = {name for name, _, _ in evidence.changes}
    holds_keys = d.expected is not None and is_key(d.expected.dtype)
    return holds_keys and "environment" in words and not changed.isdisjoint(PRNG)


def _listed(changes: Sequence[tuple[str, Any, Any]]) -> str:
    """The changes, those first that move outputs most."""
    known = [name for name in _MOVERS if any(name == change[0] for change in changes)]
    ordered = sorted(changes, key=lambda c: known.index(c[0]) if c[0] in known else len(known))
    rows = [f"{name} {shown(old)} -> {shown(new)}" for name, old, new in ordered[:_SHOWN]]
    more = [f"{len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []
    return ", ".join(rows + more)


def _unmoved(path: str, evidence: Evidence) -> bool:
    old, new = evidence.expected[path], evidence.obtained[path]
    return old.draws == new.draws and old.initializer == new.initializer


def _is_small(d: Difference) -> bool:
    numbers, leaf = d.numbers, d.expected
    if numbers is None or leaf is None or numbers.nonfinite or numbers.worst is None:
        return False
    if not is_inexact(leaf.dtype) or is_small_float(leaf.dtype) or not numbers.differing:
        return False
    limit = Tolerance(WEIGHTS).of(leaf.dtype) * numbers.scale
    return 0 <= numbers.worst <= max(limit, 4 * max(numbers.allowed, 0.0))


def _moved_whole(d: Difference) -> bool:
    return d.numbers is not None and d.numbers.differing == d.numbers.total


def _is_edit(d: Difference) -> bool:
    numbers = d.numbers
    if numbers is not None and numbers.where:
        return True
    return numbers is not None and 0 < numbers.differing <= max(1, numbers.total // 20)


def shown(value: Any) -> str:
    """A setting as JSON has it."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)
