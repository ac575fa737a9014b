"""What is published: the README that PyPI shows leads nowhere into a checkout."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RULES = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]


def test_each_relative_link_of_the_readme_becomes_an_address():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\]\((?!https:)", text)
    for rule in RULES:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    site = "https://pytest-nnxrng.readthedocs.io/en/latest/"
    assert f"{site}tutorial.html#insert-a-layer" in links
    assert any(link.endswith("/main/docs/page.png") for link in links)
    assert any(link.endswith("/blob/main/SECURITY.md") for link in links)


def test_the_sdist_has_what_a_checkout_has():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name).exists() for name in included)
    folders = {"tests", "examples", "docs", "benchmarks", "pytest_nnxrng", ".ci"}
    texts = {path.name for path in ROOT.glob("*.md")} | {"LICENSE", "CITATION.cff"}
    assert folders | texts <= set(included)
