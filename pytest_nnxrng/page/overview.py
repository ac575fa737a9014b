"""The first screen: how many goldens moved, by what, and what accepts each change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_nnxrng.page.cards import Card
from pytest_nnxrng.page.markup import Element, add, tag
from pytest_nnxrng.page.subject import STATUSES, Run, plural, status, title
from pytest_nnxrng.report.blame import FOLLOWS, WORDS, Change
from pytest_nnxrng.report.fold import folded
from pytest_nnxrng.run.outcomes import Check
from pytest_nnxrng.why.words import MEANINGS

UNKNOWN = "unknown"
_LISTED = 12
_PATTERNS = 6
_OTHERS = 8
_ATTRIBUTES = 2
_EVIDENCE = {
    "derivation": "Proven by a trace of both builds",
    "likely": "Likely, not proven",
    "values": "Seen in the values",
    "base keys": "Seen in the base keys of the streams",
    "built twice": "Seen when it was built twice",
    "content": "Seen in the values, which are the same",
    "rebuilt": "Proven by a build under what the golden recorded",
    "recovered from the values": "Seen in the keys, which were recovered from the values",
    "size": "Judged by the size of the difference",
}


def header(run: Run, cards: Sequence[Card]) -> Element:
    """What happened, in a sentence, and how many checks came to what."""
    made = tag("header", tag("h1", headline(run, cards)))
    add(made, tag("p", _rest(run), class_="rest") if _rest(run) else None)
    add(made, _bar(run))
    if run.against:
        add(made, tag("p", f"Held against {run.against}.", class_="rest"))
    return made


def footer(run: Run) -> Element:
    """What the run ran on, and what made the page."""
    told = [f"{name} {value}" for name, value in run.versions.items()]
    text = f"Ran on {', '.join(told)}. " if told else ""
    return tag("footer", tag("p", f"{text}Made by pytest-nnxrng.", class_="versions"))


def headline(run: Run, cards: Sequence[Card]) -> str:
    """``38 of 52 goldens moved, by 4 changes; 3 are not explained``."""
    counts, every = Counter(map(status, run.checks)), len(run.checks)
    if not every:
        return "No test held anything against a golden"
    moved = counts["different"]
    changes = sum(card.words[0] not in (*WORDS, UNKNOWN) for card in cards)
    unknown = len({c.golden for card in cards if card.words[0] == UNKNOWN for c in card.moved})
    parts = []
    if moved:
        by = f", by {plural(changes, 'change')}" if changes else ""
        parts.append(f"{moved:,} of {plural(every, 'golden')} moved{by}")
    if moved and unknown:
        parts.append(f"{unknown:,} {'is' if unknown == 1 else 'are'} not explained")
    if counts["missing"]:
        verb = "is" if counts["missing"] == 1 else "are"
        parts.append(f"{plural(counts['missing'], 'golden')} {verb} missing")
    unreadable = counts["unreadable"] + counts["locked"]
    if unreadable:
        parts.append(f"{plural(unreadable, 'golden')} cannot be read")
    if not parts and counts["written"]:
        parts.append(f"{plural(counts['written'], 'golden')} written")
    if not parts and any(check.failed for check in run.checks):
        parts.append("A build does not repeat itself")
    return "; ".join(parts) or f"Nothing moved: {plural(every, 'golden')} match"


def _rest(run: Run) -> str:
    found = run.totals
    told = []
    if found.rounded:
        told.append(f"{found.rounded:,} of those that match differ by rounding")
    if found.headroom:
        told.append(f"the nearest to its tolerance is at {found.headroom:.0%} of it: {found.worst}")
    if found.unread:
        told.append(f"the values of {plural(found.unread, 'golden')} were not compared")
    if run.unused:
        told.append(f"{plural(len(run.unused), 'golden')} were asked for by no check")
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _bar(run: Run) -> Element:
    """The checks by what became of them: as a bar, and as words with numbers."""
    counts = Counter(map(status, run.checks))
    shown = [name for name in STATUSES if counts[name]]
    bar = tag(
        "svg", viewBox="0 0 1000 10", preserveAspectRatio="none", class_="bar", aria_hidden="true"
    )
    at = 0.0
    for name in shown:
        wide = 1000 * counts[name] / len(run.checks)
        x, width = f"{at:.2f}", f"{wide:.2f}"
        add(bar, tag("rect", class_=f"s-{name}", x=x, width=width, y=0, height=10))
        at += wide
    items = [
        tag(
            "li",
            tag("span", class_=f"dot s-{name}", aria_hidden="true"),
            tag("strong", f"{counts[name]:,}"),
            " ",
            STATUSES[name] if counts[name] == 1 else STATUSES[name].replace("matches", "match"),
        )
        for name in shown
    ]
    return tag("div", bar, tag("ul", items, class_="legend"), class_="tally")


# -- cards -------------------------------------------------------------------------------------


def changes(run: Run, cards: Sequence[Card]) -> Element:
    """The cards of all changes."""
    shown = [card(run, number, one) for number, one in enumerate(cards, 1)]
    head = tag("h2", "What changed", id="changes")
    grid = tag("div", shown, class_="grid")
    return tag("section", head, grid, class_="cards", aria_labelledby="changes")


def maps(cards: Sequence[Card], pictures: Sequence[tuple[Check, Element] | None]) -> Element | None:
    """The key maps of the changes that drew other keys, each in its smallest check."""
    figures = []
    for number, (one, found) in enumerate(zip(cards, pictures, strict=True), 1):
        if found is None:
            continue
        check, picture = found
        legend = tag("figcaption", _badge(number), f" {', '.join(one.words)}, in {title(check)}")
        figures.append(tag("figure", legend, picture, id=f"map-{number}", data_change=number))
    if not figures:
        return None
    told = (
        "Each stream of random keys is a lane: a circle is a key, in the order in which keys are "
        "drawn, beside the leaf that it became. Hollow: it became nothing random. Green: drawn "
        "now alone. Red: drawn by the golden alone. A slant is a key that moved, so that its leaf "
        "has other values."
    )
    head = tag("h2", "Which keys moved", id="maps")
    lead = tag("p", told, class_="quiet")
    return tag("section", head, lead, figures, class_="maps", aria_labelledby="maps")


def _badge(number: int) -> Element:
    return tag("span", tag("span", "change ", class_="unseen"), f"{number}", class_="number")


def card(run: Run, number: int, card: Card) -> Element:
    """One change: cause, the user's line, evidence, counts, what accepts it alone."""
    first = card.changes[0]
    words = [tag("span", word, class_="word", title=_meaning(word)) for word in card.words]
    made = tag(
        "article",
        tag(
            "h3",
            _badge(number),
            " ",
            words,
            " ",
            tag("span", _told(first), class_="told"),
        ),
        class_="card",
        id=f"change-{number}",
        data_change=number,
        tabindex=-1,
    )
    add(made, _source(card))
    add(made, tag("p", _counts(card), class_="counts"))
    why = _why(card)
    add(made, tag("p", why, class_="why") if why else None)
    add(made, _more(card))
    add(made, _accept(run, number, card))
    return made


def _meaning(word: str) -> str:
    return MEANINGS.get(word, WORDS.get(word, ""))


def _told(change: Change) -> str:
    text = change.text.replace("`", "")
    return text if text != change.word else _meaning(change.word)


def _source(card: Card) -> Element | None:
    if not card.place:
        return None
    code = tag("code", card.source) if card.source else None
    return tag("p", tag("strong", card.place, class_="place"), " ", code, class_="source")


def _counts(card: Card) -> list[Element | str]:
    tests = {check.test for check in card.checks}
    told: list[Element | str] = [tag("strong", plural(len(card.moved), "golden"))]
    if card.follow:
        told += [", and ", tag("strong", _following(len(card.follow)))]
    told.append(f" · {plural(card.leaves, 'leaf')} · {plural(len(tests), 'test')}")
    return told


def _following(count: int) -> str:
    return f"{count:,} that follow{'s' if count == 1 else ''}"


def _why(card: Card) -> str:
    """How it is known, and what else tells of it."""
    told = []
    known = dict.fromkeys(str(cause.get("evidence", "")) for cause in card.causes)
    told += [_EVIDENCE.get(text, f"Known by {text}") for text in known if text]
    rows = [row for check in card.moved for row in check.modules]
    told += list(dict.fromkeys(map(_attribute, rows)))[:_ATTRIBUTES]
    if card.also:
        told.append(f"Some of these goldens were moved by {_numbers(card.also)}, too")
    return f"{'. '.join(told)}." if told else ""


def _attribute(row: Mapping[str, Any]) -> str:
    name = f"{row['module']}.{row['attribute']}".lstrip(".")
    return f"{name} was {row['expected']}, is {row['obtained']}"


def _numbers(numbers: Sequence[int]) -> str:
    return f"change{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def _more(card: Card) -> Element | None:
    """The rest: the same edit's other changes, the leaves that it moved, its tests."""
    meanings = [f"{word}: {_meaning(word)}" for word in card.words if _meaning(word)]
    parts = [_list("What it means", meanings, len(meanings))]
    others = [c for c in card.changes[1:] if c.word != FOLLOWS]
    if others:
        rows = [f"{c.word}: {_told(c)} ({plural(c.leaves, 'leaf')})" for c in others[:_OTHERS]]
        parts.append(_list("The same edit also shows as", rows, len(others)))
    patterns = folded(dict.fromkeys(leaf for cause in card.causes for leaf in cause["leaves"]))
    if patterns:
        parts.append(
            _list("Leaves", [p or "the value" for p in patterns[:_PATTERNS]], len(patterns))
        )
    tests = list(dict.fromkeys(title(check) for check in card.checks))
    parts.append(_list("Tests", tests[:_LISTED], len(tests)))
    told = ["What it means"]
    told += [plural(len(others), "other finding")] if others else []
    told += ["leaves, tests"] if patterns else ["tests"]
    return tag("details", tag("summary", ", ".join(told)), parts)


def _list(head: str, rows: Sequence[str], whole: int) -> Element:
    made = tag("div", tag("h4", head), tag("ul", (tag("li", row) for row in rows)))
    if whole > len(rows):
        add(made, tag("p", f"and {whole - len(rows):,} more"))
    return made


def _accept(run: Run, number: int, card: Card) -> Element:
    """What accepts the change alone, and how to choose it among others."""
    made = tag("div", class_="accept")
    kept = [check for check in card.checks if check.obtained]
    if kept and not run.against and not all(check.withheld for check in kept):
        command = tag("code", run.accepting(card.ids), class_="command")
        copy = tag("button", "Copy", type="button", class_="copy js", hidden=True)
        how = "To accept it alone" if card.alone else f"To accept it with {_numbers(card.also)}"
        label = tag("span", how, class_="label")
        add(made, tag("p", label, tag("span", command, copy, class_="line")))
    elif card.checks[0].withheld:
        add(made, tag("p", f"Not to be accepted: {card.checks[0].withheld}."))
    add(
        made,
        tag(
            "p",
            tag("button", "Show its checks", type="button", data_query=f"change:{number}"),
            class_="actions js",
            hidden=True,
        ),
    )
    return made
