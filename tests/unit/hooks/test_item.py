"""What the hooks ask of the file system."""

import pytest

from pytest_nnxrng.hooks.item import holds_goldens, own_parameters


@pytest.mark.parametrize(
    ("names", "holds"), [([], True), (["test_a.json"], True), (["test_a", "conftest.py"], False)]
)
def test_a_folder_with_code_in_it_is_none_of_goldens(tmp_path, names, holds):
    for name in names:
        (tmp_path / name).touch()
    assert holds_goldens(tmp_path) == holds
    assert not holds_goldens(tmp_path / "none")


@pytest.mark.parametrize(
    ("parameters", "added", "own"),
    [
        (None, [], None),
        ("a-1", [], "a-1"),
        ("cpu", ["cpu"], None),
        ("cpu-cpu", ["cpu"], "cpu"),
        ("1-2", ["1-2"], None),
        ("1-2-1-2", ["1-2"], "1-2"),
        ("a-cpu-1-2", ["cpu", "1-2"], "a"),
        ("a-1-2-cpu", ["cpu", "1-2"], "a"),
        ("1-2-cpu", ["cpu", "1-2"], None),
        ("a-1-2-cpu-1-2", ["cpu", "1-2"], "a-1-2"),
    ],
)
def test_own_parameters(parameters, added, own):
    assert own_parameters(parameters, added) == own
