"""The output of a call that moved -> its causes: flags, what the record shows, a second call.

``unknown`` says where the output moved first, and nothing more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_nnxrng.compare.differences import Comparison, Difference, compare
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.errors import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.flat import Flat
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.observed import Observed
from pytest_nnxrng.why.abreast import Pair, Passage, aligned, first_moved, growth
from pytest_nnxrng.why.cause import Cause, ModelCheck, few, line_of, same_fingerprints
from pytest_nnxrng.why.draws import ratio
from pytest_nnxrng.why.passage import facts, first_step
from pytest_nnxrng.why.unproven import shown

Changes = tuple[tuple[str, Any, Any], ...]
_FAR = 1e-3  # of outputs in another environment: no rounding
_LARGE = 100  # times the tolerance: no rounding


def retrace(
    golden: Golden,
    obtained: Flat,
    comparison: Comparison,
    changes: Changes,
    tolerance: Tolerance,
    observed: Observed,
    model: ModelCheck,
    only: Any = None,
) -> tuple[Cause, ...]:
    """Why the call does not give what the golden holds."""
    paths = tuple(d.path for d in comparison.differences)
    flags = environment.settable(changes)
    if flags:
        proven = _under(flags, golden, observed, changes, tolerance, paths, only)
        if proven:
            return proven
    if golden.calls is None:
        return (Cause("unknown", paths, "the golden tells nothing of the call"),)
    rewritten = not same_fingerprints(n for n in flags)
    ours = _forward(observed, flags if rewritten else {})
    passage = Passage(golden.calls, ours, paths, changes, model)
    found = facts(passage)
    gradients = "; ".join(filter(None, [told_gradients(comparison), first_step(passage)]))
    if found:
        first = found[0]
        text = f"{first.text}; {gradients}" if gradients else first.text
        return (replace(first, text=text), *found[1:])
    if not _repeats(observed, obtained, only):
        text = "a second call, on a copy of what the first was given, gives another output"
        return (Cause("nondeterministic", paths, text, "called twice", text),)
    if (
        told_gradients(comparison)
        and passage.comparable
        and not changes
        and all(map(_is_gradient, paths))
    ):
        text = f"{_BACKWARD}: {gradients}"
        return (Cause("computation", paths, text, "the record of the call", _BACKWARD),)
    numbers = _by_numbers(passage, comparison, tolerance)
    text = "; ".join(filter(None, [numbers.text, first_step(passage)]))
    return (replace(numbers, text=text),)


_BACKWARD = (
    "the forward pass is the same, its gradients are others (a stop_gradient, a custom_vjp, or "
    "another argument that is differentiated)"
)


def _is_gradient(path: str) -> bool:
    return path.startswith("gradients.")


def told_gradients(comparison: Comparison) -> str:
    """The gradients that vanished, are not finite, or changed their scale."""
    groups: dict[str, list[str]] = {}
    for d in comparison.differences:
        if _is_gradient(d.path) and (change := _of_gradient(d)):
            groups.setdefault(change, []).append(d.path)
    return "; ".join(f"{change}: {few(paths)}" for change, paths in groups.items())


def _of_gradient(d: Difference) -> str:
    old, new = d.expected, d.obtained
    if old is None or new is None or new.read is None or old.shape != new.shape:
        return ""
    now = np.asarray(new.read(), np.float64)
    if not np.isfinite(now).all():
        return "a gradient is not finite"
    if not now.any():
        return "the gradient vanished"
    scale = ratio(old, new)
    return "" if scale is None else f"gradients are {scale:.6g} times the golden's"


def _forward(observed: Observed, flags: Mapping[str, Any]) -> Any:
    if not flags:
        return observed.forward
    with environment.under(flags):
        return observed.retraced().forward


def _under(
    flags: Mapping[str, Any],
    golden: Golden,
    observed: Observed,
    changes: Changes,
    tolerance: Tolerance,
    paths: tuple[str, ...],
    only: Any,
) -> tuple[Cause, ...]:
    """The flags under which the same call gives the golden: one if that is enough."""
    values = {name: (old, new) for name, old, new in changes}
    for names in [*([name] for name in sorted(flags) if len(flags) > 1), sorted(flags)]:
        with environment.under({name: flags[name] for name in names}):
            if not _gives(golden, observed, tolerance, only):
                continue
        change = ", ".join(
            f"{name} {shown(values[name][0])} -> {shown(values[name][1])}" for name in names
        )
        text = f"{change}: equal to the golden when called under what it recorded"
        return (Cause("environment", paths, text, "called again", change),)
    return ()


def _gives(golden: Golden, observed: Observed, tolerance: Tolerance, only: Any) -> bool:
    try:
        flat = flatten(observed.again(), only)
        made = digested(flat.leaves)
        return compare(golden.leaves, made, tolerance).matches
    except GoldenError:
        raise
    except Exception:  # what the model raises under these flags
        return False


def _repeats(observed: Observed, obtained: Flat, only: Any) -> bool:
    """Whether a second call gives the same bits; True if there can be none."""
    try:
        again = flatten(observed.again(), only).leaves
    except Exception:  # as what cannot be copied does
        return True
    exact = Tolerance({}, exact=True)
    return compare(digested(obtained.leaves), digested(again), exact).matches


def _by_numbers(passage: Passage, comparison: Comparison, tolerance: Tolerance) -> Cause:
    """What the outputs of modules tell where nothing that was recorded differs."""
    pairs, _, _ = aligned(passage.old.calls, passage.new.calls)
    numbers = [d.numbers for d in comparison.differences]
    small = all(map(_is_small, numbers))
    dtype = next((d.expected.dtype for d in comparison.differences if d.expected), "float32")
    told = growth(pairs, tolerance.of(dtype))
    where = f": {told}, as a share of the largest element" if told else ""
    elsewhere = _listed(passage.changes)
    same = _SAME if _computes_alike(pairs) else _UNKNOWN
    if passage.comparable and small:
        text = f"{same}; the difference grows{where}{elsewhere}" if told else f"{same}{elsewhere}"
        return Cause("rounding", passage.paths, text, "size", f"{same}{elsewhere}")
    first = first_moved(pairs, _FAR if passage.changes else 0.0)
    begins = ""
    if first is not None:
        place = line_of(first.new.where)
        begins = f"; {first.new.name} is the first whose output moved" + (
            f" ({place})" if place else ""
        )
    reason = passage.new.untraced or passage.old.untraced
    known = f"the call could not be traced ({reason})" if reason else same
    static = _static(passage) if reason else ""
    return Cause("unknown", passage.paths, f"{known}{begins}{static}{elsewhere}", "", known)


_SAME = "every module computes what it did, from the same inputs, weights and keys"
_UNKNOWN = "computations do not compare with the golden's, which other versions made"


def _computes_alike(pairs: Sequence[Pair]) -> bool:
    return all(p.old.computation.fingerprint == p.new.computation.fingerprint for p in pairs)


def _is_small(numbers: Numbers | None) -> bool:
    if numbers is None or numbers.worst is None or numbers.nonfinite:
        return False
    return 0 <= numbers.worst <= _LARGE * numbers.allowed


def _static(passage: Passage) -> str:
    """Of a call that was not traced: the attributes that are others."""
    pairs, _, _ = aligned(passage.old.calls, passage.new.calls)
    for pair in pairs:
        old, new = pair.old.computation.attributes, pair.new.computation.attributes
        moved = [k for k in old if k in new and old[k] != new[k]]
        if moved:
            told = ", ".join(f"{k} {shown(old[k])} -> {shown(new[k])}" for k in moved)
            return f"; {pair.new.name} has {told}"
    return ""


def _listed(changes: Any) -> str:
    rows = [f"{name} {shown(old)} -> {shown(new)}" for name, old, new in changes]
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"; the environment moved: {', '.join(rows[:3])}{more}" if rows else ""
