"""The words for why a leaf no longer matches: a row each, with all that the code asks of a word.

They stand in texts, in ``report.json`` and on the command line. A new cause is a new row here; the
tests hold the table in ``docs/reference/causes.md`` against this one. Standard library alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pytest_nnxrng.run.settings import BadSetting


@dataclass(frozen=True)
class Word:
    """One cause: its line in the documentation, and what sets it apart from the others.

    keys: other keys were drawn, so the key map is shown, and states of streams follow from it.
    open: it says that numbers differ and not why, so each leaf is listed under it.
    aside: it says nothing of a leaf's values, which are looked at further.
    released: a release of JAX or Flax may be the reason, if a known move fits the leaf.
    plain: its finding is told without the word.
    judged: False of what is looked at, and is in no ready-made command that accepts.
    written: False of what no update writes to a golden.
    """

    meaning: str
    keys: bool = False
    open: bool = False
    aside: bool = False
    released: bool = False
    plain: bool = False
    judged: bool = True
    written: bool = True


CAUSES = {
    "seed": Word("all streams have other base keys", keys=True),
    "stream": Word("it draws from another stream, or one stream has another base key", keys=True),
    "draws": Word(
        "it draws another key of the same stream: keys are drawn before it that were not, or in "
        "another order",
        keys=True,
        plain=True,
    ),
    "initializer": Word(
        "same keys, another computation (the constant ratio is named when there is one)"
    ),
    "shape": Word("its shape changed"),
    "dtype": Word("its dtype changed"),
    "variable_type": Word("the type of its Variable changed", aside=True),
    "added": Word("the golden does not have it"),
    "removed": Word("the golden has it, and the model no longer does"),
    "renamed": Word(
        "same content, another path; blocks that are stacked or unstacked, modules that are fused "
        "or split, too"
    ),
    "aliasing": Word("parameters were tied, or no longer are"),
    "sharding": Word("its sharding changed, in metadata or in fact", aside=True),
    "static": Word(
        "a module is of another class, or has another static attribute: a rate, an epsilon, an "
        "activation"
    ),
    "inputs": Word("`check_call`: the call was given other arguments"),
    "weights": Word(
        "`check_call`: a leaf of the model is not what it was when the golden was called"
    ),
    "calls": Word(
        "`check_call`: a module is called that was not, or no longer is, or they are called in "
        "another order"
    ),
    "computation": Word(
        "`check_call`: a module computes otherwise on the same inputs: other operations, constants "
        "or parameters"
    ),
    "environment": Word(
        "a flag moved it, which is proven: the model was built again under what the golden "
        "recorded, and it matches; of an abstract model, its spots do",
        aside=True,
    ),
    "rounding": Word("beyond the tolerance, yet of rounding's size", open=True),
    "values": Word("same keys and initialiser, other numbers: an edit", open=True, released=True),
    "forward": Word(
        "an output moved, while the model that the test checked before it matches", open=True
    ),
    "follows": Word(
        "an output moved, and so did a leaf of the model that the test checked before it; or a "
        "model that the test checked before, and that differed then",
        judged=False,
    ),
    "rng_state": Word("keys or counts of streams that the model holds", open=True),
    "nondeterministic": Word(
        "two builds in one process differ. Such a model is never written to a golden",
        open=True,
        written=False,
    ),
    "unknown": Word("nothing is proven", open=True, released=True, judged=False),
}

MEANINGS = {name: word.meaning for name, word in CAUSES.items()}


def _those(name: str, value: bool = True) -> frozenset[str]:
    return frozenset(cause for cause, word in CAUSES.items() if getattr(word, name) is value)


FOLLOWS = "follows"
KEYED = _those("keys")
OPEN = _those("open")
ASIDE = _those("aside")
RELEASED = _those("released")
PLAIN = _those("plain")
NOT_JUDGED = _those("judged", False)
NEVER_WRITTEN = _those("written", False)
# What draws many leaves anew, surest first.
REDRAWS = ("seed", "environment", "stream", "draws")


def change_id(word: str, text: str) -> str:
    """What names a single change on a command line, in any report that has it."""
    return hashlib.sha256(f"{word}: {text}".encode()).hexdigest()[:8]


def is_id(word: str) -> bool:
    """Whether this names a single change, as `change_id` does."""
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
