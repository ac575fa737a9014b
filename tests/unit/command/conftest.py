"""A repository with a report, and the command run in it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # trees.py, whatever the import mode

from trees import Tree

from pytest_nnxrng.command.entry import main


@pytest.fixture
def tree(tmp_path, monkeypatch):
    made = Tree(tmp_path)
    monkeypatch.chdir(made.root)
    return made


class Ran:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.words = " ".join((out + err).split())
        self.lines = out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def nnxrng(capsys, monkeypatch):
    """Run the command in this process: ``nnxrng("accept", folder, "--all", width=80)``."""

    def run(*args, width=80, **environ):
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        return Ran(code, *capsys.readouterr())

    return run
