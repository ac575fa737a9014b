"""How the site is built: ``sphinx-build -W docs docs/_build``. It needs no network."""

import os
import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

SOURCE = "https://github.com/pytest-nnxrng/pytest-nnxrng"

project = "pytest-nnxrng"
author = "The pytest-nnxrng authors"
copyright = author  # noqa: A001 (Sphinx's own name)
version = release = installed("pytest-nnxrng")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

# Read the Docs has a network; elsewhere links to other projects stay plain texts.
intersphinx_mapping = (
    {
        "flax": ("https://flax.readthedocs.io/en/latest/", None),
        "jax": ("https://docs.jax.dev/en/latest/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pytest": ("https://docs.pytest.org/en/stable/", None),
        "python": ("https://docs.python.org/3/", None),
    }
    if os.environ.get("READTHEDOCS") or os.environ.get("DOCS_ONLINE")
    else {}
)

myst_heading_anchors = 3
myst_links_external_new_tab = False
myst_url_schemes = {
    "https": None,
    "repo": {"url": SOURCE + "/blob/main/{{path}}", "classes": ["github"]},
}

autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"  # nobody builds a Snapshot
napoleon_google_docstring = True
napoleon_numpy_docstring = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_static_path = ["_static"]
html_css_files = ["cards.css"]
html_theme = "furo"
pygments_style = "default"  # in which a diff is red and green
html_title = "pytest-nnxrng"
html_theme_options = {
    "source_repository": SOURCE,
    "source_branch": "main",
    "source_directory": "docs/",
}

ROOT = Path(__file__).parent.parent
# Pages that are files of the repository, where they are read on GitHub, too.
FILES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "examples": "examples/README.md",
}


def setup(app: Any) -> None:
    app.connect("source-read", _read)


def _read(app: Any, name: str, source: list[str]) -> None:
    if name in FILES:
        file = ROOT / FILES[name]
        folder = file.parent.relative_to(ROOT).as_posix()
        prefix = "repo:" if folder == "." else f"repo:{folder}/"
        text = file.read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((?!https?:|#)", f"]({prefix}", text)
    elif name == "gallery":  # each cause with the card that the page of its run shows
        source[0] = re.sub(r"(?ms)^## `(\w+)`$.*?(?=^\*\*What to do)", _with_card, source[0])


def _with_card(section: re.Match[str]) -> str:
    return f"{section[0]}```{{raw}} html\n:file: cards/{section[1]}.html\n```\n\n"
