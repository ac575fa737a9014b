"""``nnxrng diff``: why goldens differ, in the words of a failing test, as far as they tell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_nnxrng.command.alteration import change
from pytest_nnxrng.command.sides import Pair, Sides, given
from pytest_nnxrng.command.terminal import Screen, Trouble, plural
from pytest_nnxrng.golden.document import GoldenError, fingerprint
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.fold import natural
from pytest_nnxrng.run.settings import Settings
from pytest_nnxrng.why.words import FOLLOWS, KEYED, OPEN

if TYPE_CHECKING:
    from pytest_nnxrng.golden.manifest import Golden
    from pytest_nnxrng.golden.provenance import Changes
    from pytest_nnxrng.why.cause import Cause, ModelCheck
    from pytest_nnxrng.why.stored import Between

_SHOWN = 12


@dataclass
class Found:
    """What became of a pair: ``status`` is same, rounded, different, added, removed or trouble."""

    pair: Pair
    status: str
    between: Between | None = None
    causes: tuple[Cause, ...] = ()
    follows: tuple[str, ...] = ()  # the causes of the model that an output comes from
    problem: str = ""
    notes: list[str] = field(default_factory=list)


def run(args: argparse.Namespace, screen: Screen) -> int:
    args.keys |= args.verbose
    with given(args.sides) as sides:
        found = [one for one in compared(sides.pairs) if one.pair.shown]
        if not found:
            raise Trouble(f"there are no goldens in {' and '.join(sides.names)}")
        if args.json:
            screen.json(document(sides, found))
        else:
            _show(sides, found, args, screen)
    if any(one.status == "trouble" for one in found):
        return 2
    return int(any(one.status not in ("same", "rounded") for one in found))


# -- comparing ---------------------------------------------------------------------------------


def compared(pairs: Sequence[Pair]) -> list[Found]:
    """What became of each pair: models first, since outputs follow from them."""
    tests: dict[Any, list[Pair]] = {}
    for pair in pairs:
        owner = pair.owner
        test = (owner.cls, owner.function, owner.parameters) if owner else pair.name
        tests.setdefault((str(Path(pair.name).parent) if pair.shown else "", test), []).append(pair)
    if any(not pair.shown for pair in pairs):
        tests = {None: list(pairs)}  # the goldens of one test, of which one is asked for
    found = {one.pair.name: one for group in tests.values() for one in _test(group)}
    return [found[pair.name] for pair in pairs]


def _test(pairs: Sequence[Pair]) -> list[Found]:
    found: list[Found] = []
    outputs: list[tuple[Pair, Golden, Golden]] = []
    models: list[Found] = []
    for pair in pairs:
        one = _alike(pair)
        if one is None:
            try:
                golden, obtained = _read(pair.golden), _read(pair.obtained)
            except (GoldenError, FileNotFoundError) as error:
                found.append(Found(pair, "trouble", problem=_told(pair, error)))
                continue
            if not _is_model(golden):
                outputs.append((pair, golden, obtained))
                continue
            one = _between(pair, golden, obtained, None)
        elif one.status == "same" and len(pairs) > 1 and not _is_model_file(pair):
            found.append(one)
            continue
        models.append(one)
    model = _model_check(models) if outputs else None
    for pair, golden, obtained in outputs:
        found.append(_between(pair, golden, obtained, model))
        if golden.owner.kind == "call" and model is not None:
            model = replace(model, left=(*model.left, *_left(found[-1])))
    return found + models


def _left(one: Found) -> list[str]:
    """The state that a call left otherwise: a later call of the test begins with it."""
    differences = one.between.comparison.differences if one.between else ()
    paths = [difference.path for difference in differences]
    return [path.removeprefix("state.") for path in paths if path.startswith("state.")]


def _alike(pair: Pair) -> Found | None:
    """What can be told without reading: one side alone, or the same bytes on both."""
    if pair.golden is None or pair.obtained is None:
        return Found(pair, "added" if pair.golden is None else "removed")
    same = fingerprint(pair.golden) == fingerprint(pair.obtained)
    return Found(pair, "same") if same else None


def _is_model_file(pair: Pair) -> bool:
    owner = pair.owner
    if owner is not None and owner.kind == "init":
        return True
    try:
        return _is_model(_read(pair.golden))
    except (GoldenError, FileNotFoundError):
        return False


def _is_model(golden: Golden) -> bool:
    from pytest_nnxrng.why.stored import is_model

    return is_model(golden)


def _model_check(models: Sequence[Found]) -> ModelCheck:
    from pytest_nnxrng.why.cause import ModelCheck

    both = [one for one in models if one.status not in ("added", "removed")]
    found = [d for m in both if m.between for d in m.between.comparison.differences]
    kinds = {"values", "derivation", "shape", "dtype"}
    moved = any(d.expected and d.obtained and not kinds.isdisjoint(d.kinds) for d in found)
    return ModelCheck(bool(both), tuple(cause for one in both for cause in one.causes), moved)


def _read(path: Path | None) -> Golden:
    """The golden at ``path``; without its values where git or LFS has not brought them."""
    from pytest_nnxrng.golden.manifest import read

    assert path is not None
    golden = read(path)
    if golden.values is None or _is_here(path.with_name(golden.values)):
        return golden
    leaves = tuple(leaf.but(read=None) if leaf.stored else leaf for leaf in golden.leaves)
    return replace(golden, leaves=leaves)


def _is_here(values: Path) -> bool:
    try:
        with values.open("rb") as file:
            return not file.read(24).startswith(b"version https://git-lfs")
    except OSError:
        return False


def _between(pair: Pair, golden: Golden, obtained: Golden, model: ModelCheck | None) -> Found:
    from pytest_nnxrng.compare.tolerance import tolerance
    from pytest_nnxrng.why.cause import Cause
    from pytest_nnxrng.why.stored import between

    # No golden records the options that its check had: the tolerance is one without any.
    then, now = golden.environment, obtained.environment
    allowed = tolerance(Settings(), golden.owner.kind, then, now)
    try:
        made = between(golden, obtained, allowed, model)
    except GoldenError as error:
        return Found(pair, "trouble", problem=_told(pair, error))
    if made.comparison.matches:
        status = "rounded" if made.comparison.rounded else "same"
        return Found(pair, status, made)
    causes = made.causes
    if pair.known is not None:
        names = ("word", "text", "evidence", "finding", "place")
        causes = tuple(
            Cause(leaves=tuple(row["leaves"]), **{n: row.get(n, "") for n in names})
            for row in pair.known
        )
    follows = tuple(f"{c.word}: {c.finding}" for c in (model.causes if model else ()))
    follows = follows if pair.known is None else pair.follows
    alone = all(cause.word == FOLLOWS for cause in causes)
    found = Found(pair, "different", made, causes, follows if alone else ())
    found.notes += _notes(golden, obtained, found)
    return found


def _notes(golden: Golden, obtained: Golden, found: Found) -> list[str]:
    notes = []
    for side, one in (("the golden", golden), ("the other side", obtained)):
        if one.values is not None and all(leaf.read is None for leaf in one.leaves if leaf.stored):
            notes.append(f"the values of {side} are not here: digests alone were compared")
    words = {cause.word for cause in found.causes}
    if found.pair.known is None and found.between:
        notes += _unproven(golden.owner.kind, words, found.between.changes)
    return notes


def _unproven(kind: str, words: set[str], changes: Changes) -> list[str]:
    """What only a run could tell."""
    flags = any(name not in ("jax", "jaxlib", "flax") for name, _, _ in changes)
    under = " under what the golden recorded" if changes else ""
    if kind == "call" and (flags or words & {"unknown", "rounding"}):
        return [f"not proven here: only the test itself can call the model again{under}"]
    if kind != "call" and "unknown" in words and changes:
        return [f"not proven here: only the test itself can build the model again{under}"]
    return []


def _told(pair: Pair, error: Exception) -> str:
    if isinstance(error, GoldenError):
        return f"{error.path.name}: {error.problem}. {error.remedy}"
    return f"{pair.name}: {error}"


# -- text --------------------------------------------------------------------------------------


def _show(sides: Sides, found: Sequence[Found], args: argparse.Namespace, screen: Screen) -> None:
    told: dict[tuple[str, ...], str] = {}
    for one in found:
        if one.status == "same":
            continue
        title = {"added": f"only in {sides.names[1]}", "removed": f"only in {sides.names[0]}"}
        screen.line(one.pair.name, "bold")
        if one.status == "trouble":
            screen.say(one.problem, "red", indent="  ")
        elif one.status in title:
            screen.say(title[one.status], "cyan", indent="  ")
        else:
            _golden(one, told, args, screen)
    screen.say(_summary(found), "bold" if len(found) > 1 else "")


def show(one: Found, screen: Screen) -> None:
    """One pair with every leaf that differs."""
    screen.line(one.pair.name, "bold")
    if one.between is None:
        screen.say(one.problem or one.status, "red", indent="  ")
    else:
        _golden(one, {}, argparse.Namespace(verbose=True, keys=False), screen)


def _summary(found: Sequence[Found]) -> str:
    counts = {status: sum(one.status == status for one in found) for status in _STATUSES}
    return (
        ", ".join(
            f"{plural(n, 'golden') if number == 0 else f'{n:,}'} {_STATUSES[status]}"
            for number, (status, n) in enumerate((s, n) for s, n in counts.items() if n)
        )
        + "."
    )


_STATUSES = {
    "different": "changed",
    "added": "added",
    "removed": "removed",
    "rounded": "the same but for rounding",
    "trouble": "cannot be compared",
    "same": "the same",
}


def _golden(
    one: Found, told: dict[tuple[str, ...], str], args: argparse.Namespace, screen: Screen
) -> None:
    assert one.between is not None
    comparison = one.between.comparison
    causes = tuple(f"{cause.word}: {cause.finding}" for cause in one.causes)
    key = (*causes, str(any("(see " in cause.text for cause in one.causes)))
    if causes and key in told:
        text = f"why     as {told[key]}: {'; '.join(causes)}"
        screen.say(text, "yellow", indent="  ", hang=" " * 8)
    else:
        told[key] = one.pair.name.rpartition("/")[2].removesuffix(".json")
        for cause in one.causes:
            text = f"why     {cause.word}: {cause.text}"
            screen.say(text, "yellow", indent="  ", hang=" " * 8)
    if one.follows:
        first = "from    " if one.causes else "why     it follows from the model: "
        text = f"{first}{'; '.join(one.follows)}"
        screen.say(text, "yellow", indent="  ", hang=" " * 8)
    counts = [f"{len(comparison.matched):,} match"]
    counts += [f"{len(comparison.rounded):,} by rounding"] if comparison.rounded else []
    counts += [f"{len(comparison.differences):,} differ"] if comparison.differences else []
    screen.say(f"leaves  {', '.join(counts)}", indent="  ")
    _leaves(one, screen, everything=args.verbose)
    if args.keys:
        _keys(one, screen)
    for name, old, new in one.between.changes:
        screen.say(f"under   {name} {_plain(old)} -> {_plain(new)}", indent="  ", hang=" " * 8)
    for note in one.notes:
        screen.say(f"note    {note}", indent="  ", hang=" " * 8)


def _leaves(one: Found, screen: Screen, *, everything: bool) -> None:
    """The leaves that no cause explains, with their numbers; all of them if asked for."""
    assert one.between is not None
    explained = {leaf for cause in one.causes if cause.word not in OPEN for leaf in cause.leaves}
    rows = [
        (d.path or "the value", change(d))
        for d in sorted(one.between.comparison.differences, key=lambda d: natural(d.path))
        if everything or (d.path not in explained and not d.rng)
    ]
    shown = rows if everything else rows[:_SHOWN]
    for path, text in shown:
        screen.say(f"{path}  {text}", indent="    ", hang="    ")
    if len(rows) > len(shown):
        screen.line(f"    ... and {len(rows) - len(shown):,} more (-v shows all)")


def _keys(one: Found, screen: Screen) -> None:
    from pytest_nnxrng.golden.document import load

    assert one.pair.golden is not None
    assert one.pair.obtained is not None
    if not any(cause.word in KEYED for cause in one.causes):
        return
    both = [keymap.of_manifest(load(path)) for path in (one.pair.golden, one.pair.obtained)]
    if all(keys.draws for keys in both):
        for line in keymap.aligned(both[0], both[1], screen.width - 4):
            screen.line(f"    {line}")


def _plain(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# -- JSON --------------------------------------------------------------------------------------


def document(sides: Sides, found: Sequence[Found]) -> Mapping[str, Any]:
    """The same for machines: rows are those of ``report.json``."""
    from pytest_nnxrng.report.machine import difference, finite

    rows = []
    for one in found:
        row: dict[str, Any] = {"golden": one.pair.name, "status": one.status}
        if one.between is not None:
            row["causes"] = [asdict(cause) for cause in one.causes]
            row["follows"] = list(one.follows)
            row["differences"] = [difference(d) for d in one.between.comparison.differences]
            row["environment"] = [list(change) for change in one.between.changes]
        rows.append({**row, "problem": one.problem, "notes": one.notes})
    result: dict[str, Any] = finite({"sides": list(sides.names), "goldens": rows})
    return result
