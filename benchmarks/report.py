"""The results as a table in the terminal, as JSON, and as a plot."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.bars import Bar, bars, select

VERSIONS = (
    *("jax", "flax", "numpy", "pytest", "safetensors", "syrupy", "pytest-regressions"),
    *("orbax-checkpoint", "chex"),
)
SCALES = {
    "parameters": "parameters",
    "leaves": "leaves of 1 M parameters",
    "tests": "tests in a run",
    "goldens": "goldens beside the test's",
}


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def write(found: dict[str, Any], folder: Path) -> None:
    """``results.json``, ``results.txt`` and ``results.png`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "results.txt").write_text(text(found) + "\n", encoding="utf-8")
    plot(found, folder / "results.png")


# -- text ----------------------------------------------------------------------------------------


def text(found: dict[str, Any]) -> str:
    """All tables."""
    here = found["machine"]
    parts = [f"{here['processor']}, {here['cores']} cores, Python {here['python']}"]
    rows = found.get("contest", [])
    for size, dtype in dict.fromkeys((row["size"], row["dtype"]) for row in rows):
        parts.append(_contest(select(rows, size=size, dtype=dtype), size, dtype))
    for name, what in SCALES.items():
        if name in found:
            parts.append(_scale(found[name], what))
    if where := found.get("tiny", {}).get("where"):
        rows = [f"  {part:32}{number:>8.2f}" for part, number in where.items()]
        parts.append("\n".join(["A test that builds and checks a tiny model, in ms", *rows]))
    if profile := found.get("profile"):
        parts.append(_profile(profile))
    if synced := found.get("synced"):
        rows = [f"  {kind:32}{synced[kind]['wall']:>8.2f}" for kind in ("synced", "not synced")]
        parts.append("\n".join([f"An update of {synced['goldens']} goldens, in s", *rows]))
    parts.append("\n".join(["Against the bars", *map(_bar, bars(found))]))
    return "\n\n".join(parts)


def _profile(found: dict[str, Any]) -> str:
    """A column for each kind of session, the parts that take longest first."""
    kinds = ("passing", "failing", "updating")
    parts = sorted({part for kind in kinds for part in found[kind]} - {"all"})
    parts.sort(key=lambda part: -max(found[kind].get(part, 0.0) for kind in kinds))
    head = f"  {'':38}" + "".join(f"{kind:>10}" for kind in kinds)
    rows = [
        f"  {part:38}" + "".join(f"{found[kind].get(part, 0.0):>10.0f}" for kind in kinds)
        for part in (*parts, "all")
    ]
    title = f"A session of {found['tests']} tests that build, check and call a tiny model, in ms"
    return "\n".join([title, head, *rows])


def _contest(rows: list[dict[str, Any]], size: int, dtype: str) -> str:
    head = ("check s", "CPU s", "update s", "CPU s", "failing s", "extra MiB", "golden MB")
    lines = [f"{size:,} {dtype} in 20 leaves", f"{'':40}" + "".join(f"{h:>10}" for h in head)]
    notes = []
    for peer in peers.PEERS:
        mine = {row["mode"]: row for row in select(rows, peer=peer.test)}
        if not mine:
            continue
        check, update, fail = (mine.get(mode) for mode in ("check", "update", "fail"))
        note = _note(peer, check, update, fail)
        notes += [f"  {len(notes) + 1}) {note}"] if note else []
        label = f"{peer.label} {len(notes)})" if note else peer.label
        good = check is not None and check["outcome"] == "passed"
        cells = [
            _seconds(check, "wall") if good else "-",
            _seconds(check, "cpu") if good else "-",
            _seconds(update, "wall"),
            _seconds(update, "cpu"),
            _seconds(fail, "wall") if good else "-",
            "-" if not good or check["peak"] is None else f"{check['peak'] / 2**20:.0f}",
            "-" if peer.limit or not check else f"{check['golden'] / 1e6:.3g}",
        ]
        lines.append(f"{label:40}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines + notes)


def _note(peer: peers.Peer, check: Any, update: Any, fail: Any) -> str:
    """What a figure does not say of itself."""
    for row in (update, check):
        if row is not None and row["outcome"] != "passed":
            return f"cannot: {row['said'][:90]}"
    if fail is not None and fail["outcome"] == "passed":
        return "passes although a weight changed by 8"
    parts = []
    for row in (check, fail):
        if row is not None and peer is not None and row["repetitions"] == 1:
            parts.append(f"{row['mode']} measured once")
    if fail is None and not peer.limit:
        parts.append("failing not measured: minutes")
    return ", ".join(dict.fromkeys(parts))


def _seconds(row: dict[str, Any] | None, clock: str) -> str:
    if row is None or row["outcome"] in ("crashed", "not run"):
        return "-"
    return f"{row[clock]:.4g}" if row[clock] < 1 else f"{row[clock]:.2f}"


def _scale(rows: list[dict[str, Any]], what: str) -> str:
    kinds = [name for name in rows[0] if name != "x"]
    lines = [f"By {what}", f"{'':>16}" + "".join(f"{kind + ' s':>18}" for kind in kinds)]
    for row in rows:
        cells = "".join(f"{row[kind]['wall']:>18.4g}" for kind in kinds)
        lines.append(f"{row['x']:>16,}{cells}")
    return "\n".join(lines)


def _bar(bar: Bar) -> str:
    limit = "" if bar.met is None else f"{'<=' if bar.most is not None else '>='} "
    limit += "" if bar.met is None else f"{bar.most if bar.most is not None else bar.least:g}"
    cpu = "" if bar.cpu is None else f"(CPU {bar.cpu:.3g})"
    met = {True: "", False: "  NOT MET", None: ""}[bar.met]
    return f"  {bar.what:66}{bar.wall:>9.3g} {bar.unit:4}{cpu:14}{limit:10}{met}"


# -- plot ------------------------------------------------------------------------------------------

OURS, OTHER, LIMIT = "#0b6e4f", "#9aa5b1", "#d9822b"


def plot(found: dict[str, Any], file: Path) -> None:
    """Seconds beside the peers, and how ours grow."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = found.get("contest", [])
    scales = [name for name in SCALES if name in found]
    if not rows and not scales:
        return
    height = 4.4 * bool(rows) + 3.4 * bool(scales)
    figure = plt.figure(figsize=(13, height), layout="constrained")
    upper, lower = _halves(figure, bool(rows), bool(scales))
    if rows:
        size = max(row["size"] for row in rows)
        axes = upper.subplots(1, 3, sharey=True)
        whole = select(rows, size=size, dtype="float32") or select(rows, size=size)
        for axis, mode, title in zip(
            axes,
            ("check", "update", "fail"),
            ("check that it matches", "update", "one changed float"),
            strict=True,
        ):
            _peers(axis, whole, mode, title)
        upper.suptitle(f"{size // 1_000_000} M {whole[0]['dtype']} parameters, seconds (log)")
    if scales:
        axes = lower.subplots(1, len(scales), squeeze=False)[0]
        for axis, name in zip(axes, scales, strict=True):
            _growth(axis, found[name], SCALES[name])
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _halves(figure: Any, above: bool, below: bool) -> tuple[Any, Any]:
    if above and below:
        upper, lower = figure.subfigures(2, 1, height_ratios=[4.4, 3.4], hspace=0.05)
        return upper, lower
    return figure, figure


def _peers(axis: Any, rows: list[dict[str, Any]], mode: str, title: str) -> None:
    names = [peer for peer in peers.PEERS if select(rows, peer=peer.test)]
    for place, peer in enumerate(reversed(names)):
        found = select(rows, peer=peer.test, mode=mode)
        blind = select(rows, peer=peer.test, mode="fail", outcome="passed")
        said = ""
        if blind and peer.test != peers.OURS:
            said = "sees no change"
        elif found and found[0]["outcome"] == ("failed" if mode == "fail" else "passed"):
            color = OURS if peer.test == peers.OURS else LIMIT if peer.limit else OTHER
            axis.barh(place, found[0]["wall"], color=color, height=0.7)
            axis.annotate(
                f"{found[0]['wall']:.3g}",
                (found[0]["wall"], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        elif not peer.limit:
            said = "cannot" if found else "minutes: not measured"
        axis.annotate(
            said,
            (0.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color="#667",
            style="italic",
        )
    axis.set_yticks(range(len(names)), [peer.label for peer in reversed(names)])
    axis.set_xscale("log")
    axis.margins(x=0.25)
    axis.set_title(title, fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _growth(axis: Any, rows: list[dict[str, Any]], what: str) -> None:
    for kind, style in zip([name for name in rows[0] if name != "x"], "osD^", strict=False):
        axis.plot(
            [row["x"] for row in rows],
            [row[kind]["wall"] for row in rows],
            marker=style,
            markersize=4,
            label=kind,
            color=OTHER if kind.startswith("without") else OURS,
            linestyle="--" if kind.endswith("update") else "-",
        )
    every = [row[kind]["wall"] for row in rows for kind in row if kind != "x"]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    # Whole decades, so that noise does not look like growth.
    axis.set(xscale="log", yscale="log", xlabel=what, ylabel="seconds")
    axis.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
