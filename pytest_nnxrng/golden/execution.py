"""The section ``calls`` of a manifest: what a call of a model did, one line a module's call.

Computations stand there once each, whoever made them, and the order of calls with repeated layers
once: both for all calls, however deep. Outputs, a line each, are kept as deep as fits. Modules and
their static attributes are a section of their own; equal ones refer to the first.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import xxhash

from pytest_nnxrng.leaf.forward import (
    CALL,
    CLASS,
    NOT_KEPT,
    Call,
    Computation,
    Forward,
    Row,
    numbered,
)
from pytest_nnxrng.leaf.gist import Summary, read, told
from pytest_nnxrng.leaf.paths import compact, expand

_BY = ".:"  # stands in the order between a path and the name of a computation
# What a fingerprint is made from. Raised where that changes: others do not compare.
SCHEME = 2
# Characters that the parts may take: together no more than 64 KiB.
_OUTPUTS, _OPERATIONS, _WEIGHTS, _DRAWS = 30_000, 12_000, 8_000, 6_000
_STEPS = 8_000
_WEIGHT = re.compile(r"[0-9a-f]{8} (\d+(\.\d*)?(e[-+]?\d+)?|inf|nan)\Z")
_HEX16 = re.compile(r"[0-9a-f]{16}\Z")


def packed(rows: Mapping[str, Row]) -> dict[str, Any]:
    """The rows by their paths, sorted; one that equals an earlier one is the path of that one.

    A transformer's layers are alike but for the first: so they are read, and changed, once.
    """
    first: dict[str, str] = {}
    found: dict[str, Any] = {}
    for path in sorted(rows):
        row = dict(rows[path])
        text = json.dumps(row)
        like = first.setdefault(text, path)
        found[path] = row if like == path or len(text) <= len(json.dumps(like)) else like
    return found


def unpacked(data: Any) -> dict[str, Row]:
    """The rows as `packed` wrote them.

    Raises:
      ValueError: for anything else.
    """
    if not isinstance(data, dict):
        raise ValueError('"modules" is not a map of modules')
    found: dict[str, Row] = {}
    for path, entry in data.items():
        row = data.get(entry) if isinstance(entry, str) else entry
        if not isinstance(row, dict) or not isinstance(row.get(CLASS, ""), str):
            raise ValueError(f'"modules": {path} is neither a module nor like one')
        if not all(value is None or _is_plain(value) for value in row.values()):
            raise ValueError(f'"modules": {path} holds what is no number, text or list of these')
        found[path] = row
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(item is None or _is_plain(item) for item in value)
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


# -- what fits ---------------------------------------------------------------------------


def fitting(forward: Forward, depth: int | None = None) -> Forward:
    """The call with the outputs that fit, or those of calls up to ``depth``; leaves in groups."""
    deepest = max((call.depth for call in forward.calls), default=1)
    asked = range(deepest, 0, -1) if depth is None else [min(depth, deepest)]
    kept: tuple[Call, ...] = ()
    for level in asked:
        kept = tuple(c if c.depth <= level else replace(c, outputs=None) for c in forward.calls)
        if depth is not None or _size(kept) <= _OUTPUTS:
            break
    else:
        level, kept = 0, _first(kept)
    told_depth = None if level == deepest else level
    steps = tuple(_step(step, len(forward.steps)) for step in forward.steps)
    weights = grouped(forward.weights)
    return replace(forward, calls=kept, weights=weights, depth=told_depth, steps=steps)


def _step(step: Mapping[str, str], steps: int) -> dict[str, str]:
    """What a step gave, and the state after it in as many groups as fit all steps."""
    outputs = {name: text for name, text in step.items() if not _WEIGHT.match(text)}
    state = {name: text for name, text in step.items() if name not in outputs}
    return {**outputs, **grouped(state, max(_STEPS // steps, _WEIGHTS // 100))}


def _size(calls: Iterable[Call]) -> int:
    return sum(len(json.dumps([c.name, _outputs(c.outputs)])) for c in calls if c.outputs)


def _first(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls with outputs as far as these fit, and of the last one in any case."""
    left, found = _OUTPUTS - _size(calls[-1:]), []
    for call in calls[:-1]:
        left -= _size([call])
        found.append(call if left > 0 else replace(call, outputs=None))
    return (*found, *calls[-1:])


def grouped(weights: Mapping[str, str], room: int = _WEIGHTS) -> dict[str, str]:
    """The digests of leaves; of too many, one for those under each common path that fits."""
    found = dict(weights)
    steps = max((path.count(".") for path in weights), default=0)
    while len(json.dumps(found)) > room and steps >= 0:
        groups: dict[str, list[str]] = {}
        for path, code in sorted(weights.items()):
            groups.setdefault(".".join(path.split(".")[:steps]), []).append(code)
        found = {path: _together(codes) for path, codes in groups.items()}
        steps -= 1
    return found


def regrouped(weights: Mapping[str, str], like: Mapping[str, str]) -> dict[str, str]:
    """The digests of leaves in the groups that a golden has them in."""
    if weights.keys() == like.keys():
        return dict(weights)
    steps = sorted({path.count(".") + bool(path) for path in like}, reverse=True)
    for step in [*steps, 0]:
        groups: dict[str, list[str]] = {}
        for path, code in sorted(weights.items()):
            groups.setdefault(".".join(path.split(".")[:step]), []).append(code)
        if groups.keys() == like.keys():
            return {path: _together(codes) for path, codes in groups.items()}
    return dict(weights)


def norm_of(weight: str) -> float:
    """The norm in the entry of a leaf."""
    return float(weight.partition(" ")[2])


def _together(codes: Sequence[str]) -> str:
    code = xxhash.xxh3_64_hexdigest(" ".join(c.partition(" ")[0] for c in codes).encode())[:8]
    return f"{code} {math.sqrt(sum(norm_of(c) ** 2 for c in codes)):.5g}"


# -- writing -----------------------------------------------------------------------------


def dumped(forward: Forward) -> dict[str, Any]:
    """The section, as JSON holds it."""
    named = _named(forward.calls)
    names = {_key(computation): name for name, computation in named.items()}
    found: dict[str, Any] = {"scheme": SCHEME}
    if forward.untraced:
        found["untraced"] = forward.untraced
    if forward.depth is not None:
        found["depth"] = forward.depth
    found["inputs"] = dict(forward.inputs)
    found["weights"] = dict(sorted(forward.weights.items()))
    found["keys"] = dict(forward.keys)
    left = _OPERATIONS
    rows = {}
    for name, computation in named.items():
        row = _computation(computation)
        left -= len(json.dumps(row.get("operations", [])))
        if left < 0:
            row["operations"] = [NOT_KEPT]
        rows[name] = row
    found["computations"] = rows
    found["order"] = compact([f"{c.path}{_BY}{names[_key(c.computation)]}" for c in forward.calls])
    found["draws"] = _draws(forward.calls)
    found["outputs"] = {c.name: _outputs(c.outputs) for c in forward.calls if c.outputs}
    if forward.steps:
        found["steps"] = {str(i): dict(step) for i, step in enumerate(forward.steps, 1)}
    return found


def _named(calls: Sequence[Call]) -> dict[str, Computation]:
    """The different computations, each by a name: its class, and a number if it needs one."""
    named: dict[str, Computation] = {}
    known: set[str] = set()
    for call in calls:
        key = _key(call.computation)
        if key not in known:
            known.add(key)
            cls = call.computation.cls
            names = itertools.chain([cls], (f"{cls}-{n}" for n in itertools.count(2)))
            named[next(name for name in names if name not in named)] = call.computation
    return named


def _key(computation: Computation) -> str:
    """Computations hold mappings, which do not hash."""
    return json.dumps(_computation(computation), sort_keys=True)


def _computation(found: Computation) -> dict[str, Any]:
    row: dict[str, Any] = {"class": found.cls}
    if found.method != CALL:
        row["method"] = found.method
    if found.fingerprint:
        row["fingerprint"] = found.fingerprint
    for name, forms in (("takes", found.takes), ("gives", found.gives)):
        if forms:
            row[name] = list(forms)
    for name, mapping in (("holds", found.holds), ("attributes", found.attributes)):
        if mapping:
            row[name] = dict(sorted(mapping.items()))
    if found.operations:
        row["operations"] = _shortened(found.operations)
    return row


def _shortened(operations: Sequence[str]) -> list[str]:
    """Texts of which one that begins as the last one did has a colon in place of that."""
    found, last = [], ""
    for text in operations:
        made, colon, rest = text.partition(": ")
        found.append(f": {rest}" if colon and made == last else text)
        last = made if colon else ""
    return found


def _lengthened(operations: Sequence[str]) -> tuple[str, ...]:
    found, last = [], ""
    for text in operations:
        if text.startswith(": "):
            text = f"{last}{text}"
        found.append(text)
        last = text.partition(": ")[0] if ": " in text else ""
    return tuple(found)


def _draws(calls: Sequence[Call]) -> dict[str, Any]:
    """The keys that were drawn -> the calls that drew them."""
    groups: dict[str, list[str]] = {}
    for call in calls:
        if call.draws:
            groups.setdefault(" ".join(call.draws), []).append(call.name)
    found = {keys: compact(names) for keys, names in groups.items()}
    return found if len(json.dumps(found)) <= _DRAWS else {}


def _outputs(outputs: tuple[Summary, ...] | None) -> Any:
    texts = list(map(told, outputs or ()))
    return texts[0] if len(texts) == 1 else texts


def text_of(section: Mapping[str, Any]) -> str:
    """The section as it stands in a manifest: one line a computation, a module, a call."""
    lines = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            rows = [f"      {_line(name)}: {_line(item)}" for name, item in value.items()]
            lines.append(f"    {_line(key)}: {{\n" + ",\n".join(rows) + "\n    }")
        else:
            lines.append(f"    {_line(key)}: {_line(value)}")
    return "{\n" + ",\n".join(lines) + "\n  }"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


# -- reading -----------------------------------------------------------------------------


def loaded(data: Any) -> Forward:
    """The call that a section tells of.

    Raises:
      ValueError: for what `dumped` does not write.
    """
    if not isinstance(data, dict):
        raise ValueError('"calls" is not an object')
    scheme = data.get("scheme")
    if type(scheme) is not int:
        raise ValueError('"calls" has no "scheme"')
    named = {name: _parse(name, row) for name, row in _map(data, "computations").items()}
    if scheme != SCHEME:
        named = {name: replace(row, fingerprint="") for name, row in named.items()}
    calls = _ordered(data, named)
    names = {call.name: i for i, call in enumerate(calls)}
    found = list(calls)
    for keys, rows in _map(data, "draws").items():
        for name in expand(rows):
            found[_at(names, name)] = replace(found[_at(names, name)], draws=tuple(keys.split(" ")))
    for name, row in _map(data, "outputs").items():
        texts = row if isinstance(row, list) else [row]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f'"calls": the outputs of {name!r:.60} are no texts')
        found[_at(names, name)] = replace(found[_at(names, name)], outputs=tuple(map(read, texts)))
    depth, untraced = data.get("depth"), data.get("untraced", "")
    if depth is not None and (type(depth) is not int or depth < 0):
        raise ValueError('"calls": "depth" is no number of levels')
    if not isinstance(untraced, str):
        raise ValueError('"calls": "untraced" is no text')
    weights, bases = _texts(data, "weights"), _texts(data, "keys")
    if not all(map(_WEIGHT.match, weights.values())) or not all(map(_HEX16.match, bases.values())):
        raise ValueError('"calls": a digest of "weights" or "keys" is none')
    inputs, steps = _texts(data, "inputs"), _steps(_map(data, "steps"))
    return Forward(tuple(found), inputs, weights, bases, depth, untraced, steps)


def made_by(data: Mapping[str, Any]) -> list[str]:
    """The name of the computation that made each call of a section, in their order."""
    return [entry.rpartition(_BY)[2] for entry in expand(data.get("order"))]


def _steps(rows: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    if list(rows) != [str(i) for i in range(1, len(rows) + 1)]:
        raise ValueError('"calls": "steps" are not numbered')
    return tuple(_texts(rows, number) for number in rows)


def _ordered(data: Mapping[str, Any], named: Mapping[str, Computation]) -> tuple[Call, ...]:
    calls = []
    for entry in expand(data.get("order")):
        path, by, name = entry.rpartition(_BY)
        if not by or name not in named:
            raise ValueError(f'"calls": "order" holds {entry!r:.60}, which no computation made')
        calls.append(Call(path, named[name]))
    return numbered(calls)


def _at(names: Mapping[str, int], name: str) -> int:
    if name not in names:
        raise ValueError(f'"calls": there is no call {name!r:.60} in the order')
    return names[name]


def _parse(name: str, row: Any) -> Computation:
    if not isinstance(row, dict):
        raise ValueError(f'"calls": the computation {name!r:.60} is not an object')
    forms = {key: row.get(key, []) for key in ("takes", "gives", "operations")}
    for key, texts in forms.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f'"calls": {key!r} of {name!r:.60} is not a list of texts')
    plain = {key: row.get(key, "") for key in ("class", "method", "fingerprint")}
    if not all(isinstance(text, str) for text in plain.values()) or not plain["class"]:
        raise ValueError(f'"calls": {name!r:.60} has no class, or one that is no text')
    if plain["fingerprint"] and not _HEX16.match(plain["fingerprint"]):
        raise ValueError(f'"calls": the fingerprint of {name!r:.60} is not 16 hex digits')
    attributes = unpacked({"": row.get("attributes", {})})[""]
    return Computation(
        plain["class"],
        plain["method"] or CALL,
        plain["fingerprint"],
        tuple(forms["takes"]),
        tuple(forms["gives"]),
        _texts(row, "holds"),
        attributes,
        _lengthened(forms["operations"]),
    )


def _map(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f'"calls": {name!r} is not an object')
    return found


def _texts(data: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _map(data, name)
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f'"calls": {name!r} is not a map of texts')
    return found
