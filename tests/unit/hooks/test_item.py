"""What the hooks ask of the file system."""

import pytest

from pytest_nnxrng.hooks.item import holds_goldens


@pytest.mark.parametrize(
    ("names", "holds"), [([], True), (["test_a.json"], True), (["test_a", "conftest.py"], False)]
)
def test_a_folder_with_code_in_it_is_none_of_goldens(tmp_path, names, holds):
    for name in names:
        (tmp_path / name).touch()
    assert holds_goldens(tmp_path) == holds
    assert not holds_goldens(tmp_path / "none")
