"""What fuzzing has found before is read again: a value or an error that can be printed."""

import random

import pytest

from tests.fuzzing.__main__ import mutated
from tests.fuzzing.target import Target, seeds


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return Target(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("part", ["manifest", "values"])
def test_what_was_found_and_what_is_like_it(target, part):
    known = [target.whole[part], *seeds(part)]
    assert len(known) > 10
    chance = random.Random(0)
    for data in [*known, *(mutated(known, chance) for _ in range(100))]:
        target(part, data)
    (target.path if part == "manifest" else target.values).write_bytes(target.whole[part])
