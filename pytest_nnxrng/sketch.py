"""The digest of an array, and a linear sketch that tells rounding from change without its values.

A golden does not store the values of a large leaf. It keeps a digest, which says whether any bit
moved, and a sketch of 84 numbers (about 560 characters), which says how much moved.

What is summed. The array, flattened in C order (a complex number is two reals), is cut into blocks
of 128 rows by 1021 columns, or of 32 rows where that would leave less than 12 blocks. 1021 is a
prime, so that no axis of a usual shape falls into one column. Element
(row, column) of block b gets the sign ``T[o(b) + 641 row + column]``, T a fixed pseudo-random table
and o(b) a pseudo-random offset; the rows are added up, which leaves 1021 *cells* a block. Each cell
draws 16 bits: for each of three *sets* one of 16 buckets and a sign (a CountSketch: Charikar, Chen
and Farach-Colton 2002), and a sign for its *segment*, one of 12 contiguous runs of blocks, which
says where. The bits are SplitMix64's (Steele, Lea and Flood 2014). A segment also keeps its least
and greatest element, exactly.

What that tells. Let d = a - b, n its elements. Sums are linear: D = sums(a) - sums(b) is the sketch
of d. The squares of each set's D sum to an unbiased estimate of |d|^2 (Alon, Matias and Szegedy
1996; Thorup and Zhang 2004) with a variance of about 2 |d|^4 / 16 per set where d
is spread over many cells. So the norm from all 48 sums has a relative standard error of
1 / sqrt(2 * 48) = 10 %, which a simulation confirms. `judge` derives its answers.

Precision. Sums are float64; each is rounded to 28 bits after the leading one (5 bytes) unless the
leaf is float64. Every addition has its place (a fixed grid of blocks, elementwise trees, a counting
loop), none is BLAS's or depends on memory layout, so equal values give equal sketches anywhere.
Non-finite elements count as zero; their positions and kinds are digested.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint64]

ROWS, COLUMNS = 128, 1021
FEW_ROWS = 32
SETS, BUCKETS, SEGMENTS = 3, 16, 12
FALSE_ALARM = 3e-9  # derived in `judge`

_STRIDE, _OFFSETS = 641, 4096
_SUMS = SETS * BUCKETS
_NUMBERS = _SUMS + 3 * SEGMENTS
_BITS = {"int1": 1, "uint1": 1, "int2": 2, "uint2": 2, "int4": 4, "uint4": 4}
_BITS |= {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}


def digest(array: Array) -> str:
    """32 hex digits: the xxh3_128 of the array's little-endian bytes in C order.

    Any shape and layout; any numpy or ml_dtypes dtype but objects, structures and long doubles,
    whose bytes do not travel (TypeError). Narrow types (int4, ...) count their own bits alone.
    Shape and dtype are not in it. A contiguous array is not copied; the GIL is released.
    """
    hasher = xxhash.xxh3_128()
    for block in _blocks(array, 1 << 18):
        hasher.update(_octets(block))
    return hasher.hexdigest()


@dataclass(frozen=True)
class Sketch:
    """What is kept of an array of floats: see the module's text. Equal values, equal sketches."""

    size: int  # real numbers: twice the elements of a complex array
    sums: tuple[float, ...]  # 48: three sets of 16 buckets
    segments: tuple[float, ...]  # 12 signed sums, one a contiguous segment
    lowest: tuple[float, ...]  # 12, 0 where a segment has no finite element
    highest: tuple[float, ...]
    wide: bool = False  # float64: all bits of the numbers are kept
    nonfinite: int = 0
    nonfinite_digest: str = ""  # 16 hex digits over (position, kind); NaNs are all alike

    @property
    def scale(self) -> float:
        """The largest magnitude among the finite elements, exactly; of a complex one, a part's."""
        return max(map(abs, self.lowest + self.highest))

    def to_json(self) -> dict[str, object]:
        """A dict for `json.dumps`: about 560 characters (880 for float64)."""
        numbers = np.array(self.sums + self.segments + self.lowest + self.highest, "<f8")
        octets = numbers.view(np.uint8).reshape(-1, 8)[:, 0 if self.wide else 3 :]
        data = base64.b85encode(octets.tobytes()).decode("ascii")
        value: dict[str, object] = {"size": self.size, "data": data}
        if self.nonfinite:
            value["nonfinite"] = [self.nonfinite, self.nonfinite_digest]
        return value

    @classmethod
    def from_json(cls, value: object) -> Sketch:
        """The inverse of `to_json`. ValueError for anything that it does not write."""
        if not isinstance(value, Mapping) or not value.keys() <= {"size", "data", "nonfinite"}:
            raise ValueError("a sketch is an object of size, data and nonfinite")
        size = _count(value.get("size"), least=0)
        nonfinite = value.get("nonfinite", [0, ""])
        if not isinstance(nonfinite, list) or len(nonfinite) != 2:
            raise ValueError("a sketch's nonfinite is a count and a digest")
        count, kinds = _count(nonfinite[0], least=int("nonfinite" in value)), nonfinite[1]
        if not isinstance(kinds, str) or not re.fullmatch("[0-9a-f]{16}" if count else "", kinds):
            raise ValueError("a sketch's nonfinite is a count and 16 hex digits")
        if count > size:
            raise ValueError("a sketch has more non-finite elements than elements")
        numbers, wide = _decode(value.get("data"))
        low, high = numbers[-2 * SEGMENTS : -SEGMENTS], numbers[-SEGMENTS:]
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise ValueError("a sketch's minimum exceeds its maximum")
        signed = numbers[_SUMS : _SUMS + SEGMENTS]
        return cls(size, numbers[:_SUMS], signed, low, high, wide, count, kinds)


def sketch(array: Array) -> tuple[str, Sketch | None]:
    """`digest(array)`, and the sketch of a float or complex array, in one pass over it.

    None for other dtypes (integers, bools: their digest decides), and for a float64 array whose
    sums overflow. Needs 2 MB beside the array.
    """
    hasher = xxhash.xxh3_128()
    real = _real(array.dtype)
    if real is None:
        return digest(array), None
    parts = max(1, array.dtype.itemsize // real.itemsize)
    cells = _Cells(array.size * parts)
    # A block holds whole elements, two reals each of a complex array: rows are even.
    for index, block in enumerate(_blocks(array, cells.block // parts)):
        hasher.update(_octets(block))
        cells.add(index, block.view(real))
    return hasher.hexdigest(), cells.sketch(wide=real.itemsize == 8)


@dataclass(frozen=True)
class Difference:
    """Estimates about b - a for two sketches of one size, non-finite elements left out."""

    norm: float  # of b - a: the root of the sum of squares
    norm_error: float  # its standard error
    rms: float  # norm / sqrt(finite elements)
    ratio: float  # r of the least squares b = r a; NaN when a's sums are all zero
    ratio_error: float  # its standard error, 0 for an exact multiple
    residual: float  # |b - r a| / |b|: 0 for an exact multiple, about 1 for unrelated values


def difference(a: Sketch, b: Sketch) -> Difference:
    """How b differs from a. ValueError when they are of different sizes."""
    unit, (first, second) = _scaled(a, b)
    norm = math.sqrt(float(((second - first) ** 2).sum()) / SETS)
    norm_a, norm_b = (math.sqrt(float((x**2).sum()) / SETS) for x in (first, second))
    ratio = float((first * second).sum()) / SETS / norm_a**2 if norm_a else math.nan
    rest = math.sqrt(float(((second - ratio * first) ** 2).sum()) / SETS) if norm_a else norm_b
    return Difference(
        norm=_unscaled(norm, unit),
        norm_error=_unscaled(norm, unit) / math.sqrt(2 * _SUMS),
        rms=_unscaled(norm, unit) / math.sqrt(max(1, a.size - a.nonfinite)),
        ratio=ratio,
        ratio_error=rest / norm_a / math.sqrt(_SUMS) if norm_a else math.nan,
        residual=rest / norm_b if norm_b else 0.0,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether every |a - b| can be at most `allowed`, as far as two sketches tell."""

    kind: Literal["within", "consistent", "changed"]
    reason: Literal["", "nonfinite", "extremes", "energy", "peak"]  # why it is `changed`
    limit: float  # no element differs by more (all but 1 in 30,000 times)
    may_exceed: int  # nor can more elements than this differ by more than `allowed`
    where: tuple[tuple[int, int], ...]  # flat ranges that hold the difference; () when all over


def judge(a: Sketch, b: Sketch, allowed: float) -> Verdict:
    """Could b be a with no element moved by more than `allowed` (at least 0)?

    ``changed``: no. Some element moved further. A necessary condition of "every |d_i| <= t" fails:

    * nonfinite: NaNs and infinities keep their kinds and places. Exact.
    * extremes: no segment's least or greatest element moves by more than t. Exact. This finds a
      scale changed by 1e-4 in a leaf, or in one of its layers, of any size.
    * energy: |d|^2 <= n t^2. Given the cells, a sum is a sum of independent signs, so the mean
      square over 48 of them exceeds 3.2 times its expectation with p <= 1e-9 (Laurent and Massart
      2000, Lemma 1: 1 + 2 sqrt(x / 48) + 2 x / 48, x = ln 1e9).
    * peak: in each of the three sets the largest |D| exceeds 6 t + 8 sigma, sigma the median of all
      48 over 0.6745: a few elements stand out of what the rest shows. Dense differences: given the
      lower 24, the upper 24 are independent, so p <= E[(8 Q(8 m / 0.6745) / Q(m))^3] = 1.4e-9 over
      the median m of 48 |gauss|, Q its tail. Sparse ones: the same integral over the Skellam law
      of elements of +-t, the extreme points, is at most 2e-10 at every density.

    So `FALSE_ALARM` = 3e-9 is the chance, over the hashes, that a pair within t is ``changed``. It
    does not hold for sparse differences at a stride of 1021 or its multiples, which share cells:
    of 60 made so at +t, 12 were ``changed``. One element that moved by 6 t + 3.2 |d_rest| is found
    97 times in 100 (simulated; 79 at 2.7).

    ``within``: yes, proven: ``limit <= allowed``. ``limit`` is the root of 3 times the largest
    set's estimate of |d|^2, and |d_i| <= |d|. Missed with p = (1/32)^3 = 3e-5 in the worst case
    (two opposite changes that meet and cancel in all sets), 3e-7 when many elements changed.

    ``consistent``: nothing speaks against it. Usual for rounding of a large leaf, as a norm grows
    with sqrt(n). ``limit`` and ``may_exceed`` = limit^2 / t^2 say what could hide.
    ValueError for different sizes or a negative or non-finite `allowed`.
    """
    if not 0 <= allowed < math.inf:
        raise ValueError(f"allowed must be a finite number, at least 0: {allowed!r}")
    unit, (first, second) = _scaled(a, b, allowed)
    t = math.ldexp(allowed, -unit)
    sums = np.abs(second - first)
    finite = a.size - a.nonfinite
    ulps = 2.0 ** (-50 if a.wide and b.wide else -28)
    stored = float(np.maximum(np.abs(first), np.abs(second)).max()) * ulps
    energy = (sums**2).sum(axis=1)
    sigma = float(np.median(sums)) / 0.6745
    limit = math.sqrt(3 * float(energy.max())) + stored * math.sqrt(BUCKETS)
    moved = _extremes_moved(a, b) > allowed * (1 + 1e-12)
    reason: Literal["", "nonfinite", "extremes", "energy", "peak"] = ""
    if (a.nonfinite, a.nonfinite_digest) != (b.nonfinite, b.nonfinite_digest):
        reason = "nonfinite"
    elif moved.any():
        reason = "extremes"
    elif math.sqrt(float(energy.mean()) / 3.2) > math.sqrt(finite) * t + stored:
        reason = "energy"
    elif float(sums.max(axis=1).min()) > 6 * t + 8 * sigma + stored:
        reason = "peak"
    kind: Literal["within", "consistent", "changed"] = "within" if limit <= t else "consistent"
    over = 0.0 if limit <= t else (limit / t) * (limit / t) if t else math.inf
    return Verdict(
        kind="changed" if reason else kind,
        reason=reason,
        limit=_unscaled(limit, unit),
        may_exceed=int(min(over, finite)),
        where=_where(a, b, moved),
    )


class _Cells:
    """The running sums of `sketch`, and the memory it works in."""

    def __init__(self, size: int) -> None:
        self._size, self.block = size, _block(size)
        self._blocks = -(-size // self.block)
        self._work = np.zeros((self.block // COLUMNS, COLUMNS))
        self._sums = np.zeros((SETS, BUCKETS))
        self._segments = np.zeros(SEGMENTS)
        self._low, self._high = np.full(SEGMENTS, np.inf), np.full(SEGMENTS, -np.inf)
        self._nonfinite, self._kinds = 0, xxhash.xxh3_64()

    @np.errstate(all="ignore")
    def add(self, index: int, block: Array) -> None:
        """Count in block number `index`: one-dimensional, whole but for the last."""
        work, flat = self._work, self._work.reshape(-1)
        values, segment = flat[: block.size], _segment(index, self._blocks)
        np.copyto(values, block, casting="unsafe")
        flat[block.size :] = 0
        # The extremes of float32 cost half as much as those of the copy; NaN and inf show in them.
        narrow = block if block.dtype == np.float32 else values
        low, high = float(narrow.min()), float(narrow.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = self._exclude(index, values)
        self._low[segment] = min(self._low[segment], low)
        self._high[segment] = max(self._high[segment], high)

        bits = work.view(np.uint64)
        np.bitwise_xor(bits, _SIGNS[(index * 0x9E3779B1 & 0xFFFFFFFF) >> 20, : len(work)], out=bits)
        rows = len(work)
        while rows > 1:  # an explicit tree: numpy may choose another order for its own reductions
            rows //= 2
            np.add(work[:rows], work[rows : 2 * rows], out=work[:rows])
        draws = _mix(_COLUMN + np.uint64(index << 10)).view(np.int64)
        bins = [np.bincount(keys, work[0], 2 * BUCKETS) for keys in (draws >> _SHIFTS) & _MASKS]
        for number in range(SETS):
            self._sums[number] += bins[number][:BUCKETS] - bins[number][BUCKETS:]
        self._segments[segment] += bins[SETS][0] - bins[SETS][BUCKETS]

    def _exclude(self, index: int, values: Floats) -> tuple[float, float]:
        """Zero the non-finite values, digest them, and return the extremes of the others."""
        finite = np.isfinite(values)
        places = np.flatnonzero(~finite)
        record = np.empty((places.size, 2), "<i8")
        record[:, 0] = places + index * self.block
        record[:, 1] = np.nan_to_num(np.sign(values[places]), nan=0.0)
        self._kinds.update(record)
        self._nonfinite += places.size
        low = float(values.min(where=finite, initial=np.inf))
        high = float(values.max(where=finite, initial=-np.inf))
        values[places] = 0
        return low, high

    @np.errstate(over="ignore", invalid="ignore")
    def sketch(self, wide: bool) -> Sketch | None:
        """The sketch, or None when a sum overflowed."""
        empty = self._low > self._high
        low, high = np.where(empty, 0, self._low), np.where(empty, 0, self._high)
        parts = (self._sums.reshape(-1), self._segments, low, high)
        # Adding 0 makes -0.0 and 0.0, among which a minimum chooses freely, one.
        numbers = [(part if wide else _rounded(part)) + 0.0 for part in parts]
        if not all(np.isfinite(part).all() for part in numbers):
            return None
        sums, segments, lowest, highest = (tuple(map(float, part)) for part in numbers)
        kinds = self._kinds.hexdigest() if self._nonfinite else ""
        return Sketch(self._size, sums, segments, lowest, highest, wide, self._nonfinite, kinds)


def _mix(counter: Words) -> Words:
    """SplitMix64's output for the given counters: uint64, any shape."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_COLUMN = np.arange(COLUMNS, dtype=np.uint64)
# Five bits a set, the highest its sign; of the segment's five, the sign alone counts.
_SHIFTS = 5 * np.arange(SETS + 1)[:, None]
_MASKS = np.array([31] * SETS + [16])[:, None]
_TABLE = _mix(  # counters apart from those of cells
    np.arange((ROWS - 1) * _STRIDE + COLUMNS + _OFFSETS, dtype=np.uint64) + np.uint64(1 << 62)
) & np.uint64(1 << 63)
_SIGNS = np.lib.stride_tricks.as_strided(
    _TABLE, (_OFFSETS, ROWS, COLUMNS), (8, 8 * _STRIDE, 8), writeable=False
)


def _block(size: int) -> int:
    """The real numbers in a block of an array of `size`."""
    return COLUMNS * (ROWS if size > (SEGMENTS - 1) * ROWS * COLUMNS else FEW_ROWS)


def _segment(block: int, blocks: int) -> int:
    return block * SEGMENTS // max(blocks, 1)


def _rounded(numbers: Floats) -> Floats:
    """To 5 bytes: sign, 11 bits of exponent, 28 of mantissa. Exact for anything up to float32."""
    bits = np.ascontiguousarray(numbers).view(np.uint64)
    return ((bits + np.uint64(1 << 23)) & np.uint64(0xFFFFFFFFFF000000)).view(np.float64)


def _decode(data: object) -> tuple[tuple[float, ...], bool]:
    """The numbers of a sketch's data, and whether they are wide. ValueError for anything else."""
    widths = {_NUMBERS * width * 5 // 4: width for width in (5, 8)}
    if not isinstance(data, str) or len(data) not in widths:
        raise ValueError(f"a sketch's data is a string of {' or '.join(map(str, widths))} digits")
    width = widths[len(data)]
    octets = np.zeros((_NUMBERS, 8), np.uint8)
    octets[:, 8 - width :] = np.frombuffer(base64.b85decode(data), np.uint8).reshape(-1, width)
    numbers = octets.view("<f8").reshape(-1)
    if not np.isfinite(numbers).all():
        raise ValueError("a sketch's numbers are finite")
    return tuple(numbers.tolist()), width == 8


def _count(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 53:
        raise ValueError(f"a sketch counts its elements: {value!r:.40}")
    return value


def _scaled(a: Sketch, b: Sketch, also: float = 0.0) -> tuple[int, Floats]:
    """An exponent e, and both sets of sums, (2, SETS, BUCKETS), over 2**e: none above 1."""
    if a.size != b.size:
        raise ValueError(f"sketches of {a.size} and {b.size} elements do not compare")
    sums = np.array([a.sums, b.sums]).reshape(2, SETS, BUCKETS)
    unit = math.frexp(max(float(np.abs(sums).max()), also))[1]
    return unit, np.ldexp(sums, -unit)


def _unscaled(value: float, unit: int) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(value, unit))


def _extremes_moved(a: Sketch, b: Sketch) -> Floats:
    """How far each segment's extremes moved: (SEGMENTS,)."""
    low, high = (np.subtract(y, x) for x, y in ((a.lowest, b.lowest), (a.highest, b.highest)))
    return np.maximum(np.abs(low), np.abs(high))


def _where(a: Sketch, b: Sketch, moved: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The segments whose extremes moved too far, else the fewest with 99.99 % of the energy."""
    chosen = moved
    if not moved.any():
        sums = np.abs(np.subtract(b.segments, a.segments))
        energy = (sums / (sums.max() or 1.0)) ** 2
        order = np.argsort(-energy, kind="stable")
        before = np.cumsum(energy[order]) - energy[order]
        chosen[order] = (before < 0.9999 * energy.sum()) & (energy[order] > 0)
    step = _block(a.size)
    blocks = -(-a.size // step)
    starts = [-(-segment * blocks // SEGMENTS) for segment in range(SEGMENTS + 1)]
    used = [i for i in range(SEGMENTS) if starts[i] < starts[i + 1]]
    if 2 * chosen.sum() > max(len(used), 2):
        return ()
    ranges: list[tuple[int, int]] = []
    for i in used:
        if chosen[i]:
            start, stop = (min(block * step, a.size) for block in starts[i : i + 2])
            joined = bool(ranges) and ranges[-1][1] == start
            ranges[-1:] = [(ranges[-1][0], stop)] if joined else [*ranges[-1:], (start, stop)]
    return tuple(ranges)


def _real(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The little-endian dtype of the reals of a float or complex dtype, else None."""
    if dtype.char in "efdFD":
        return np.dtype(f"<f{dtype.itemsize // (1 + (dtype.kind == 'c'))}")
    return dtype if dtype.name.startswith(("bfloat", "float")) else None


def _blocks(array: Array, size: int) -> Iterator[Array]:
    """The elements in C order, little-endian, in contiguous runs of `size` and a last rest.

    Runs of a contiguous array are views; of another one, copies that the next run overwrites.
    """
    dtype = array.dtype
    long = dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)
    if dtype.hasobject or dtype.fields is not None or long:
        raise TypeError(f"an array of {dtype} has no portable bytes to digest")
    native = dtype.newbyteorder("<") if dtype.str[0] == ">" else dtype
    if array.flags.c_contiguous and native == dtype:
        flat = array.reshape(-1)
        yield from (flat[at : at + size] for at in range(0, flat.size, size))
        return
    buffer, filled = np.empty(size, native), 0
    for piece in _pieces(array, size):
        while piece.size:
            taken, piece = piece[: size - filled], piece[size - filled :]
            buffer[filled : filled + taken.size] = taken
            filled += taken.size
            if filled == size:
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


def _pieces(array: Array, size: int) -> Iterator[Array]:
    """The elements in C order in flat runs of about `size` or less."""
    if array.size <= size:
        yield array.reshape(-1)
    elif (step := size * len(array) // array.size) > 1:
        yield from (array[at : at + step].reshape(-1) for at in range(0, len(array), step))
    else:
        for part in array:
            yield from _pieces(part, size)


def _octets(block: Array) -> NDArray[np.uint8]:
    """The bytes of a contiguous run. A narrow dtype's spare bits, which mean nothing, are 0."""
    octets: NDArray[np.uint8] = block.view(np.uint8)
    bits = _BITS.get(block.dtype.name)
    return octets if bits is None else octets & np.uint8((1 << bits) - 1)
