"""The interpreter of ``--nnx-against-python``: what can run the tests, and why the rest cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_nnxrng.against import replay
from pytest_nnxrng.against.replay import Interpreter
from pytest_nnxrng.run.settings import BadSetting

GOOD = Interpreter(
    "/there/python",
    (3, 12, 1),
    {"flax": "0.11.0", "jax": "0.6.0", "pytest": "8.0.0", "safetensors": "0.8.0", "xxhash": "3.4"},
    (),
)


def test_this_one_can():
    found = replay.interpreter(sys.executable, Path.cwd())
    assert found.version == sys.version_info[:3]
    assert found.label.startswith(f"jax {found.packages['jax']}, flax ")


def test_a_virtual_environment_by_its_folder(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    assert replay.interpreter(str(tmp_path), Path.cwd()).path == str(tmp_path / "bin/python")


@pytest.mark.parametrize("name", ["", "nothing", "folder"])
def test_what_is_not_there(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadSetting, match=r"--nnx-against-python: '.*' is not there"):
        replay.interpreter(name, tmp_path)


@pytest.mark.parametrize("text", ["no program", "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\n"])
def test_what_is_no_interpreter(tmp_path: Path, text: str):
    (tmp_path / "program").write_text(text)
    (tmp_path / "program").chmod(0o755)
    with pytest.raises(BadSetting, match="is no Python interpreter that runs"):
        replay.interpreter("program", tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": (3, 10, 4)}, r"is Python 3\.10\.4; 3\.11 is the oldest"),
        ({"packages": {**GOOD.packages, "flax": "0.10.7"}}, r"has flax 0\.10\.7, where"),
        ({"packages": {**GOOD.packages, "jax": "0.4.38"}}, r"has jax 0\.4\.38, where"),
        ({"packages": {}}, r"has no flax, no jax, no pytest, no safetensors, no xxhash"),
        ({"packages": {}}, r"To install it: /there/python -m pip install 'flax>=0\.11' 'jax>="),
    ],
)
def test_what_cannot_run_the_tests(changed, told: str):
    assert replay.suitable(GOOD) == GOOD
    with pytest.raises(BadSetting, match=told):
        replay.suitable(GOOD._replace(**changed))
