"""The output of a call that moved -> its causes: flags, what the record shows, a second call.

``unknown`` says where the output moved first, and nothing more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_nnxrng.compare.differences import Comparison, compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.observed import Observed
from pytest_nnxrng.why.abreast import Passage
from pytest_nnxrng.why.cause import Cause, ModelCheck, same_fingerprints
from pytest_nnxrng.why.unproven import shown
from pytest_nnxrng.why.witness import known, remaining

Changes = tuple[tuple[str, Any, Any], ...]


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
    found = known(passage, comparison)
    if found:
        return found
    if not _repeats(observed, obtained, only):
        text = "a second call, on a copy of what the first was given, gives another output"
        return (Cause("nondeterministic", paths, text, "called twice", text),)
    return (remaining(passage, comparison, tolerance),)


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
