"""The command line of this run -> that of the same run on other code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Options of this run alone, with a value behind "=" or in the next word: reports, and ours.
_VALUED = (
    *("--nnx-against", "--nnx-against-python", "--nnx-report", "--junitxml", "--junit-xml"),
    *("--basetemp", "--rootdir", "-c", "--config-file", "--html", "--css", "--report-log"),
    *("--log-file", "--alluredir", "--json-report-file", "--cov-report", "--cov-config"),
    *("--maxfail", "--pastebin", "--pdbcls", "--confcutdir"),
)
_FLAGS = (
    *("--pdb", "--trace", "-x", "--exitfirst", "--json-report", "--self-contained-html"),
    *("--no-cov", "--cov-append", "--cov-branch", "--no-cov-on-fail", "--full-trace"),
)
_PREFIXES = ("--cov=", "--cov-fail-under", "--junit-prefix", "--profile")


def repeated(words: Sequence[str]) -> list[str]:
    """The words that say which tests run, and how; without reports, debuggers and our options."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*kept, word, *rest]
        if word in _VALUED:
            next(rest, None)
        elif word not in _FLAGS and not _is_ours_alone(word):
            kept.append(word)
    return kept


def _is_ours_alone(word: str) -> bool:
    if word == "--cov" or word.startswith(_PREFIXES):
        return True
    name, equals, _ = word.partition("=")
    return bool(equals) and name in _VALUED


def alone(words: Sequence[str]) -> list[str]:
    """The words without those of pytest-xdist, which is not everywhere."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-n", "--numprocesses", "--dist", "--maxprocesses"):
            next(rest, None)
        elif not re.match(r"(-n\w+|--(numprocesses|dist|maxprocesses)=.*)\Z", word):
            kept.append(word)
    return kept


def moved(words: Iterable[str], checkout: str, tree: str) -> list[str]:
    """The words with paths of the checkout as they are in the tree."""
    found = []
    for word in words:
        option, equals, value = word.partition("=")
        head, path = (f"{option}=", value) if equals and option.startswith("-") else ("", word)
        if path == checkout or path.startswith((f"{checkout}/", f"{checkout}::")):
            path = tree + path[len(checkout) :]
        found.append(head + path)
    return found


class Place(NamedTuple):
    """Where a run takes place: its rootdir, ini file and current folder."""

    root: str
    ini: str
    here: str


def command(
    python: str, words: Sequence[str], place: Place, temporary: str, plugins: Sequence[str] = ()
) -> list[str]:
    """The command of the run: the user's words, without what would end or disturb it.

    ``-P`` keeps the current folder from being imported from, as the command ``pytest`` does;
    where the user's run has it among its paths, the job says so.
    """
    # Without the plugin that has it, a strict pytest does not know the key.
    cache = ("-o", f"cache_dir={temporary}/cache")
    ours = [
        *("-c", place.ini, f"--rootdir={place.root}", f"--basetemp={temporary}/basetemp"),
        *("-o", "addopts=", *(cache if "no:cacheprovider" not in words else ())),
        *("--maxfail=0", "--continue-on-collection-errors", "--color=no", "-q", "--tb=line"),
    ]
    named = [word for plugin in plugins for word in ("-p", plugin)]
    at = words.index("--") if "--" in words else len(words)
    return [python, "-P", "-m", "pytest", *named, *words[:at], *ours, *words[at:]]


def relocated(path: str, checkout: str, tree: str) -> str:
    """A path of the checkout as it is in the tree; others as they are."""
    real, top = os.path.realpath(path), os.path.realpath(checkout)
    if real == top or real.startswith(top + os.sep):
        return tree + real[len(top) :]
    return path
