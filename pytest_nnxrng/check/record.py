"""A golden made from what a check obtained; what an abstract one keeps of the golden before it.

Unnamed checks are numbered: where a new one came in between, the others keep their goldens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_nnxrng.check import lookup, verdict
from pytest_nnxrng.check.stages import Asked, Explained, Obtained
from pytest_nnxrng.check.state import Earlier, Result, TestChecks
from pytest_nnxrng.check.warn import warn_of_idle
from pytest_nnxrng.compare.differences import Comparison
from pytest_nnxrng.device import processes
from pytest_nnxrng.golden import execution, relocate, store
from pytest_nnxrng.golden.document import GoldenError, fingerprint
from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.policy import Decision, Status
from pytest_nnxrng.leaf.forward import Forward
from pytest_nnxrng.leaf.leaf import Flat, Leaf
from pytest_nnxrng.leaf.passes import kept
from pytest_nnxrng.report import machine
from pytest_nnxrng.trace.build import derived
from pytest_nnxrng.trace.sampling import sampled

_SHIFTS = 4  # checks that may be new at a time
_SHOWN = 3


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


def record(explained: Explained, result: Result) -> Result:
    """Keep the result with its test, and make ready what it writes: a golden, or the report's.

    What a golden needs is written beside its place; it gets there when the test has passed.
    """
    obtained = explained.compared.obtained
    test = obtained.asked.test
    left = bool(obtained.found.left)  # another device of this run writes it, to the report, too
    if result.decision.moves:
        _make_move(obtained, result)
    elif result.decision.writes or (test.settings.report and result.decision.fails and not left):
        _make_ready(obtained, result)
    result.earlier = earlier(obtained, result)
    test.results.append(result)
    if result.whole_model:
        _remember(obtained, result)
    return result


def _remember(obtained: Obtained, result: Result) -> None:
    """For the outputs that other tests check of this model."""
    asked, check = obtained.asked, result.of_model
    told = result.comparison is not None and (result.comparison.matches or result.causes)
    if not told or processes.count() > 1:
        return  # of several processes each would have to read all that the others hold
    test = asked.test
    check = replace(check, tests=(test.title,))
    name = (test.title, asked.name)
    test.memory.remember(name, asked.value, obtained.flat.leaves, check)


def _make_move(obtained: Obtained, result: Result) -> None:
    if processes.index():
        return
    found, test = obtained.found, obtained.asked.test
    try:
        result.staged = relocate.stage_move(
            found.path, found.target, _owner(obtained.asked), test.folders, keep=found.keeps
        )
        result.note = _moved_along(result.staged.along)
        result.moves = True
    except (GoldenError, OSError) as error:
        result.decision = Decision(fails=True, writes=False)
        result.problem = f"{found.path} cannot be moved: {error}"


def _make_ready(obtained: Obtained, result: Result) -> None:
    test = obtained.asked.test
    flat, result.left_out = _to_keep(obtained, result)
    try:
        size = sum(leaf.size for leaf in flat.leaves if leaf.read is not None)
        with test.progress.step(f"summing up {result.path.name}", size) as advance:
            leaves = kept(flat.leaves, test.settings.store_limit, advance)
        if processes.index():
            return  # the first of several processes writes
        made = Golden(
            _owner(obtained.asked),
            obtained.environment,
            leaves,
            flat.aliases,
            _streams(obtained.asked),
            modules=None if obtained.modules is None else obtained.modules.rows,
            calls=_calls(obtained.asked),
        )
        if result.decision.writes:
            found = obtained.found
            stays = found.apart or found.gone or found.path == result.path
            goes = () if stays else (found.path,)
            result.staged = store.stage(result.path, made, test.folders, goes)
            if found.astray or found.gone:
                _take_along(obtained, result.staged)
            along = _moved_along(result.staged.along)
            told = [result.note, along, _lost(obtained, made, result), _left_out(test, result)]
            result.note = "; ".join(filter(None, told))
        else:
            _report(test, result, made)
    except GoldenError as error:  # values to be kept that cannot be read
        result.decision, result.problem = Decision(fails=True, writes=False), str(error)
    except OSError as error:
        result.decision = Decision(fails=True, writes=False)
        result.problem = f"{result.path} cannot be written: {error.strerror or error}"


def _take_along(obtained: Obtained, staged: store.Staged) -> None:
    """The goldens of other platforms follow a check whose golden is written under another name."""
    found, asked = obtained.found, obtained.asked
    keep = found.apart or bool(found.gone)
    try:
        staged.along = relocate.stage_along(
            found.path, staged.path, _owner(asked), asked.test.folders, keep=keep
        )
    except (GoldenError, OSError):
        staged.discard()
        raise


def _moved_along(along: Iterable[store.Staged]) -> str:
    """For the reader: the goldens of other platforms that came along."""
    names = [other.path.name for other in along]
    return f"{', '.join(names)} moved along" if names else ""


def _report(test: TestChecks, result: Result, made: Golden) -> None:
    """Put what was obtained into the report's folder, and note what it was compared with."""
    report, target = test.settings.report, result.target or result.path
    assert report is not None
    root = test.settings.golden_root or test.rootdir
    there = machine.place(report, target, root)
    store.stage(there, made, test.folders).commit()
    place = Path(os.path.relpath(target, root))
    if ".." in place.parts:
        result.withheld = result.withheld or "its golden lies outside of the root directory"
        return
    result.obtained = {
        "path": there.relative_to(report).as_posix(),
        "digest": fingerprint(there),
        "target": place.as_posix(),
        "against": fingerprint(result.path),
    }


def _owner(asked: Asked) -> Owner:
    who = asked.test.identity
    return Owner(who.cls, who.function, who.parameters, asked.name, asked.kind)


def _calls(asked: Asked) -> Forward | None:
    if asked.observed is None:
        return None
    found = asked.observed.forward
    warn_of_idle(asked.observed.unused)
    return execution.fitting(found, asked.options.depth)


def _streams(asked: Asked) -> Mapping[str, Any]:
    """The streams that the value was drawn from: of a finished model those that were given."""
    if asked.build is not None:
        return asked.build.streams
    return asked.test.given() if asked.kind == "value" and asked.is_nnx else {}


def _to_keep(obtained: Obtained, result: Result) -> tuple[Flat, Mapping[str, str]]:
    """The leaves with all that a golden holds of them, and why some have no spots."""
    asked, found = obtained.asked, obtained.found
    flat = obtained.flat
    if found.golden is not None and not found.apart and result.comparison is not None:
        flat = _keeping(found.whole or found.golden, flat, result.comparison, bool(result.changes))
        flat = _with_placements(found.golden, flat)
    trace = asked.build.trace if asked.build is not None else None
    if trace is None:
        return flat, result.left_out
    flat = derived(flat, trace)
    valued = [leaf.path for leaf in flat.leaves if leaf.digest is not None]
    sample = sampled(flat, trace, valued)
    return sample.flat, sample.left_out


def _keeping(before: Golden, obtained: Flat, comparison: Comparison, changed: bool) -> Flat:
    """Abstract leaves with the values that the golden holds, where nothing speaks against them."""
    old = {leaf.path: leaf for leaf in before.leaves if leaf.digest is not None}
    # What differs by these alone has the same values.
    differing = {d.path: d for d in comparison.differences if set(d.kinds) - {"type", "sharding"}}
    # Another computation that agrees at its spots: perhaps the same values, and no proof of it.
    open_ = {p for p, d in differing.items() if d.kinds == ("derivation",) and d.numbers}

    def one(leaf: Leaf) -> Leaf:
        path = leaf.path
        if leaf.read is not None or path not in old or (path in differing and path not in open_):
            return leaf
        held = old[path]
        return replace(
            leaf,
            digest=held.digest,
            statistics=held.statistics,
            sketch=held.sketch,
            spots=held.spots,
            stored=held.stored,
            read=held.read,
            kept=changed or held.kept or path in open_,
        )

    return obtained.each(one)


def _with_placements(before: Golden, obtained: Flat) -> Flat:
    """On one device: the placements of the golden, which this run cannot see, are kept."""
    old = {leaf.path: leaf for leaf in before.leaves if leaf.placed is not None}

    def one(leaf: Leaf) -> Leaf:
        was = old.get(leaf.path)
        unseen = leaf.sharding is not None and leaf.placed is None
        if was is None or not unseen or (was.shape, was.sharding) != (leaf.shape, leaf.sharding):
            return leaf
        return leaf.but(placed=was.placed)

    return obtained.each(one)


def _lost(obtained: Obtained, made: Golden, result: Result) -> str:
    """That the golden held draws or streams, and what takes its place holds none."""
    before, build = obtained.golden, obtained.asked.build
    if before is None:
        return ""
    drawn = [any(leaf.draws for leaf in golden.leaves) for golden in (before, made)]
    lost = ["draws"] if drawn[0] and not drawn[1] else []
    lost += ["streams"] if before.streams and not made.streams else []
    if not lost:
        return ""
    untraced = build.untraceable if build is not None else "check sees no build"
    why = f" ({untraced})" if untraced else ""
    return (
        f"{result.path.name} held {' and '.join(lost)}, and holds none now{why}: its next mismatch "
        "will be explained by values alone"
    )


def _left_out(test: TestChecks, result: Result) -> str:
    """For the reader of an update: the leaves without values and spots, and why."""
    left_out = result.left_out
    if not left_out:
        return ""
    shown = ", ".join(f"{path} ({why})" for path, why in list(left_out.items())[:_SHOWN])
    more = f", and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    count = f"{len(left_out)} {'leaves' if len(left_out) > 1 else 'leaf'}"
    golden = os.path.relpath(result.path, test.rootdir).replace(os.sep, "/")
    return f"{golden} keeps no values of {count}: {shown}{more}"
