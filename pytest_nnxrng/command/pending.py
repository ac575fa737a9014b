"""``nnxrng pending``: what reports hold that is not accepted, change by change."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from pytest_nnxrng.command.artifact import DEFAULT, opened
from pytest_nnxrng.command.proposal import Plan, Proposal, State, find_root, plan
from pytest_nnxrng.command.terminal import Screen, plural
from pytest_nnxrng.report.blame import Change

_SHOWN = 8


def run(args: argparse.Namespace, screen: Screen) -> int:
    with opened(args.reports) as artifacts:
        made = plan(artifacts, find_root(artifacts, args.root))
    if args.json:
        screen.json(document(made))
    else:
        _show(made, args, screen)
    return 1 if made.of(State.PENDING, State.WITHHELD, State.REFUSED) else 0


def document(made: Plan) -> dict[str, object]:
    """The same for machines."""
    return {
        "reports": list(made.names),
        "changes": [
            {
                "number": change.number,
                "id": change.id,
                "word": change.word,
                "text": change.text,
                "leaves": change.leaves,
                "see": change.see,
                "goldens": [p.target for p in made.moved_by(change.number)],
            }
            for change in made.changes
        ],
        "goldens": [
            {
                "golden": proposal.target,
                "state": proposal.state.value,
                "reason": proposal.reason,
                "tests": list(proposal.tests),
                "changes": list(proposal.changes),
            }
            for proposal in made.proposals
        ],
    }


def _show(made: Plan, args: argparse.Namespace, screen: Screen) -> None:
    screen.say(_head(made), "bold")
    for change in made.changes:
        here = [p for p in made.moved_by(change.number) if p.state is State.PENDING]
        if here:
            screen.line()
            _change(made, change, here, args, screen)
    for state, title in (
        (State.WITHHELD, "Not to be accepted:"),
        (State.REFUSED, "Refused:"),
    ):
        if found := made.of(state):
            screen.line()
            screen.line(title, "bold")
            for proposal in found:
                screen.line(f"  {proposal.target}")
                screen.say(proposal.reason, indent="    ")


def _head(made: Plan) -> str:
    waiting = made.of(State.PENDING)
    changes = {number for proposal in waiting for number in proposal.changes}
    counts = [
        f"{plural(len(found), 'golden') if n == 0 else len(found)} {state.value}"
        for n, state in enumerate(State)
        if (found := made.of(state)) or n == 0
    ]
    if waiting:
        counts[0] += f", by {plural(len(changes), 'change')}"
    return f"{', '.join(made.names)}: {'; '.join(counts)}."


def _change(
    made: Plan, change: Change, here: Sequence[Proposal], args: argparse.Namespace, screen: Screen
) -> None:
    counts = f"{plural(len(here), 'golden')}, {plural(change.leaves, 'leaf')}"
    screen.say(f"[{change.number}] {change.word}: {change.text} ({counts})", "yellow", hang="    ")
    if change.see:
        screen.say(f"see {change.see}", indent="    ")
    for proposal in here[:_SHOWN]:
        also = [number for number in proposal.changes if number != change.number]
        more = f"  (and by {', '.join(f'[{n}]' for n in also)})" if also else ""
        screen.line(f"    {proposal.target}{more}")
    if len(here) > _SHOWN:
        screen.line(f"    ... and {len(here) - _SHOWN:,} more")
    screen.line(f"    {command(made, change, here, args)}", "green")


def command(made: Plan, change: Change, here: Sequence[Proposal], args: argparse.Namespace) -> str:
    """What accepts a change: with the others that moved its goldens, if there are any."""
    alone = any(proposal.changes == (change.number,) for proposal in here)
    numbers = [change.number]
    if not alone:
        numbers = sorted({number for proposal in here for number in proposal.changes})
    words = ["nnxrng", "accept", *(args.reports or [DEFAULT])]
    words += ["--root", args.root] if args.root else []
    return shlex.join([*words, "--cause", ",".join(map(str, numbers))])


def left(made: Plan, waiting: Sequence[Proposal], args: argparse.Namespace, screen: Screen) -> None:
    """What is still pending, in a line for each change."""
    for change in made.changes:
        here = [p for p in waiting if change.number in p.changes]
        if here:
            text = f"[{change.number}] {change.word}: {change.text}"
            screen.say(f"{text} ({plural(len(here), 'golden')})", indent="  ", hang="    ")
