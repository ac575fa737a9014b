"""All checks as rows of one table, which is whole without a script."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_nnxrng.page.cards import Card
from pytest_nnxrng.page.markup import Element, tag
from pytest_nnxrng.page.subject import STATUSES, Run, file, name, plural, status, title
from pytest_nnxrng.report.blame import Blame
from pytest_nnxrng.run.outcomes import Check

_ACCEPTED = ("target", "digest", "ids")
_HEADS = (("check", "check"), ("status", "status"), ("why", ""), ("leaves", "leaves"))


def listing(run: Run, cards: Sequence[Card]) -> Element:
    """The table with its filter, grouped by change; what matches comes last."""
    numbers = numbered(cards)
    groups: dict[str, list[int]] = {f"change {n}": [] for n in range(1, len(cards) + 1)}
    for at, check in enumerate(run.checks):
        own = numbers.get(id(check))
        group = f"change {own[0]}" if own else STATUSES[status(check)]
        groups.setdefault(group, []).append(at)
    bodies = [_body(run, _named(group, cards), found, numbers) for group, found in groups.items()]
    heads = [tag("th", head, scope="col", data_sort=by or None) for head, by in _HEADS]
    heads.append(tag("th", "tolerance used", scope="col", data_sort="headroom"))
    table = tag(
        "table",
        tag("caption", "Every check of the run", class_="unseen"),
        tag("thead", tag("tr", heads)),
        bodies,
        id="checks",
    )
    title = tag("h2", "All checks", id="all")
    return tag("section", title, _filter(run), table, class_="checks", aria_labelledby="all")


def numbered(cards: Sequence[Card]) -> dict[int, list[int]]:
    """The numbers of each check's cards, by the check's identity."""
    found: dict[int, list[int]] = {}
    for number, card in enumerate(cards, 1):
        for check in card.checks:
            found.setdefault(id(check), []).append(number)
    return found


def _named(group: str, cards: Sequence[Card]) -> str:
    if not group.startswith("change "):
        return group
    card = cards[int(group.partition(" ")[2]) - 1]
    return f"{group}: {', '.join(card.words)}"


def _body(run: Run, group: str, found: Sequence[int], numbers: Mapping[int, list[int]]) -> Element:
    head = tag("th", group, " ", tag("span", f"{len(found):,}", class_="count"))
    head.set("colspan", "5")
    head.set("scope", "rowgroup")
    rows = [_row(at, run.checks[at], numbers.get(id(run.checks[at]), [])) for at in found]
    return tag("tbody", tag("tr", head, class_="group") if rows else None, rows)


def _row(at: int, check: Check, numbers: Sequence[int]) -> Element:
    state = status(check)
    words = dict.fromkeys(cause["word"] for cause in check.causes)
    return tag(
        "tr",
        tag(
            "th",
            tag("span", title(check), class_="test"),
            " ",
            tag("span", name(check), class_="name"),
            " ",
            tag("span", file(check), class_="file"),
            scope="row",
        ),
        tag("td", tag("span", STATUSES[state], class_=f"status s-{state}")),
        tag("td", _why(check, list(words), numbers)),
        tag("td", _leaves(check), class_="figure", data_head="leaves"),
        tag("td", _headroom(check), class_="figure", data_head="tolerance used"),
        id=f"check-{at}",
        data_n=at,
    )


def _why(check: Check, words: Sequence[str], numbers: Sequence[int]) -> list[Element | str]:
    told: list[Element | str] = []
    for number in numbers:
        label = tag("span", "change ", class_="unseen")
        link = tag("a", label, f"{number}", href=f"#change-{number}", class_="number")
        told += [link, " "]
    told.append(", ".join(words))
    if check.left:
        told.append(f"left to the run on {check.left}")
    return told


def _leaves(check: Check) -> str:
    differing = len(check.differences)
    return f"{differing:,} of {check.leaves:,}" if differing else f"{check.leaves:,}"


def _headroom(check: Check) -> list[Element | str]:
    """How much of its tolerance the worst leaf of a check that matches takes."""
    if check.failed or not check.headroom:
        return []
    share = min(check.headroom, 1.0)
    meter = tag("meter", min=0, max=1, low=0.5, high=0.8, optimum=0, value=f"{share:.4f}")
    meter.set("title", check.worst)
    meter.set("aria-label", f"{share:.0%} of its tolerance")
    return [meter, f" {share:.0%}"]


# -- the filter --------------------------------------------------------------------------------


def _filter(run: Run) -> Element:
    """The query and its chips; the script shows them, since they do nothing without it."""
    box = tag(
        "input",
        type="search",
        id="query",
        placeholder="cause:draws status:different leaf:*.kernel !test:slow",
        autocomplete="off",
        spellcheck="false",
        aria_describedby="shown",
    )
    states = Counter(map(status, run.checks))
    causes = Counter(w for c in run.checks for w in {cause["word"] for cause in c.causes})
    chips = [_chip(f"status:{s}", STATUSES[s], states[s]) for s in STATUSES if states[s]]
    chips += [_chip(f"cause:{w}", w, n) for w, n in sorted(causes.items())]
    grouping = tag(
        "select",
        (tag("option", text, value=text) for text in ("change", "file", "status", "nothing")),
        id="grouping",
    )
    return tag(
        "form",
        tag("p", tag("label", "Filter", for_="query"), box, class_="query"),
        tag("p", chips, class_="chips"),
        tag(
            "p",
            tag("label", "Group by ", grouping),
            tag("output", plural(len(run.checks), "check"), id="shown"),
            tag("button", "Keys", type="button", id="help", aria_haspopup="dialog"),
            tag("button", "Light or dark", type="button", id="theme"),
            class_="tools",
        ),
        id="filter",
        class_="js",
        role="search",
        hidden=True,
    )


def _chip(token: str, label: str, count: int) -> Element:
    return tag(
        "button",
        label,
        " ",
        tag("span", f"{count:,}", class_="count"),
        type="button",
        class_="chip",
        data_token=token,
        aria_pressed="false",
    )


# -- what the script filters by ----------------------------------------------------------------


def index(run: Run, cards: Sequence[Card]) -> list[dict[str, Any]]:
    """The checks in the table's order, as the script reads them."""
    numbers = numbered(cards)
    blame = Blame([check for check in run.checks if check.failed and check.obtained])
    ids = {change.number: change.id for change in blame.changes}
    rows = [_entry(check, numbers.get(id(check), []), blame, ids) for check in run.checks]
    if run.against:  # there is no golden of the user's that could be replaced
        rows = [{key: row[key] for key in row if key not in _ACCEPTED} for row in rows]
    return rows


def _entry(
    check: Check, numbers: Sequence[int], blame: Blame, ids: Mapping[int, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "test": check.test,
        "golden": check.golden,
        "status": status(check),
        "cause": list(dict.fromkeys(cause["word"] for cause in check.causes)),
        "change": [str(number) for number in numbers],
        "leaf": [row["leaf"] for row in check.differences],
        "stream": _streams(check),
        "leaves": check.leaves,
        "rounded": check.rounded,
        "headroom": check.headroom if math.isfinite(check.headroom) else None,
        "worst": check.worst,
    }
    if check.failed and check.obtained and not check.withheld:
        row["target"], row["digest"] = check.obtained["target"], check.obtained["digest"]
        row["ids"] = [ids[n] for n in blame.numbers([check])]
    return row


def _streams(check: Check) -> list[str]:
    """The streams that the leaves which differ were drawn from."""
    draws = [
        draw
        for row in check.differences
        for side in (row.get("expected"), row.get("obtained"))
        for draw in (side or {}).get("draws") or ()
    ]
    return list(dict.fromkeys(draw.partition("#")[0] for draw in draws))
