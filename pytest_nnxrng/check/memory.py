"""The checks of whole models that this process made -> what is known of a fixture's models.

A test may check an output alone, of a model that another test checked. Nothing of a test that has
ended is held but digests, causes, and weak references.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xxhash

from pytest_nnxrng.check.reuse import Reuse
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.leaf.passes import digested
from pytest_nnxrng.nnx.flatten import UnsupportedValue, flatten
from pytest_nnxrng.why.cause import STATE, ModelCheck, together


@dataclass(frozen=True)
class Digests:
    """Of all leaves of a model, and of those that calling it does not move."""

    leaves: str
    weights: str


@dataclass(frozen=True)
class _Known:
    """A check of a model, and by what the model is known again."""

    check: ModelCheck
    digests: Digests
    model: Callable[[], Any]


_Name = tuple[str, str]  # the test's and the check's: a test that runs again takes its place
_Checks = dict[_Name, _Known]


@dataclass
class Memory:
    """What checks on one device came to, by the model's weights and by the object."""

    by_weights: dict[str, _Checks] = field(default_factory=dict)
    by_id: dict[int, _Checks] = field(default_factory=dict)
    reuse: Reuse = field(default_factory=Reuse)

    def remember(self, name: _Name, model: Any, leaves: Sequence[Leaf], check: ModelCheck) -> None:
        """Keep what a check came to; of an abstract model nothing, since it gives no output."""
        digests = _digests(leaves)
        if digests is None:
            return
        known = _Known(check, digests, _reference(model))
        for checks in (
            self.by_weights.setdefault(digests.weights, {}),
            self.by_id.setdefault(id(model), {}),
        ):
            checks.pop(name, None)  # the last is last
            checks[name] = known

    def earlier(self, test: str, model: Any) -> ModelCheck:
        """What the last check of this object in ``test`` came to; its name is in ``tests``."""
        known = self.by_id.get(id(model), {})
        mine = [(name, k) for name, k in known.items() if name[0] == test and k.model() is model]
        if not mine:
            return ModelCheck()
        (_, check), last = mine[-1]
        return replace(last.check, tests=(check,))

    def of(self, models: Iterable[Any]) -> ModelCheck:
        """What other tests found of all of these; that nothing is known if it is not of each."""
        different = {id(model): model for model in models}.values()
        if not different or not self.by_weights:
            return ModelCheck()
        found = [self._of(model) for model in different]
        if not _agree(found):
            return ModelCheck()
        return together(found)

    def _of(self, model: Any) -> ModelCheck:
        digests = _now(model)
        if digests is None:
            return ModelCheck()
        same = [k for k in self.by_id.get(id(model), {}).values() if k.model() is model]
        alike = same or list(self.by_weights.get(digests.weights, {}).values())
        # Models of equal leaves may differ in an activation: the object itself is known better.
        surest = [known for known in alike if known.digests == digests] or alike
        if not _agree([known.check for known in surest]):
            return ModelCheck()
        moved_since = any(known.digests != digests for known in surest)
        return replace(together([known.check for known in surest]), likely=moved_since)


def _agree(checks: Sequence[ModelCheck]) -> bool:
    """Whether all were made and came to the same: one word holds for an output of any of them."""
    came_to = {(check.matched, check.moved) for check in checks}
    return all(check.checked for check in checks) and len(came_to) == 1


def _now(model: Any) -> Digests | None:
    try:
        leaves = flatten(model).leaves
    except UnsupportedValue:  # its buffers were donated, say
        return None
    if any(leaf.read is None for leaf in leaves):
        return None
    return _digests(digested(leaves))


def _digests(leaves: Sequence[Leaf]) -> Digests | None:
    if not leaves or any(leaf.digest is None for leaf in leaves):
        return None
    weights = [leaf for leaf in leaves if not leaf.rng and leaf.type not in STATE]
    return Digests(_digest(leaves), _digest(weights or leaves))


def _digest(leaves: Sequence[Leaf]) -> str:
    rows = (f"{leaf.path}\0{leaf.type}\0{leaf.shape}\0{leaf.digest}" for leaf in leaves)
    return xxhash.xxh3_128_hexdigest("\n".join(rows).encode())


def _reference(model: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(model)
    except TypeError:  # a dict of models
        return lambda: None
