"""What was obtained is compared with its golden, the mismatch explained, and a decision taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flax import nnx

from pytest_nnxrng.check import lookup
from pytest_nnxrng.check.stages import Asked, Compared, Explained, Obtained
from pytest_nnxrng.check.state import CheckOptions, Result, TestChecks
from pytest_nnxrng.compare import differences
from pytest_nnxrng.compare.differences import Comparison, alone, changed
from pytest_nnxrng.device.environment import BadFlag
from pytest_nnxrng.golden import policy
from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.golden.policy import Decision, Outcome, Status
from pytest_nnxrng.golden.provenance import rekeyed_streams
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.report import alternatives
from pytest_nnxrng.trace.build import Build, streams
from pytest_nnxrng.why import explain as why
from pytest_nnxrng.why.cause import ModelCheck, together
from pytest_nnxrng.why.words import NEVER_WRITTEN


def compare(obtained: Obtained) -> Compared:
    """Hold what was obtained against the golden, if there is one that can be read."""
    asked, golden = obtained.asked, obtained.golden
    recorded = golden.environment if golden is not None else obtained.environment
    allowed = asked.options.tolerance(
        asked.test.settings, asked.kind, recorded, obtained.environment
    )
    compared = Compared(obtained, allowed, error=obtained.found.error)
    if golden is None:
        return compared
    try:
        comparison = differences.compare(
            golden.leaves,
            obtained.flat.leaves,
            allowed,
            (golden.aliases, obtained.flat.aliases),
            sharding=asked.options.sharding,
            rekeyed=rekeyed_streams(golden.streams, streams(obtained.trace)),
            fingerprints=obtained.fingerprints,
            proven=obtained.sample.proven,
        )
    except GoldenError as error:
        return replace(compared, error=error)
    return replace(compared, comparison=_with_modules(obtained, comparison))


def _with_modules(obtained: Obtained, comparison: Comparison) -> Comparison:
    """With the changes of modules, where both sides have any: a State of a model has none."""
    golden, modules = obtained.golden, obtained.modules
    if golden is None or golden.modules is None or modules is None or not modules.rows:
        return comparison
    moved = [d.path for d in comparison.differences if not _MOVES.isdisjoint(d.kinds)]
    for aliases in (golden.aliases, obtained.flat.aliases):
        moved += [*aliases.keys(), *aliases.values()]
    same_flax = all(name != "flax" for name, _, _ in obtained.changes)
    found = changed(golden.modules, modules, moved, same_library=same_flax)
    return replace(comparison, static=found, alone=alone(golden.modules, modules))


_MOVES = frozenset({"added", "removed", "aliasing"})


def explain(compared: Compared) -> Explained:
    """Say why it differs, where the user will read it: not of what an update accepts unseen."""
    asked = compared.obtained.asked
    explained = Explained(compared)
    mode = asked.test.settings.mode
    accepted = compared.status is Status.DIFFERENT and mode.update and not mode.only
    if not compared.differs or accepted:
        return explained
    path = compared.obtained.found.path
    try:
        with asked.test.progress.step(f"explaining {path.name}"):
            found = asked.test.memory.reuse.explained(_mismatch(compared), asked.device)
            return replace(explained, causes=found.causes, evidence=found.evidence)
    except GoldenError as error:
        return replace(explained, compared=replace(compared, error=error))
    except BadFlag:
        return explained  # the recorded environment is none that can be set


def _model_check(asked: Asked) -> ModelCheck:
    """What checks of whole models came to before this check of another value.

    They are this test's; of a test that made none, those that others made of its fixtures' models.
    """
    comes_of_a_model = not asked.is_nnx or isinstance(asked.value, nnx.State | nnx.Metric)
    if asked.kind != "call" and (asked.kind != "value" or not comes_of_a_model):
        return ModelCheck()
    models = [result for result in asked.test.results if result.whole_model]
    known = together([r.of_model for r in models]) if models else _elsewhere(asked.test)
    return replace(known, left=_left(asked.test)) if asked.kind == "call" else known


def _left(test: TestChecks) -> tuple[str, ...]:
    """The state of models that earlier calls of the test left otherwise than their goldens."""
    found = [r.comparison for r in test.results if r.kind == "call" and r.comparison is not None]
    paths = [d.path for comparison in found for d in comparison.differences]
    return tuple(path.removeprefix("state.") for path in paths if path.startswith("state."))


def _earlier(asked: Asked) -> ModelCheck:
    """What the check before this one came to, of a model that a test checks step by step."""
    if asked.kind != "value" or not asked.is_nnx:
        return ModelCheck()
    return asked.test.memory.earlier(asked.test.title, asked.value)


def _elsewhere(test: TestChecks) -> ModelCheck:
    """What other tests of the run found of the models that the fixtures of this one hold."""
    known = test.memory.of(test.models())
    beside = test.title.removesuffix(test.identity.label)
    return replace(known, tests=tuple(name.removeprefix(beside) for name in known.tests))


def _mismatch(compared: Compared) -> why.Mismatch:
    obtained, comparison = compared.obtained, compared.comparison
    asked, golden = obtained.asked, obtained.golden
    assert golden is not None
    assert comparison is not None
    return why.Mismatch(
        golden,
        obtained.flat,
        comparison,
        obtained.changes,
        compared.tolerance,
        kind=asked.kind,
        build=asked.build,
        repeats=asked.repeats,
        model=_model_check(asked),
        earlier=_earlier(asked),
        is_nnx=asked.is_nnx,
        given=asked.test.given(),
        observed=asked.observed,
        only=asked.options.only,
    )


_DOES_NOT_REPEAT = (
    "the build does not repeat itself: two calls with the same rngs gave two different models. It "
    "depends on something else than its keys (time, random, os.urandom, numpy.random, a global "
    "counter)"
)


def _does_not_repeat(build: Build | None) -> str:
    trap = build.trap if build is not None else ""
    return f"{_DOES_NOT_REPEAT}. {trap[0].upper()}{trap[1:]}" if trap else _DOES_NOT_REPEAT


def decide(explained: Explained) -> Result:
    """What becomes of the check and of its golden."""
    compared = explained.compared
    obtained, comparison = compared.obtained, compared.comparison
    asked, found = obtained.asked, obtained.found
    decision = policy.decide(
        compared.status,
        asked.test.settings.mode,
        Outcome.PENDING,
        gains=_gains(obtained),
        repeats=asked.repeats,
        agrees=asked.agrees,
        left=bool(found.left),
        astray=found.astray,
        causes={cause.named_in(asked.test.settings.mode.only) for cause in explained.causes},
    )
    problem = "" if compared.error is None else str(compared.error)
    return Result(
        name=asked.name,
        kind=asked.kind,
        where=asked.where,
        path=found.target if decision.writes or decision.moves or found.gone else found.path,
        elsewhere=found.path if found.astray else None,
        gone=found.gone,
        status=compared.status,
        decision=decision,
        comparison=comparison,
        problem=problem if asked.repeats else _does_not_repeat(asked.build),
        lacks=_lacks(compared),
        changes=obtained.changes,
        causes=explained.causes,
        evidence=explained.evidence,
        whole_model=asked.is_whole_model,
        fingerprints=obtained.fingerprints,
        spread=any(leaf.slabs is not None for leaf in obtained.flat.leaves),
        also=alternatives.differing(asked.variants),
        note=_note(obtained, decision),
        notes=alternatives.rounding(asked.variants, found.path.name.removesuffix(".json")),
        left_out=obtained.sample.left_out,
        unrecorded=obtained.unrecorded,
        left=found.left if compared.status.bad and not decision.fails else "",
        target=found.target,
        withheld=_withheld(explained) if decision.fails else "",
    )


def _lacks(compared: Compared) -> str:
    """For the reader: that the golden's values are not there, and what that means."""
    lacks = compared.obtained.found.lacks
    if lacks is None:
        return ""
    told = f"{lacks.problem}. {lacks.remedy}. "
    if lacks.replaceable:
        told += "Does git ignore it? git check-ignore -v '*.safetensors'. "
    if compared.differs:
        return told + "What rounds cannot be told from what changed, and is told as changed"
    return told + "What the manifest holds agrees; a difference could not be explained"


def _withheld(explained: Explained) -> str:
    """Why no update would write the golden of a check that fails, if none would."""
    asked, status = explained.compared.obtained.asked, explained.compared.status
    if not asked.repeats or any(cause.word in NEVER_WRITTEN for cause in explained.causes):
        return "its build does not repeat itself"
    if not asked.agrees:
        return "the model depends on how it is built"
    return "its golden may not be written over" if status is Status.LOCKED else ""


def _note(obtained: Obtained, decision: Decision) -> str:
    """What is to be told of a golden that is left as it is."""
    golden, found = obtained.golden, obtained.found
    if decision.writes:
        return lookup.left_alone(found, obtained.asked.device.platform)
    if obtained.asked.test.settings.mode.refresh and obtained.changes and golden is not None:
        return held_back(found.path, golden, obtained.asked.options)
    return ""


def _gains(obtained: Obtained) -> bool:
    """Whether a golden that matches would be another one if it were written anew."""
    golden = obtained.golden
    if golden is None:
        return False
    if obtained.changes:
        return not (obtained.asked.options.abstract and _holds_values(golden))
    if obtained.unrecorded:
        return True
    running = obtained.flat.by_path()
    both = [(leaf, running[leaf.path]) for leaf in golden.leaves if leaf.path in running]
    return any(_gains_values(old, new) or _gains_placement(old, new) for old, new in both)


def held_back(path: Path, golden: Golden, options: CheckOptions) -> str:
    """Why a refresh leaves a golden of another environment as it is; "" if it does not."""
    if not options.abstract or not _holds_values(golden):
        return ""
    return (
        f"{path.name} holds values of the environment that it was made in, which an abstract check "
        "cannot make anew: it is left as it is. Refresh it from a check without abstract=True"
    )


def _holds_values(golden: Golden) -> bool:
    return any(leaf.digest is not None for leaf in golden.leaves)


def _gains_values(old: Leaf, new: Leaf) -> bool:
    if new.read is not None:
        return old.digest is None or old.kept
    return old.digest is None and old.spots is None and new.spots is not None


def _gains_placement(old: Leaf, new: Leaf) -> bool:
    """Whether this run knows where a leaf lies that the golden saw on one device."""
    return new.placed is not None and old.sharding is not None and old.placed is None
