"""Products of parameters: without ``--full`` each value is run once, not each combination.

``@pytest.mark.product("why")`` on a test says that its combinations test nothing that their values
do not; ``@pytest.mark.product("why", pairs=True)`` keeps each pair of values of two parameters.
``@pytest.mark.dear("why")`` leaves a test to ``--full``: "why" says what shows the same for less.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence

import pytest

Parts = tuple[Hashable, ...]  # what a test is there to cover


def cover(tests: Sequence[Parts]) -> list[int]:
    """The places of a few tests that cover what all do: those that cover the most, first.

    Of equals, the one whose parts were covered least: combinations are spread evenly.
    """
    left = {part for parts in tests for part in parts}
    seen, chosen = Counter[Hashable](), list[int]()
    while left:
        best = max(
            range(len(tests)),
            key=lambda n: (len(left.intersection(tests[n])), -sum(seen[p] for p in tests[n]), -n),
        )
        chosen.append(best)
        seen.update(tests[best])
        left.difference_update(tests[best])
    return sorted(chosen)


def parts(item: pytest.Item, pairs: bool) -> Parts:
    """Which row of each ``parametrize`` a test has; or the pairs of these."""
    params = item.callspec.params  # type: ignore[attr-defined]
    rows: list[Hashable] = []
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        # A value is what it is by its identity: not all can be compared.
        rows.append(tuple((name.strip(), id(params[name.strip()])) for name in names))
    return tuple(itertools.combinations(rows, 2)) if pairs else tuple(rows)


def thinned(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items, those of each product thinned, and without dear ones."""
    products: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("product"):
            products.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set(itertools.chain.from_iterable(map(_rest, products.values())))
    return [item for item in items if item not in left_out and not item.get_closest_marker("dear")]


def _rest(product: list[pytest.Item]) -> set[pytest.Item]:
    """What is left out of one product."""
    marker = product[0].get_closest_marker("product")
    pairs = marker is not None and bool(marker.kwargs.get("pairs"))
    rows = [parts(item, pairs) for item in product]
    return set(product) - {product[place] for place in cover(rows)}
