"""The user's line behind an equation of a jaxpr."""

from __future__ import annotations

import functools
import linecache
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import flax
import jax
import numpy
from flax import nnx


def _folder(file: str | None) -> str:
    return str(Path(file or "").absolute().parent / "_")[:-1]


_PACKAGE = str(Path(__file__).absolute().parent.parent / "_")[:-1]
_JAX = _folder(jax.__file__)
_LIBRARIES = (_JAX, _folder(flax.__file__), _folder(numpy.__file__), _PACKAGE, "<")
_STANDARD = tuple(
    {str(Path(sysconfig.get_path(name)) / "_")[:-1] for name in ("stdlib", "platstdlib")}
)
_HERE = Path.cwd()  # before any test changes it
_THIRD_PARTY = ("site-packages", "dist-packages")


def caller() -> str:
    """The nearest line of the user's on this thread's stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return place_of(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def _frames(equation: Any) -> Iterator[tuple[Any, int]]:
    """The code objects and lines of the Python stack that made ``equation``, innermost first.

    JAX keeps the stack with each equation, also of one cached long ago; ``source_info`` has no
    public reader, so whatever is missing ends the walk.
    """
    traceback = getattr(getattr(equation, "source_info", None), "traceback", None)
    if traceback is None:
        return
    for code, last in zip(*traceback.raw_frames(), strict=True):
        yield code, traceback.code_addr2line(code, last)


def is_draw(equation: Any) -> bool:
    """Whether a stream's ``__call__`` made the equation, not a ``fold_in`` of the user's."""
    streams = sys.modules[nnx.RngStream.__module__].__file__
    for code, _ in _frames(equation):
        if not code.co_filename.startswith(_JAX):
            return bool(code.co_name == "__call__" and code.co_filename == streams)
    return True


def where(equation: Any) -> str:
    """``model.py:14``, for a note."""
    return origin(equation)[0].partition(": ")[0]


def origin(equation: Any) -> tuple[str, str]:
    """The user's line that led to ``equation``, and the innermost class under construction.

    Newer versions of JAX keep the stack from the function that is traced on; a line outside
    of it is "" here.
    """
    module = ""
    for code, line in _frames(equation):
        file = code.co_filename
        owner, _, name = code.co_qualname.rpartition(".")
        if name == "__init__" and not module and not file.startswith(_JAX):
            module = owner.rpartition(".")[2]
        if is_users(file):
            return place_of(file, line), module
    return "", module


# The modules of JAX whose functions people call by name; others are machinery.
_NAMED = re.compile(r"[\\/](nn|numpy|random|scipy|image)([\\/]|\.py)")
_MACHINERY = re.compile(
    r"_|<|op$|fn$|wrapper|meth|deferring|fun$|result_type|where_|bind|rewriting_"
)


def function(equation: Any) -> str:
    """The function of JAX that the code outside of JAX called, as in ``jax.nn.gelu``; or ""."""
    found = ""
    for code, _ in _frames(equation):
        if not code.co_filename.startswith(_JAX):
            break
        inside = code.co_filename[len(_JAX) :]
        if _NAMED.search(f"/{inside}") and not _MACHINERY.match(code.co_name):
            found = code.co_name
    return found


def is_users(file: str) -> bool:
    if file.startswith(_LIBRARIES):
        return False
    return not file.startswith(_STANDARD) or any(part in file for part in _THIRD_PARTY)


def place_of(file: str, line: int) -> str:
    """``tests/model.py:14: self.norm = ...``: the file as a terminal in this folder finds it."""
    text, shown = linecache.getline(file, line).strip(), _shown(file)
    return f"{shown}:{line}: {text}" if text else f"{shown}:{line}"


@functools.lru_cache(maxsize=1024)
def _shown(file: str) -> str:
    path = Path(file)
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else path.name
