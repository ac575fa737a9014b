"""``nnxrng show``: a golden's leaves, streams and environment as tables. Needs no numpy."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_nnxrng.command import calls, history
from pytest_nnxrng.command.terminal import Screen, Trouble, plural, printable
from pytest_nnxrng.golden.document import GoldenError, load
from pytest_nnxrng.report import keymap
from pytest_nnxrng.report.fold import natural

Row = Mapping[str, Any]
_KINDS = {"init": "check_init", "value": "check", "call": "check_call"}
# Columns of the table of leaves, and the order in which they go where the screen is narrow.
_COLUMNS = ("leaf", "type", "dtype", "shape", "draws", "initializer", "mean", "std", "min", "max")
_FIRST_TO_GO = (
    *(("initializer",), ("min", "max"), ("std",), ("type",)),
    *(("mean",), ("draws",), ("shape",), ("dtype",)),
)


def run(args: argparse.Namespace, screen: Screen) -> int:
    found = []
    for text in args.goldens:
        with history.file(text) as path:
            try:
                found.append((text, _checked(text, load(path))))
            except FileNotFoundError:
                raise Trouble(f"there is no golden {text}") from None
            except GoldenError as error:
                raise Trouble(f"{text}: {error.problem}. {error.remedy}") from None
    if args.html:
        return _html(args, screen)
    if args.json:
        screen.json([{"golden": name, **_listed(name, document)} for name, document in found])
        return 0
    if args.raw:
        for name, document in found:
            for text in raw(name, document):
                screen.line(text)
        return 0
    for number, (name, document) in enumerate(found):
        if number:
            screen.line()
        _golden(name, document, args, screen)
    return 0


def _listed(name: str, document: Row) -> Row:
    """The manifest; of a call with its rows one by one, which the file has in patterns."""
    if "calls" not in document:
        return document
    section = document["calls"]
    return {**document, "calls": {**section, "rows": calls.rows(name, section)}}


def _html(args: argparse.Namespace, screen: Screen) -> int:
    """Write a golden as treescope shows it, which comes with Flax."""
    from pytest_nnxrng.golden.manifest import read
    from pytest_nnxrng.page.display import display

    target = Path(args.html)
    if len(args.goldens) > 1:
        raise Trouble("--html takes one golden")
    if target.exists():
        raise Trouble(f"--html: {target} is there already")
    with history.file(args.goldens[0], siblings=True) as path:
        try:
            text = display(read(path), args.goldens[0])
        except ImportError:
            raise Trouble("--html needs treescope: pip install treescope") from None
    target.write_text(text, encoding="utf-8", newline="\n")
    screen.say(f"Written to {target}")
    return 0


def _checked(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """The manifest, if what is shown of it has the form that is expected."""

    def holds(key: str, kind: type) -> bool:
        value = document.get(key)
        return isinstance(value, dict) and all(isinstance(row, kind) for row in value.values())

    good = isinstance(document.get("owner"), dict) and holds("environment", object)
    good = good and isinstance(document.get("calls", {}), dict)
    good = good and holds("streams", dict) and holds("aliases", str) and holds("leaves", dict)
    if not good or not all(isinstance(r.get("shape"), list) for r in document["leaves"].values()):
        raise Trouble(f"{name}: has been edited or damaged: it is not a golden as they are written")
    return document


def _golden(name: str, document: Row, args: argparse.Namespace, screen: Screen) -> None:
    screen.line(name, "bold")
    for text in _head(document):
        screen.say(text, indent="  ")
    screen.line()
    leaves = {path: document["leaves"][path] for path in sorted(document["leaves"], key=natural)}
    if args.keys:
        _keys(document, screen)
        return
    if args.tree:
        for text in tree(leaves, screen.width):
            screen.line(text)
    else:
        rows = fitting([_COLUMNS, *(_cells(path, row) for path, row in leaves.items())], screen)
        screen.rows(rows, indent="  ")
    for path, target in sorted(document["aliases"].items()):
        screen.say(f"{path} is {target} itself", indent="  ", hang="  ")
    if "calls" in document:
        calls.show(name, document["calls"], screen, fitting)
    _streams(document["streams"], screen)
    if any(row.get("draws") for row in leaves.values()):
        screen.line()
        _keys(document, screen)
    _environment(document["environment"], screen)


def _head(document: Row) -> list[str]:
    owner, leaves = document["owner"], document["leaves"].values()
    test = ".".join(filter(None, [str(owner.get("class") or ""), str(owner.get("function"))]))
    if owner.get("parameters") is not None:
        test += f"[{owner['parameters']}]"
    kind = _KINDS.get(str(owner.get("kind")), "check")
    elements = sum(_size(row["shape"]) for row in leaves)
    told = [f"{kind} {owner.get('check')!s} of {test}"]
    told.append(f"{plural(len(leaves), 'leaf')} of {plural(elements, 'element')}")
    if document.get("values"):
        told[-1] += f"; values in {document['values']}"
    return told


def _size(shape: Iterable[Any]) -> int:
    size = 1
    for n in shape:
        size *= n if isinstance(n, int) else 1
    return size


def _cells(path: str, row: Row) -> tuple[str, ...]:
    constant = row.get("constant", row.get("value"))
    mean = f"= {constant}" if constant is not None else _number(row.get("mean"))
    rest = [_number(row.get(name)) for name in ("std", "min", "max")]
    draws = row.get("draws")
    return (
        path or "(the value)",
        str(row.get("type", "")),
        str(row.get("dtype", "")),
        str(row["shape"]),
        _drawn(draws) if isinstance(draws, list) else "",
        str(row.get("initializer", ""))[:8],
        mean,
        *rest,
    )


def _drawn(draws: list[Any]) -> str:
    if not draws:
        return "-"
    return str(draws[0]) if len(draws) == 1 else f"{draws[0]} and {len(draws) - 1} more"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value or "")


def fitting(
    rows: list[tuple[str, ...]], screen: Screen, first_to_go: Iterable[Iterable[str]] = _FIRST_TO_GO
) -> list[list[str]]:
    """The table without the columns that say nothing, and as many others as the screen takes."""
    columns = [n for n in range(len(rows[0])) if not n or any(row[n] for row in rows[1:])]
    widths = [max(len(printable(row[n])) for row in rows) for n in range(len(rows[0]))]
    for names in first_to_go:
        if 2 + sum(widths[n] + 2 for n in columns) - 2 <= screen.width:
            break
        columns = [n for n in columns if rows[0][n] not in names]
    return [[row[n] for n in columns] for row in rows]


def _streams(streams: Row, screen: Screen) -> None:
    if not streams:
        return
    rows = [["stream", "base key", "PRNG", "keys drawn"]]
    for name, stream in sorted(streams.items()):
        count, end = stream.get("count"), stream.get("end")
        drawn = "" if end is None else "none"
        if isinstance(count, int) and isinstance(end, int) and count < end:
            drawn = f"#{count} to #{end - 1}"
        rows.append([name, str(stream.get("key")), str(stream.get("impl")), drawn])
    screen.line()
    screen.rows(rows, indent="  ")


def _keys(document: Row, screen: Screen) -> None:
    """The key map, where the golden knows the draws."""
    for text in keymap.picture(keymap.of_manifest(document), screen.width - 2):
        screen.line(f"  {text}")


def _environment(environment: Row, screen: Screen) -> None:
    screen.line()
    screen.say(
        "made under " + ", ".join(f"{name} {_json(value)}" for name, value in environment.items()),
        indent="  ",
        hang="  ",
    )


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def raw(golden: str, document: Row) -> list[str]:
    """A golden as lines for ``git diff``: what did not change is the same line, whatever did.

    Columns are not aligned, and draws stand in order without their numbers, so that one key more
    is one line more. The leaves' own draws come last in their rows.
    """
    lines = _head({**document, "values": None})
    lines += calls.raw(golden, document["calls"]) if "calls" in document else []
    for name, lane in keymap.lanes(keymap.of_manifest(document)).items():
        stream = document["streams"].get(name, {})
        lines.append(f"stream {name}: {stream.get('impl')}, key {stream.get('key')}")
        lines += [f"  draw: {draw.told}" for draw in lane]
    for path in sorted(document["leaves"], key=natural):
        name, *cells = _cells(path, document["leaves"][path])
        kind, dtype, shape, draws, made, mean, std, least, most = cells
        numbers = f"mean {mean} std {std} in {least} to {most}" if std else mean
        digest = str(document["leaves"][path].get("digest", ""))[:8]
        lines.append(f"{name}: {kind} {dtype}{shape} {numbers}; {digest} by {made}; from {draws}")
    lines += [f"{path}: is {target}" for path, target in sorted(document["aliases"].items())]
    rows = document["environment"].items()
    return lines + [f"made under {name} {_json(value)}" for name, value in rows]


def tree(leaves: Mapping[str, Row], width: int) -> list[str]:
    """The leaves as a tree of the model's attributes."""
    root: dict[str, Any] = {}
    for path, row in leaves.items():
        node = root
        *above, last = re.findall(r"[^.\[]+|\[[^\]]*\]?", path) or ["(the value)"]
        for part in above:
            below = node.setdefault(part, {})
            node = below if isinstance(below, dict) else node
        node[last] = f"{row.get('type')} {row.get('dtype')}{row['shape'] or ''}"
        if row.get("draws"):
            node[last] += f" {_drawn(row['draws'])}"
    return [line[:width] for line in _branches(root, "  ")]


def _branches(node: Mapping[str, Any], indent: str) -> list[str]:
    lines, last = [], len(node) - 1
    for number, (name, below) in enumerate(node.items()):
        corner, bar = ("└─ ", "   ") if number == last else ("├─ ", "│  ")
        if isinstance(below, dict):
            lines.append(f"{indent}{corner}{name}")
            lines += _branches(below, indent + bar)
        else:
            lines.append(f"{indent}{corner}{name}  {below}")
    return lines
