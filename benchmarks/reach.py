"""What escapes a sketch: by how much k of n elements may move before half of the trials tell.

``python -m benchmarks.reach`` prints, per dtype and n, the median of that amount in tolerances:
where all other elements are equal to the bit, and where half of them round by one step of their
format.
``--early`` measures the form that early goldens hold. Weights' tolerances; normal values.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from pytest_nnxrng.compare.estimate import judge
from pytest_nnxrng.compare.tolerance import WEIGHTS
from pytest_nnxrng.leaf.form import Form
from pytest_nnxrng.leaf.sketch import sketch

FEW = (1, 5, 10, 20, 50, 100, 1000, 10_000, 100_000)
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_MOST = 1e6  # tolerances


def passing(n: int, k: int, dtype: str, *, rounds: bool, early: bool, trials: int) -> float:
    """The median, over trials, of the largest move in tolerances that is not told."""
    return statistics.median(
        _largest(n, k, dtype, rounds=rounds, early=early, seed=seed) for seed in range(trials)
    )


def _largest(n: int, k: int, dtype: str, *, rounds: bool, early: bool, seed: int) -> float:
    rng = np.random.default_rng(seed)
    kind: Any = DTYPES[dtype]
    golden = rng.standard_normal(n, dtype=np.float32).astype(kind)
    golden[0] = 6  # so that what moves by little is not an extreme
    places = rng.choice(np.arange(1, n), k, replace=False)
    signs = rng.choice([-1.0, 1.0], k)
    form = Form(early=early)
    held = sketch(golden, form=form)
    assert held is not None
    t = WEIGHTS[dtype] * held.scale
    rest = golden.copy()
    if rounds:
        rest.view(f"u{rest.dtype.itemsize}")[1:] ^= rng.integers(0, 2, n - 1, dtype=np.uint8)
    low, high = 0.0, 1.0
    before = golden[places].astype(np.float64)

    def told(by: float) -> bool:
        moved = rest.copy()
        moved[places] = (before + signs * by * t).astype(kind)
        ours = sketch(moved, form=form)
        assert ours is not None
        return judge(held, ours, t).kind == "changed"

    while high < _MOST and not told(high):
        low, high = high, 2 * high
    while high < _MOST and high / max(low, 0.5) > 1.05:
        middle = (low + high) / 2
        low, high = (low, middle) if told(middle) else (middle, high)
    return low


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    yield f"{'dtype':>9} {'rest':>7} {'n':>10} " + " ".join(f"k={k:<7,}" for k in FEW)
    for dtype in arguments.dtypes:
        for rounds in (False, True):
            for n in map(int, arguments.sizes):
                found = [
                    passing(
                        n, k, dtype, rounds=rounds, early=arguments.early, trials=arguments.trials
                    )
                    if 10 * k <= n
                    else float("nan")
                    for k in FEW
                ]
                rest = "rounds" if rounds else "equal"
                yield f"{dtype:>9} {rest:>7} {n:>10,} " + " ".join(f"{x:<9.3g}" for x in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--early", action="store_true")
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    for row in rows(parser.parse_args()):
        print(row, flush=True)


if __name__ == "__main__":
    main()
