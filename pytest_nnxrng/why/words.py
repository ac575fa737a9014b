"""The words for why a leaf no longer matches, in their order, each with its row in the docs.

They stand in texts, in ``report.json`` and on the command line. A new cause is a new row here; the
tests hold the table in ``docs/reference/causes.md`` against this one. Standard library alone.
"""

from __future__ import annotations

import re

from pytest_nnxrng.run.settings import BadSetting

MEANINGS = {
    "seed": "all streams have other base keys",
    "stream": "it draws from another stream, or one stream has another base key",
    "draws": (
        "it draws another key of the same stream: keys are drawn before it that were not, or in "
        "another order"
    ),
    "initializer": (
        "same keys, another computation (the constant ratio is named when there is one)"
    ),
    "shape": "its shape changed",
    "dtype": "its dtype changed",
    "variable_type": "the type of its Variable changed",
    "added": "the golden does not have it",
    "removed": "the golden has it, and the model no longer does",
    "renamed": (
        "same content, another path; blocks that are stacked or unstacked, modules that are fused "
        "or split, too"
    ),
    "aliasing": "parameters were tied, or no longer are",
    "sharding": "its sharding changed, in metadata or in fact",
    "static": (
        "a module is of another class, or has another static attribute: a rate, an epsilon, an "
        "activation"
    ),
    "inputs": "`check_call`: the call was given other arguments",
    "weights": "`check_call`: a leaf of the model is not what it was when the golden was called",
    "calls": (
        "`check_call`: a module is called that was not, or no longer is, or they are called in "
        "another order"
    ),
    "computation": (
        "`check_call`: a module computes otherwise on the same inputs: other operations, constants "
        "or parameters"
    ),
    "environment": (
        "a flag moved it, which is proven: the model was built again under what the golden "
        "recorded, and it matches; of an abstract model, its spots do"
    ),
    "rounding": "beyond the tolerance, yet of rounding's size",
    "values": "same keys and initialiser, other numbers: an edit",
    "forward": "an output moved, while the model that the test checked before it matches",
    "follows": (
        "an output moved, and so did a leaf of the model that the test checked before it; or a "
        "model that the test checked before, and that differed then"
    ),
    "rng_state": "keys or counts of streams that the model holds",
    "nondeterministic": (
        "two builds in one process differ. Such a model is never written to a golden"
    ),
    "unknown": "nothing is proven",
}

# No update writes the golden of what differs by one of these.
NEVER_WRITTEN = frozenset({"nondeterministic"})


def is_id(word: str) -> bool:
    """Whether this names a single change, as ``outcomes.change_id`` does."""
    return re.fullmatch("[0-9a-f]{8}", word) is not None


def parse(text: str, source: str) -> frozenset[str]:
    """``draws,environment`` -> the words; the ids of single changes are taken, too.

    Raises:
      BadSetting: for a word that names no cause.
    """
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in MEANINGS and not is_id(word)]
    if unknown:
        raise BadSetting(f"{source}: {unknown[0]!r} is no cause. Causes are {', '.join(MEANINGS)}")
    return frozenset(words)
