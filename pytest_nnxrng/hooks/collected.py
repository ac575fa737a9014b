"""What this process collected, before any test was deselected, for checks that ask for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pytest_nnxrng.hooks.item import identity
from pytest_nnxrng.hooks.options import SETTINGS

if TYPE_CHECKING:
    from pytest_nnxrng.golden.lost import Known, Lost
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

    @cached_property
    def lost(self) -> Lost:
        """The goldens whose tests are gone."""
        from pytest_nnxrng.golden.lost import Lost

        here = self.config.invocation_params.dir
        roots = [here / arg.split("::")[0] for arg in self.config.args]
        folder = self.config.stash[SETTINGS].folder
        return Lost(self.config.rootpath, roots, folder, self._known)

    def _known(self) -> Known:
        from pytest_nnxrng.run.outcomes import Outcomes

        outcomes = Outcomes()
        outcomes.collect(self._recorder.collected())
        return outcomes.collected

    def clash(self, file: Path, who: Identity) -> bool:
        """Whether another test of the file has a name that differs by case alone."""
        return len(self._spellings.get((file, repr(who).casefold()), ())) > 1


COLLECTED: pytest.StashKey[Collected] = pytest.StashKey()


def of(config: pytest.Config) -> Collected:
    return config.stash.setdefault(COLLECTED, Collected(config))
