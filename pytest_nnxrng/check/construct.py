"""`check_init`: the one ordinary call of a build, or its trace, and whether a second repeats it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_nnxrng.check import agreement, variants
from pytest_nnxrng.check.state import CheckOptions, SnapshotError, TestChecks
from pytest_nnxrng.check.variants import Variant
from pytest_nnxrng.compare.differences import compare
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.leaf import Flat
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx import arguments, shared
from pytest_nnxrng.nnx.flatten import flatten, holds_nnx
from pytest_nnxrng.trace import derivation
from pytest_nnxrng.trace.build import Build


@dataclass(frozen=True)
class Constructed:
    """A model, and what its build gives when it is made again, or in other ways."""

    model: Any
    build: Build | None  # None if NNX cannot copy the arguments
    repeats: bool
    variants: tuple[Variant, ...] = ()


def construct(
    test: TestChecks,
    options: CheckOptions,
    build: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Constructed:
    """Call ``build`` once, or trace it, on the caller's own arguments.

    Raises:
      SnapshotError: when it cannot be traced and must be, or returns nothing that NNX knows.
    """
    __tracebackhide__ = True
    again = _before(build, args, kwargs, options)
    if options.abstract:
        made = _traced(test, build, args, kwargs, again)
    else:
        made = _built(test, build, args, kwargs, again)
    if not holds_nnx(made.model):
        raise SnapshotError(
            f"{name_of(build)} returned {type(made.model).__name__}, which holds no nnx.Module "
            "or other NNX object; for arrays use nnx_snapshot.check(value)"
        )
    if not options.also:
        return made
    allowed = options.tolerance(test.settings, "init", {}, {})
    ways = variants.built_alike(
        options.also, made.model, made.build, allowed, test.platform_device()
    )
    return Constructed(made.model, made.build, made.repeats, ways)


def _before(
    build: Callable[..., Any], args: Any, kwargs: Any, options: CheckOptions
) -> Build | None:
    """The constructor with its arguments as they are now; None if NNX cannot copy these."""
    try:
        given = arguments.Before(args, kwargs)
        return Build(build, given, options.only, called=(args, kwargs))
    except Exception:  # what NNX raises for a node that it cannot split and merge
        return None


def _traced(
    test: TestChecks, build: Callable[..., Any], args: Any, kwargs: Any, again: Build | None
) -> Constructed:
    __tracebackhide__ = True
    with test.progress.step(f"tracing {name_of(build)}"):
        trace = again.trace if again is not None else None
    if again is None or trace is None:
        why = again.untraceable if again is not None else "its arguments cannot be copied"
        raise SnapshotError(
            f"abstract=True needs a build that JAX can trace, and {name_of(build)} is not one "
            f"({why}). Check it without abstract=True"
        )
    derivation.advance(args, kwargs, trace)
    repeats = not test.settings.mode.update or again.traces_alike()
    return Constructed(trace.model, again, repeats)


def _built(
    test: TestChecks, build: Callable[..., Any], args: Any, kwargs: Any, again: Build | None
) -> Constructed:
    __tracebackhide__ = True
    drawn = shared.counts(build)
    model = build(*args, **kwargs)
    if again is not None and not again.given.known:
        again = None
    if again is not None:
        again.trap = shared.trap(drawn)
    agreement.at(test, "the build of a model")  # before others' elements are read
    repeats = True
    if again is not None and test.settings.mode.update:
        with test.progress.step(f"building {name_of(build)} again"):
            repeats = _repeats(test, model, again)
    return Constructed(model, again, repeats)


def _repeats(test: TestChecks, model: Any, build: Build) -> bool:
    """Whether a second call gives the same model; True if there can be no second call."""
    flat = flatten(model)
    flat = flat.but(digested(flat.leaves))
    reuse, device = test.memory.reuse, test.platform_device()
    return reuse.repeats(build, flat, device, lambda: _repeated(flat, build))


def _repeated(first: Flat, build: Build) -> bool:
    try:
        second = flatten(build.again())
    except Exception:  # a constructor that runs once in a process, say
        return True
    exact = Tolerance({}, exact=True)
    build.repeated = (
        first.aliases == second.aliases
        and compare(first.leaves, digested(second.leaves), exact).matches
    )
    return build.repeated


def name_of(build: Any) -> str:
    """What a callable is called."""
    return getattr(build, "__qualname__", None) or type(build).__name__
