"""Where time goes: in a tiny check, step by step; in a whole session, by parts that add up.

``python -m benchmarks.profile TEST_FILE [OPTION...]`` runs the tests with their steps timed, and
prints milliseconds: the median of each step, and with ``--whole`` the sum of each part.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import statistics
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest

# Where pytest-nnxrng looks each of them up; the steps of a check are apart from each other.
STEPS = {
    "noting the arguments": ("check.construct", "_before"),
    "reading the golden": ("check.capture", "find"),
    "walking the model": ("check.capture", "flatten"),
    "hashing its leaves": ("check.capture", "digested"),
    "looking for what to warn of": ("check.snapshot", "warn"),
    "comparing": ("check.verdict", "compare"),
}
WHOLE = {"all of the check": ("check.snapshot", "_check")}
# The parts of a session: what one spends in another is the other's.
PARTS = {
    **STEPS,
    "calling the constructor": ("check.construct", "construct"),
    "calling it a second time": ("check.construct", "_repeats"),
    "tracing": ("trace.build", "trace"),
    "explaining": ("check.reuse", "explain"),
    "knowing an explanation again": ("check.reuse", "_of_mismatch"),
    "making a golden ready": ("golden.store", "stage"),
    "the rest of the check": ("check.snapshot", "_check"),
    "putting goldens in place": ("check.agreement", "settle"),
    "the text of failures": ("hooks.testrun", "_told"),
    "the end of the session": ("hooks.session", "Ending.finish"),
}
BEFORE, BODY, FIXTURES = "importing the plugin, JAX and Flax", "the tests themselves", "fixtures"
REST = "pytest itself"


class Whole:
    """A plugin that charges each moment of a session to one part of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack = [REST]
        self._since = time.perf_counter()
        for what, (module, name) in PARTS.items():
            self._time(what, importlib.import_module(f"pytest_nnxrng.{module}"), name)
        self.switch(BEFORE)

    def switch(self, part: str) -> None:
        """What ran until now is charged to ``part``."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def inside(self, part: str) -> Generator[None]:
        self.switch(self._stack[-1])
        self._stack.append(part)
        try:
            yield
        finally:
            self.switch(self._stack.pop())

    def _time(self, what: str, owner: Any, name: str) -> None:
        if "." in name:
            first, _, name = name.partition(".")
            owner = getattr(owner, first)
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.inside(what):
                return function(*args, **kwargs)

        setattr(owner, name, timed)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self) -> Generator[None, Any, Any]:
        with self.inside(FIXTURES):
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self) -> Generator[None, Any, Any]:
        with self.inside(BODY):
            return (yield)

    def milliseconds(self) -> dict[str, float]:
        """What each part took, and all of it."""
        self.switch(REST)
        return {part: 1000 * seconds for part, seconds in self.seconds.items()} | {
            "all": 1000 * sum(self.seconds.values())
        }


class Timed:
    """A plugin that times fixtures and steps, test by test."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        for module, name in [*STEPS.values(), *WHOLE.values()]:
            self._time(importlib.import_module(f"pytest_nnxrng.{module}"), name)

    def _time(self, module: Any, name: str) -> None:
        function = getattr(module, name)
        samples = self.seconds.setdefault(f"{module.__name__}.{name}", [])

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                samples.append(time.perf_counter() - start)

        setattr(module, name, timed)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            samples = self.seconds.setdefault(f"fixture {fixturedef.argname}", [])
            samples.append(time.perf_counter() - start)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds.setdefault("test", []).append(time.perf_counter() - start)

    def milliseconds(self) -> dict[str, float]:
        """The median of each part; the first tests, which compile, are left out by that."""
        names = {f"pytest_nnxrng.{m}.{n}": what for what, (m, n) in (STEPS | WHOLE).items()}
        return {
            names.get(part, part): 1000 * statistics.median(samples)
            for part, samples in self.seconds.items()
            if samples
        }


def main() -> None:
    given = sys.argv[1:]
    timed = Whole() if "--whole" in given else Timed()
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "pytest_nnxrng.plugin"]
    code = pytest.main([*arguments, *[x for x in given if x != "--whole"]], plugins=[timed])
    print(json.dumps(timed.milliseconds()))
    raise SystemExit(int(code))


if __name__ == "__main__":
    main()
