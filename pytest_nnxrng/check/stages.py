"""One check on its way: asked -> obtained -> compared -> explained -> a `state.Result`.

Each stage holds the one before it, and adds what its step found out. The steps stand in `capture`,
`verdict` and `record`; `snapshot` tells their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_nnxrng.check.lookup import Found
from pytest_nnxrng.check.state import CheckOptions, TestChecks
from pytest_nnxrng.check.variants import Variant
from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.device.notation import Device
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.policy import Status
from pytest_nnxrng.leaf.forward import Modules
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.nnx.flatten import holds_nnx
from pytest_nnxrng.trace.build import Build
from pytest_nnxrng.trace.derivation import Trace
from pytest_nnxrng.trace.observed import Observed
from pytest_nnxrng.trace.sampling import Sampled
from pytest_nnxrng.why.cause import Cause, Evidence, same_fingerprints
from pytest_nnxrng.why.explain import Changes


@dataclass(frozen=True)
class Asked:
    """A value to be checked, under which name and options, by which line of the test.

    ``build`` made it, if `check_init` was called and NNX can copy its arguments. ``repeats``: a
    second build was not seen to give another model. ``variants`` are other ways of building it.
    ``observed`` is the call that gave the value.
    """

    test: TestChecks
    options: CheckOptions
    name: str
    kind: str  # "value" (check), "init" (check_init) or "call" (check_call)
    value: Any
    where: str
    device: Device
    build: Build | None = None
    repeats: bool = True
    variants: tuple[Variant, ...] = ()
    observed: Observed | None = None

    @cached_property
    def is_nnx(self) -> bool:
        """Whether anything in the value is NNX's; of a value that can be walked alone."""
        return holds_nnx(self.value)

    @property
    def is_whole_model(self) -> bool:
        return self.kind != "call" and self.options.only is None and self.is_nnx

    @property
    def agrees(self) -> bool:
        """Whether every other way of building gives the same model."""
        return all(variant.comparison.matches for variant in self.variants)


@dataclass(frozen=True)
class Obtained:
    """The golden of the check, and the leaves that are held against it.

    ``trace`` is the build's, where the comparison, a golden to be written, or an abstract model
    needs one. ``environment`` is the run's, in which ``changes`` are not as the golden recorded
    them. ``modules`` are those of the value, unless the check leaves their static state out.
    """

    asked: Asked
    found: Found
    sample: Sampled
    trace: Trace | None
    environment: Mapping[str, Any]
    changes: Changes
    modules: Modules | None = None

    @property
    def golden(self) -> Golden | None:
        return self.found.golden

    @property
    def flat(self) -> Flat:
        return self.sample.flat

    @property
    def unrecorded(self) -> bool:
        """Whether the value has static state, and the golden is from before that was kept."""
        held = self.golden is None or self.golden.modules is not None
        return not held and self.modules is not None and bool(self.modules.rows)

    @property
    def fingerprints(self) -> bool:
        """Whether fingerprints of initializers mean the same here as in the golden."""
        return same_fingerprints(name for name, _, _ in self.changes)


@dataclass(frozen=True)
class Compared:
    """What the comparison showed, or the ``error`` that kept it from being made."""

    obtained: Obtained
    tolerance: Tolerance
    comparison: Comparison | None = None
    error: GoldenError | None = None

    @property
    def differs(self) -> bool:
        return self.error is None and self.comparison is not None and not self.comparison.matches

    @property
    def status(self) -> Status:
        if self.error is not None:
            return Status.UNREADABLE if self.error.replaceable else Status.LOCKED
        if self.comparison is None:
            return Status.MISSING
        lacks, gone = self.obtained.found.lacks, self.obtained.found.gone
        if lacks is not None and not lacks.replaceable:
            return Status.LOCKED
        if not self.comparison.matches:
            return Status.DIFFERENT
        if lacks is not None:
            return Status.UNREADABLE
        if gone:
            return Status.MISSING
        return Status.ROUNDED if self.comparison.rounded else Status.MATCHED


@dataclass(frozen=True)
class Explained:
    """Why they differ."""

    compared: Compared
    causes: tuple[Cause, ...] = ()
    evidence: Evidence | None = None
