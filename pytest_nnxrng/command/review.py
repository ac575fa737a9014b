"""``nnxrng review``: in a terminal, change by change. Nothing is written before the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_nnxrng.command import accept, diff, pending, terminal
from pytest_nnxrng.command.artifact import opened
from pytest_nnxrng.command.proposal import Plan, Proposal, State, find_root, plan
from pytest_nnxrng.command.sides import Pair
from pytest_nnxrng.command.terminal import Screen, plural
from pytest_nnxrng.golden.document import GoldenError, load
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.blame import Change

ACCEPT, LEAVE, SKIP = "accept", "leave", "skip"
_DECIDES = {"a": ACCEPT, "r": LEAVE, "s": SKIP, " ": SKIP}
_DONE = {ACCEPT: "accepted", LEAVE: "left", SKIP: "skipped"}
_HELP = (
    "a accept   r leave   s skip   A accept all of this cause   d details   k key map   "
    "b back   u undo   q to the end"
)
_SHOWN = 6


def run(args: argparse.Namespace, screen: Screen) -> int:
    with opened(args.reports) as artifacts:
        root = find_root(artifacts, args.root)
        made = plan(artifacts, root)
        if args.json or not (sys.stdin.isatty() and screen.out.isatty()):
            return _without_terminal(made, args, screen)
        review = Review(made)
        if not review.order:
            screen.say("Nothing is pending.")
            return 0
        with terminal.keys() as read:
            if not decide(review, root, screen, read):
                screen.say("Nothing was written.")
                return 1
            return end(review, root, screen, read)


def _without_terminal(made: Plan, args: argparse.Namespace, screen: Screen) -> int:
    """The commands to use instead."""
    commands = []
    for change in made.changes:
        here = [p for p in made.moved_by(change.number) if p.state is State.PENDING]
        if here:
            commands.append(pending.command(made, change, here, args))
    commands = list(dict.fromkeys(commands))
    if args.json:
        screen.json({**pending.document(made), "commands": commands})
        return 2
    screen.say("review needs a terminal. Without one, what is pending is accepted by:")
    for command in commands or ["nothing is pending"]:
        screen.line(f"  {command}")
    return 2


# -- deciding ----------------------------------------------------------------------------------


@dataclass
class Review:
    """Which changes were decided, and how; where the reader is, and how to get back."""

    plan: Plan
    at: int = 0
    decisions: dict[int, str] = field(default_factory=dict)
    history: list[tuple[int, dict[int, str]]] = field(default_factory=list)

    @property
    def order(self) -> list[Change]:
        """The changes that moved something pending."""
        waiting = {n for p in self.plan.of(State.PENDING) for n in p.changes}
        return [change for change in self.plan.changes if change.number in waiting]

    @property
    def change(self) -> Change:
        return self.order[self.at]

    @property
    def is_over(self) -> bool:
        return self.at >= len(self.order)

    def decide(self, decision: str, *, alike: bool = False) -> None:
        """Decide on this change, or on all of its cause, and go on to the next one."""
        self.history.append((self.at, dict(self.decisions)))
        self.decisions[self.change.number] = decision
        for change in self.order if alike else ():
            if change.word == self.change.word:
                self.decisions.setdefault(change.number, decision)
        while not self.is_over and self.change.number in self.decisions:
            self.at += 1

    def back(self) -> None:
        self.at = max(0, self.at - 1)

    def undo(self) -> bool:
        """Take the last decision back; False if there is none."""
        if not self.history:
            return False
        self.at, self.decisions = self.history.pop()
        return True

    @property
    def wanted(self) -> list[Proposal]:
        """The goldens all of whose changes were accepted."""
        accepted = {n for n, decision in self.decisions.items() if decision == ACCEPT}
        return [p for p in self.plan.of(State.PENDING) if accepted.issuperset(p.changes)]


def decide(review: Review, root: Path, screen: Screen, read: Callable[[], str]) -> bool:
    """Ask about each change until there are no more, or the reader has had enough.

    False when the terminal went away.
    """
    shown = -1
    while not review.is_over:
        if shown != review.at:
            _show(review, screen)
            shown = review.at
        screen.flush()
        key = read()
        if key in ("q", terminal.END):
            return key == "q"
        if key in _DECIDES or key == "A":
            decision = _DECIDES.get(key, ACCEPT)
            review.decide(decision, alike=key == "A")
            screen.line(f"      {_DONE[decision]}", "green" if decision == ACCEPT else "")
        elif key == "b":
            review.back()
            shown = -1
        elif key == "u":
            screen.line("      taken back" if review.undo() else "      there is nothing to undo")
            shown = -1
        elif key in ("d", "k"):
            {"d": _details, "k": _keys}[key](review, root, screen)
        else:
            screen.say(_HELP, "dim", indent="      ")
    return True


def _show(review: Review, screen: Screen) -> None:
    change = review.change
    here = [p for p in review.plan.moved_by(change.number) if p.state is State.PENDING]
    screen.line()
    place = f"[{review.at + 1}/{len(review.order)}]"
    screen.say(f"{place} {change.word}: {change.text}", "yellow", hang="      ")
    counts = f"{plural(len(here), 'golden')}, {plural(change.leaves, 'leaf')}"
    screen.say(f"{counts}; see {change.see}" if change.see else counts, indent="      ")
    for proposal in here[:_SHOWN]:
        also = [review.plan.changes[n - 1] for n in proposal.changes if n != change.number]
        more = f"  (needs {', '.join(c.word for c in also)}, too)" if also else ""
        screen.line(f"      {proposal.target}{more}")
    if len(here) > _SHOWN:
        screen.line(f"      ... and {len(here) - _SHOWN:,} more")
    if before := review.decisions.get(change.number):
        screen.line(f"      {_DONE[before]} before")
    screen.say(_HELP, "dim", indent="      ")


def _details(review: Review, root: Path, screen: Screen) -> None:
    """The comparison of the change's goldens, leaf by leaf."""
    here = [p for p in review.plan.moved_by(review.change.number) if p.state is State.PENDING]
    for proposal in here[:_SHOWN]:
        golden = root / proposal.checks[0].golden
        if not golden.exists():
            screen.say(f"{proposal.target}: there is no golden yet", indent="      ")
            continue
        causes = proposal.checks[0].causes
        (found,) = diff.compared([Pair(proposal.name, golden, proposal.source, causes)])
        diff.show(found, screen)
    if len(here) > _SHOWN:
        screen.line(f"      ... and {len(here) - _SHOWN:,} more")


def _keys(review: Review, root: Path, screen: Screen) -> None:
    """The key map of the first of the change's goldens that knows its draws."""
    for proposal in review.plan.moved_by(review.change.number):
        paths = [root / proposal.checks[0].golden, proposal.source]
        try:
            both = [keymap.of_manifest(load(path)) for path in paths if path.exists()]
        except (GoldenError, KeyError, TypeError, AttributeError):
            continue
        if both and all(keys.draws for keys in both):
            width = screen.width - 6
            lines = keymap.picture(both[-1], width)
            if len(both) == 2:
                lines = keymap.aligned(both[0], both[1], width)
            screen.line(f"      {proposal.name}", "bold")
            for line in lines:
                screen.line(f"      {line}")
            return
    screen.say("these goldens record no draws", indent="      ")


# -- the end -----------------------------------------------------------------------------------


def end(review: Review, root: Path, screen: Screen, read: Callable[[], str]) -> int:
    """Say what will be written, ask once, and write it."""
    wanted = review.wanted
    screen.line()
    if not wanted:
        screen.say("Nothing was accepted, nothing is written.")
        return 1
    screen.say(f"{plural(len(wanted), 'golden')} to write:", "bold")
    for proposal in wanted:
        screen.line(f"  {proposal.target}", "green")
    half = [
        p
        for p in review.plan.of(State.PENDING)
        if p not in wanted and any(review.decisions.get(n) == ACCEPT for n in p.changes)
    ]
    for proposal in half:
        screen.say(f"left, as not all that moved it was accepted: {proposal.target}", "yellow")
    screen.say("y write   any other key: write nothing", "dim")
    screen.flush()
    if read() != "y":
        screen.say("Nothing was written.")
        return 1
    outcome = accept.Outcome()
    refused = accept.damaged(wanted)
    outcome.refused.update(refused)
    accept.write([p for p in wanted if p.target not in refused], root, outcome)
    for target, reason in outcome.refused.items():
        screen.say(f"refused: {target}: {reason}", "red")
    left = len(review.plan.of(State.PENDING)) - len(outcome.written)
    more = f", left {left:,} pending" if left else ""
    screen.say(f"Wrote {plural(len(outcome.written), 'golden')}{more}.")
    return 2 if outcome.refused else int(bool(left))
