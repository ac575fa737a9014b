"""Unnamed checks are numbered: where a new one came in between, the others keep their goldens."""

from __future__ import annotations

from dataclasses import replace

from pytest_nnxrng.check import lookup, verdict
from pytest_nnxrng.check.stages import Obtained
from pytest_nnxrng.check.state import Earlier, Result, TestChecks
from pytest_nnxrng.golden.policy import Decision, Status

_SHIFTS = 4  # checks that may be new at a time


def earlier(obtained: Obtained, result: Result) -> dict[int, Earlier]:
    """The goldens of checks shortly before this one, by number, that it agrees with.

    Asked for a check without a name that does not agree with the golden of its own number.
    """
    asked = obtained.asked
    mode = asked.test.settings.mode
    settled = not result.status.bad or result.problem or result.gone
    if not result.name.isdigit() or settled or (mode.update and not mode.only):
        return {}
    found, number = {}, int(result.name)
    for other in range(max(1, number - _SHIFTS), number):
        golden = lookup.find(asked.test, asked.options, str(other), asked.device.platform)
        if golden.golden is None or golden.lacks is not None:
            continue
        held = replace(obtained, found=golden.named_as(obtained.flat))
        compared = verdict.compare(held)
        if compared.comparison is not None and compared.comparison.matches:
            found[other] = Earlier(golden.path, compared.status, compared.comparison)
    return found


def renumber(test: TestChecks) -> None:
    """Tell which unnamed checks are new, if all goldens agree with others in their order."""
    unnamed = [result for result in test.results if result.name.isdigit()]
    held = sum(result.status is not Status.MISSING or bool(result.gone) for result in unnamed)
    if held == len(unnamed) or not held:
        return
    matches: dict[int, int] = {}  # a check's number -> that of its golden
    for number, result in enumerate(unnamed, 1):
        golden = len(matches) + 1
        own = golden == number and not result.status.bad
        if golden <= held and (own or golden in result.earlier):
            matches[number] = golden
    if len(matches) < held or all(number == golden for number, golden in matches.items()):
        return
    for number, result in enumerate(unnamed, 1):
        _settle(result, number, matches.get(number))


def _settle(result: Result, number: int, golden: int | None) -> None:
    if golden is None:
        result.status, result.decision = Status.MISSING, Decision(fails=True, writes=False)
        result.comparison, result.causes, result.problem = None, (), ""
        result.new = (
            f"check {number} is new: the checks behind it agree with the goldens of the numbers "
            "that they had without it. An update numbers them anew; names would keep them"
        )
    elif golden != number:
        was = result.earlier[golden]
        result.path, result.status, result.comparison = was.path, was.status, was.comparison
        result.decision, result.causes = Decision(fails=False, writes=False), ()
