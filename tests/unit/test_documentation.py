"""The documentation is complete: what the code has, its tables have, and nothing else."""

import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import pytest_nnxrng
from pytest_nnxrng.command import entry
from pytest_nnxrng.hooks import fixtures, options
from pytest_nnxrng.why.words import MEANINGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
    if "_build" not in path.parts
}
SITE = "https://pytest-nnxrng.readthedocs.io/en/latest/"


def rows(page: str) -> list[list[str]]:
    """The rows of a page's tables, each a list of its cells' ``code``."""
    found = []
    for line in PAGES[f"docs/{page}"].splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


class Asked:
    """What ``options.add`` asks of pytest."""

    def __init__(self):
        self.options, self.keys = set(), set()

    def getgroup(self, *_):
        return SimpleNamespace(addoption=lambda name, **_: self.options.add(name))

    def addini(self, name, *_, **__):
        self.keys.add(name)


def test_all_options_and_ini_keys_are_in_the_table():
    asked = Asked()
    options.add(asked)
    table = rows("reference/options.md")[1:]
    told = {name.partition("=")[0] for row in table for name in names(row[0])}
    assert told == asked.options
    assert {name for row in table for name in names(row[1])} == asked.keys


def test_all_fixtures_are_in_the_table():
    has = {
        node.name
        for node in ast.parse(Path(fixtures.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and "fixture" in ast.unparse(node.decorator_list[0:])
        if not node.name.startswith("_")
    }
    told = {names(row[0])[0] for row in rows("reference/fixtures.md") if row[0].startswith("`")}
    assert {name for name in told if name != "nnx_rngs"} == has


@pytest.mark.parametrize("name", [n for n in pytest_nnxrng.__all__ if n.endswith("Warning")])
def test_each_warning_is_told(name):
    assert f"`{name}`" in PAGES["docs/reference/warnings.md"].replace("pytest_nnxrng.", "")


@pytest.mark.parametrize("name", pytest_nnxrng.__all__)
def test_each_name_of_the_package_is_documented(name):
    assert re.search(rf":: pytest_nnxrng\.{name}$", PAGES["docs/reference/api.md"], re.M)


def test_each_verb_is_in_the_table():
    (verbs,) = [a.choices for a in entry.parser()._actions if isinstance(a.choices, dict)]
    told = {names(row[0])[0].split()[0] for row in rows("reference/command.md")[1:]}
    assert told == set(verbs)


def test_each_cause_has_its_section_in_the_gallery():
    assert re.findall(r"(?m)^## `(\w+)`$", PAGES["docs/gallery.md"]) == list(MEANINGS)


def test_each_cause_has_its_card_in_the_gallery():
    assert {path.stem for path in (DOCS / "cards").glob("*.html")} == set(MEANINGS)


def _links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```", "", text))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_in_the_repository_is_there(page):
    for link in _links(PAGES[page]):
        file, _, anchor = link.partition("#")
        if link.startswith("repo:"):
            assert (ROOT / file.removeprefix("repo:")).exists(), link
        elif link.startswith(SITE):
            path = "docs/" + file.removeprefix(SITE).replace(".html", ".md")
            assert anchor in _anchors(path if path != "docs/" else "docs/index.md"), link
        elif not link.startswith(("https:", "#")):
            path = (ROOT / page).parent / file if file else ROOT / page
            assert path.exists(), link
            if anchor:
                assert anchor in _anchors(path.resolve().relative_to(ROOT).as_posix()), link


def _anchors(page: str) -> set[str]:
    """What a link to a page may end in: its headings, as GitHub and MyST call them, or nothing."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", PAGES[page]))
    return {"", *(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)}


def test_the_version_is_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_a_link_that_leads_nowhere_is_found():
    assert _links("[a](b.md) ```[x](y)``` [c](repo:d)") == ["b.md", "y", "repo:d"]
    assert "files-and-names" in _anchors("docs/reference/goldens.md")


def _python() -> list[tuple[str, str]]:
    fences = re.compile(r"(?ms)^```python\n(.*?)^```$")
    return [
        (f"{page}-{n}", m[1])
        for page, text in PAGES.items()
        for n, m in enumerate(fences.finditer(text))
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in _python()])
def test_each_python_block_is_python(text):
    compile(text, "block", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_points_to_another_by_its_name(page):
    assert not re.search(r"\[(?:below|above|here)\]", PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_an_option_that_a_page_names_is_there(page):
    asked = Asked()
    options.add(asked)
    found = set(re.findall(r"--nnx-[a-z]+(?:-[a-z]+)*", PAGES[page]))
    assert found <= asked.options | {"--nnx-update"}, page
