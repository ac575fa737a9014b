"""Two computations of a module -> what differs between them, in few words: no dump of equations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pytest_nnxrng.leaf.forward import NOT_KEPT, Computation
from pytest_nnxrng.why.cause import line_of

_HUNKS, _SHOWN = 2, 3
_LONG = 90  # characters of a change: then names say it
_OPERANDS = "the same operations on other operands: a branch, an argument or an order was exchanged"


@dataclass(frozen=True)
class Otherwise:
    """What is told of a change, and the user's line where it begins."""

    text: str
    place: str = ""


def otherwise(old: Computation, new: Computation) -> Otherwise:
    """What differs, attributes first."""
    hunks = _hunks(old.operations, new.operations)
    told = functions = _as_functions(old, new, hunks) or _as_functions(
        old, new, _hunks(old.operations, new.operations, whole=True)
    )
    if not told:
        told = _places([_told(before, after) for before, after, _ in hunks])
    place = next((at for _, _, i in hunks if (at := _place(new, i))), "")
    attributes = _attributes(old, new)
    if not told and not attributes:
        told = _without_operations(old, new)
    if attributes and len(hunks) > _HUNKS:
        # The attribute says it, unless it is a function without a name.
        told = functions if "<lambda>" in "".join(attributes) else ""
    if any(attribute.endswith(told) for attribute in attributes):
        told = ""  # act relu -> silu: relu -> silu
    text = ": ".join(filter(None, [", ".join(attributes), told]))
    return Otherwise(text, place or _place(new, 0))


def _places(changes: Sequence[str]) -> str:
    """The first changes, each once, and how many other places there are."""
    shown = list(dict.fromkeys(changes[:_HUNKS]))
    more = len(changes) - len(shown)
    places = f"and {more} more {'place' if more == 1 else 'places'}"
    return "; ".join([*shown, *([places] if more else [])])


def _without_operations(old: Computation, new: Computation) -> str:
    if old.gives != new.gives:
        return f"gives {_forms(new.gives)}, in the golden {_forms(old.gives)}"
    if NOT_KEPT in old.operations:
        return "other operations, constants or parameters"
    return _OPERANDS


def _forms(forms: Sequence[str]) -> str:
    return ", ".join(forms) or "nothing"


def _place(computation: Computation, at: int) -> str:
    places = computation.places
    return line_of(places[min(at, len(places) - 1)]) if places else ""


def _attributes(old: Computation, new: Computation) -> list[str]:
    both = [key for key in old.attributes if key in new.attributes]
    return [
        f"{key} {_plain(old.attributes[key])} -> {_plain(new.attributes[key])}"
        for key in both
        if old.attributes[key] != new.attributes[key]
    ]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


Hunk = tuple[tuple[str, ...], tuple[str, ...], int]


def _hunks(old: Sequence[str], new: Sequence[str], *, whole: bool = False) -> list[Hunk]:
    """What differs; the function that made an operation is no part of it, unless ``whole``."""
    if NOT_KEPT in old:
        return []
    sides = [[text if whole else text.rpartition(": ")[2] for text in side] for side in (old, new)]
    matcher = SequenceMatcher(None, sides[0], sides[1], autojunk=False)
    return [
        (tuple(old[a:b]), tuple(new[c:d]), c)
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]


def _as_functions(old: Computation, new: Computation, hunks: Sequence[Hunk]) -> str:
    """``gelu(approximate=True) -> silu``: where all that differs are two functions of JAX."""
    names = [
        _function([text for before, _, _ in hunks for text in before]),
        _function([text for _, after, _ in hunks for text in after]),
    ]
    single = [_only(side) for side in ([h[0] for h in hunks], [h[1] for h in hunks])]
    if any(names) and all(name or one for name, one in zip(names, single, strict=True)):
        if not all(names):
            return " -> ".join(name or one for name, one in zip(names, single, strict=True))
    else:
        return ""
    every = [
        [t for t in side if t.startswith(f"{n}: ")]
        for side, n in zip((old.operations, new.operations), names, strict=True)
    ]
    told = [_functions(texts) for texts in every]
    return f"{told[0]} -> {told[1]}" if told[0] != told[1] else ""


def _only(sides: Sequence[Sequence[str]]) -> str:
    """The one operation of these; "" if there are more."""
    every = [text for side in sides for text in side]
    return every[0] if len(every) == 1 else ""


def _told(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """``gelu(approximate=True) -> gelu(approximate=False)``, ``add _ 1e-06 -> add _ 1e-05``."""
    common = _function(before) if _function(before) == _function(after) else ""
    sides = [[_bare(text, common) for text in side] for side in (before, after)]
    if len(before) == len(after) == 1:
        shared = [a for a, b in zip(*map(str.split, (sides[0][0], sides[1][0])), strict=False)]
        if shared and sides[0][0].split()[0] == sides[1][0].split()[0]:
            sides = [[_without_same(sides, side)] for side in (0, 1)]
    text = f"{_some(sides[0])} -> {_some(sides[1])}"
    if len(text) > _LONG:
        names = [[_named(text) for text in side] for side in (before, after)]
        if names[0] != names[1]:
            return f"{_some(names[0])} -> {_some(names[1])}"
    return f"{common}: {text}" if common else text


def _named(text: str) -> str:
    """Of an operation the function that made it, or its primitive."""
    return text.partition(": ")[0].split()[0]


def _without_same(sides: Sequence[Sequence[str]], side: int) -> str:
    """An operation with those of its parameters that the other has otherwise."""
    mine, other = sides[side][0].split(), sides[1 - side][0].split()
    kept = [word for word in mine[1:] if "=" not in word or word not in other]
    return " ".join([mine[0], *kept])


def _some(texts: Sequence[str]) -> str:
    if not texts:
        return "nothing"
    texts = list(dict.fromkeys(texts))
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _function(texts: Sequence[str]) -> str:
    found = {text.partition(": ")[0] if ": " in text else "" for text in texts}
    return found.pop() if len(found) == 1 else ""


def _functions(texts: Sequence[str]) -> str:
    """The one function of JAX that all come from; of gelu, which of its two."""
    name = _function(texts)
    if name == "gelu":
        words = {_bare(text, name).split()[0] for text in texts}
        if "tanh" in words or not words.isdisjoint(("erf", "erfc")):
            return f"gelu(approximate={'tanh' in words})"
    return name


def _bare(text: str, function: str) -> str:
    return text.removeprefix(f"{function}: ") if function else text
