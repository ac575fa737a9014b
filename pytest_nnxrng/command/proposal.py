"""What reports hold for the goldens in the tree: pending, accepted, withheld or refused."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pytest_nnxrng.command.artifact import Artifact, within
from pytest_nnxrng.command.terminal import Trouble
from pytest_nnxrng.golden.document import fingerprint
from pytest_nnxrng.golden.naming import test_files
from pytest_nnxrng.report.blame import WORDS, Blame, Change
from pytest_nnxrng.report.fold import natural
from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import MEANINGS


class State(Enum):
    """What is to become of what a run obtained."""

    PENDING = "pending"
    ACCEPTED = "accepted"  # the tree holds it already
    WITHHELD = "withheld"  # no update would write it either
    REFUSED = "refused"  # it does not belong into this tree


@dataclass(frozen=True)
class Proposal:
    """A golden that a run obtained: where it would go, why it moved, and where it lies."""

    target: str
    state: State
    reason: str
    checks: tuple[Check, ...]
    changes: tuple[int, ...]
    source: Path
    digest: str
    folder: Path

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check.test for check in self.checks))

    @property
    def name(self) -> str:
        return self.target.rpartition("/")[2].removesuffix(".json")


@dataclass(frozen=True)
class Plan:
    """All that reports hold, by change and by golden."""

    names: tuple[str, ...]
    changes: tuple[Change, ...]
    proposals: tuple[Proposal, ...]

    def of(self, *states: State) -> list[Proposal]:
        return [proposal for proposal in self.proposals if proposal.state in states]

    def moved_by(self, number: int) -> list[Proposal]:
        return [proposal for proposal in self.proposals if number in proposal.changes]

    def words(self, proposal: Proposal) -> set[str]:
        return {self.changes[number - 1].word for number in proposal.changes}


def plan(artifacts: Sequence[Artifact], root: Path) -> Plan:
    """Hold what the reports obtained against the goldens below ``root``."""
    groups: dict[str, list[tuple[Artifact, Check]]] = {}
    for artifact in artifacts:
        for check in artifact.checks:
            if check.failed and check.obtained is not None:
                groups.setdefault(check.obtained["target"], []).append((artifact, check))
    blame = Blame([check for group in groups.values() for _, check in group])
    made = []
    for target, group in sorted(groups.items(), key=lambda item: natural(item[0])):
        found = blame.numbers(check for _, check in group)
        made.append(_proposal(target, group, found, root))
    return Plan(tuple(artifact.name for artifact in artifacts), blame.changes, tuple(made))


def _proposal(
    target: str,
    group: Sequence[tuple[Artifact, Check]],
    changes: tuple[int, ...],
    root: Path,
) -> Proposal:
    artifact, check = group[0]
    assert check.obtained is not None
    source = within(artifact.folder, check.obtained["path"])
    state, reason = _state(target, group, root)
    return Proposal(
        target=target,
        state=state,
        reason=reason,
        checks=tuple(check for _, check in group),
        changes=changes,
        source=source,
        digest=fingerprint(source) or "",
        folder=artifact.folder,
    )


def _state(target: str, group: Sequence[tuple[Artifact, Check]], root: Path) -> tuple[State, str]:
    digests: dict[str, str] = {}
    for artifact, check in group:
        assert check.obtained is not None
        source = within(artifact.folder, check.obtained["path"])
        there = fingerprint(source)
        if there is None:
            return State.REFUSED, f"{artifact.name} holds no {check.obtained['path']}"
        digests.setdefault(there, artifact.name)
        # On several devices one golden is obtained several times, and the last is kept.
        if there not in {c.obtained["digest"] for a, c in group if a is artifact and c.obtained}:
            return State.REFUSED, f"{check.obtained['path']} is not the one that the run wrote"
    if len(digests) > 1:
        one, other, *_ = digests.values()
        return State.REFUSED, f"{one} and {other} obtained different things. Accept one of them"
    if fingerprint(root / target) in digests:
        return State.ACCEPTED, ""
    if withheld := next((check.withheld for _, check in group if check.withheld), ""):
        return State.WITHHELD, withheld
    if reason := _refusal(target, [check for _, check in group], root):
        return State.REFUSED, reason
    return State.PENDING, ""


def _refusal(target: str, checks: Sequence[Check], root: Path) -> str:
    """Why something must not go to ``target``, whatever it is."""
    try:
        path = within(root, target)
    except Trouble as error:
        return str(error).partition(",")[0]
    if path.suffix != ".json" or len(Path(target).parts) < 3:
        return "it is no golden's path"
    if not any(file.is_file() for file in test_files(path.parent)):
        file = test_files(Path(target).parent)[0].as_posix()
        return f"there is no {file} here. Is the report another repository's, or --root wrong?"
    for check in checks:
        assert check.obtained is not None
        against, here = check.obtained.get("against"), fingerprint(root / check.golden)
        if here == against and (check.golden == target or not path.exists()):
            continue
        if here is None:
            return "the golden that the run compared with is gone. Is this the run's commit?"
        if against is None or check.golden != target:
            return "a golden has come to be there since the run. Is this the run's commit?"
        return "the golden here is not the one that the run compared with. Run the test again"
    return ""


# -- selecting ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """What a command line names. Of several kinds all must hold, of one kind any."""

    causes: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    goldens: tuple[str, ...] = ()
    all: bool = False
    approved: Mapping[str, str] | None = None  # goldens, and the digests of what was approved

    @property
    def empty(self) -> bool:
        named = self.causes or self.tests or self.goldens or self.all
        return not named and self.approved is None


def selected(plan: Plan, selection: Selection) -> list[Proposal]:
    """The proposals that a selection names, whatever their state.

    Raises:
      Trouble: for a cause that there is none of.
    """
    numbers = causes(plan, selection.causes)
    goldens = [_goldens(plan, text) for text in selection.goldens]
    return [
        proposal
        for proposal in plan.proposals
        if (not selection.causes or numbers.issuperset(proposal.changes))
        and (not selection.tests or any(_is_test(proposal, one) for one in selection.tests))
        and (not goldens or any(proposal.target in targets for targets in goldens))
        and (selection.approved is None or proposal.target in selection.approved)
    ]


def causes(plan: Plan, texts: Iterable[str]) -> set[int]:
    """The numbers of the changes that these name: numbers, words, ids or texts.

    Raises:
      Trouble: for a cause that there is none of.
    """
    found: set[int] = set()
    for text in texts:
        whole = [c.number for c in plan.changes if text in (c.text, f"{c.word}: {c.text}")]
        for part in [] if whole else map(str.strip, text.split(",")):
            here = [c.number for c in plan.changes if part in (str(c.number), c.accepted_as, c.id)]
            if not here and part not in (*MEANINGS, *WORDS):
                known = ", ".join(dict.fromkeys((*MEANINGS, *WORDS)))
                raise Trouble(
                    f"--cause: {part!r} is neither a number that nnxrng pending shows (1 to "
                    f"{len(plan.changes)}) nor a cause: {known}"
                )
            found.update(here)
        found.update(whole)
    return found


def _is_test(proposal: Proposal, wanted: str) -> bool:
    for test in proposal.tests:
        function = test.rpartition("::")[2]
        names = (test, function, function.partition("[")[0])
        if wanted in names or test.startswith((f"{wanted}::", f"{wanted}[")):
            return True
        if any(fnmatch.fnmatchcase(name, wanted) for name in names[:2]):
            return True
    return False


def _goldens(plan: Plan, wanted: str) -> set[str]:
    """The goldens that a text names: one that is called so, else all that it is a glob of."""
    names = {p.target: (p.target, p.target.rpartition("/")[2], p.name) for p in plan.proposals}
    called = {target for target, own in names.items() if wanted in own}
    return called or {
        target
        for target, own in names.items()
        if any(fnmatch.fnmatchcase(name, wanted) for name in own)
    }


# -- the tree ----------------------------------------------------------------------------------


def find_root(artifacts: Sequence[Artifact], given: str | None) -> Path:
    """Pytest's root directory, to which a report's paths are relative.

    It is the folder, from here up to the repository's top, that has the report's test files.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise Trouble(f"--root: {given} is no folder")
        return Path(given)
    here = Path.cwd()
    above: list[Path] = []
    for folder in (here, *here.parents):
        above.append(folder)
        if (folder / ".git").exists():
            break
    else:
        above = [here]
    files = {check.test.partition("::")[0] for a in artifacts for check in a.checks}
    some = sorted(files)[:50]
    return max(above, key=lambda folder: sum((folder / file).is_file() for file in some))
