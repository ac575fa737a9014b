"""A report made by hand, and the page that is drawn of it: no test runs, no JAX, no browser."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "command"))  # trees.py

from trees import Tree

from pytest_nnxrng.command.artifact import read
from pytest_nnxrng.page.assemble import page
from pytest_nnxrng.page.subject import Run


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def drawn(tree):
    """The page of the tree's report: ``drawn()``."""

    def draw(name="nnx-report"):
        found = read(name, tree.report)
        return page(Run(name, tree.report, tree.root, found.checks, found.run))

    return draw


@pytest.fixture
def words():
    """A page's text, as it is read without its script."""

    def read_aloud(html):
        text = re.sub(r"(?s)<(script|style|template)\b.*?</\1>", " ", html)
        return " ".join(re.sub(r"<[^>]+>", " ", text).split())

    return read_aloud
