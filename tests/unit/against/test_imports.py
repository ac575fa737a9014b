"""Imports of a checkout, mapped to another tree: layouts, installs, and what must not pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_nnxrng

ROOT = Path(pytest_nnxrng.__file__).parent.parent

PROGRAM = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
{before}
from pytest_nnxrng.against import imports
from pytest_nnxrng.against import apart
found = imports.install(apart.load_job(sys.argv[1]))
told = dict()
for name in json.loads(sys.argv[3]):
    try:
        told[name] = __import__(name, fromlist=["x"]).SIDE
    except ImportError as error:
        told[name] = str(error)
print(json.dumps([told, imports.survey(found, sys.modules)._asdict()]))
"""


class Sides:
    """A checkout and a tree with the same files, whose modules say which they are of."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.tree, self.site = (
            folder / name for name in ("checkout", "tree", "env/site-packages")
        )

    def write(self, *files: str, only: Path | None = None) -> Sides:
        for side in (self.checkout, self.tree):
            for file in files if only in (None, side) else ():
                path = side / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"SIDE = {side.name!r}\n")
        return self

    def installed(self, source: str, name: str) -> Sides:
        """A plain install of what the checkout holds."""
        for path in (self.checkout / source).rglob("*.py"):
            to = self.site / name / path.relative_to(self.checkout / source)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
        return self

    def imported(self, *names: str, paths=(), before="", tests=()):
        from pytest_nnxrng.against.apart import Job

        job = Job(
            str(self.tree.parent), str(self.checkout), str(self.tree), "main (a1b2c3d)", (), tests
        )
        path = job.save()
        done = subprocess.run(
            [
                *(sys.executable, "-c", PROGRAM.format(before=before), str(path)),
                *(json.dumps(list(map(str, paths))), json.dumps(names)),
            ],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            cwd=self.tree,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


FINDER = """
import importlib.util
from importlib.machinery import PathFinder
class Editable:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "pkg":
            return importlib.util.spec_from_file_location(name, {file!r})
sys.meta_path.append(Editable)
"""


@pytest.mark.parametrize("layout", ["", "src", "packages/one/src", "libs/one"])
@pytest.mark.parametrize("install", ["path", "finder", "plain"])
def test_a_package_comes_from_the_tree(sides: Sides, layout: str, install: str):
    base = f"{layout}/pkg" if layout else "pkg"
    sides.write(f"{base}/__init__.py", f"{base}/models/__init__.py", f"{base}/models/mlp.py")
    project = layout.removesuffix("/src").removesuffix("src")
    sides.write(f"{project}/pyproject.toml".lstrip("/"))
    paths, before = [sides.checkout / layout], ""
    if install == "finder":
        paths, before = [], FINDER.format(file=str(sides.checkout / base / "__init__.py"))
    elif install == "plain":
        sides.installed(base, "pkg")
        paths = [sides.site]
    told, found = sides.imported("pkg", "pkg.models.mlp", paths=paths, before=before)
    assert told == {"pkg": "tree", "pkg.models.mlp": "tree"}
    assert found["foreign"] == {}
    assert found["code"]["pkg.models.mlp"] == f"{base}/models/mlp.py"
    assert set(found["copies"]) == ({"pkg"} if install == "plain" else set())


def test_a_module_of_a_flat_layout(sides: Sides):
    told, found = sides.write("models.py").imported("models", paths=[sides.checkout])
    assert (told, found["code"]) == ({"models": "tree"}, {"models": "models.py"})


def test_a_namespace_package_that_others_share(sides: Sides):
    sides.write("src/google/mine/__init__.py")
    (sides.site / "google/theirs").mkdir(parents=True)
    (sides.site / "google/theirs/__init__.py").write_text("SIDE = 'theirs'\n")
    told, _ = sides.imported(
        "google.mine", "google.theirs", paths=[sides.checkout / "src", sides.site]
    )
    assert told == {"google.mine": "tree", "google.theirs": "theirs"}


def test_a_namespace_package_that_is_installed_as_a_copy(sides: Sides):
    sides.write("src/google/mine/__init__.py").installed("src/google", "google")
    told, _ = sides.imported("google.mine", paths=[sides.site])
    assert told == {"google.mine": "tree"}


def test_others_packages_of_the_same_name_are_theirs(sides: Sides):
    sides.write("numpyish/__init__.py", "numpyish/mine.py")
    for n in range(9):
        path = sides.site / "numpyish" / f"theirs{n}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (sides.site / "numpyish/__init__.py").write_text("SIDE = 'theirs'\n")
    told, found = sides.imported("numpyish", paths=[sides.site])
    assert (told, found["copies"]) == ({"numpyish": "theirs"}, {})


def test_an_environment_inside_the_checkout_is_no_part_of_it(tmp_path: Path):
    sides = Sides(tmp_path)
    sides.site = sides.checkout / ".venv/lib/site-packages"
    sides.write("pkg/__init__.py")
    (sides.site / "numpyish").mkdir(parents=True)
    (sides.site / "numpyish/__init__.py").write_text("SIDE = 'theirs'\n")
    told, found = sides.imported("pkg", "numpyish", paths=[sides.checkout, sides.site])
    assert told == {"pkg": "tree", "numpyish": "theirs"}
    assert set(found["code"]) == {"pkg"}
    assert found["foreign"] == {}


@pytest.mark.parametrize("install", ["path", "plain", "both"])
def test_what_the_revision_does_not_have_is_not_taken_from_the_present(sides: Sides, install: str):
    sides.write("pkg/__init__.py", "new/__init__.py", only=sides.checkout)
    sides.write("pkg/__init__.py", "pkg/old.py", only=sides.tree)
    sides.write("pkg/new.py", only=sides.checkout)
    paths = [sides.checkout]
    if install != "path":
        sides.installed("pkg", "pkg").installed("new", "new")
        paths = [sides.site] if install == "plain" else [sides.checkout, sides.site]
    told, found = sides.imported("new", "pkg.new", "pkg.old", paths=paths)
    assert told["new"].startswith("No module named 'new'")
    assert told["pkg.new"].startswith("No module named 'pkg.new'")
    assert told["pkg.old"] == "tree"
    assert found["foreign"] == {}


def test_what_was_imported_before_is_told(sides: Sides):
    sides.write("models.py")
    told, found = sides.imported("models", paths=[sides.checkout], before="import models")
    assert told == {"models": "checkout"}
    assert found["foreign"] == {"models": str(sides.checkout / "models.py")}


def test_modules_of_the_tests_are_no_code(sides: Sides):
    sides.write("models.py", "helpers.py")
    _, found = sides.imported("models", "helpers", paths=[sides.checkout], tests=("helpers.py",))
    assert set(found["code"]) == {"models"}
