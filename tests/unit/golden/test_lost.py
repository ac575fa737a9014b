"""Which goldens of tests that are gone a platform may take for its own."""

from dataclasses import replace

import pytest

from pytest_nnxrng.golden.inventory import Owner
from pytest_nnxrng.golden.lost import Lost
from pytest_nnxrng.golden.manifest import Golden, dumps
from pytest_nnxrng.golden.naming import FOLDER
from pytest_nnxrng.leaf.leaf import Leaf

OLD = Owner("", "test_old", None, "1", "value")
NEW = replace(OLD, function="test_new")


def leaves(number):
    return (Leaf("l", "Param", (2,), "int32", digest=f"{number:032x}", stored=False),)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / FOLDER / "test_a"
    made.mkdir(parents=True)
    for name, number in (("", 1), ("@gpu", 2), ("@tpu", 3)):
        text = dumps(Golden(OLD, {"jax": "1"}, leaves(number), {}))
        (made / f"test_old.1{name}.json").write_text(text, encoding="utf-8")
    return made


def lost(folder):
    return Lost(folder.parent.parent, (), FOLDER, dict)


@pytest.mark.parametrize(
    ("platform", "number", "name"),
    [
        ("cpu", 1, "test_old.1.json"),
        ("cpu", 2, None),
        ("gpu", 1, None),  # the platform's own wins
        ("gpu", 2, "test_old.1@gpu.json"),
        ("tpu", 2, None),
    ],
)
def test_what_is_equal_on_a_platform(folder, platform, number, name):
    found = lost(folder).equal(folder / "test_new.1.json", NEW, leaves(number), {}, platform)
    assert (found and found.path.name) == name


@pytest.mark.parametrize(
    ("platform", "name"),
    [("cpu", "test_old.1.json"), ("gpu", "test_old.1@gpu.json"), ("tpu", "test_old.1@tpu.json")],
)
def test_what_is_related_on_a_platform(folder, platform, name):
    found = lost(folder).related(folder / "test_new.1.json", NEW, platform)
    assert found.path.name == name


def test_a_golden_that_one_device_took_is_another_test_s_on_none(folder):
    known, target = lost(folder), folder / "test_new.1.json"
    assert known.equal(target, NEW, leaves(1), {}, "cpu") is not None
    other = replace(NEW, function="test_other")
    assert known.equal(folder / "test_other.1.json", other, leaves(2), {}, "gpu") is None
    assert known.related(folder / "test_other.1.json", other, "gpu") is None
    assert known.equal(target, NEW, leaves(2), {}, "gpu") is not None
    assert known.related(target, NEW, "gpu") is not None
