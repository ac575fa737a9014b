"""What was measured, as ratios against the bars that the project set itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import peers

KIB, GB = 1024, 1e9


@dataclass(frozen=True)
class Bar:
    """One figure, what it may be at most or at least; times by the wall's clock and the CPU's."""

    what: str
    unit: str
    wall: float
    cpu: float | None = None
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        if self.most is not None:
            return self.wall <= self.most
        return self.wall >= self.least if self.least is not None else None


def bars(found: dict[str, Any]) -> list[Bar]:
    """Every bar that the results (of ``rows.ROWS``, or some of them) tell of."""
    every = (_contest, _start, _tiny, _call, _runs, _huge, _page)
    return [bar for made in every for bar in made(found)]


def select(rows: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


JUDGED = 250_000_000  # the bars are about models of this size; what is smaller is only shown


def _contest(found: dict[str, Any]) -> Iterator[Bar]:
    rows = found.get("contest", [])
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        size = max(row["size"] for row in rows if row["dtype"] == dtype)
        here = select(rows, size=size, dtype=dtype)
        where, bar = f"{size // 1_000_000} M {dtype}", float(size >= JUDGED)
        ours = {row["mode"]: row for row in here if row["peer"] == peers.OURS}
        checks = {row["peer"]: row for row in select(here, mode="check", outcome="passed")}
        yield _ratio(
            f"check / np.array_equal, {where}", ours["check"], checks[peers.EQUAL], 1.0 * bar
        )
        not_peers = {peers.OURS, peers.EQUAL, peers.READ, peers.DEFAULT_SYRUPY}
        others = [row for name, row in checks.items() if name not in not_peers]
        best = min(others, key=lambda row: row["wall"])
        name = best["label"]
        yield _ratio(
            f"fastest peer ({name}) / check, {where}", best, ours["check"], least=5.0 * bar
        )
        if "test_orbax_chex" in checks:
            orbax = checks["test_orbax_chex"]
            yield _ratio(f"orbax + chex / check, {where}", orbax, ours["check"], least=30.0 * bar)
        saved = select(here, peer="test_safetensors", mode="update")[0]
        yield _ratio(f"update / safetensors save_file, {where}", ours["update"], saved, 1.5 * bar)
        yield _ratio(
            f"a failing check / a passing one, {where}", ours["fail"], ours["check"], 5.0 * bar
        )
        if ours["check"]["peak"] is not None:
            peak, width = ours["check"]["peak"] / 2**20, 2 if dtype == "bfloat16" else 4
            leaf = min(256.0, size / 20 * width / 2**20)
            yield Bar(f"extra memory of a check, {where}", "MiB", peak, most=leaf)
        yield Bar(f"golden, {where}", "KiB", ours["check"]["golden"] / KIB)


def _ratio(
    what: str,
    over: dict[str, Any],
    under: dict[str, Any],
    most: float | None = None,
    least: float | None = None,
) -> Bar:
    """A bar of 0 is none."""
    wall, cpu = over["wall"] / under["wall"], over["cpu"] / under["cpu"]
    return Bar(what, "x", wall, cpu, most or None, least or None)


def _start(found: dict[str, Any]) -> Iterator[Bar]:
    if "start" in found:
        row = found["start"]
        yield _ratio("start of pytest, plugin unused / without", row["with"], row["without"], 1.05)


def _tiny(found: dict[str, Any]) -> Iterator[Bar]:
    if "tiny" not in found:
        return
    row, tests = found["tiny"], found["tiny"]["tests"]
    for kind in ("check_init", "check"):
        wall, cpu = (
            1000 * (row[kind][clock] - row["without"][clock]) / tests for clock in ("wall", "cpu")
        )
        yield Bar(f"{kind} of a tiny model beyond building it", "ms", wall, cpu, 5.0)
        yield _ratio(f"{tests} tiny tests with {kind} / without", row[kind], row["without"], 1.3)


def _call(found: dict[str, Any]) -> Iterator[Bar]:
    if "call" not in found:
        return
    row = found["call"]
    plain, checked = (
        [1000 * (row[kind][clock] - row["none"][clock]) / row["tests"] for clock in ("wall", "cpu")]
        for kind in ("plain", "check_call")
    )
    wall, cpu = (ours - 1.5 * theirs for ours, theirs in zip(checked, plain, strict=True))
    yield Bar("check_call beyond 1.5 times the call itself", "ms", wall, cpu, 3.0)


def _runs(found: dict[str, Any]) -> Iterator[Bar]:
    row = found.get("runs")
    if row is None:
        return
    tests, ratios = row["failing"]["tests"], row["failing"]["ratios"]
    yield Bar(f"{tests} failing tests / passing", "x", ratios["failing"], most=1.5)
    yield Bar(f"first update of {tests} tests / checking", "x", ratios["updating"], most=1.6)
    two = row["workers"]["ratios"]["two"]
    yield Bar(
        f"{2 * row['workers']['tests']} checks, two workers / one process", "x", two, most=0.6
    )
    long = row["memory"]["late"] - row["memory"]["early"]
    yield Bar(f"memory of {row['memory']['tests']} checks beyond 200", "MiB", long / 2**20, most=16)
    read = row["reading"]["ratios"]["golden"]
    yield Bar(f"golden of {row['reading']['leaves']} leaves / its JSON", "x", read, most=2)
    files = f"pytest, wheel installed ({row['wheel']['files']} files) / not"
    yield Bar(files, "x", row["wheel"]["ratios"]["with"], most=1.02)


def _huge(found: dict[str, Any]) -> Iterator[Bar]:
    if "billion" in found:
        size = found["billion"]["golden"] / KIB
        yield Bar("golden of a model of 1 billion parameters", "KiB", size, most=256)
    if "abstract" in found:
        row = found["abstract"]
        yield Bar("70 billion parameters, abstract: pytest", "s", row["wall"], row["cpu"], 15)
        yield Bar("70 billion parameters, abstract: memory", "GB", row["peak"] / GB, most=1)
        yield Bar("70 billion parameters, abstract: golden", "KiB", row["golden"] / KIB, most=512)


_MB = 1_000_000


def _page(found: dict[str, Any]) -> Iterator[Bar]:
    row = found.get("page")
    if row is None:
        return
    what = f"page of {row['checks']:,} checks"
    yield Bar(what, "MB", row["bytes"] / _MB, most=2)
    if "paint" in row:
        yield Bar(f"{what}: first paint", "ms", row["paint"], most=1000)
        yield Bar(f"{what}: ready", "ms", row["ready"], most=1500)
        yield Bar(f"{what}: a filter", "ms", row["filter"], most=100)
