"""One output of a call -> what is kept of it: its form, a digest, statistics, a few elements.

As text a summary is a line for review: ``float32[1, 16] mean 0.01 std 1 min -2 max 3 at 0.5 ...``.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.dtypes import is_key
from pytest_nnxrng.leaf.forward import Summary
from pytest_nnxrng.leaf.statistics import statistics

NUMBERS = ("value", "constant", "mean", "std", "min", "max", "nonfinite")
_PLACES = 3
_FORM = r"(?P<form>[a-z0-9_<>]+\[[0-9, ]*\])"
_NUMBER = r"(?:-?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf)|nan)"
_ROW = re.compile(
    rf"{_FORM}(?P<numbers>(?: (?:{'|'.join(NUMBERS)}) {_NUMBER})*)"
    rf"(?: at (?P<at>{_NUMBER}(?: {_NUMBER})*))? digest (?P<digest>[0-9a-f]{{16}})\Z"
)


def form(dtype: Any, shape: tuple[int, ...]) -> str:
    """``float32[1, 16]``."""
    return f"{dtype}{list(shape)}"


def summary(array: np.ndarray, name: str, *, full: bool = True) -> Summary:
    """What is kept of ``array``, whose dtype is called ``name``; its statistics if ``full``."""
    found = Summary(form(name, array.shape), digest(array)[:16])
    if is_key(name) or not array.size:
        return found
    flat = array.reshape(-1)
    places = [(2 * i + 1) * array.size // (2 * _PLACES) for i in range(_PLACES)]
    at = tuple(_real(flat[place]) for place in dict.fromkeys(places))
    return Summary(found.form, found.digest, _numbers(array) if full else {}, at)


@np.errstate(all="ignore")
def _numbers(array: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in statistics(array).items()}


def _real(element: Any) -> float:
    """An element with nine digits, which tell each float32 from the next."""
    return float(f"{float(element.real):.9g}")


def told(found: Summary) -> str:
    """The summary as a line."""
    parts = [found.form]
    parts += [f"{name} {_text(value)}" for name, value in found.numbers.items()]
    if found.at and not found.numbers.keys() & {"value", "constant"}:
        parts.append("at " + " ".join(map(_text, found.at)))
    return " ".join([*parts, f"digest {found.digest}"])


def read(text: str) -> Summary:
    """The summary that `told` wrote.

    Raises:
      ValueError: for any other text.
    """
    row = _ROW.match(text)
    if row is None:
        raise ValueError(f"{text!r:.60} is no summary of an output")
    words = row["numbers"].split()
    numbers = {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    at = tuple(map(float, (row["at"] or "").split()))
    known = numbers.keys() & {"value", "constant"}
    return Summary(row["form"], row["digest"], numbers, at or tuple(numbers[k] for k in known))


def _text(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.9g}"


def distance(old: Summary, new: Summary) -> float | None:
    """How far two outputs are apart, as a share of the largest element: an estimate from below.

    None where their forms differ or nothing but digests is kept.
    """
    if old.form != new.form:
        return None
    if old.digest == new.digest:
        return 0.0
    pairs = list(zip(old.at, new.at, strict=False))
    both = old.numbers.keys() & new.numbers.keys() - {"nonfinite"}
    ends = [(old.numbers[k], new.numbers[k]) for k in both]
    if not pairs and not ends:
        return None
    finite = [(a, b) for a, b in (*pairs, *ends) if math.isfinite(a) and math.isfinite(b)]
    if len(finite) < len(pairs) + len(ends) and any(not _alike(*p) for p in (*pairs, *ends)):
        return math.inf
    scale = max([abs(old.numbers.get(k, 0.0)) for k in NUMBERS[:6]] + [abs(a) for a, _ in pairs])
    # Statistics have six digits.
    apart = [abs(a - b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    apart += [max(abs(a - b) - 1e-6 * scale, 0.0) for a, b in ends]
    return max(apart, default=0.0) / scale if scale else max(apart, default=0.0)


def _alike(a: float, b: float) -> bool:
    return math.isfinite(a) == math.isfinite(b) and (math.isfinite(a) or str(a) == str(b))
