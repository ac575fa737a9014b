"""A call that does not give what its golden holds -> the first module that did something else.

Facts are compared, not guessed: inputs, weights, which modules are called, what each computes, and
its keys. Where none differs, the outputs of the modules tell how a difference grew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from pytest_nnxrng.golden.execution import norm_of, regrouped
from pytest_nnxrng.leaf.forward import FUNCTION, Call, Forward
from pytest_nnxrng.leaf.gist import distance, read
from pytest_nnxrng.leaf.paths import is_below
from pytest_nnxrng.leaf.paths import told as repeated
from pytest_nnxrng.why.abreast import FACT, Found, Pair, Passage, aligned, draws
from pytest_nnxrng.why.cause import LIKELY, Cause, few, line_of
from pytest_nnxrng.why.otherwise import otherwise

Changes = Sequence[tuple[str, object, object]]
_ROUNDS = 1e-5  # of an input, across environments
_FAR = 1e-3  # of leaves and outputs: no rounding of another version


def facts(passage: Passage) -> list[Cause]:
    """What is known to differ, in the order of execution."""
    given, fixed = _inputs(passage)
    causes = given + _weights(passage)
    if not passage.comparable or fixed:
        return causes
    pairs, gone, came = aligned(passage.old.calls, passage.new.calls)
    shaped = _other_leaves(passage, pairs)
    restructured, parents = _calls(passage, pairs, gone, came)
    computed = _computations(passage, pairs, parents)
    drawn = draws(passage, pairs, restructured + computed)
    return [*causes, *shaped, *_in_order([*restructured, *computed, *drawn])]


def first_step(passage: Passage) -> str:
    """Of a training run: the first step that is not the golden's, and what moved in it."""
    old, new = passage.old.steps, passage.new.steps
    if number := number_of_step(passage):
        moved = few(_moved_in(old[number - 1], new[number - 1]))
        return f"step {number} of {len(new)} is the first that moved: {moved}"
    return "" if len(old) == len(new) else f"{len(new)} steps, in the golden {len(old)}"


def number_of_step(passage: Passage) -> int:
    """The number of that step; 0 if there is none."""
    both = zip(passage.old.steps, passage.new.steps, strict=False)
    return next((i for i, (then, now) in enumerate(both, 1) if _moved_in(then, now)), 0)


def _moved_in(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    outputs = [name for name in now if name in then and " digest " in now[name]]
    ours = {name: text for name, text in now.items() if name not in outputs}
    theirs = {name: text for name, text in then.items() if name not in outputs}
    state = regrouped(ours, theirs)
    moved = [name for name in outputs if then[name].split()[-1] != now[name].split()[-1]]
    return moved + [name for name in theirs if name in state and theirs[name] != state[name]]


def _in_order(causes: Iterable[Found]) -> list[Cause]:
    return [cause for _, cause in sorted(causes, key=lambda found: found[0])]


# -- what the call was given -------------------------------------------------------------


def _inputs(passage: Passage) -> tuple[list[Cause], bool]:
    """Other arguments, and whether one is such that everything else may follow from it."""
    old, new = passage.old.inputs, passage.new.inputs
    found, fixed = [], False
    for name in [*new, *(name for name in old if name not in new)]:
        a, b = old.get(name), new.get(name)
        if a == b:
            continue
        text, plain = _argument(name, a, b, bool(passage.changes))
        if text:
            found.append(Cause("inputs", passage.paths, text, FACT, text))
            fixed |= plain
    return found, fixed


def _argument(name: str, old: str | None, new: str | None, elsewhere: bool) -> tuple[str, bool]:
    label = f"argument {name}"
    if old is None or new is None:
        return f"{label} {'is new' if old is None else 'is no longer given'}", True
    try:
        then, now = read(old), read(new)
    except ValueError:
        return f"{label} {old} -> {new}", True
    if then.digest == now.digest and then.form == now.form:
        return "", False
    if then.form != now.form:
        return f"{label} {then.form} -> {now.form}", True
    far = distance(then, now)
    if elsewhere and far is not None and far <= _ROUNDS:
        return "", False  # it rounds otherwise in another environment
    return f"{label} ({now.form}) has other numbers", False


def _weights(passage: Passage) -> list[Cause]:
    """Other values in the model's leaves; where it was checked and matches, these only round."""
    old, new = passage.old.weights, regrouped(passage.new.weights, passage.old.weights)
    moved = [path for path in old if path in new and old[path] != new[path]]
    moved = [p for p in moved if not _is_reshaped(passage, p)]
    if passage.changes:
        moved = [p for p in moved if _is_far(old[p], new[p])]
    model = passage.model
    if not moved or (passage.changes and model.matched):
        return []
    left = [path for path in moved if _is_left(path, passage.model.left)]
    if left:
        moved = [path for path in moved if path not in left]
        text = f"an earlier call of this test left other state: {few(left)}"
        follows = [Cause("follows", passage.paths, text, FACT, text)]
        return follows + (_weights_of(passage, moved) if moved else [])
    return _weights_of(passage, moved)


def _is_left(path: str, left: Collection[str]) -> bool:
    """Whether this is one of these, of which either may bear the name of its argument, too."""
    return any(path == p or path.endswith(f".{p}") or p.endswith(f".{path}") for p in left)


def _weights_of(passage: Passage, moved: Sequence[str]) -> list[Cause]:
    model = passage.model
    what = few(moved) if set(moved) <= passage.new.weights.keys() else f"leaves of {few(moved)}"
    if model.checked and model.causes:
        by = few(model.tests) or "this test"
        text = f"the model that {by} checked before differs: {what}"
        return [Cause("follows", passage.paths, text, FACT, text)]
    if passage.changes and not model.checked:
        text = f"likely: {what} {_be(moved)} not what the golden's call had"
        return [Cause("weights", passage.paths, text, LIKELY, text)]
    text = f"{what} {_be(moved)} not what the golden's call had"
    return [Cause("weights", passage.paths, text, FACT, text)]


def _be(moved: Sequence[str], each: str = "") -> str:
    """The verb; what is told of ``each`` block is one."""
    return "is" if len(moved) == 1 or each else "are"


def _is_far(old: str, new: str) -> bool:
    """Whether leaves differ by more than what an environment rounds otherwise."""
    a, b = norm_of(old), norm_of(new)
    return a != b and not abs(a - b) <= _FAR * max(a, b)


def _is_reshaped(passage: Passage, path: str) -> bool:
    forms = [_forms_of(side).get(path) for side in (passage.old, passage.new)]
    return None not in forms and forms[0] != forms[1]


def _forms_of(forward: Forward) -> dict[str, str]:
    return {
        f"{call.path}.{name}".strip("."): form
        for call in forward.calls
        for name, form in call.computation.holds.items()
    }


def _other_leaves(passage: Passage, pairs: Sequence[Pair]) -> list[Cause]:
    """Leaves of another shape or dtype."""
    old, new = _forms_of(passage.old), _forms_of(passage.new)
    moved = [path for path in new if path in old and old[path] != new[path]]
    if not moved:
        return []
    first = f"{moved[0]} {old[moved[0]]} -> {new[moved[0]]}"
    leaves = "leaf" if len(moved) == 2 else "leaves"
    more = f" and {len(moved) - 1} more {leaves}" if len(moved) > 1 else ""
    return [Cause("weights", passage.paths, first + more, FACT, first + more)]


# -- which modules are called ------------------------------------------------------------


def _calls(
    passage: Passage, pairs: Sequence[Pair], gone: Sequence[Call], came: Sequence[Call]
) -> tuple[list[Found], set[str]]:
    """Calls that came, went or moved, and the paths of modules whose calls these are."""
    found: list[Found] = []
    parents: set[str] = set()
    modules = {call.path for side in (passage.old, passage.new) for call in side.calls}
    at = {id(call): i for i, call in enumerate(passage.new.calls)}
    for verb, calls in (("no longer called", gone), ("called, too", came)):
        tops = _topmost(calls)
        if not tops:
            continue
        names = [call.name for call in tops]
        what, where = repeated(names)
        place = next((line_of(call.where) for call in tops if call.where), "")
        change = f"{what}{where} {_be(names, where)} {verb}"
        text = f"{change} ({place})" if place else change
        first = at[id(tops[0])] if id(tops[0]) in at else _after(tops[0], passage, pairs, at)
        found.append((first, Cause("calls", passage.paths, text, FACT, change, place)))
        parents.update(_above(call.path, modules) for call in calls)
    moved = _reordered(pairs, passage.old.calls, {_method(call) for call in (*gone, *came)})
    if moved:
        names = [pair.new.name for pair in moved]
        what, where = repeated(names)
        place = line_of(moved[0].new.where)
        change = f"{what}{where} {_be(names, where)} called in another order"
        text = f"{change} ({place})" if place else change
        cause = Cause("calls", passage.paths, text, FACT, change, place)
        found.append((at[id(moved[0].new)], cause))
        parents.update(_above(pair.new.path, modules) for pair in moved)
    return found, parents


def _after(gone: Call, passage: Passage, pairs: Sequence[Pair], at: Mapping[int, int]) -> float:
    """Where a call that is gone would stand: before the one that came after it."""
    order = {id(call): i for i, call in enumerate(passage.old.calls)}
    later = [at[id(p.new)] for p in pairs if order[id(p.old)] > order[id(gone)]]
    return min(later, default=len(at)) - 0.5


def _above(path: str, modules: Collection[str]) -> str:
    """The module that holds this one, and probably calls it."""
    above = [p for p in modules if p != path and is_below(path, p)]
    return max(above, key=len, default="")


def _topmost(calls: Sequence[Call]) -> list[Call]:
    """Those that are not inside of another one of the same turn."""
    return [
        c
        for c in calls
        if not any(
            o is not c and o.path != c.path and is_below(c.path, o.path) and o.number <= c.number
            for o in calls
            if o.path
        )
    ]


def _method(call: Call) -> tuple[str, str]:
    return call.path, call.computation.method


def _reordered(
    pairs: Sequence[Pair], old: Sequence[Call], counted: Collection[tuple[str, str]]
) -> list[Pair]:
    """The calls that moved. Those of a method that is called more or less often have no place."""
    pairs = [pair for pair in pairs if _method(pair.new) not in counted]
    place = {id(call): i for i, call in enumerate(old)}
    order = [place[id(pair.old)] for pair in pairs]
    if order == sorted(order):
        return []
    matcher = SequenceMatcher(None, sorted(order), order, autojunk=False)
    moved = [
        pairs[i]
        for kind, _, _, a, b in matcher.get_opcodes()
        if kind in ("insert", "replace")
        for i in range(a, b)
    ]
    tops = _topmost([pair.new for pair in moved])
    return [pair for pair in moved if any(pair.new is top for top in tops)]


# -- what they compute -------------------------------------------------------------------


def _computations(
    passage: Passage, pairs: Sequence[Pair], restructured: Collection[str]
) -> list[Found]:
    """Modules that compute otherwise, those of one change together."""
    likely = any(name == "jax" for name, _, _ in passage.changes)
    groups: Groups = {}
    places: dict[tuple[str, str], str] = {}
    for i, pair in _changed(passage, pairs, restructured):
        change = otherwise(pair.old.computation, pair.new.computation)
        if passage.new.steps and pair.new.computation.cls == FUNCTION and groups:
            continue  # the gradients of what is named already are a part of it
        key = (pair.new.computation.cls, change.text)
        places.setdefault(key, change.place)
        groups.setdefault(key, []).append((i, pair))
    if likely:
        groups = _first_to_move(groups, pairs)
    return [
        _computation(passage, key, members, places[key], likely) for key, members in groups.items()
    ]


Groups = dict[tuple[str, str], list[tuple[int, Pair]]]


def _changed(
    passage: Passage, pairs: Sequence[Pair], restructured: Collection[str]
) -> list[tuple[int, Pair]]:
    """The calls that compute otherwise, those aside that do so because of what others do."""
    found = []
    for i, pair in enumerate(pairs):
        if not _is_otherwise(pair) or _is_harmless(passage, pair, pairs):
            continue
        if _is_repeated(pair) and (
            pair.new.path in restructured or _holds_restructured(pair, restructured)
        ):
            continue
        found.append((i, pair))
    by_path = {pair.new.path: pair for pair in pairs}
    first = [(i, pair) for i, pair in found if not _follows_from_a_child(pair, by_path)]
    return first or ([] if restructured else found)


def _is_repeated(pair: Pair) -> bool:
    """Whether it has the same operations, be it more or fewer times: a loop over layers has."""
    return {*pair.old.computation.operations} == {*pair.new.computation.operations}


def _computation(
    passage: Passage,
    key: tuple[str, str],
    members: Sequence[tuple[int, Pair]],
    place: str,
    likely: bool,
) -> Found:
    cls, text = key
    what, where = repeated([pair.new.name for _, pair in members])
    verb = "computes" if len(members) == 1 or where else "compute"
    at = f" ({place})" if place else ""
    told = f"{what or cls}{where} {verb} otherwise: {text}{at}"
    told = f"likely: {told}{_versions(passage)}" if likely else told + _versions(passage)
    proof = LIKELY if likely else FACT
    finding = f"{cls} computes otherwise: {text}"
    return float(members[0][0]), Cause("computation", passage.paths, told, proof, finding, place)


def _versions(passage: Passage) -> str:
    moved = [f"{n} {a} -> {b}" for n, a, b in passage.changes if n in ("flax", "jax")]
    return f", with {', '.join(moved)}" if moved else ""


def _is_otherwise(pair: Pair) -> bool:
    old, new = pair.old.computation, pair.new.computation
    if not (old.fingerprint and new.fingerprint) or old.fingerprint == new.fingerprint:
        return False
    both = [name for name in old.holds if name in new.holds]
    return old.takes == new.takes and all(old.holds[n] == new.holds[n] for n in both)


def _is_harmless(passage: Passage, pair: Pair, pairs: Sequence[Pair]) -> bool:
    """Whether it, or a module around it, gives the same bits even so, and leaves the same state."""
    own = pair.new.path
    around = [
        p for p in pairs if p.new.number == 0 and (not p.new.path or is_below(own, p.new.path))
    ]
    same = pair.moved is False or any(
        p.moved is False for p in around if p.new.path != own and p.new.computation.cls != FUNCTION
    )
    state = f"state.{own}".rstrip(".")
    return same and not any(is_below(path, state) for path in passage.paths)


def _holds_restructured(pair: Pair, restructured: Collection[str]) -> bool:
    """Whether a call that came or went may be this one's, though not by its path."""
    return bool(restructured) and pair.new.computation.cls == FUNCTION


def _follows_from_a_child(pair: Pair, by_path: Mapping[str, Pair]) -> bool:
    """Whether a module that it calls gives other forms, so that it has to convert them."""
    own = pair.new.path
    return any(
        other.old.computation.gives != other.new.computation.gives
        and other.old.computation.takes == other.new.computation.takes
        for path, other in by_path.items()
        if path != own and (not own or is_below(path, own))
    )


def _first_to_move(groups: Groups, pairs: Sequence[Pair]) -> Groups:
    """Across versions of JAX equations are others anyhow: the group of the first that moved."""
    far = next((i for i, pair in enumerate(pairs) if (pair.apart or 0.0) > _FAR), None)
    if far is None:
        return {}
    path = pairs[far].new.path
    every = [(key, pair.new.path) for key, members in groups.items() for _, pair in members]
    inside = [(key, own) for key, own in every if is_below(own, path)]
    # What computes as before was given something else: by the module around it.
    around = [(key, own) for key, own in every if not own or is_below(path, own)]
    key, _ = max(inside or around, key=lambda found: len(found[1]), default=(None, ""))
    return {key: groups[key]} if key is not None else {}
