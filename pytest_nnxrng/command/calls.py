"""What a golden of `check_call` tells of the call: a row a module's call, and each computation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_nnxrng.command.terminal import Screen, Trouble

Row = Mapping[str, Any]
COLUMNS = ("call", "by", "gives", "draws", "mean", "std", "min", "max")
FIRST_TO_GO = (("min", "max"), ("std",), ("mean",), ("draws",), ("by",), ("gives",))
_NUMBERS = ("mean", "std", "min", "max")
_FUNCTIONS = 12
_OUTPUT = re.compile(r"(?P<form>[^\]]*\])(?P<numbers>.*?)(?: at .*?)?(?: digest (?P<digest>\w+))?")


def rows(name: str, section: Row) -> list[dict[str, Any]]:
    """The calls in the order in which they ended: name, computation, draws, outputs.

    Raises:
      Trouble: when the section is not one as goldens have it.
    """
    from pytest_nnxrng.golden.execution import loaded, made_by

    try:
        calls, made = loaded(section).calls, made_by(section)
    except ValueError as error:
        raise Trouble(f"{name}: has been edited or damaged: {error}") from None
    given = section.get("outputs", {})
    return [
        {
            "call": call.name,
            "computation": by,
            "draws": list(call.draws),
            "outputs": _listed(given.get(call.name, list(call.computation.gives))),
        }
        for call, by in zip(calls, made, strict=True)
    ]


def _listed(outputs: Any) -> list[str]:
    return outputs if isinstance(outputs, list) else [outputs]


def cells(row: Row) -> tuple[str, ...]:
    """A call as a row of the table."""
    outputs = row["outputs"]
    numbers = _numbers(outputs[0]) if outputs else {}
    constant = numbers.get("constant", numbers.get("value"))
    mean = f"= {constant}" if constant is not None else numbers.get("mean", "")
    rest = [numbers.get(key, "") for key in _NUMBERS[1:]]
    return (row["call"], row["computation"], gives(outputs), " ".join(row["draws"]), mean, *rest)


def gives(outputs: list[str]) -> str:
    """``float32[1, 6, 8] and 1 more``."""
    if not outputs:
        return "-"
    more = f" and {len(outputs) - 1} more" if len(outputs) > 1 else ""
    return outputs[0].partition("]")[0] + "]" + more


def _numbers(output: str) -> dict[str, str]:
    found = _OUTPUT.fullmatch(output)
    words = found["numbers"].split() if found else []
    return {name: f"{float(n):.4g}" for name, n in zip(words[::2], words[1::2], strict=True)}


def attributes(row: Row) -> str:
    """What a computation depends on: ``epsilon 1e-06, use_bias true; square, mean, ...``."""
    given = row.get("attributes", {})
    told = ", ".join(f"{name} {_plain(v)}" for name, v in given.items() if v is not None)
    return "; ".join(filter(None, [told, _functions(row.get("operations", []))]))


def _functions(operations: list[str]) -> str:
    """The functions of JAX that it calls, in their order, each once."""
    names = [text.partition(": ")[0].split(" ")[0] for text in operations]
    names = list(dict.fromkeys(name for name in names if name))
    more = f" and {len(names) - _FUNCTIONS} more" if len(names) > _FUNCTIONS else ""
    return ", ".join(names[:_FUNCTIONS]) + more


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def head(section: Row) -> list[str]:
    """What the call was given, and what the golden could not keep of it."""
    lines = [
        f"argument {name}: {_short(text)}"
        for name, text in section.get("inputs", {}).items()
        if isinstance(text, str)
    ]
    if section.get("untraced"):
        lines.append(f"not traced: {section['untraced']}")
    if section.get("depth") is not None:
        lines.append(f"outputs are kept down to depth {section['depth']}; depth=N keeps others")
    return lines


def steps(section: Row) -> list[str]:
    """The steps of a training run: what each gave."""
    return [
        f"step {number}: " + ", ".join(f"{name} {_short(t)}" for name, t in _outputs(step))
        for number, step in section.get("steps", {}).items()
    ]


def _outputs(step: Row) -> list[tuple[str, str]]:
    return [(name, text) for name, text in step.items() if " digest " in text]


def _short(text: str) -> str:
    """An array without its digest and its elements."""
    return re.sub(r"( at [^\]]*)? digest \w+$", "", text)


def show(name: str, section: Row, screen: Screen, fitting: Any) -> None:
    """The tables of a call."""
    found = rows(name, section)
    screen.line()
    screen.say("the call: its modules in the order in which they end", "bold", indent="  ")
    for text in head(section):
        screen.say(text, indent="  ", hang="  ")
    screen.line()
    screen.rows(fitting([COLUMNS, *map(cells, found)], screen, FIRST_TO_GO), indent="  ")
    told = {by: attributes(row) for by, row in section["computations"].items()}
    if any(told.values()):
        screen.line()
    for by, text in told.items():
        if text:
            screen.say(f"{by}: {text}", indent="  ", hang="    ")
    for text in steps(section):
        screen.say(text, indent="  ", hang="    ")


def raw(name: str, section: Row) -> list[str]:
    """The same as lines for ``git diff``: a line an operation, a line a call."""
    lines = [f"call {text}" for text in head(section)]
    for what in ("weights", "keys"):
        lines += [f"{what} {path}: {code}" for path, code in section.get(what, {}).items()]
    for by, row in section.get("computations", {}).items():
        lines.append(f"computation {by}: {attributes({**row, 'operations': []})}".rstrip())
        lines += [f"  {text}" for text in _whole(row.get("operations", []))]
    for one in rows(name, section):
        drawn = f" draws {' '.join(one['draws'])}" if one["draws"] else ""
        outputs = "; ".join(map(_with_digest, one["outputs"])) or "nothing"
        lines.append(f"{one['call']}: {one['computation']} gives {outputs}{drawn}")
    return lines + steps(section)


def _whole(operations: list[str]) -> list[str]:
    """Operations of which each says by itself which function made it."""
    found, made = [], ""
    for text in operations:
        found.append(made + text if text.startswith(": ") else text)
        made = found[-1].partition(": ")[0] if ": " in found[-1] else ""
    return found


def _with_digest(output: str) -> str:
    digest = output.partition(" digest ")[2][:8]
    return f"{_short(output)} {digest}".rstrip()
