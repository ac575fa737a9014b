"""Where the time of a test goes that builds and checks a tiny model: fixtures, steps of the check.

``python -m benchmarks.profile TEST_FILE`` runs it with its steps timed, and prints milliseconds.
"""

from __future__ import annotations

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
    timed = Timed()
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "pytest_nnxrng.plugin", sys.argv[1]]
    code = pytest.main(arguments, plugins=[timed])
    print(json.dumps(timed.milliseconds()))
    raise SystemExit(int(code))


if __name__ == "__main__":
    main()
