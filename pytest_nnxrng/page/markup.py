"""Markup as a tree of elements, in which a text stays a text: there is no way to put in markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree

Element: TypeAlias = ElementTree.Element
Child: TypeAlias = "Element | str | int | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Element:
    """An element. ``class_`` and ``data_leaf`` are the attributes ``class`` and ``data-leaf``.

    An attribute that is None or False is left out, one that is True has no value.
    """
    made = ElementTree.Element(name)
    for key, value in attributes.items():
        if value is not None and value is not False:
            shown = "" if value is True else printable(str(value))
            made.set(key.rstrip("_").replace("_", "-"), shown)
    add(made, *children)
    return made


def add(element: Element, *children: Child) -> None:
    """Append children: elements as they are, everything else as text."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, ElementTree.Element):
            element.append(child)
        elif isinstance(child, str | int):
            _write(element, printable(str(child)))
        else:
            add(element, *child)


def _write(element: Element, text: str) -> None:
    if len(element):
        last = element[-1]
        last.tail = (last.tail or "") + text
    else:
        element.text = (element.text or "") + text


def printable(text: str) -> str:
    """A text as it is shown: what could steer the reader's eye or the parser is written out."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def html(element: Element) -> str:
    """The element as HTML; scripts and styles stand in it as they are."""
    return ElementTree.tostring(element, encoding="unicode", method="html")
