"""What this process collected, before any test was deselected, for checks that ask for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pytest_nnxrng.hooks.item import identity

if TYPE_CHECKING:
    from pytest_nnxrng.golden.naming import Identity
    from pytest_nnxrng.hooks.testrun import Recorder


class Collected:
    """The tests that were collected, looked at when they are first asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @property
    def _recorder(self) -> Recorder:
        return cast("Recorder", self.config.pluginmanager.get_plugin("nnxrng-recorder"))

    @cached_property
    def _spellings(self) -> dict[tuple[Path, str], set[Identity]]:
        """The tests of each file by what remains of them where case is folded."""
        found: dict[tuple[Path, str], set[Identity]] = {}
        for item in self._recorder.items:
            who = identity(item)
            found.setdefault((item.path, repr(who).casefold()), set()).add(who)
        return found

    def clash(self, file: Path, who: Identity) -> bool:
        """Whether another test of the file has a name that differs by case alone."""
        return len(self._spellings.get((file, repr(who).casefold()), ())) > 1


COLLECTED: pytest.StashKey[Collected] = pytest.StashKey()


def of(config: pytest.Config) -> Collected:
    return config.stash.setdefault(COLLECTED, Collected(config))
