"""A golden's model as NNX's own display shows it: treescope, in a file of its own.

Its scripts make code of texts, so that it never stands in the page; and no text of a user's goes
into it as it is, since not all of it is escaped there.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_nnxrng.golden.document import GoldenError
from pytest_nnxrng.golden.manifest import Golden
from pytest_nnxrng.leaf.dtypes import is_key
from pytest_nnxrng.leaf.forward import CLASS
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.page.markup import html, tag
from pytest_nnxrng.report.fold import natural
from pytest_nnxrng.report.machine import BY

# What treescope's own scripts and styles need, and no request.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
_KEY = re.compile(r'\.?([^.\[]+)|\[("(?:[^"\\]|\\.)*")\]|\[([^\]]*)\]?')
_SAFE = re.compile(r"[^\w .,:;()\[\]{}#=+-]", re.ASCII)
_UUID = re.compile(r"(?<=_)[0-9a-f]{32}\b")
_LARGEST = 1 << 24  # elements of a leaf that treescope looks at
_NOTE = (
    "Values are those of the file of goldens. Signs that could be markup are written as in URLs."
)


@dataclass(frozen=True)
class _Node:
    """A module, a Variable, or what holds them: a class's name, and what it has."""

    name: str
    has: dict[str, Any] = field(default_factory=dict)

    def __treescope_repr__(self, path: str | None, subtree_renderer: Callable[..., Any]) -> Any:
        from treescope import repr_lib

        return repr_lib.render_object_constructor(
            object_type=type(self.name, (), {}),
            attributes=self.has,
            path=path,
            subtree_renderer=subtree_renderer,
            color="hsl(205, 45%, 90%)",
        )


def display(golden: Golden, title: str) -> str:
    """A whole file of HTML that shows a golden's model.

    Raises:
      ImportError: when there is no treescope (it comes with Flax).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks at every name of numpy, deprecated ones, too
        import treescope

        shown = treescope.render_to_html(tree(golden), compressed=True, ignore_exceptions=True)
    # Random names would make other bytes of the same model.
    shown = _UUID.sub(hashlib.sha256(title.encode()).hexdigest()[:32], shown)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=BY),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        tag("title", title),
    )
    lead = html(tag("h1", title)) + html(tag("p", _NOTE))
    body = f'<body style="background: white; color: black; font-family: sans-serif">{lead}{shown}'
    return f'<!doctype html>\n<html lang="en">{html(head)}{body}</body></html>\n'


def tree(golden: Golden) -> _Node:
    """The modules and Variables of a golden, as objects that treescope can show."""
    modules = golden.modules or {}
    root = _module("", modules)
    for leaf in sorted(golden.leaves, key=lambda leaf: natural(leaf.path)):
        _place(root, leaf.path, _variable(leaf), modules)
    for path, target in sorted(golden.aliases.items()):
        _place(root, path, _Node("same", {"as": _plain(target)}), modules)
    return root


def _place(root: _Node, path: str, what: _Node, modules: Mapping[str, Mapping[str, Any]]) -> None:
    node, end = root, 0
    found = list(_KEY.finditer(path))
    for match in found[:-1]:
        name, end = _plain(_named(match)), match.end()
        below = node.has.setdefault(name, _module(path[:end], modules))
        node = below if isinstance(below, _Node) else node
    node.has[_plain(_named(found[-1])) if found else "value"] = what


def _named(match: re.Match[str]) -> str:
    return next(part for part in match.groups() if part is not None)


def _module(path: str, modules: Mapping[str, Mapping[str, Any]]) -> _Node:
    row = modules.get(path, {})
    static = {_plain(name): _static(value) for name, value in row.items() if name != CLASS}
    return _Node(_plain(str(row.get(CLASS, "")) or "Module"), static)


def _static(value: Any) -> Any:
    if isinstance(value, list):
        return [_static(item) for item in value]
    return value if isinstance(value, int | float) or value is None else _plain(str(value))


def _variable(leaf: Leaf) -> _Node:
    has: dict[str, Any] = {"value": _value(leaf)}
    if leaf.draws:
        has["draws"] = _plain(", ".join(leaf.draws))
    return _Node(_plain(leaf.type), has)


def _value(leaf: Leaf) -> Any:
    if leaf.read is not None and not is_key(leaf.dtype) and leaf.size <= _LARGEST:
        try:
            return leaf.read()
        except GoldenError:
            pass
    told = {"shape": leaf.shape, "dtype": _plain(leaf.dtype)}
    return _Node("Array", {**told, **leaf.statistics})


def _plain(text: str) -> str:
    """A text without a sign that could be markup, or end a text of a script or a style."""
    return _SAFE.sub(lambda sign: _percent(sign[0]), text)


def _percent(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode(errors="replace"))
