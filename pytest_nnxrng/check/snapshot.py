"""``nnx_snapshot``: what a test calls, and the story of a check in five steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from pytest_nnxrng.check import verdict
from pytest_nnxrng.check.capture import obtain
from pytest_nnxrng.check.construct import construct
from pytest_nnxrng.check.given import checked
from pytest_nnxrng.check.invoke import invoke, own_options, train
from pytest_nnxrng.check.record import record
from pytest_nnxrng.check.stages import Asked
from pytest_nnxrng.check.state import CheckOptions, Form, Result, SnapshotError, TestChecks
from pytest_nnxrng.check.warn import PACKAGE, warn, warn_of_default
from pytest_nnxrng.golden import naming
from pytest_nnxrng.golden.reference import Reference
from pytest_nnxrng.nnx import arguments
from pytest_nnxrng.nnx.flatten import UnsupportedValue, is_node
from pytest_nnxrng.trace.source import place_of

T = TypeVar("T")


class Snapshot:
    """Snapshot assertions for NNX models: ``check``, ``check_init``, and options by calling it.

    All checks of a test are made; a mismatch fails the test at the end of its body.
    """

    def __init__(
        self, test: TestChecks, options: CheckOptions | None = None, form: Form | None = None
    ) -> None:
        self._test = test
        self._options = options or CheckOptions()
        self._form = form

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
        static: bool = True,
        method: str | None = None,
        grad: bool = False,
        depth: int | None = None,
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
          static: check the classes of modules and their static attributes, too.
          method: what ``check_call`` calls of a model, if not ``__call__``.
          grad: check the gradients of the function that ``check_call`` calls, too.
          depth: how deep ``check_call`` keeps the outputs of modules: 1 is the model itself.

        Raises:
          SnapshotError: for options that exclude each other or cannot be used.
        """
        __tracebackhide__ = True
        options = checked(
            CheckOptions(
                *(name, tol, atol, exact, only, abstract, sharding, per_platform, also, static),
                *(method, grad, depth),
            )
        )
        self._use()
        form = Form(*_line())
        self._test.forms.append(form)
        return Snapshot(self._test, options, form)

    def _use(self) -> None:
        if self._form is not None:
            self._form.used = True

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
        self._use()
        if self._options.also:
            raise SnapshotError("also=... builds the model, which check_init does, not check")
        if against is not None:
            return self.check_same(value, against, name)
        options = replace(self._options, name=self._options.name if name is None else name)
        try:
            _check(_asked(self._test, options, value, kind="value"))
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
        self._use()
        _guard(self._test)
        options = self._options
        if options.also or options.abstract or options.sharding or options.per_platform:
            raise SnapshotError(
                "two live values are compared with name, tol, atol, exact and only; leave out "
                "abstract, also, sharding and per_platform"
            )
        from pytest_nnxrng.check.same import held

        title = name or options.name or ""
        found = held(self._test.settings, options, obtained, expected, title=title)
        if not found:
            self._test.unlike.append(f"{found}\n  called  {_where()}")
        return obtained

    def check_init(self, build: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call ``build(*args, **kwargs)``, check how the model was initialised, and return it.

        Its ``nnx.Rngs`` is found by its type: among the arguments, in a ``functools.partial``, a
        default, a closure, or a config object. A build that is given a seed or a key, or makes its
        own Rngs, is checked and traced, too. All arguments go to ``build``; options go to
        ``nnx_snapshot(...)``.

        Raises:
          SnapshotError: when ``build`` is built already or cannot be called, or returns nothing
            that NNX knows. Errors of ``build`` pass through.
        """
        __tracebackhide__ = True
        self._use()
        _guard(self._test)
        _refuse_built(build)
        build, args, kwargs = arguments.unfolded(build, args, kwargs)
        try:
            made = construct(self._test, self._options, build, args, kwargs)
            asked = _asked(self._test, self._options, made.model, kind="init")
            _check(replace(asked, build=made.build, repeats=made.repeats, variants=made.variants))
        except UnsupportedValue as error:
            raise SnapshotError(str(error)) from None
        return cast(T, made.model)

    def check_call(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Call ``model(*args, **kwargs)`` once, check what it gives and changes, and return it.

        The golden also holds what each module that it calls did: so a mismatch names the first
        module that computes otherwise, gets other keys, or rounds. ``model`` may also be a function
        with the model among its arguments, as a loss. ``method="encode"`` calls that method,
        ``grad=True`` gives and checks ``(loss, gradients)`` as ``nnx.value_and_grad`` does, and
        ``depth=2`` says how deep outputs are kept; where the call has an argument of such a name,
        give the option to ``nnx_snapshot(...)``.

        Raises:
          SnapshotError: for what cannot be called or checked. Errors of the call pass through.
        """
        __tracebackhide__ = True
        self._use()
        _guard(self._test)
        given, kwargs = own_options(model, kwargs, self._options)
        options = checked(replace(self._options, **given))
        try:
            observed = invoke(self._test, options, model, args, kwargs)
            asked = _asked(self._test, options, observed.value, kind="call")
            _check(replace(asked, observed=observed))
        except UnsupportedValue as error:
            raise SnapshotError(str(error)) from None
        return observed.out

    def check_steps(self, step: Callable[..., Any], *state_and_batches: Any) -> list[Any]:
        """Call ``step(model, optimizer, batch)`` for each batch, and check the whole run.

        ``check_steps(step, model, optimizer, batches)`` checks what the steps give and the state
        that the last one leaves, and returns the list of what they gave. A mismatch names the first
        step that moved, what moved in it, and why, as ``check_call`` does.

        Raises:
          SnapshotError: for what is no step, or without a batch. Errors of a step pass through.
        """
        __tracebackhide__ = True
        self._use()
        _guard(self._test)
        *state, batches = state_and_batches or ((),)
        try:
            observed = train(self._test, self._options, step, tuple(state), batches)
            asked = _asked(self._test, self._options, observed.value, kind="call")
            _check(replace(asked, observed=observed))
        except UnsupportedValue as error:
            raise SnapshotError(str(error)) from None
        return cast("list[Any]", observed.out)


def _check(asked: Asked) -> Result:
    """The story of a check."""
    __tracebackhide__ = True
    obtained = obtain(asked)
    warn(obtained)
    compared = verdict.compare(obtained)
    explained = verdict.explain(compared)
    result = record(explained, verdict.decide(explained))
    if not result.problem and all(cause.word != "nondeterministic" for cause in result.causes):
        warn_of_default(asked.build)
    return result


# -- what is asked ---------------------------------------------------------------------


def _asked(test: TestChecks, options: CheckOptions, value: Any, kind: str) -> Asked:
    __tracebackhide__ = True
    _guard(test)
    name, device = _name(test, options), test.platform_device()
    return Asked(test, options, name, kind, value, _where(), device)


def _refuse_built(build: Any) -> None:
    """What is no builder: an instance where its class is meant, or a value.

    Raises:
      SnapshotError: for these.
    """
    __tracebackhide__ = True
    if is_node(build):
        name = type(build).__name__
        raise SnapshotError(
            f"check_init builds a model, and was given one that is built: a {name} came. Give it "
            f"the class and its arguments, nnx_snapshot.check_init({name}, ..., rngs=rngs), or "
            "check what is built with nnx_snapshot.check(model)"
        )
    if not callable(build):
        raise SnapshotError(
            f"check_init calls a class or a function that builds a model: {type(build).__name__} "
            "came, which cannot be called. Check a value with nnx_snapshot.check(value)"
        )


def _guard(test: TestChecks) -> None:
    if test.closed:
        raise SnapshotError(f"nnx_snapshot of {test.identity.function} was used {test.closed}")


def _name(test: TestChecks, options: CheckOptions) -> str:
    __tracebackhide__ = True
    taken = {result.name for result in test.results}
    if options.name is None:
        return str(1 + sum(name.isdigit() for name in taken))
    try:
        name = naming.check_name(options.name)
    except naming.BadName as error:
        raise SnapshotError(str(error)) from None
    if name in taken:
        raise SnapshotError(
            f"two checks of {test.identity.function} are named {name!r}: they would share a "
            "golden. Give each a name of its own; unnamed checks are numbered"
        )
    return name


def _where() -> str:
    """The line that called the check, as a report names it."""
    return place_of(*_line())


def _line() -> tuple[str, int]:
    """The file and the line of the test: of the nearest frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
