"""The paragraph at the end of a run, 80 columns wide. Imports the standard library alone."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence

from pytest_nnxrng.run.outcomes import Finding, Totals
from pytest_nnxrng.run.settings import Mode

_COMPARE = Mode()
_WIDTH = 80
_PATHS = 8
_FINDINGS = 8


def lines(
    totals: Totals,
    unused: Sequence[Sequence[str]],
    gone: Sequence[Sequence[str]],
    deleted: Sequence[Sequence[str]],
    notes: Sequence[str],
    findings: Sequence[Finding] = (),
    against: str = "",
    mode: Mode = _COMPARE,
) -> list[str]:
    """The figures of the run, and what needs the reader's hand; goldens by their files.

    ``against`` is the line of figures of a run that has no goldens in the repository. What ``mode``
    asked for in vain is not advised again.
    """
    found = _wrap(against or _counts(totals, len(unused) + len(gone), len(deleted)))
    if totals.rounded:
        found += _wrap(
            f"Rounding came nearest to its tolerance at {totals.headroom:.2g} of it "
            f"({totals.worst})."
        )
    if totals.unproven_rounding:
        found += _wrap(
            f"{totals.unproven_rounding} matched only by rounding although the environment is "
            "the one recorded: those numbers do not repeat to the bit here, or the code that makes "
            "them changed."
        )
    if totals.spotted:
        found += _wrap(f"Checked by spots, up to 32 elements of a leaf: {totals.spotted}.")
    if totals.proven:
        found += _wrap(
            "Not computed, as the keys, initializers and environment are those of the golden: "
            f"{totals.proven}."
        )
    if totals.left:
        found += _wrap(
            f"One device writes the goldens that several share: {totals.left} left to "
            f"{totals.left_to}. Run again without --nnx-update-snapshots to compare them."
        )
    if totals.unread:
        found += _wrap(
            f"Checked without values, the golden or the check being abstract: {totals.unread}."
        )
    if totals.unfingerprinted:
        found += _wrap(
            f"Recorded under another JAX, {totals.unfingerprinted} of them: draws, shapes, dtypes, "
            "types, structure and spots were compared, initializers could not be."
        )
    if totals.unrecorded:
        found += _wrap(
            "Recorded before goldens kept the static state of modules (classes, rates, "
            f"activations), which was not compared: {totals.unrecorded}. "
            "--nnx-refresh-snapshots records it."
        )
    for finding in findings[:_FINDINGS]:
        goldens = f"{len(finding.goldens)} golden{'s' if len(finding.goldens) > 1 else ''}"
        leaves = f", {finding.leaves} {'leaves' if finding.leaves > 1 else 'leaf'}"
        tests = f", {finding.tests} tests" if finding.tests > 1 else ""
        # A change of static state is one of modules, and of no leaf.
        extent = goldens + (leaves if finding.leaves else "") + tests
        found += _wrap(f"{finding.word}: {finding.text} ({extent})")
    follow = {golden for f in findings if f.word == "follows" for golden in f.goldens}
    if follow:
        told = f"{len(follow)} follow{'s' if len(follow) == 1 else ''}: not judged."
        if not against:
            told += (
                " Goldens of one test are written together: look at what follows, and name the "
                "word follows, too, in --nnx-update-only."
            )
        found += _wrap(told)
    if len(findings) > _FINDINGS:
        found.append(f"... and {len(findings) - _FINDINGS} more causes")
    for note in notes:
        found += _wrap(note)
    if against:
        return found
    if totals.movable:
        found += _wrap(
            f"Equal to goldens of tests that are gone: {totals.movable}. To move these to where "
            "their tests are now: pytest --nnx-move-snapshots"
        )
    in_vain = mode.update and not mode.only
    if (totals.missing > totals.movable or totals.changed) and not in_vain:
        found.append("To write or accept them: pytest --nnx-update-snapshots")
    # What is unknown, or merely follows, is looked at, not accepted by a ready-made command.
    words = {f.word for f in findings} - {"unknown", "follows"}
    several = totals.missing or len(findings) > 1 or totals.changed > 1
    if totals.changed and several and not in_vain and not words <= mode.only:
        named = ",".join(sorted(words))
        found.append(f"To accept only what moved by certain causes: --nnx-update-only={named}")
    if unused:
        found += ["Unused: their tests passed without them. To remove them:", *_removal(unused)]
    if gone:
        found += _listed("Unused: their tests are gone (pytest --nnx-prune-snapshots):", gone)
    if deleted:
        found += _listed("Deleted, their tests being gone:", deleted)
    return found


def against(label: str, totals: Totals, unrun: int) -> str:
    """``against main (a1b2c3d): 23 the same, 2 changed, 1 new``, the checks that these are.

    ``unrun`` of those that are missing there are of tests that the other code cannot run.
    """
    counts = [
        (totals.matched, "the same"),
        (totals.rounded, "the same by rounding"),
        (totals.changed, "changed"),
        (totals.missing - unrun, "new"),
        (unrun, "that it cannot run"),
        (totals.unreadable, "unreadable"),
    ]
    shown = ", ".join(f"{n} {word}" for n, word in counts if n or word == "the same")
    return f"against {label}: {shown}"


def unrun(why: Mapping[str, str]) -> list[str]:
    """Lines on tests that the other code cannot run."""
    shown = [f"It cannot run {test}: {told}" for test, told in list(why.items())[:_FINDINGS]]
    return shown + ([f"... and {len(why) - _FINDINGS} more tests"] if len(why) > _FINDINGS else [])


def _counts(totals: Totals, unused: int, deleted: int) -> str:
    counts = [
        (totals.matched, "matched"),
        (totals.rounded, "matched by rounding"),
        (totals.written, "written"),
        (totals.moved, "moved"),
        (totals.left, "left to another device"),
        (totals.missing, "missing"),
        (totals.changed, "changed"),
        (totals.unreadable, "unreadable"),
        (unused, "unused"),
        (deleted, "deleted"),
    ]
    return ", ".join(f"{n} {word}" for n, word in counts if n or word == "matched") + "."


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _listed(title: str, goldens: Sequence[Sequence[str]]) -> list[str]:
    files = [f"  {file}" for golden in goldens[:_PATHS] for file in golden]
    return [title, *files, *_more(goldens)]


def _removal(goldens: Sequence[Sequence[str]]) -> list[str]:
    """A command that can be pasted, a file a line."""
    words = ["git rm --", *(shlex.quote(file) for golden in goldens[:_PATHS] for file in golden)]
    lines = [f"  {word} \\" for word in words]
    return [*lines[:-1], lines[-1].removesuffix(" \\"), *_more(goldens)]


def _more(goldens: Sequence[Sequence[str]]) -> list[str]:
    more = len(goldens) - _PATHS
    return [f"  ... and {more} more goldens (--nnx-report=DIR lists all)"] if more > 0 else []
