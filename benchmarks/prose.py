"""The documentation's page on speed, made from the results."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.bars import GB, KIB, select
from benchmarks.profile import STEPS

_FIXTURE = "fixture nnx_snapshot"

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "speed.md"
BEGIN, END = "<!-- speed: python -m benchmarks --docs -->\n", "<!-- end of speed -->\n"


def replace(page: Path, found: dict[str, Any]) -> None:
    """Put the paragraph between the page's marks."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(before + BEGIN + paragraph(found) + END + after, encoding="utf-8")


def paragraph(found: dict[str, Any]) -> str:
    """A table of the largest float32 model, and a sentence for each other row that was measured."""
    machine, parts = found["machine"], []
    if found.get("contest"):
        rows = select(found["contest"], dtype="float32")
        size = max(row["size"] for row in rows)
        told = (
            f"{size // 1_000_000} million float32 parameters in 20 leaves; {machine['processor']}, "
            f"{machine['cores']} cores. Medians of {rows[0]['repetitions']} runs by turns, in "
            "seconds, and how many times ours:"
        )
        parts.append(textwrap.fill(told, 100, break_on_hyphens=False))
        parts.append(_table(select(rows, size=size)))
    sentences = list(_sentences(found))
    if sentences:
        parts.append(textwrap.fill(" ".join(sentences), 100, break_on_hyphens=False))
    return "\n".join(f"{part}\n" for part in parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| | check | update | one changed float | golden |", "|---|---|---|---|---|"]
    ours = {row["mode"]: row for row in select(rows, peer=peers.OURS)}
    for peer in peers.PEERS:
        mine = {row["mode"]: row for row in select(rows, peer=peer.test)}
        if not mine:
            continue
        if peer.test == peers.DEFAULT_SYRUPY:
            lines.append(f"| {peer.label} | passes whatever changed | | | |")
            continue
        cells = [_cell(mine.get(mode), ours[mode]) for mode in ("check", "update", "fail")]
        golden = "" if peer.limit else _size(mine["check"]["golden"])
        lines.append(f"| {peer.label} | {' | '.join(cells)} | {golden} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if row is None:
        return ""
    if row["outcome"] != ("failed" if row["mode"] == "fail" else "passed"):
        return "cannot"
    ratio = row["wall"] / ours["wall"]
    times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
    return f"{row['wall']:.2g}" + ("" if row is ours else f" ({times}x)")


def _size(number: int) -> str:
    return f"{number / GB:.2g} GB" if number > GB / 10 else f"{number / KIB:.0f} KiB"


def _narrow(found: dict[str, Any]) -> list[str]:
    """How bfloat16 differs from the table."""
    rows = select(found.get("contest", []), dtype="bfloat16")
    if not rows:
        return []
    here = select(rows, size=max(row["size"] for row in rows))
    walls = {(row["peer"], row["mode"]): row["wall"] for row in here}
    check, update = walls[peers.OURS, "check"], walls[peers.OURS, "update"]
    share = update / walls["test_safetensors", "update"]
    return [
        f"In bfloat16, which numpy's own files lose, a check takes {check:.2g} s, and an update "
        f"{update:.2g} s: {share:.1f} times what safetensors takes to save the arrays."
    ]


def _growth(found: dict[str, Any]) -> list[str]:
    said = []
    for what in ("parameters", "leaves"):
        for row in found.get(what, [])[-1:]:
            said.append(f"{row['check']['wall']:.2g} s for {row['x']:,} {what}")
    return [f"A check takes {', and '.join(said)}."] if said else []


def _sentences(found: dict[str, Any]) -> list[str]:
    said = [*_narrow(found), *_growth(found)]
    if "tiny" in found:
        row, tests = found["tiny"], found["tiny"]["tests"]
        more = 1000 * (row["check_init"]["wall"] - row["without"]["wall"]) / tests
        share = row["check_init"]["wall"] / row["without"]["wall"]
        said.append(
            f"A `check_init` of a model of 20 tiny leaves takes {more:.1f} ms beyond building it: "
            f"{tests:,} such tests take {share:.2f} times as long as without checks."
        )
        if where := row.get("where"):
            steps = sorted((where[step], step) for step in STEPS if step in where)
            told = ", ".join(f"{step} {number:.1f}" for number, step in reversed(steps))
            said.append(f"In ms: {told}; the fixture `nnx_snapshot` {where[_FIXTURE]:.1f}.")
    if "start" in found:
        share = found["start"]["with"]["wall"] / found["start"]["without"]["wall"]
        said.append(
            f"Unused, the plugin starts pytest in {share:.2f} of its time; where it is installed, "
            "pytest lists its files, too, as those of every plugin, which takes a few ms more."
        )
    if "billion" in found:
        size = _size(found["billion"]["golden"])
        said.append(f"The golden of a model of a billion parameters is {size}.")
    if "abstract" in found:
        row = found["abstract"]
        said.append(
            f"With `abstract=True`, a run of pytest that checks a model of 70 billion parameters "
            f"takes {row['wall']:.1f} s and {row['peak'] / GB:.2f} GB."
        )
    return said
