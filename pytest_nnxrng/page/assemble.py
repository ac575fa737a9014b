"""The parts -> one file that loads nothing; the same run gives the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_nnxrng.page import lanes, listing, overview
from pytest_nnxrng.page.cards import Card, cards
from pytest_nnxrng.page.detail import Pictures, Side, detail, sides
from pytest_nnxrng.page.display import display
from pytest_nnxrng.page.markup import Element, html, tag
from pytest_nnxrng.page.subject import Run
from pytest_nnxrng.report.machine import BY, MODELS, PAGE, finite, place, within
from pytest_nnxrng.run.outcomes import Check

_MOST_DISPLAYED = 500  # leaves of all models that are shown by NNX's display: it takes its time
_ASSETS = Path(__file__).with_name("assets")
# One after the other they are one script; what starts it comes last.
_SCRIPTS = (
    *("data.js", "filter.js", "details.js", "pictures.js"),
    *("marks.js", "choice.js", "keys.js", "start.js"),
)


def write(run: Run, path: Path | None = None) -> Path:
    """Write the page of a run, to ``path`` or into the report's folder; the old one or the new."""
    there = path or run.folder / PAGE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about numbers: the page draws them as they are
        if path is None:
            models(run)
        text = page(run)
    temporary = there.with_name(f".{there.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(there)
    return there


def models(run: Run) -> None:
    """Write what each model that moved is now, as NNX's display shows it, to files of their own."""
    left = _MOST_DISPLAYED
    for check in run.checks:
        if not (check.failed and check.obtained):
            continue
        golden = sides(check, run.folder, run.root)[1].golden
        if golden is None or golden.modules is None or len(golden.leaves) > left:
            continue
        try:
            text = display(golden, f"{check.test}: the model of this run")
        except ImportError:
            return
        there = place(run.folder, run.root / check.golden, run.root, MODELS).with_suffix(".html")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, encoding="utf-8", newline="\n")
        left -= len(golden.leaves)


def page(run: Run) -> str:
    """The page of a run, as HTML."""
    found = cards(run.checks)
    kept = _Kept(run)
    details, examples = kept.details(), [kept.example(card) for card in found]
    body = tag(
        "body",
        tag("a", "To the checks", href="#all", class_="skip"),
        overview.header(run, found),
        tag(
            "main",
            overview.changes(run, found) if found else None,
            overview.maps(found, examples),
            listing.listing(run, found) if run.checks else None,
        ),
        overview.footer(run),
        _choice(),
        _keys(),
        tag("noscript", tag("p", "Details, filters and choices need the page's script.")),
        packed("index", listing.index(run, found)),
        packed("run", {"name": run.name, "by": BY}),
        details,
        kept.templates(),
        tag("script", script()),
    )
    return f"<!doctype html>\n{html(tag('html', _head(run, found), body, lang='en'))}\n"


def _head(run: Run, found: Sequence[Card]) -> Element:
    pinned, style = _pinned(script()), _pinned(_asset("page.css"))
    policy = (
        f"default-src 'none'; script-src {pinned}; style-src {style}; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=BY),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{overview.headline(run, found)} (nnx snapshots)"),
        tag("style", _asset("page.css")),
    )


def script() -> str:
    """The page's one script."""
    return "\n".join(map(_asset, _SCRIPTS))


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _pinned(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def packed(name: str, value: Any) -> Element:
    """JSON that the script inflates when it is asked for: letters that cannot be markup."""
    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    data = base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
    return tag("template", data, id=f"data-{name}")


class _Kept:
    """The goldens of a run, each read once; its key maps, each kept once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.sides: dict[int, tuple[Side, Side]] = {}
        self.maps: dict[str, int] = {}
        self.of: dict[int, tuple[int, bool]] = {}  # a check's map, and whether it shows a change

    def details(self) -> list[Element]:
        failed = [(n, check) for n, check in enumerate(self.run.checks) if check.failed]
        pictures = Pictures()
        pictures.share(len(failed))
        made = []
        for number, check in failed:
            golden, obtained = sides(check, self.run.folder, self.run.root)
            told = detail(check, golden, obtained, pictures)
            told["map"] = self._map(check, golden, obtained)
            told["model"] = self._model(check)
            made.append(packed(f"check-{number}", told))
        return made

    def _model(self, check: Check) -> str | None:
        """Where beside the page the check's model stands, if it does."""
        root = self.run.root
        there = MODELS / within(root / check.golden, root).with_suffix(".html")
        return there.as_posix() if (self.run.folder / there).is_file() else None

    def _map(self, check: Check, golden: Side, obtained: Side) -> int | None:
        """The number of a check's key map, if it has one."""
        drawn = lanes.pictures(golden.keys, obtained.keys)
        if drawn is None:
            return None
        number = self.maps.setdefault(html(drawn), len(self.maps))
        self.of[id(check)] = (number, lanes.differ(golden.keys, obtained.keys))
        return number

    def example(self, card: Card) -> tuple[Check, Element] | None:
        """The smallest map in which a card's change shows."""
        texts = list(self.maps)
        found = [(len(texts[n]), n) for n, shows in map(self._of, card.moved) if shows]
        if not found:
            return None
        _, number = min(found)
        of = next(check for check in card.moved if self._of(check)[0] == number)
        golden, obtained = sides(of, self.run.folder, self.run.root)
        drawn = lanes.pictures(golden.keys, obtained.keys)
        return (of, drawn) if drawn is not None else None

    def _of(self, check: Check) -> tuple[int, bool]:
        return self.of.get(id(check), (-1, False))

    def templates(self) -> list[Element]:
        return [packed(f"map-{number}", text) for text, number in self.maps.items()]


def _choice() -> Element:
    """What was ticked, and the command that accepts just that."""
    return tag(
        "section",
        tag("p", tag("strong", "", id="chosen"), " chosen to be accepted"),
        tag("p", tag("code", "", id="command", class_="command")),
        tag(
            "p",
            tag("button", "Copy", type="button", id="copy"),
            tag("button", "approvals.json", type="button", id="download"),
            tag("button", "Clear", type="button", id="clear"),
        ),
        id="choice",
        aria_label="Chosen",
        aria_live="polite",
        hidden=True,
    )


_SHORTCUTS = (
    ("/", "to the filter"),
    ("j k", "next and previous check"),
    ("Enter", "open or close a check"),
    ("a", "choose it, or the change"),
    ("[ ]", "previous and next change"),
    ("s", "sort by how much of its tolerance a check uses"),
    ("c", "copy the command"),
    ("x", "save approvals.json"),
    ("t", "light or dark"),
    ("Esc", "clear the filter, close what is open"),
    ("?", "these keys"),
)


def _keys() -> Element:
    rows = [tag("tr", tag("th", tag("kbd", key)), tag("td", does)) for key, does in _SHORTCUTS]
    return tag(
        "dialog",
        tag("h2", "Keys", id="keys-title"),
        tag("table", tag("tbody", rows)),
        tag(
            "p", "A filter: ", tag("code", "cause:draws status:different leaf:*.kernel !test:slow")
        ),
        tag("p", "Also ", tag("code", "stream: golden: file: change:"), "; a comma is “or”."),
        tag("form", tag("button", "Close"), method="dialog"),
        id="keys",
        aria_labelledby="keys-title",
    )
