"""``nnxrng report``: the reports of several jobs as one, and where the jobs differ."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_nnxrng.command.artifact import Artifact, opened, read, within
from pytest_nnxrng.command.proposal import find_root
from pytest_nnxrng.command.terminal import Screen, Trouble, plural
from pytest_nnxrng.report.findings import Finding, findings
from pytest_nnxrng.report.machine import FORMAT, OBTAINED, PAGE, REPORT, finite
from pytest_nnxrng.run.outcomes import Check, totals


@dataclass(frozen=True)
class Shared:
    """A change, and the jobs in which it showed."""

    finding: Finding
    jobs: tuple[int, ...]
    only: str  # "only under jax 0.12.0", "only in b", or "" for all of them


def run(args: argparse.Namespace, screen: Screen) -> int:
    with opened(args.reports) as artifacts:
        shared, apart = where(artifacts), disagreeing(artifacts)
        document = merged(artifacts, shared, apart)
        if args.output:
            _write(Path(args.output), document, artifacts, apart)
            _page(Path(args.output) / PAGE, document, artifacts, args)
        if args.page:
            _page(Path(args.page), document, artifacts, args)
        if args.json:
            screen.json(document)
        else:
            _show(artifacts, shared, apart, args, screen)
    if apart and args.output:
        return 2
    return int(any(check.failed for artifact in artifacts for check in artifact.checks))


def where(artifacts: Sequence[Artifact]) -> list[Shared]:
    """Each change of any job, the widest first, with the jobs that have it."""
    seen: dict[tuple[str, str], list[int]] = {}
    for number, artifact in enumerate(artifacts):
        for finding in artifact.findings:
            seen.setdefault((finding.word, finding.text), []).append(number)
    every = findings(check for artifact in artifacts for check in artifact.checks)
    found = []
    for finding in every:
        jobs = tuple(seen[finding.word, finding.text])
        found.append(Shared(finding, jobs, _only(artifacts, jobs)))
    return found


def _only(artifacts: Sequence[Artifact], jobs: Sequence[int]) -> str:
    """What tells the jobs that have a change from those that have not."""
    if len(jobs) == len(artifacts):
        return ""
    names = dict.fromkeys(key for artifact in artifacts for key in artifact.run)
    for name in names:
        here = {artifacts[n].run.get(name) for n in jobs}
        there = {a.run.get(name) for n, a in enumerate(artifacts) if n not in jobs}
        if len(here) == 1 and not here & there:
            return f"only under {name} {here.pop()}"
    return f"only in {', '.join(artifacts[n].name for n in jobs)}"


def disagreeing(artifacts: Sequence[Artifact]) -> dict[str, list[str]]:
    """The goldens of which two jobs obtained different things, with these jobs."""
    found: dict[str, dict[str, str]] = {}
    for artifact in artifacts:
        for check in artifact.checks:
            if check.failed and check.obtained is not None:
                digests = found.setdefault(check.obtained["target"], {})
                digests.setdefault(check.obtained["digest"], artifact.name)
    return {target: list(d.values()) for target, d in sorted(found.items()) if len(d) > 1}


def merged(
    artifacts: Sequence[Artifact], shared: Sequence[Shared], apart: Mapping[str, list[str]]
) -> dict[str, Any]:
    """One report of them all: a check that several jobs made alike stands in it once."""
    checks: dict[str, Check] = {}
    for artifact in artifacts:
        for check in artifact.checks:
            if check.obtained is not None and check.obtained["target"] in apart:
                why = "two jobs obtained different things"
                check = _without(check, check.withheld or why)
            row = check.to_json()
            checks.setdefault(json.dumps({**row, "headroom": 0, "worst": ""}, default=str), check)
    rows = sorted(checks.values(), key=lambda check: (check.test, check.golden))
    gone = {key: _in_all(artifacts, key) for key in ("unused", "gone")}
    document: dict[str, Any] = finite(
        {
            "format": FORMAT,
            "run": _common(artifacts),
            "jobs": [{"name": a.name, "run": dict(a.run)} for a in artifacts],
            "totals": asdict(totals(rows)),
            "findings": [
                {
                    "id": one.finding.id,
                    **asdict(one.finding),
                    "jobs": [artifacts[n].name for n in one.jobs],
                    "only": one.only,
                }
                for one in shared
            ],
            "checks": [check.to_json() for check in rows],
            **gone,
        }
    )
    return document


def _without(check: Check, why: str) -> Check:
    return Check.from_json({**check.to_json(), "obtained": None, "withheld": why})


def _common(artifacts: Sequence[Artifact]) -> dict[str, Any]:
    """The versions that all jobs ran on."""
    first = artifacts[0].run
    return {k: v for k, v in first.items() if all(a.run.get(k) == v for a in artifacts)}


def _in_all(artifacts: Sequence[Artifact], key: str) -> list[str]:
    """The goldens that no job asked for: one of another platform is asked for by its job alone."""
    lists = [a.document.get(key) for a in artifacts]
    sets = [{x for x in found if isinstance(x, str)} for found in lists if isinstance(found, list)]
    return sorted(set.intersection(*sets)) if len(sets) == len(artifacts) else []


def _write(
    directory: Path,
    document: Mapping[str, Any],
    artifacts: Sequence[Artifact],
    apart: Mapping[str, list[str]],
) -> None:
    """The merged report as a folder that every verb takes."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Trouble(f"--output: {directory} is there already, and not an empty folder")
    directory.mkdir(parents=True, exist_ok=True)
    for artifact in artifacts:
        for check in artifact.checks:
            if check.obtained is None or check.obtained["target"] in apart:
                continue
            _copy(artifact, check.obtained["path"], directory)
    temporary = directory / f".{REPORT}.{os.getpid()}"
    temporary.write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")
    temporary.replace(directory / REPORT)


def _page(
    path: Path, document: Mapping[str, Any], artifacts: Sequence[Artifact], args: argparse.Namespace
) -> None:
    """The page of one report, drawn again; of several, of what was merged."""
    from pytest_nnxrng.page.assemble import write
    from pytest_nnxrng.page.subject import Run

    if path.exists():
        raise Trouble(f"--page: {path} is there already")
    merged_to = Path(args.output) if args.output else None
    if len(artifacts) > 1 and merged_to is None:
        raise Trouble("--page draws one report. Merge several with --output DIR, which draws them")
    folder = merged_to or artifacts[0].folder
    checks = read(args.output or artifacts[0].name, folder).checks
    unused = tuple(str(name) for name in document.get("unused", ()))
    name = args.output or artifacts[0].name
    write(Run(name, folder, find_root(artifacts, None), checks, document["run"], unused), path)


def _copy(artifact: Artifact, path: str, directory: Path) -> None:
    """A golden that a job obtained: its manifest, and the values that it names."""
    from pytest_nnxrng.golden.document import GoldenError, load

    manifest = within(artifact.folder, path)
    if not path.startswith(f"{OBTAINED}/") or not manifest.is_file():
        raise Trouble(f"{artifact.name} holds no {path}")
    try:
        values = load(manifest).get("values")
    except GoldenError as error:
        raise Trouble(f"{artifact.name}: {path} {error.problem}") from None
    names = [path]
    if isinstance(values, str):
        names.append(f"{path.rpartition('/')[0]}/{values}")
    for name in names:
        there = within(directory, name)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(within(artifact.folder, name), there)


def _show(
    artifacts: Sequence[Artifact],
    shared: Sequence[Shared],
    apart: Mapping[str, list[str]],
    args: argparse.Namespace,
    screen: Screen,
) -> None:
    names = ["matched", "rounded", "written", "missing", "changed", "unreadable"]
    rows = [["job", *names]]
    for artifact in artifacts:
        counts = totals(artifact.checks)
        rows.append([artifact.name, *(str(getattr(counts, name)) for name in names)])
    columns = [n for n in range(len(rows[0])) if n < 2 or any(row[n] != "0" for row in rows[1:])]
    screen.rows([[row[n] for n in columns] for row in rows])
    for artifact in artifacts if len(artifacts) > 1 else ():
        versions = ", ".join(f"{name} {value}" for name, value in artifact.run.items())
        screen.say(f"{artifact.name}: {versions or 'versions unknown'}", "dim", hang="  ")
    for one in shared:
        finding = one.finding
        size = f"{plural(len(finding.goldens), 'golden')}, {plural(finding.leaves, 'leaf')}"
        text = f"{finding.word}: {finding.text} ({size})"
        screen.line()
        screen.say(f"{text}{f', {one.only}' if one.only else ''}", "yellow", hang="  ")
        for golden in finding.goldens[:8]:
            screen.line(f"  {golden}")
        if len(finding.goldens) > 8:
            screen.line(f"  ... and {len(finding.goldens) - 8:,} more")
    for target, jobs in apart.items():
        screen.line()
        screen.say(f"{target}: {' and '.join(jobs)} obtained different things", "red", hang="  ")
    if args.output:
        screen.line()
        screen.say(f"Written to {args.output}; what is pending: nnxrng pending {args.output}")
