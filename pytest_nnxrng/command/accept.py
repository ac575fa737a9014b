"""``nnxrng accept``: what a run obtained, copied into the tree of goldens. Always a selection."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_nnxrng.command import pending
from pytest_nnxrng.command.artifact import DEFAULT, opened, safe, within
from pytest_nnxrng.command.proposal import (
    Plan,
    Proposal,
    Selection,
    State,
    causes,
    find_root,
    plan,
    selected,
)
from pytest_nnxrng.command.terminal import Screen, Trouble, plural
from pytest_nnxrng.golden.document import GoldenError, fingerprint
from pytest_nnxrng.report.machine import BY
from pytest_nnxrng.why.words import FOLLOWS

_FORMAT = 1
_LARGEST = 64 << 20  # bytes
_SHOWN = 20


def _approved(name: str) -> dict[str, str]:
    """The goldens that ``name`` approves, each with the digest of what the page showed.

    Raises:
      Trouble: when it is no such file.
    """
    path = Path(name)
    if not path.is_file():
        raise Trouble(f"--from: there is no file {name}. A report's page saves it: approvals.json")
    if path.stat().st_size > _LARGEST:
        raise Trouble(f"--from: {name} is too large to be an approvals.json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise Trouble(
            f"--from: {name} is not a whole JSON file. Save it from the page again"
        ) from None
    if not isinstance(document, dict) or document.get("by") != BY:
        raise Trouble(f"--from: {name} was not saved by a page of pytest-nnxrng")
    if document.get("format") != _FORMAT:
        raise Trouble(
            f"--from: {name} has format {document.get('format')!r:.20}; this pytest-nnxrng reads "
            f"format {_FORMAT}. Upgrade it: pip install -U pytest-nnxrng"
        )
    rows = document.get("approved")
    if not isinstance(rows, list) or not rows:
        raise Trouble(f"--from: {name} approves nothing")
    return dict(_row(name, row) for row in rows)


def _row(name: str, row: object) -> tuple[str, str]:
    found = (row.get("golden"), row.get("digest")) if isinstance(row, dict) else (None, None)
    golden, digest = found
    if not isinstance(golden, str) or not isinstance(digest, str):
        raise Trouble(f"--from: {name} has been edited or damaged. Save it from the page again")
    safe(golden)
    return golden, digest


@dataclass
class Outcome:
    """What became of a selection: goldens that were written, and those that could not be."""

    written: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def run(args: argparse.Namespace, screen: Screen) -> int:
    approved = _approved(args.approved) if args.approved else None
    chosen_by = (tuple(args.cause), tuple(args.test), tuple(args.golden))
    selection = Selection(*chosen_by, args.all, approved)
    if selection.empty:
        raise Trouble(
            "accept needs a selection: --cause, --test, --golden, --from or --all. What there is, "
            "and the command for each change: nnxrng pending"
        )
    with opened(args.reports) as artifacts:
        root = find_root(artifacts, args.root)
        made = plan(artifacts, root)
        chosen = selected(made, selection)
        wanted = [p for p in chosen if p.state is State.PENDING]
        refused = {p.target: p.reason for p in chosen if p.state is State.REFUSED}
        refused |= _not_as_approved(made, wanted, approved or {})
        refused |= damaged(wanted)
        wanted = [p for p in wanted if p.target not in refused]
        stop = bool(refused) and not args.keep_going
        if not args.json:
            _show(made, wanted, refused, args, screen)
            screen.flush()  # a pipe that is closed says so before anything is written
        outcome = Outcome(refused=refused)
        if not stop and not args.dry_run:
            write(wanted, root, outcome)
        _end(made, chosen, wanted, outcome, args, screen)
    if outcome.refused:
        return 2
    return 1 if not chosen or (args.dry_run and wanted) else 0


def _not_as_approved(
    made: Plan, wanted: Sequence[Proposal], approved: Mapping[str, str]
) -> dict[str, str]:
    """What was approved on a page, and is not what the report holds."""
    here = {proposal.target for proposal in made.proposals}
    found = {
        target: f"{made.names[0]} holds nothing for it. Is this the report that the page was of?"
        for target in approved
        if target not in here
    }
    for proposal in wanted:
        if approved and proposal.digest != approved[proposal.target]:
            found[proposal.target] = "it is not what was approved: the page was another run's"
    return found


def write(wanted: Sequence[Proposal], root: Path, outcome: Outcome) -> None:
    """Copy what is wanted into the tree, one golden after the other, each whole or not at all."""
    from pytest_nnxrng.golden.relocate import transfer, verified

    for proposal in wanted:
        try:
            golden = verified(proposal.source, proposal.target.rpartition("/")[2])
            # Once more, as late as can be: the tree may have changed while a person decided.
            target = within(root, proposal.target)
            if fingerprint(proposal.source) != proposal.digest or _moved(proposal, root):
                raise Trouble("it changed while it was being accepted")
            transfer(proposal.source, target, golden.values)
        except (GoldenError, Trouble, OSError) as error:
            outcome.refused[proposal.target] = _told(error)
        else:
            outcome.written.append(proposal.target)


def _moved(proposal: Proposal, root: Path) -> bool:
    return any(
        check.obtained is not None
        and (
            fingerprint(root / check.golden) != check.obtained.get("against")
            or (check.golden != proposal.target and (root / proposal.target).exists())
        )
        for check in proposal.checks
    )


def damaged(wanted: Sequence[Proposal]) -> dict[str, str]:
    """The goldens whose files in the report are not whole, each with what is wrong."""
    from pytest_nnxrng.golden.manifest import read
    from pytest_nnxrng.golden.relocate import verified

    found = {}
    for proposal in wanted:
        try:
            if values := read(proposal.source).values:
                beside = proposal.source.relative_to(proposal.folder).with_name(values)
                within(proposal.folder, beside.as_posix())
            verified(proposal.source, proposal.target.rpartition("/")[2])
        except (GoldenError, Trouble, OSError) as error:
            found[proposal.target] = _told(error)
    return found


def _told(error: Exception) -> str:
    if isinstance(error, GoldenError):
        return f"in the report, {error.path.name} {error.problem}"
    if isinstance(error, OSError):
        return f"it cannot be written: {error.strerror or error}"
    return str(error)


# -- what is printed ---------------------------------------------------------------------------


def _show(
    made: Plan,
    wanted: Sequence[Proposal],
    refused: dict[str, str],
    args: argparse.Namespace,
    screen: Screen,
) -> None:
    """What will be done, before it is."""
    for change in made.changes:
        here = [p for p in wanted if change.number == p.changes[0]]
        if here:
            screen.say(f"{change.word}: {change.text}", "bold")
            for proposal in here[:_SHOWN]:
                also = [n for n in proposal.changes if n != change.number]
                more = f"  (and by {', '.join(map(str, also))})" if also else ""
                screen.line(f"  {proposal.target}{more}", "green")
            if len(here) > _SHOWN:
                screen.line(f"  ... and {len(here) - _SHOWN} more")
    for target, reason in refused.items():
        screen.line(f"refused: {target}", "red")
        screen.say(reason, indent="  ")


def _end(
    made: Plan,
    chosen: Sequence[Proposal],
    wanted: Sequence[Proposal],
    outcome: Outcome,
    args: argparse.Namespace,
    screen: Screen,
) -> None:
    left = [p for p in made.of(State.PENDING) if p.target not in outcome.written]
    if args.json:
        document = {
            "dry_run": args.dry_run,
            "selected": [p.target for p in wanted],
            "written": outcome.written,
            "refused": outcome.refused,
            "left": [p.target for p in left],
            "withheld": {p.target: p.reason for p in chosen if p.state is State.WITHHELD},
        }
        screen.json(document)
        return
    for proposal in chosen:
        if proposal.state is State.WITHHELD:
            screen.say(f"left: {proposal.target}: {proposal.reason}", "yellow")
    for target, reason in outcome.refused.items():
        if target in {p.target for p in wanted}:
            screen.say(f"refused: {target}: {reason}", "red")
    screen.say(_sentence(made, chosen, wanted, outcome, args, len(left)))
    if behind := followers(made, left, outcome.written):
        screen.say(_left_behind(made, behind, args), "yellow")
    if left and not args.dry_run:
        pending.left(made, left, args, screen)


def followers(made: Plan, left: Sequence[Proposal], written: Sequence[str]) -> list[Proposal]:
    """What is left of the outputs whose model was accepted: they followed from it."""
    tests = {test for p in made.proposals if p.target in written for test in p.tests}
    return [p for p in left if FOLLOWS in made.words(p) and not tests.isdisjoint(p.tests)]


def _left_behind(made: Plan, behind: Sequence[Proposal], args: argparse.Namespace) -> str:
    numbers = sorted({number for proposal in behind for number in proposal.changes})
    words = ["nnxrng", "accept", *(args.reports or [DEFAULT])]
    words += ["--root", args.root] if args.root else []
    command = shlex.join([*words, "--cause", ",".join(map(str, numbers))])
    return (
        f"{plural(len(behind), 'golden')} followed from what was written, and stayed as before. "
        "A run would now call them `forward`: their model matches, and they do not. If they are "
        f"right: {command}"
    )


def _nothing(made: Plan, args: argparse.Namespace) -> str:
    """Why a selection chose nothing: what moved each golden must be named whole."""
    named = causes(made, args.cause)
    partly = [p for p in made.of(State.PENDING) if named & {*p.changes}]
    if not partly or args.test or args.golden:
        return "Nothing in the report is of this selection. What there is: nnxrng pending"
    every = sorted({number for proposal in partly for number in proposal.changes})
    return (
        f"Nothing is of this selection alone: {plural(len(partly), 'golden')} moved by something "
        f"else, too, which must be named with it: --cause {','.join(map(str, every))}. What there "
        "is: nnxrng pending"
    )


def _sentence(
    made: Plan,
    chosen: Sequence[Proposal],
    wanted: Sequence[Proposal],
    outcome: Outcome,
    args: argparse.Namespace,
    left: int,
) -> str:
    if not chosen:
        return _nothing(made, args)
    if args.dry_run:
        return f"Would write {plural(len(wanted), 'golden')}; nothing was written."
    if outcome.refused and not args.keep_going and not outcome.written:
        return (
            "Nothing was written, as some of the selection is refused. Narrow it, or write what "
            "can be written with --keep-going."
        )
    already = sum(p.state is State.ACCEPTED for p in chosen)
    told = [f"Wrote {plural(len(outcome.written), 'golden')}"]
    told += [f"{already:,} stood there already"] if already else []
    told += [f"refused {len(outcome.refused):,}"] if outcome.refused else []
    told += [f"left {left:,} pending"] if left else []
    return f"{', '.join(told)}."
