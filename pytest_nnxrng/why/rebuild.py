"""A build made again under the flags that the golden recorded: does that give the golden?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_nnxrng.compare.differences import Comparison, compare
from pytest_nnxrng.compare.tolerance import WEIGHTS, Tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.provenance import rekeyed_streams
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.nnx.flatten import flatten
from pytest_nnxrng.trace.build import Build, Streams, derived, streams
from pytest_nnxrng.trace.sampling import followed, sampled
from pytest_nnxrng.why.cause import same_fingerprints

# The base keys of all streams follow from both at once.
_OF_KEYS = ("jax_default_prng_impl", "jax_random_seed_offset")


@dataclass(frozen=True)
class Rebuilt:
    """A build under recorded flags: its leaves, derived, and those that equal the golden's."""

    flat: Flat
    equal: frozenset[str]
    flags: tuple[str, ...]

    def touched(self, obtained: Flat) -> frozenset[str]:
        """The leaves whose values the flags change, by more than rounding."""
        moved = compare(
            obtained.leaves, self.flat.leaves, Tolerance(WEIGHTS), fingerprints=False
        ).differences
        return frozenset(d.path for d in moved) - self.equal

    def redtyped(self, comparison: Comparison) -> frozenset[str]:
        """The leaves whose dtype is not the golden's, but is under the recorded flags."""
        there = {leaf.path: leaf.dtype for leaf in self.flat.leaves}
        return frozenset(
            d.path
            for d in comparison.differences
            if "dtype" in d.kinds and d.expected and there.get(d.path) == d.expected.dtype
        )


@dataclass(frozen=True)
class Rebuild:
    """Builds under recorded flags, held against the golden; an abstract one's spots are.

    ``changed`` names what in the environment is not as it was recorded.
    """

    golden: Golden
    tolerance: Tolerance
    changed: frozenset[str]
    abstract: bool

    def under(self, flags: Mapping[str, Any], build: Build, keys: Streams) -> Rebuilt:
        """Build under ``flags`` and these base keys; under one of the flags if that is enough.

        Raises:
          BadFlag: for a value that jax.config does not take.
        """
        with environment.under(flags):
            there = build.rekeyed(keys)
            flat = self._flat(there)
        equal, names = self._equal(flat, there, flags), tuple(sorted(flags))
        for name in names if len(names) > 1 else ():
            if name in _OF_KEYS:
                continue
            with environment.under({name: flags[name]}):
                there = build.alone()
                alone = self._flat(there)
            if equal and self._equal(alone, there, [name]) == equal:
                return Rebuilt(flat, equal, (name,))
        return Rebuilt(flat, equal, names)

    def _flat(self, build: Build) -> Flat:
        trace = build.trace
        if not self.abstract:
            flat = flatten(build.again(), build.only)
            return derived(flat, trace) if trace is not None else flat
        if trace is None:
            return Flat((), {})
        return sampled(derived(flatten(trace.model, build.only), trace), trace).flat

    def _equal(self, flat: Flat, build: Build, flags: Iterable[str]) -> frozenset[str]:
        """The leaves that are the golden's: by their values, or by a derivation that proves it."""
        rest, trace = self.changed.difference(flags), build.trace
        rekeyed, follow = rekeyed_streams(self.golden.streams, streams(trace)), set[str]()
        if trace is not None:
            follow = set(followed(self.golden, flat, trace, rest, rekeyed))
        try:
            same = compare(
                self.golden.leaves,
                flat.leaves,
                self.tolerance,
                rekeyed=rekeyed,
                fingerprints=same_fingerprints(rest),
            )
        except GoldenError:
            return frozenset()
        return frozenset((*same.matched, *same.rounded, *follow.intersection(same.unread)))
