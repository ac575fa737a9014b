"""What happened in this run: plain data that travels from xdist's workers to the summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# A collected test: its file, whether that was asked for as a whole, class, function, parameters.
Row = tuple[str, bool, str, str, str | None]


@dataclass(frozen=True)
class Check:
    """One check of a test, as the summary needs it.

    ``status`` is a ``policy.Status`` value; ``golden`` the manifest's path relative to
    rootdir; ``written`` tells that this run wrote it, ``failed`` that the check failed.
    ``rounded`` counts leaves, ``headroom`` is the worst difference over its tolerance;
    ``spotted`` counts leaves that match and of which the spots alone were compared, ``proven``
    those whose values follow from keys, initializers and environment. ``unread`` counts leaves
    without values. Initializers were compared if ``fingerprints``. ``left_out`` says of leaves
    without spots why. ``causes`` have word, leaves, text, evidence and finding;
    ``differences`` and ``modules`` are the report's rows; ``unrecorded``: the golden was made
    before static state was kept; ``left`` names the device of the run that writes the
    golden in place of this check's. ``elsewhere`` is the golden that it was held against, if
    that is not the check's own by name, and ``moved`` tells that this run made it so.
    ``obtained`` has what the report holds to be accepted: its ``path`` in the report's folder and
    ``digest``, the ``target`` that it would be written to, and the digest ``against`` of the
    golden that it was compared with, None where there is none. ``withheld`` says why an update
    would not write it. ``where`` is the user's line that called the check, and ``keymap`` the key
    map of golden and run, where keys moved.
    """

    test: str
    golden: str
    status: str
    failed: bool
    written: bool = False
    leaves: int = 0
    rounded: int = 0
    headroom: float = 0.0
    worst: str = ""
    same_environment: bool = True
    unread: int = 0
    spotted: int = 0
    proven: int = 0
    fingerprints: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict)
    causes: tuple[Mapping[str, Any], ...] = ()
    differences: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    left: str = ""
    modules: tuple[Mapping[str, Any], ...] = ()
    unrecorded: bool = False
    elsewhere: str = ""
    moved: bool = False
    obtained: Mapping[str, Any] | None = None
    withheld: str = ""
    where: str = ""
    keymap: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Check:
        lists = ("causes", "differences", "notes", "modules", "keymap")
        return cls(**{**row, **{name: tuple(row[name]) for name in lists if name in row}})


@dataclass
class Outcomes:
    """All that is known of a run: checks by test, what passed, what was collected.

    ``tests`` maps a node id to the test, whatever its device, and whether it passed there;
    ``unplaced`` are the tests that could not be run on each of several devices. A test that is
    run again (rerunfailures, ``--dist each``) replaces its checks.
    ``collected`` maps a test file to (whole, {(class, function): parameters}).
    """

    checks: dict[str, list[Check]] = field(default_factory=dict)
    tests: dict[str, tuple[tuple[str, str, str, str | None], bool]] = field(default_factory=dict)
    unplaced: set[str] = field(default_factory=set)
    collected: dict[str, tuple[bool, dict[tuple[str, str], set[str | None]]]] = field(
        default_factory=dict
    )

    def add(self, nodeid: str, row: Mapping[str, Any]) -> None:
        """Add what a test's report carries; a later attempt takes the place of an earlier."""
        file, cls, function, parameters = row["test"]
        self.tests[nodeid] = ((file, cls, function, parameters), row["passed"])
        self.checks[nodeid] = [Check.from_json(check) for check in row["checks"]]
        if row.get("unplaced"):
            self.unplaced.add(nodeid)

    @property
    def passed(self) -> set[tuple[str, str, str, str | None]]:
        """The tests that passed, on each device on which they ran."""
        failed = {test for test, passed in self.tests.values() if not passed}
        return {test for test, _ in self.tests.values()} - failed

    def all(self) -> list[Check]:
        """Every check, by the names of the tests: in whatever order and by whom these were run."""
        return [check for test in sorted(self.checks) for check in self.checks[test]]

    def collect(self, rows: Iterable[Row]) -> None:
        """Add collected items: (file, whole, class, function, parameters)."""
        for file, whole, cls, function, parameters in rows:
            known, functions = self.collected.setdefault(file, (whole, {}))
            self.collected[file] = (known or whole, functions)
            functions.setdefault((cls, function), set()).add(parameters)


@dataclass(frozen=True)
class Totals:
    """The figures of the summary line: goldens by what became of them."""

    matched: int = 0
    rounded: int = 0
    written: int = 0
    moved: int = 0
    movable: int = 0
    missing: int = 0
    changed: int = 0
    unreadable: int = 0
    unread: int = 0
    spotted: int = 0
    proven: int = 0
    unfingerprinted: int = 0
    headroom: float = 0.0
    worst: str = ""
    unproven_rounding: int = 0
    left: int = 0
    left_to: str = ""
    unrecorded: int = 0


def totals(checks: Iterable[Check]) -> Totals:
    """Count checks for the summary; a written golden is counted as that alone."""
    every = list(checks)
    left = [check.left for check in every if check.left]
    settled = [check for check in every if not (check.written or check.left)]
    passed = [check for check in settled if not check.failed]
    near = max(every, key=lambda check: check.headroom, default=None)

    def count(status: str) -> int:
        return sum(check.status == status for check in settled)

    return Totals(
        matched=count("matched"),
        rounded=count("rounded"),
        written=sum(check.written and not check.moved for check in every),
        movable=sum(c.status == "missing" and bool(c.elsewhere) for c in settled),
        moved=sum(check.moved for check in every),
        missing=count("missing"),
        changed=count("different"),
        unreadable=count("unreadable") + count("locked"),
        unread=sum(bool(check.unread) for check in passed),
        spotted=sum(bool(check.spotted) for check in passed),
        proven=sum(bool(check.proven) for check in passed),
        unfingerprinted=sum(
            bool(check.unread or check.spotted) and not check.fingerprints for check in passed
        ),
        headroom=near.headroom if near else 0.0,
        worst=near.worst if near else "",
        unproven_rounding=sum(c.status == "rounded" and c.same_environment for c in settled),
        left=len(left),
        left_to=", ".join(dict.fromkeys(left)),
        unrecorded=sum(check.unrecorded for check in passed),
    )
