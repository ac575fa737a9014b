"""``python -m benchmarks``: every figure in one run on one machine."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import prose, report

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller models, fewer repetitions")
    parser.add_argument("--only", metavar="ROWS", help="some rows: contest,start,tiny,...")
    parser.add_argument("--size", type=int, action="append", help="of the contest's models")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where models are stored")
    parser.add_argument("--replot", action="store_true", help="tell again what DIR holds")
    parser.add_argument(
        "--docs", action="store_true", help="put what DIR holds in the documentation"
    )
    options = parser.parse_args()
    if options.replot or options.docs:
        results = options.out / "results.json"
        known = json.loads(results.read_text(encoding="utf-8"))
        if options.docs:
            prose.replace(prose.PAGE, known)
        report.write(known, options.out)
        print(report.text(known))
        return
    measure(parser, options)


def measure(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from benchmarks.rows import FULL, QUICK, ROWS  # JAX comes with them

    extent = QUICK if options.quick else FULL
    if options.size:
        extent = replace(extent, sizes=tuple(options.size))
    wanted = options.only.split(",") if options.only else list(ROWS)
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    found: dict[str, Any] = {"machine": report.machine()}
    folder = Path(tempfile.mkdtemp(prefix="nnxrng-benchmarks-", dir=options.work))
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {what}", file=sys.stderr, flush=True)

    try:
        for name in wanted:
            found[name] = ROWS[name](folder / name, extent, say)
            report.write(found, options.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report.text(found))
    print(f"\nwritten: {options.out}/results.json, results.txt, results.png")


if __name__ == "__main__":
    main()
