"""`check_call`: the one call of a model, or of a function of it, on the caller's own objects."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from pytest_nnxrng.check.state import CheckOptions, SnapshotError, TestChecks
from pytest_nnxrng.leaf.forward import CALL
from pytest_nnxrng.nnx.flatten import is_node
from pytest_nnxrng.nnx.watch import nodes_of
from pytest_nnxrng.trace.observed import Observed, Steps, observe

OPTIONS = ("method", "grad", "depth")


def invoke(
    test: TestChecks,
    options: CheckOptions,
    called: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Observed:
    """Call a model or a function once, and watch the calls of the modules among the arguments.

    Raises:
      SnapshotError: for what cannot be called, or has no such method. Errors of the call itself
        pass through.
    """
    __tracebackhide__ = True
    if options.also or options.abstract or options.sharding:
        raise SnapshotError(
            "check_call takes name, tol, atol, exact, only, per_platform, method, grad and depth; "
            "leave out abstract, also and sharding"
        )
    function, args, kwargs, name = _entered(called, args, dict(kwargs), options.method)
    settings = test.settings
    full = settings.mode.update or bool(settings.report) or settings.rehearses
    if options.grad:
        return _with_gradients(function, args, kwargs, name, full=full)
    return observe(function, args, kwargs, name, full=full)


def train(
    test: TestChecks, options: CheckOptions, step: Any, state: tuple[Any, ...], batches: Any
) -> Observed:
    """Call ``step(*state, batch)`` for each batch, and keep what each step gave and left.

    Raises:
      SnapshotError: for what is no step, or without a batch.
    """
    __tracebackhide__ = True
    if not callable(step) or not nodes_of(state, {}):
        raise SnapshotError(
            "check_steps calls a function of a model for each batch: "
            "nnx_snapshot.check_steps(step, model, optimizer, batches)"
        )
    batches = list(batches)
    if not batches:
        raise SnapshotError("check_steps was given no batch: there is nothing to check")
    full = test.settings.mode.update or bool(test.settings.report) or test.settings.rehearses
    name = getattr(step, "__name__", type(step).__name__)
    run = Steps(step)
    return observe(run, (*state, batches), {}, name, full=full, run=run)


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]


def _entered(
    called: Any, args: tuple[Any, ...], kwargs: dict[str, Any], method: str | None
) -> Call:
    """A function that takes the model, too; a name if it is the user's own."""
    __tracebackhide__ = True
    while type(called) is functools.partial:
        args, kwargs = (*called.args, *args), {**called.keywords, **kwargs}
        called = called.func
    if isinstance(called, types.MethodType) and is_node(called.__self__) and method is None:
        called, method = called.__self__, called.__name__
    if is_node(called):
        name = method or CALL
        if not callable(getattr(called, name, None)):
            kind = type(called).__name__
            told = f"{kind} has no method {name!r}" if method else f"{kind} cannot be called"
            raise SnapshotError(
                f"{told}: give what a test calls, nnx_snapshot.check_call(model, x), or the name "
                'of another method, method="encode"'
            )
        return _Method(name), (called, *args), kwargs, ""
    if method is not None:
        raise SnapshotError(f"method={method!r} needs a model: {type(called).__name__} came")
    if not callable(called):
        raise SnapshotError(
            f"check_call calls a model or a function: {type(called).__name__} came, which cannot "
            "be called. Check a value with nnx_snapshot.check(value)"
        )
    return called, args, kwargs, getattr(called, "__name__", type(called).__name__)


class _Method:
    """A method by its name, called on the first argument: a model is what it is given."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, model: Any, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return (
            model(*args, **kwargs) if self._name == CALL else self._method(model)(*args, **kwargs)
        )

    def _method(self, model: Any) -> Any:
        return getattr(model, self._name)


def _with_gradients(
    function: Callable[..., Any], args: Any, kwargs: Any, name: str, *, full: bool
) -> Observed:
    __tracebackhide__ = True
    models = [i for i, value in enumerate(args) if is_node(value)]
    if not models or not nodes_of(args, kwargs):
        raise SnapshotError("grad=True needs a model among the arguments of the loss")
    gradients = nnx.value_and_grad(_plainly(function), argnums=models[0])
    return observe(gradients, args, kwargs, name, full=full, forward=function)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """For ``nnx.grad``, which wants a function with a name."""
    if inspect.isfunction(function):
        return function

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return function(*args, **kwargs)

    return call


def own_options(called: Any, kwargs: Mapping[str, Any], options: CheckOptions) -> tuple[Any, Any]:
    """The options among keyword arguments, and the rest: what the call itself takes is its own."""
    taken = _parameters(called, kwargs.get("method") or options.method)
    found = {k: v for k, v in kwargs.items() if k in OPTIONS and k not in taken}
    return found, {k: v for k, v in kwargs.items() if k not in found}


def _parameters(called: Any, method: Any) -> frozenset[str]:
    target = called
    if is_node(called):
        target = getattr(called, method if isinstance(method, str) else CALL, None)
    try:
        return frozenset(inspect.signature(target).parameters) if target else frozenset()
    except (TypeError, ValueError):
        return frozenset()
