"""``python -m tests.causes [pytest's arguments]``: the battery's score, by cause.

A mutation counts for each word that is named for it. It is exact when its whole test passes: these
words and no others, and the lines where the test asks for them.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest


class Score:
    """Which words each test saw named, and whether it passed."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.exact: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        from .conftest import NAMED  # by now pytest has rewritten what it asserts

        if report.when == "setup":
            NAMED.clear()
        if report.when == "call" and not report.skipped:
            for word in set(NAMED) | {"(every test)"}:
                self.tests[word] += 1
                self.exact[word] += report.passed

    def table(self) -> str:
        from pytest_nnxrng.why.words import MEANINGS

        rows = [word for word in (*MEANINGS, "(every test)") if self.tests[word]]
        lines = ["| cause | tests that name it | exact |", "|---|---|---|"]
        lines += [f"| {word} | {self.tests[word]} | {self.exact[word]} |" for word in rows]
        return "\n".join(lines)


if __name__ == "__main__":
    score = Score()
    folder = str(Path(__file__).parent)
    code = pytest.main([folder, "-q", "--full", "-p", "no:xdist", *sys.argv[1:]], plugins=[score])
    print(score.table())
    sys.exit(code)
