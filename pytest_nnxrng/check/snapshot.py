"""``nnx_snapshot``: capture, load, compare, decide, then record or make ready to write."""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pytest_nnxrng.check import agreement, variants, verdict
from pytest_nnxrng.check.capture import (
    PACKAGE,
    capture,
    holds_nnx,
    repeats,
    warn,
    warn_of_default,
)
from pytest_nnxrng.check.lookup import load
from pytest_nnxrng.check.record import make_ready
from pytest_nnxrng.check.state import Options, SnapshotError, TestChecks
from pytest_nnxrng.check.variants import Form
from pytest_nnxrng.check.verdict import Subject, beside, judge
from pytest_nnxrng.compare.tolerance import tolerance
from pytest_nnxrng.device import environment
from pytest_nnxrng.golden import naming
from pytest_nnxrng.golden.reference import Reference
from pytest_nnxrng.nnx import arguments, defaults
from pytest_nnxrng.nnx.flatten import UnsupportedValue
from pytest_nnxrng.report import alternatives
from pytest_nnxrng.run import settings
from pytest_nnxrng.trace import derivation
from pytest_nnxrng.why.explain import Build, derived

T = TypeVar("T")


class Snapshot:
    """Snapshot assertions for NNX models: ``check``, ``check_init``, and options by calling it.

    All checks of a test are made; a mismatch fails the test at the end of its body.
    """

    def __init__(self, checks: TestChecks, options: Options | None = None) -> None:
        self._checks = checks
        self._options = options or Options()

    def __call__(
        self,
        name: str | None = None,
        *,
        tol: float | Mapping[str, float] | None = None,
        atol: float = 0.0,
        exact: bool = False,
        only: Any = None,
        abstract: bool = False,
        sharding: bool = False,
        per_platform: bool = False,
        also: Any = (),
    ) -> Snapshot:
        """The same assertions with these options.

        Args:
          name: the check's name, which is part of the golden's; by default its number.
          tol: what counts as rounding, as a share of a leaf's largest absolute value: a
            number for all floating dtypes, or a mapping such as ``{"bfloat16": 0.03}``.
          atol: is added to it, in absolute terms, for what is mathematically zero.
          exact: accept equal bits alone.
          only: an ``nnx`` filter; what it rejects is not part of the golden.
          abstract: check structure, types, shapes and dtypes without allocating anything;
            ``check_init`` then returns what ``nnx.eval_shape`` gives.
          sharding: check how each leaf is sharded, too: by its metadata, and in fact.
          per_platform: keep a golden of its own for each platform (``...@gpu.json``).
          also: other ways of building that must give ``check_init`` the same model: ``"jit"``
            (under ``nnx.jit``) and ``"sharded"`` (the same over a mesh, as the metadata of its
            Variables says), or ``{"sharded": mesh}``. They need no golden.

        Raises:
          SnapshotError: for options that exclude each other or cannot be used.
        """
        __tracebackhide__ = True
        if exact and (tol is not None or atol):
            raise SnapshotError("exact=True accepts equal bits alone: leave out tol and atol")
        try:
            for value in tol.values() if isinstance(tol, Mapping) else [tol]:
                if value is not None:
                    settings.tolerance(value, "nnx_snapshot(tol=...)")
            settings.tolerance(atol, "nnx_snapshot(atol=...)")
        except settings.BadSetting as error:
            raise SnapshotError(str(error)) from None
        if abstract and also:
            raise SnapshotError("also=... builds the model: leave out abstract=True")
        ways = variants.forms(also)
        options = Options(name, tol, atol, exact, only, abstract, sharding, per_platform, ways)
        return Snapshot(self._checks, options)

    def check(self, value: T, name: str | None = None, *, against: Reference | None = None) -> T:
        """Check ``value`` against its golden and return it.

        Args:
          value: an ``nnx.Module`` or any NNX graph node (Optimizer, Metric, Rngs), a State,
            an array, or a pytree of arrays and Python numbers.
          name: the check's name; by default its number within the test.
          against: what takes the golden's place: ``pytest_nnxrng.reference(...)``. It is never
            written to.

        Raises:
          SnapshotError: when there is nothing to check, or the check is called where it
            cannot work. A mismatch does not raise: it fails the test at its end.
        """
        __tracebackhide__ = True
        if self._options.also:
            raise SnapshotError("also=... builds the model, which check_init does, not check")
        if against is not None:
            return self.check_same(value, against, name)
        options = replace(self._options, name=self._options.name if name is None else name)
        try:
            _run_check(self._checks, options, value, kind="value")
        except UnsupportedValue as error:
            raise SnapshotError(str(error)) from None
        return value

    def check_same(self, obtained: T, expected: Any, name: str | None = None) -> T:
        """Check that two live values are the same, without a golden; returns ``obtained``.

        ``nnx_snapshot(tol=..., only=...)`` takes options as for other checks. ``name`` is shown.

        Raises:
          SnapshotError: when there is nothing to compare, or an option needs a golden.
        """
        __tracebackhide__ = True
        _guard(self._checks)
        options = self._options
        if options.also or options.abstract or options.sharding or options.per_platform:
            raise SnapshotError(
                "two live values are compared with name, tol, atol, exact and only; leave out "
                "abstract, also, sharding and per_platform"
            )
        from pytest_nnxrng.check.same import held

        title = name or options.name or ""
        found = held(self._checks.settings, options, obtained, expected, title=title)
        if not found:
            self._checks.unlike.append(f"{found}\n  called  {_where()}")
        return obtained

    def check_init(self, build: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call ``build(*args, **kwargs)``, check how the model was initialised, and return it.

        The ``nnx.Rngs`` among the arguments is found by its type. All arguments go to
        ``build``; options go to ``nnx_snapshot(...)``.

        Raises:
          SnapshotError: when no ``nnx.Rngs`` is among the arguments, or ``build`` returns
            nothing that NNX knows. Errors of ``build`` pass through.
        """
        __tracebackhide__ = True
        _guard(self._checks)
        if not arguments.find_rngs(args, kwargs):
            raise SnapshotError(
                "check_init found no nnx.Rngs among the arguments of "
                f"{_callable_name(build)}. Pass the fixture: "
                f"nnx_snapshot.check_init({_callable_name(build)}, ..., rngs=rngs)"
                + defaults.instead(build)
            )
        try:
            return _run_init(self._checks, self._options, build, args, kwargs)
        except UnsupportedValue as error:
            raise SnapshotError(str(error)) from None


def _run_init(
    checks: TestChecks, options: Options, build: Callable[..., T], args: Any, kwargs: Any
) -> T:
    __tracebackhide__ = True
    before = _before(build, args, kwargs, options)
    same = True
    if options.abstract:
        with checks.progress.step(f"tracing {_callable_name(build)}"):
            trace = before.trace if before is not None else "its arguments cannot be copied"
        if not isinstance(trace, derivation.Trace):
            raise SnapshotError(
                f"abstract=True needs a build that JAX can trace, and {_callable_name(build)} is "
                f"not one ({trace}). Check it without abstract=True"
            )
        model: Any = trace.model
        derivation.advance(args, kwargs, trace)
        if checks.settings.mode.update:
            same = before is None or before.traces_alike()
    else:
        drawn = defaults.counts(build)
        model = build(*args, **kwargs)
        if before is not None:
            before.trap = defaults.trap(drawn)
        agreement.at(checks, "the build of a model")  # before others' elements are read
        if before is not None and checks.settings.mode.update:
            with checks.progress.step(f"building {_callable_name(build)} again"):
                _ = before.trace  # to be recorded, and looked at for warnings
                same = repeats(model, before)
    if not holds_nnx(model):
        raise SnapshotError(
            f"{_callable_name(build)} returned {type(model).__name__}, which holds no nnx.Module "
            "or other NNX object; for arrays use nnx_snapshot.check(value)"
        )
    others: tuple[Form, ...] = ()
    if options.also:
        allowed = tolerance(checks.settings, options, "init", {}, {})
        device = checks.platform_device()
        others = variants.built_alike(options.also, model, before, allowed, device)
    _run_check(checks, options, model, kind="init", build=before, repeats=same, others=others)
    return cast(T, model)


def _before(build: Callable[..., Any], args: Any, kwargs: Any, options: Options) -> Build | None:
    """The constructor with its arguments as they are now; None if NNX cannot copy these."""
    try:
        return Build(build, *arguments.copy_arguments(args, kwargs), options.only)
    except Exception:  # what NNX raises for a node that it cannot split and merge
        return None


def _run_check(
    checks: TestChecks,
    options: Options,
    value: Any,
    *,
    kind: str,
    build: Build | None = None,
    repeats: bool = True,
    others: tuple[Form, ...] = (),
) -> None:
    """The pipeline of a check."""
    __tracebackhide__ = True
    _guard(checks)
    name = _name(checks, options)
    device = checks.platform_device()
    found = load(checks, options, name, device.platform)
    agree = functools.partial(agreement.before, checks, name, found)
    obtained = capture(value, options, checks.progress, agree)
    agreement.after(checks, name, obtained.leaves)
    if build is not None and options.abstract:
        obtained = derived(obtained, cast(derivation.Trace, build.trace))
    found = found.named_as(obtained)
    now = environment.read(device)
    changes = verdict.changes(found.golden, now)
    sample = beside(checks, options, obtained, found.golden, build, changes)
    warn(checks, obtained, value, build, found.golden)
    nnx_value = holds_nnx(value)
    subject = Subject(
        name=name,
        kind=kind,
        where=_where(),
        is_nnx=nnx_value,
        is_whole_model=options.only is None and nnx_value,
        build=build,
        repeats=repeats,
        also=alternatives.differing(others),
    )
    result = judge(checks, options, subject, sample, found, changes, now)
    result.notes = alternatives.rounding(others, found.path.name.removesuffix(".json"))
    if result.decision.writes or (checks.settings.report and result.decision.fails):
        before = found.golden if found.target == found.path else None
        make_ready(checks, result, sample.flat, build, nnx_value, device, before)
    if not result.decision.fails:
        warn_of_default(build)
    checks.results.append(result)


# -- the steps -------------------------------------------------------------------------


def _guard(checks: TestChecks) -> None:
    if checks.closed:
        raise SnapshotError(f"nnx_snapshot of {checks.identity.function} was used {checks.closed}")


def _name(checks: TestChecks, options: Options) -> str:
    __tracebackhide__ = True
    taken = {result.name for result in checks.results}
    if options.name is None:
        return str(1 + sum(name.isdigit() for name in taken))
    try:
        name = naming.check_name(options.name)
    except naming.BadName as error:
        raise SnapshotError(str(error)) from None
    if name in taken:
        raise SnapshotError(
            f"two checks of {checks.identity.function} are named {name!r}: they would share a "
            "golden. Give each a name of its own; unnamed checks are numbered"
        )
    return name


# -- details ---------------------------------------------------------------------------


def _callable_name(build: Any) -> str:
    return getattr(build, "__qualname__", None) or type(build).__name__


def _where() -> str:
    """The line that called the check: the nearest frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    return f"{Path(file).name}:{line}: {text}" if text else f"{Path(file).name}:{line}"
