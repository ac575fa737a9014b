"""Two sets of leaves -> what differs between them. Data in, data out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from pytest_nnxrng.leaf import Leaf, dtype_of, is_inexact
from pytest_nnxrng.sketch import difference, digest, judge, sketch

_BLOCK = 1 << 16  # elements; two float64 copies of a block stay in the cache

# Largest |a - b| that counts as rounding, as a share of the leaf's largest element. They
# are about twice the worst case measured over JAX 0.5.3 to 0.12, instruction sets, eager
# against jit, and shardings. A Python float usually is a float32 result read out.
WEIGHTS = {
    "float64": 1e-12,
    "float32": 1e-5,
    "bfloat16": 1.6e-2,
    "float16": 5e-3,
}
OUTPUTS = {
    "float64": 1e-10,
    "float32": 1e-5,
    "bfloat16": 3e-2,
    "float16": 1e-2,
}
STRICT = {"float64": 1e-14, "float32": 2e-6, "bfloat16": 1e-2, "float16": 3e-3}
_SAME_AS = {"complex64": "float32", "complex128": "float64"} | {
    "python float": "float32",
    "python complex": "float32",
}


@dataclass(frozen=True)
class Tolerance:
    """How far apart two leaves may be and still differ by rounding alone.

    An element may differ by ``relative[dtype] * S + atol``, S being the largest finite
    absolute value of the golden's leaf. ``exact`` accepts equal bits alone.
    """

    relative: Mapping[str, float]
    atol: float = 0.0
    exact: bool = False

    def of(self, dtype: str) -> float:
        """The share of S allowed for ``dtype``; 0 for what does not round."""
        if self.exact or not is_inexact(dtype):
            return 0.0
        name = _SAME_AS.get(dtype, dtype)
        if name in self.relative:
            return self.relative[name]
        if "*" in self.relative:
            return self.relative["*"]
        # An 8-bit or smaller float: one step of its grid at the largest element.
        info = ml_dtypes.finfo(dtype_of(dtype))  # type: ignore[no-untyped-call]
        return float(2.0**-info.nmant)


@dataclass(frozen=True)
class Numbers:
    """How two arrays of one shape and dtype differ.

    ``worst`` is the largest absolute difference between finite elements (None for keys), found
    at ``index``, where the golden has ``expected`` and the run ``obtained``, ``ulp`` units in
    the last place apart (None for what are not floats). ``scale`` is S, ``allowed`` the
    tolerance in absolute terms. ``nonfinite`` counts the elements of which one is NaN or
    infinite and the other is not, or not the same; ``index`` is at the first of them, if any.

    Of a leaf whose values the golden does not store, ``sketched`` says what its sketch tells,
    and ``worst`` is the root mean square of the difference.
    """

    differing: int
    total: int
    scale: float = 0.0
    allowed: float = 0.0
    worst: float | None = None
    index: tuple[int, ...] = ()
    expected: str = ""
    obtained: str = ""
    ulp: int | None = None
    nonfinite: int = 0
    sketched: str = ""
    where: tuple[tuple[int, int], ...] = ()  # flat ranges that hold the difference
    changed: bool = False  # the sketch proves that an element moved further than allowed

    @property
    def is_rounding(self) -> bool:
        if self.nonfinite or self.worst is None or self.changed:
            return False
        return self.worst <= self.allowed

    @property
    def headroom(self) -> float:
        """How near the worst element came to the tolerance: 1.0 is at it."""
        if self.worst is None or not self.worst:
            return 0.0
        return self.worst / self.allowed if self.allowed else math.inf


@dataclass(frozen=True)
class Difference:
    """One leaf that is not what the golden holds.

    ``kinds`` says in which ways: added, removed, type, shape, dtype, sharding, aliasing,
    derivation (of a leaf without values), values; ``values`` without ``numbers`` means that
    the golden keeps no elements of it. What is aliased on one side and not there at all on the
    other is ``aliasing`` together with ``added`` or ``removed``.
    """

    path: str
    kinds: tuple[str, ...]
    expected: Leaf | None = None
    obtained: Leaf | None = None
    numbers: Numbers | None = None
    alias: tuple[str | None, str | None] = (None, None)

    @property
    def rng(self) -> bool:
        leaf = self.obtained or self.expected
        return leaf is not None and leaf.rng


@dataclass(frozen=True)
class Comparison:
    """What became of each leaf: ``matched`` by bits, ``rounded``, ``unread`` or different.

    ``unread`` leaves agree in all that both sides hold, of which values are not a part: the
    golden, or the run, is abstract.
    """

    matched: tuple[str, ...] = ()
    rounded: Mapping[str, Numbers] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def matches(self) -> bool:
        return not self.differences

    @property
    def leaves(self) -> int:
        different = [d for d in self.differences if d.obtained or d.expected]
        return len(self.matched) + len(self.rounded) + len(self.unread) + len(different)


def compare(
    expected: tuple[Leaf, ...],
    obtained: tuple[Leaf, ...],
    tolerance: Tolerance,
    aliases: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    *,
    sharding: bool = False,
    rekeyed: Collection[str] = (),
    fingerprints: bool = True,
) -> Comparison:
    """Compare the golden's leaves with those of the run, and report every difference.

    ``aliases`` are the golden's and the run's. Structure comes first, then type, shape,
    dtype and sharding, then values: bits, and where they differ the tolerance. Where one side
    has no values, the derivations are compared: draws, the base keys of their streams (those
    of ``rekeyed`` are not the golden's), and initializers if ``fingerprints`` of both sides
    mean the same.

    Raises:
      GoldenError: when the golden's values are needed and cannot be read.
    """
    old, new = {leaf.path: leaf for leaf in expected}, {leaf.path: leaf for leaf in obtained}
    result = _Collector()
    untied = _aliases(aliases, (old.keys(), new.keys()), result)
    for path in sorted(old.keys() | new.keys()):
        if path not in new:
            if not _below(path, untied):
                result.differences.append(Difference(path, ("removed",), expected=old[path]))
        elif path not in old:
            if not _below(path, untied):
                result.differences.append(Difference(path, ("added",), obtained=new[path]))
        else:
            moved = _rederived(old[path], new[path], rekeyed, fingerprints)
            _leaf(old[path], new[path], tolerance, sharding, moved, result)
    return Comparison(
        tuple(result.matched), result.rounded, tuple(result.unread), tuple(result.differences)
    )


@dataclass
class _Collector:
    matched: list[str] = field(default_factory=list)
    rounded: dict[str, Numbers] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


def _aliases(
    aliases: tuple[Mapping[str, str], Mapping[str, str]],
    paths: tuple[Collection[str], Collection[str]],
    result: _Collector,
) -> tuple[str, ...]:
    old, new = aliases
    moved = sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p))
    for path in moved:
        kinds: tuple[str, ...] = ("aliasing",)
        if path not in new and _gone(path, old[path], *paths):
            kinds = ("aliasing", "removed")
        elif path not in old and _gone(path, new[path], *reversed(paths)):
            kinds = ("aliasing", "added")
        result.differences.append(Difference(path, kinds, alias=(old.get(path), new.get(path))))
    return tuple(moved)


def _gone(alias: str, target: str, here: Collection[str], there: Collection[str]) -> bool:
    """Whether what is at ``target`` here, and so at ``alias``, left no leaf at ``alias`` there."""
    return any(_below(path, (target,)) for path in here) and not any(
        _below(path, (alias,)) for path in there
    )


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)


def _leaf(
    old: Leaf,
    new: Leaf,
    tolerance: Tolerance,
    sharding: bool,
    rederived: bool,
    result: _Collector,
) -> None:
    kinds = [
        name for name in ("type", "shape", "dtype") if getattr(old, name) != getattr(new, name)
    ]
    if sharding and old.sharding != new.sharding:
        kinds.append("sharding")
    numbers = None
    if old.shape == new.shape and old.dtype == new.dtype:
        if old.digest is None or new.read is None:
            if rederived:
                kinds.append("derivation")
            if not kinds:
                result.unread.append(old.path)
                return
        elif (new.digest or digest(new.read())) != old.digest:
            if old.read is not None:
                numbers = _numbers(old, new, tolerance)
            elif old.sketch is not None:
                numbers = _sketched(old, new, tolerance)
            if numbers is None or not numbers.is_rounding:
                kinds.append("values")
            elif not kinds:
                result.rounded[old.path] = numbers
                return
    if kinds:
        result.differences.append(Difference(old.path, tuple(kinds), old, new, numbers))
    else:
        result.matched.append(old.path)


def _rederived(old: Leaf, new: Leaf, rekeyed: Collection[str], fingerprints: bool) -> bool:
    if old.draws is None or new.draws is None:
        return False
    if old.draws != new.draws or (fingerprints and old.initializer != new.initializer):
        return True
    return any(draw.partition("#")[0] in rekeyed for draw in new.draws)


def _numbers(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers:
    assert old.read is not None
    assert new.read is not None
    a, b = old.read(), new.read()
    if a.shape != b.shape:  # key data of another PRNG implementation
        return Numbers(differing=old.size, total=old.size)
    if not is_inexact(old.dtype):
        return _exact(a, b, old)
    return _inexact(a, b, tolerance, old)


def _sketched(old: Leaf, new: Leaf, tolerance: Tolerance) -> Numbers | None:
    assert new.read is not None
    _, ours = sketch(new.read())
    if ours is None or ours.size != old.sketch.size:
        return None
    scale = old.sketch.scale
    allowed = tolerance.of(old.dtype) * scale + tolerance.atol
    if not math.isfinite(allowed):
        return None
    verdict, gap = judge(old.sketch, ours, allowed), difference(old.sketch, ours)
    told = f"root mean square of the difference {gap.rms:.3g}"
    if gap.residual < 1e-3 and abs(gap.ratio - 1) > 1e-6:
        told += f"; the values are {gap.ratio:.6g} times the golden's"
    if verdict.where and verdict.kind == "changed":
        told += "; it lies in elements " + ", ".join(f"{a}:{b}" for a, b in verdict.where[:3])
    return Numbers(
        differing=0,
        total=old.size,
        scale=scale,
        allowed=-1.0 if tolerance.exact else allowed,
        worst=gap.rms,
        sketched=told,
        where=verdict.where if verdict.kind == "changed" else (),
        changed=verdict.kind == "changed",
    )


def _exact(a: np.ndarray, b: np.ndarray, leaf: Leaf) -> Numbers:
    words = a.size // leaf.size if leaf.size else 1
    moved = (a != b).reshape(leaf.size, words).any(axis=1)
    differing = int(moved.sum())
    if not differing:
        return Numbers(0, leaf.size)
    if leaf.dtype.startswith("key<"):
        first = int(moved.argmax())
        pick = slice(first * words, (first + 1) * words)
        return Numbers(
            differing,
            leaf.size,
            index=_index(first, leaf),
            expected=str(a.reshape(-1)[pick]),
            obtained=str(b.reshape(-1)[pick]),
        )
    x, y = (_native(array.reshape(-1)) for array in (a, b))
    unsigned = f"u{x.dtype.itemsize}"
    # Unsigned, a difference of signed integers wraps to the true distance.
    gap = np.maximum(x, y).view(unsigned) - np.minimum(x, y).view(unsigned)
    at = int(gap.argmax())
    return Numbers(
        differing,
        leaf.size,
        worst=float(gap[at]),
        index=_index(at, leaf),
        expected=str(a.reshape(-1)[at].item()),
        obtained=str(b.reshape(-1)[at].item()),
    )


def _native(integers: np.ndarray) -> np.ndarray:
    if integers.dtype.kind == "b":
        return integers.view(np.uint8)
    return integers if integers.dtype.isbuiltin else integers.astype(np.int16)


def _index(at: int, leaf: Leaf) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(at, leaf.shape)) if leaf.shape else ()


# Signalling NaNs, and float64 near its end: neither is worth a warning.
@np.errstate(over="ignore", invalid="ignore")
def _inexact(a: np.ndarray, b: np.ndarray, tolerance: Tolerance, leaf: Leaf) -> Numbers:
    parts = 2 if a.dtype.kind == "c" else 1
    real = a.real.dtype if parts == 2 else a.dtype
    x, y = a.reshape(-1).view(real), b.reshape(-1).view(real)
    unsigned = np.dtype(f"u{real.itemsize}")
    differing = nonfinite = 0
    scale, worst, at, odd, first = 0.0, -1.0, 0, None, None
    for start in range(0, x.size, _BLOCK):
        p, q = x[start : start + _BLOCK], y[start : start + _BLOCK]
        moved = p.view(unsigned) != q.view(unsigned)
        p64 = p.astype(np.float64)
        finite = np.isfinite(p64)
        scale = max(scale, float(np.abs(p64, where=finite, out=np.zeros_like(p64)).max()))
        if not moved.any():
            continue
        differing += int(moved.sum())
        first = start + int(moved.argmax()) if first is None else first
        q64 = q.astype(np.float64)
        both = finite & np.isfinite(q64)
        alike = both | (np.isnan(p64) & np.isnan(q64)) | (p64 == q64)
        if not alike.all():
            nonfinite += int((~alike).sum())
            odd = start + int(alike.argmin()) if odd is None else odd
        gap = np.zeros_like(p64)
        np.subtract(p64, q64, out=gap, where=both & moved)
        block = float(np.abs(gap, out=gap).max())
        if block > worst and (both & moved).any():
            # Bits may differ with no distance between the numbers: 0.0 and -0.0.
            worst, at = block, start + int((gap if block else both & moved).argmax())
    if tolerance.exact and differing:
        allowed = -1.0
    else:
        allowed = tolerance.of(leaf.dtype) * scale + tolerance.atol
    show = odd if odd is not None else at if worst >= 0 else first or 0
    return Numbers(
        differing=differing,
        total=leaf.size * parts,
        scale=scale,
        allowed=allowed,
        # Bits may differ with no two numbers apart: NaN payloads.
        worst=max(worst, 0.0),
        index=_index(show // parts, leaf),
        expected=_show(x[show]),
        obtained=_show(y[show]),
        ulp=_ulp(x[show : show + 1], y[show : show + 1]),
        nonfinite=nonfinite,
    )


def _show(value: Any) -> str:
    number = float(value)
    digits = {2: 4, 4: 9, 8: 17}.get(value.dtype.itemsize, 3)
    return f"{number:.{digits}g}"


def _ulp(a: np.ndarray, b: np.ndarray) -> int | None:
    """Steps from one float to the other over all floats between; None beyond finite ones."""
    if not (np.isfinite(a.astype(np.float64)) & np.isfinite(b.astype(np.float64))).all():
        return None
    info = ml_dtypes.finfo(a.dtype)  # type: ignore[no-untyped-call]
    # A float4 lies in the low bits of its byte; a float8_e8m0fnu has no sign.
    sign = 1 << (info.bits - 1) if info.min < 0 else 0

    def ordered(x: np.ndarray) -> int:
        value = int(x.view(f"u{x.dtype.itemsize}")[0]) & ((1 << info.bits) - 1)
        return sign - value if value & sign else value

    return abs(ordered(a) - ordered(b))
