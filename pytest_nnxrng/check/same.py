"""Two live values held against each other, without a golden: as data, as text, or as an assertion.

The engine is that of the checks: what is expected takes the golden's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from pytest_nnxrng.check.capture import refuse_nothing
from pytest_nnxrng.check.given import checked
from pytest_nnxrng.check.state import CheckOptions, SnapshotError
from pytest_nnxrng.compare.differences import Comparison, Difference
from pytest_nnxrng.compare.differences import compare as compared
from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.reference import Names, Reference, renamed
from pytest_nnxrng.leaf.dtypes import is_inexact, is_key
from pytest_nnxrng.leaf.leaf import Flat, Leaf, aligned
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.leaf.statistics import statistics
from pytest_nnxrng.nnx.flatten import UnsupportedValue, flatten, holds_nnx
from pytest_nnxrng.report import pair
from pytest_nnxrng.report.fold import folded
from pytest_nnxrng.run.settings import Settings
from pytest_nnxrng.why.cause import Cause
from pytest_nnxrng.why.explain import Mismatch, explain


@dataclass(frozen=True)
class Same:
    """Whether two values are the same, in what they differ, and why. True where they are.

    ``str`` gives the text that ``assert_same`` raises; in a notebook it is a table.
    """

    comparison: Comparison
    causes: tuple[Cause, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[Difference, ...]:
        return self.comparison.differences

    def __bool__(self) -> bool:
        return self.comparison.matches and not self.notes

    def __str__(self) -> str:
        return pair.text(self)

    def _repr_html_(self) -> str:
        return pair.html(self)


def compare(
    obtained: Any,
    expected: Any,
    *,
    tol: float | Mapping[str, float] | None = None,
    atol: float = 0.0,
    exact: bool = False,
    only: Any = None,
    names: Names = None,
) -> Same:
    """What ``obtained`` and ``expected`` have in common, and in what and why they differ.

    Args:
      obtained: an NNX module or any NNX graph node, a State, an array, a pytree of these.
      expected: another such value, or a ``reference``.
      tol, atol, exact, only: as in ``nnx_snapshot(...)``.
      names: how leaves of ``expected`` are called in ``obtained``, as in ``reference``.

    Raises:
      SnapshotError: where there is nothing to compare, or the options cannot be used.
    """
    options = checked(CheckOptions(tol=tol, atol=atol, exact=exact, only=only), by="compare")
    return held(Settings(), options, obtained, expected, names)


def assert_same(
    obtained: Any,
    expected: Any,
    *,
    tol: float | Mapping[str, float] | None = None,
    atol: float = 0.0,
    exact: bool = False,
    only: Any = None,
    names: Names = None,
) -> None:
    """Raise an AssertionError that says why, unless the two are the same; see ``compare``."""
    __tracebackhide__ = True
    found = compare(obtained, expected, tol=tol, atol=atol, exact=exact, only=only, names=names)
    if not found:
        raise AssertionError(str(found))


def held(
    made: Settings,
    options: CheckOptions,
    obtained: Any,
    expected: Any,
    names: Names = None,
    title: str = "",
) -> Same:
    """``obtained`` held against ``expected`` with a run's settings."""
    ours = _flat(obtained, options)
    if isinstance(expected, Reference):
        theirs, notes = expected.beside(ours.leaves)
        paired = {leaf.path for leaf in theirs}
        theirs_flat = Flat(theirs, {})
        ours = Flat(tuple(leaf for leaf in ours.leaves if leaf.path in paired), {})
        found = _judged(made, options, ours, theirs_flat, holds_nnx(obtained), title, notes)
        return replace(found, notes=(*notes, *_swaps(found.differences, expected)))
    theirs_flat, notes = _flat(expected, options), ()
    if names is not None:
        theirs_flat = Flat(renamed(theirs_flat.leaves, names), {})
        ours = Flat(ours.leaves, {})
    return _judged(made, options, ours, theirs_flat, holds_nnx(obtained), title, notes)


def _flat(value: Any, options: CheckOptions) -> Flat:
    try:
        flat = flatten(value, options.only)
    except UnsupportedValue as error:
        raise SnapshotError(str(error)) from None
    refuse_nothing(value, flat, options)
    return flat.but(digested(flat.leaves, sharding=None, placed=None))


def _judged(
    made: Settings,
    options: CheckOptions,
    ours: Flat,
    theirs: Flat,
    nnx_value: bool,
    title: str,
    notes: tuple[str, ...],
) -> Same:
    now = environment.read(jax.devices()[0])
    kind = "init" if nnx_value else "value"
    allowed = options.tolerance(made, kind, now, now)
    leaves, aliases = aligned(
        theirs.leaves, theirs.aliases, [leaf.path for leaf in ours.leaves], ours.aliases
    )
    found = compared(leaves, ours.leaves, allowed, (aliases, ours.aliases))
    if found.matches:
        return Same(found, (), title, notes)
    differing = {d.path for d in found.differences}
    told = tuple(_told(leaf) if leaf.path in differing else leaf for leaf in leaves)
    golden = Golden(Owner("", title, None, "", "value"), now, told, aliases)
    found = compared(told, ours.leaves, allowed, (aliases, ours.aliases))
    mismatch = Mismatch(golden, ours, found, (), allowed, kind="value", is_nnx=nnx_value)
    causes, _ = explain(mismatch)
    return Same(found, tuple(_without_accept(cause) for cause in causes), title, notes)


def _swaps(differences: Iterable[Difference], expected: Reference) -> list[str]:
    """What would agree with its last two axes swapped, as a torch Linear's weight has them."""
    found: dict[bool, list[str]] = {}
    for d in differences:
        if d.expected is not None and d.obtained is not None and _is_swap(d.expected, d.obtained):
            found.setdefault(expected.is_swapped(d.path), []).append(d.path)
    advice = {False: "name them in transpose", True: "leave them out of transpose"}
    return [
        f"the same with their last two axes swapped ({advice[named]}): {', '.join(folded(paths))}"
        for named, paths in found.items()
    ]


def _is_swap(expected: Leaf, obtained: Leaf) -> bool:
    shape = expected.shape
    if len(shape) < 2 or (*shape[:-2], shape[-1], shape[-2]) != obtained.shape:
        return False
    if expected.read is None or obtained.read is None or not is_inexact(expected.dtype):
        return False
    theirs, ours = (np.asarray(read(), np.float64) for read in (expected.read, obtained.read))
    limit = Tolerance(WEIGHTS).of(expected.dtype) * np.abs(theirs).max(initial=0.0)
    return bool((np.abs(np.swapaxes(theirs, -1, -2) - ours) <= limit).all())


def _told(leaf: Leaf) -> Leaf:
    """With statistics, which tell constants from draws."""
    if leaf.read is None or is_key(leaf.dtype):
        return leaf
    return leaf.but(statistics=statistics(leaf.read()))


def _without_accept(cause: Cause) -> Cause:
    return replace(cause, text=pair.worded(cause.text))
