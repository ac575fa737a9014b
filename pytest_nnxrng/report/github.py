"""A run on GitHub Actions: annotations on the user's lines, and a job summary in Markdown.

Standard library alone. Commands and limits as GitHub documents them
(https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands): a step has ten
annotations, and drops a summary above 1 MiB as a whole, in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_nnxrng.report.findings import Finding
from pytest_nnxrng.run.outcomes import Totals

MOST_ANNOTATIONS = 10
MOST_BYTES = 900_000
_GOLDENS = 20  # of a finding, in the summary
_ARTIFACT = "nnx-report"


def commands(found: Sequence[Finding], folder: str = "") -> list[str]:
    """One workflow command a finding: on the line that made the change, or that called the check.

    ``folder`` is where the run's own folder lies in the repository, "" at its top.
    """
    shown = list(found)
    rest = len(shown) - MOST_ANNOTATIONS
    if rest > 0:
        shown = shown[: MOST_ANNOTATIONS - 1]
    lines = [_annotation(finding, folder) for finding in shown]
    if rest > 0:
        lines.append(_command(f"and {rest + 1} more changes: see the job's summary", {}))
    return lines


def _annotation(finding: Finding, folder: str) -> str:
    goldens = _count(len(finding.goldens), "golden")
    path, _, line = (finding.place or finding.called).rpartition(":")
    path = f"{folder}/{path}" if path and folder else path
    where = {"file": path, "line": line} if path and line.isdecimal() else {}
    told = f"{finding.word}: {_plain(finding.text)} ({goldens})"
    return _command(told, {**where, "title": f"nnx_snapshot: {finding.word}"})


def _command(message: str, properties: Mapping[str, str]) -> str:
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {shown}::{_data(message)}" if shown else f"::error::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(
    totals: Totals, found: Sequence[Finding], environ: Mapping[str, str], report: str | None
) -> str:
    """The run in Markdown, below 900 kB: its figures, its findings, and how to accept them.

    ``environ`` names repository and run, for the command that fetches the report; ``report`` is
    the folder that the run wrote, if it wrote one.
    """
    lines = ["## nnx snapshots", "", f"{_figures(totals)}.", ""]
    if found:
        lines += ["| change | goldens | leaves | tests | where |", "|---|--:|--:|--:|---|"]
    for finding in found:
        told = f"**{_cell(finding.word)}** {_cell(_plain(finding.text))}"
        place = finding.place or finding.called
        where = f"`{_code(place)}`" if place else ""
        counts = f"{len(finding.goldens)} | {finding.leaves} | {finding.tests}"
        lines.append(f"| {told} | {counts} | {where} |")
    for finding in found:
        lines += ["", f"<details><summary>{_html(finding.word)}: {_within(finding)}</summary>", ""]
        lines += [f"- `{_code(golden)}`" for golden in finding.goldens[:_GOLDENS]]
        if len(finding.goldens) > _GOLDENS:
            lines.append(f"- and {len(finding.goldens) - _GOLDENS} more")
        if finding.keymap:
            lines += ["", "```text", *(row.replace("`", "'") for row in finding.keymap), "```"]
        lines += ["", "</details>"]
    if found and report is not None:
        lines += ["", *_way_out(environ, sorted({finding.word for finding in found}))]
    return _cut("\n".join(lines) + "\n")


def _within(finding: Finding) -> str:
    return "goldens, and the keys of the first" if finding.keymap else "goldens"


def _way_out(environ: Mapping[str, str], words: Iterable[str]) -> list[str]:
    repository, run = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "RUN")
    of = f" --repo {repository}" if repository else ""
    chosen = ",".join(word for word in words if word != "unknown") or "CAUSE"
    return [
        f"To accept on your machine, if the report was uploaded as the artifact `{_ARTIFACT}`:",
        "",
        "```sh",
        f"gh run download {run}{of} --name {_ARTIFACT} --dir {_ARTIFACT}",
        f"nnxrng accept {_ARTIFACT} --cause {chosen} --dry-run",
        "```",
    ]


def _figures(totals: Totals) -> str:
    counts = [
        (totals.matched, "matched"),
        (totals.rounded, "matched by rounding"),
        (totals.written, "written"),
        (totals.missing, "missing"),
        (totals.changed, "changed"),
        (totals.unreadable, "unreadable"),
    ]
    return ", ".join(f"{n} {word}" for n, word in counts if n or word == "matched")


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def _cell(text: str) -> str:
    return _html(text).replace("|", "\\|")


def _code(text: str) -> str:
    return text.replace("`", "'").replace("|", "\\|").replace("\n", " ")


def _html(text: str) -> str:
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, name)
    # What Markdown would read as a link, an image or emphasis stays text.
    return "".join(f"\\{c}" if c in "[]!*_#@" else c for c in text)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= MOST_BYTES:
        return text
    kept = data[:MOST_BYTES].decode("utf-8", "ignore").rpartition("\n")[0]
    return f"{kept}\n\nCut here: the report has all of it.\n"
