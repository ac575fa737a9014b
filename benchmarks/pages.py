"""The page of a report with a thousand checks: its weight, and how long a browser takes with it."""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from pytest_nnxrng.page.assemble import write
from pytest_nnxrng.page.subject import Run
from pytest_nnxrng.run.outcomes import Check

CHECKS = 1000
# What stands in the page's script as `search` filters, sorts and counts.
_FILTER = """(query) => {
    const start = performance.now();
    search(query);
    document.body.offsetHeight;  // with the layout
    return performance.now() - start;
}"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def page(folder: Path, repetitions: int) -> dict[str, Any]:
    """Its bytes; milliseconds to the first paint, until it can be used, and for a filter."""
    folder.mkdir(parents=True)
    path = write(Run("nnx-report", folder, folder, tuple(map(_check, range(CHECKS)))))
    found: dict[str, Any] = {"checks": CHECKS, "bytes": path.stat().st_size}
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return found
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        return found
    times: dict[str, list[float]] = {"paint": [], "ready": [], "filter": []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for number in range(repetitions):
            opened = browser.new_page()
            opened.goto(path.as_uri())
            opened.wait_for_selector("html[data-ready]")
            times["ready"].append(float(opened.get_attribute("html", "data-ready") or 0))
            times["paint"].append(opened.evaluate(_PAINT))
            times["filter"].append(opened.evaluate(_FILTER, f"test:test_{number} !status:missing"))
            opened.close()
        browser.close()
    return {**found, **{name: statistics.median(every) for name, every in times.items()}}


def _check(number: int) -> Check:
    test = f"tests/test_models.py::test_{number}"
    golden = f"tests/__nnx_snapshots__/test_models/test_{number}.1.json"
    if number % 25:
        return Check(test, golden, "rounded", failed=False, leaves=20, headroom=number / CHECKS)
    cause = {
        "word": "draws",
        "text": "1 more key",
        "finding": "1 more key",
        "evidence": "derivation",
        "place": "",
        "leaves": ["kernel"],
    }
    return Check(test, golden, "different", failed=True, leaves=20, causes=(cause,))
