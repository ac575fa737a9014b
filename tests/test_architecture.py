"""The arrows between wings point one way; starting pytest imports nothing heavy.

The docstring of each wing ends in the wings that it may import: that is the table, and the order of
`WINGS` is the order of the house, from the bottom to the top. Inside a wing there are no circles.
What pytest loads at its start (`STARTS`) imports the others inside functions.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import pytest_nnxrng

PACKAGE = Path(pytest_nnxrng.__file__).parent
LONGEST = 400  # lines

# -- the table --------------------------------------------------------------------------------

WINGS = (
    *("run", "leaf", "device", "golden", "compare", "nnx"),
    *("trace", "why", "report", "check", "page", "against", "hooks", "command"),
)
NUMPY = {"numpy", "ml_dtypes", "safetensors", "xxhash"}
JAX = NUMPY | {"jax", "jaxlib", "flax"}
# What a wing may import of others' packages; in hooks, and at the top, but inside functions.
OTHERS = {
    "run": set(),
    "leaf": NUMPY,
    "device": JAX,
    "golden": NUMPY,
    "compare": NUMPY,
    "nnx": JAX,
    "trace": JAX,
    "why": JAX,
    "report": NUMPY,
    "page": NUMPY,
    "check": JAX,
    "against": {"pytest"},
    "hooks": {"pytest"},
    "command": set(),
    "": {"pytest"},
}
# What is read where it is installed.
OPTIONAL = {
    "golden.reference": {"orbax"},
    "command.entry": {"argcomplete"},
    "page.display": {"treescope"},
}
# The modules that need no more than the standard library, since a run without goldens loads them.
LIGHT = {
    *("device.notation", "device.startup", "device.hardware"),
    *("golden.naming", "golden.policy", "golden.inventory", "golden.document"),
    *("report.findings", "report.machine", "report.summary", "report.github", "why.words"),
}
# What pytest executes at every start, whoever uses it: everything else is imported in functions.
STARTS = {
    *("", "plugin", "run", "run.settings", "hooks", "hooks.options", "hooks.item"),
    *("hooks.parametrize", "hooks.fixtures", "hooks.testrun"),
}


def allowed(wing):
    """The wings that the docstring of a wing says it may import."""
    text = " ".join((ast.get_docstring(ast.parse(SOURCES[wing])) or "").split())
    told = re.search(r"May import (.*?)\.$", text)
    assert told, f"{wing}: the docstring does not end in what it may import"
    if told[1] == "no other wing":
        return set()
    below = set(WINGS[: WINGS.index(wing)])
    named = set(re.findall(r"[a-z]+", told[1])) & set(WINGS)
    if "every wing" in told[1]:
        return below - named
    return named


# -- reading imports -----------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    module: str  # dotted, as far as it is known to be a module
    later: bool  # inside a function, or under TYPE_CHECKING


def imports(source):
    """Every import of a module's source."""
    found = []

    def visit(node, later):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.extend(Import(f"{base}:{alias.name}", later) for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            found.extend(Import(a.value, True) for a in node.args if isinstance(a, ast.Constant))
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inner |= isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, later or inner)

    visit(ast.parse(source), later=False)
    return found


def ours(name):
    """``pytest_nnxrng.report:text`` -> ``report.text``; None for a module of others."""
    base, _, item = name.partition(":")
    if base.partition(".")[0] != "pytest_nnxrng":
        return None
    inside = base.removeprefix("pytest_nnxrng").removeprefix(".")
    whole = f"{inside}.{item}".strip(".") if item else inside
    return whole if whole in SOURCES else inside


def wing_of(module):
    return module.partition(".")[0] if module.partition(".")[0] in WINGS else ""


INTERNAL = ("_pytest", "jax._src", "jaxlib.", "flax.")  # flax.nnx aside
PUBLIC_ROOTS = {"jax", "jnp", "jaxlib", "flax", "nnx", "np", "pytest", "ml_dtypes", "safetensors"}


def internals(source):
    """What a module uses of others' private parts."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in names if name != "flax.nnx"]
        elif isinstance(node, ast.Attribute):
            chain = ast.unparse(node)
            root, *rest = chain.split(".")
            private = [part for part in rest if part.startswith("_") and not part.endswith("__")]
            names = [f"{chain} is private"] if root in PUBLIC_ROOTS and private else []
            yield from names
            continue
        else:
            continue
        yield from (name for name in names if name.startswith(INTERNAL))


def violations(sources):
    """What in ``sources`` (module -> text) breaks the table, as lines of text."""
    for module, source in sources.items():
        wing = wing_of(module)
        if not wing and module not in ("", "plugin", "__main__"):
            yield f"{module} is in no wing"
            continue
        for found in imports(source):
            yield from (f"{module} imports {told}" for told in _forbidden(module, wing, found))
        yield from (f"{module} uses {name}" for name in internals(source))


def _forbidden(module, wing, found):
    mine = ours(found.module)
    root = found.module.partition(":")[0].partition(".")[0]
    early = module in STARTS and not found.later
    if found.module.startswith("."):
        yield f"{found.module} relatively"
    elif mine is not None:
        there = wing_of(mine)
        if early and mine not in STARTS:
            yield f"{mine} at pytest's start"
        elif wing and there != wing and (there not in allowed(wing)):
            yield mine or "the package"
        elif mine == "plugin":
            yield "plugin"
    elif root not in sys.stdlib_module_names:
        light = module in LIGHT or (wing == "hooks" and not found.later) or early
        others = OTHERS[wing] - (JAX if light else set())
        others |= OPTIONAL.get(module, set()) if found.later else set()
        if root not in others and not (wing in ("hooks", "") and found.later and root in JAX):
            yield root


def circles(sources):
    """The modules of a wing that import each other in a circle, at their start or later."""
    arrows = {
        module: {
            mine
            for found in imports(source)
            if (mine := ours(found.module)) in sources
            and mine != module
            and wing_of(mine) == wing_of(module) != ""
            and mine != wing_of(mine)
        }
        for module, source in sources.items()
    }
    done = set()
    while ready := {module for module in arrows.keys() - done if arrows[module] <= done}:
        done |= ready
    return sorted(arrows.keys() - done)


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


TOP = {"", "plugin", "__main__"}


# -- the rules -------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_imports_what_the_table_allows(module):
    assert list(violations({module: SOURCES[module]})) == []


def test_every_wing_is_in_its_place():
    assert {module for module in SOURCES if "." not in module} == {*WINGS, *TOP}
    for wing in WINGS:
        assert allowed(wing) <= set(WINGS[: WINGS.index(wing)]), wing


def test_what_a_wing_may_import_it_does_import():
    for wing in WINGS:
        used = {
            wing_of(mine)
            for module, source in SOURCES.items()
            if wing_of(module) == wing
            for found in imports(source)
            if (mine := ours(found.module)) is not None
        }
        if wing != "hooks":
            assert allowed(wing) <= used, wing


def test_there_are_no_circles_inside_a_wing():
    assert circles(SOURCES) == []


def test_what_starts_is_there():
    assert SOURCES.keys() >= STARTS
    assert SOURCES.keys() >= LIGHT


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_module_is_too_long_to_be_read(module):
    assert len(SOURCES[module].splitlines()) <= LONGEST


ENDINGS = ("ment", "ings", "ing", "ers", "er", "ies", "es", "s", "y", "e")


def stem(name):
    for ending in ENDINGS:
        if name.endswith(ending) and len(name) - len(ending) >= 4:
            return name.removesuffix(ending)
    return name


def test_a_device_has_the_name_whose_type_is_known():
    # jaxlib has no types for jax.Device: pyright --verifytypes then knows none of what takes one.
    named = {
        name for name, source in SOURCES.items() if re.search(r"[:>\[|] jax\.Device\b", source)
    }
    assert {name for name in named if not name.startswith("hooks.")} == set()
    assert named  # fixtures are shown with the type that users know


def test_no_two_names_differ_by_an_ending_alone():
    names = {module.rpartition(".")[2] for module in SOURCES if module.count(".") == 1}
    assert len({stem(name) for name in names}) == len(names)
    assert len(names) == sum(module.count(".") == 1 for module in SOURCES)


# -- the rules can fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("golden.naming", "import numpy as np", "golden.naming imports numpy"),
        ("run.settings", "from pytest_nnxrng.golden import policy", "imports golden.policy"),
        ("run.settings", "from pytest_nnxrng.golden.policy import Mode", "imports golden.policy"),
        ("run.settings", "import pytest_nnxrng.golden.policy", "imports golden.policy"),
        ("run.progress", "import jax", "run.progress imports jax"),
        ("golden.store", "from . import policy", "imports .:policy relatively"),
        ("golden.store", "def f():\n    import jax", "golden.store imports jax"),
        ("report.summary", "import numpy", "report.summary imports numpy"),
        ("compare.numbers", "from flax import nnx", "compare.numbers imports flax"),
        ("compare.numbers", "import pytest", "compare.numbers imports pytest"),
        ("nnx.flatten", "from pytest_nnxrng.check.state import Result", "imports check.state"),
        ("nnx.flatten", "def f():\n    from pytest_nnxrng.golden import store", "golden.store"),
        ("nnx.flatten", "from importlib import import_module; import_module('optax')", "optax"),
        ("nnx.flatten", "from jax._src import core", "nnx.flatten uses jax._src.core"),
        ("nnx.flatten", "import jax._src.core", "nnx.flatten uses jax._src.core"),
        ("nnx.flatten", "import jax\nx = jax._src.core.f()", "is private"),
        ("nnx.flatten", "from flax import nnx\nx = nnx.Module._f", "uses nnx.Module._f"),
        ("nnx.flatten", "from flax.nnx import graph", "nnx.flatten uses flax.nnx.graph"),
        ("nnx.flatten", "import flax.nnx.graph", "nnx.flatten uses flax.nnx.graph"),
        ("plugin", "from _pytest.config import Config", "plugin imports _pytest"),
        ("plugin", "import jax", "plugin imports jax"),
        ("plugin", "from pytest_nnxrng.check import snapshot", "check.snapshot at pytest's start"),
        ("hooks.options", "from pytest_nnxrng.device import resolve", "at pytest's start"),
        ("hooks.options", "from pytest_nnxrng import plugin", "imports plugin"),
        ("hooks.testrun", "import jax", "hooks.testrun imports jax"),
        ("", "from pytest_nnxrng.check import snapshot", "imports check.snapshot"),
        ("newcomer", "", "newcomer is in no wing"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(module, line, told):
    assert any(told in text for text in violations({module: line}))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("plugin", "def f():\n    import jax"),
        ("plugin", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flax"),
        ("hooks.fixtures", "def f():\n    from pytest_nnxrng.check import snapshot"),
        ("nnx.flatten", "import jax\nx = jax.__version__"),
        ("nnx.flatten", "from flax import nnx\nimport jax.numpy as jnp"),
        ("compare.numbers", "import numpy as np\nfrom pytest_nnxrng.leaf.leaf import Leaf"),
    ],
)
def test_what_is_allowed_is_not_found(module, line):
    assert list(violations({module: line})) == []


def test_a_circle_is_found():
    both = {
        "golden.store": "from pytest_nnxrng.golden import values",
        "golden.values": "def f():\n    from pytest_nnxrng.golden.store import stage",
        "golden.naming": "from pytest_nnxrng.golden import store",
    }
    assert circles(both) == ["golden.naming", "golden.store", "golden.values"]
    assert circles({**both, "golden.values": ""}) == []


# -- what starting pytest costs ------------------------------------------------------------------

HEAVY = {"jax", "jaxlib", "flax", "numpy", "ml_dtypes", "safetensors", "xxhash", "optax"}


def imported(directory, *arguments):
    """The modules that a pytest run imports, its plugins being this one alone."""
    command = [sys.executable, "-X", "importtime", "-m", "pytest", "-s", *arguments]
    more = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [*command, "-p", "pytest_nnxrng.plugin", "-p", "no:cacheprovider"],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", **more},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return {line.rpartition("|")[2].strip() for line in lines}, done.stdout


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    test = "def test_nothing(): ...\ndef test_model(rngs): ...\n"
    (tmp_path / "test_a.py").write_text(test, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fixtures"],
        ["--collect-only"],
        ["-k", "nothing"],
        ["-k", "nothing", "--nnx-seed=7", "--nnx-update-snapshots"],
    ],
    ids=" ".join,
)
def test_a_run_that_uses_no_fixture_imports_nothing_heavy(project, arguments):
    modules, _ = imported(project, *arguments)
    assert {name for name in modules if name.partition(".")[0] in HEAVY} == set()
    started = {name_of_ours for name in modules if (name_of_ours := ours(name)) is not None}
    # Python tells of what an import statement imports; pytest calls for `plugin` and its package.
    assert started | {"", "plugin"} == STARTS


def test_asking_for_the_version_imports_nothing_heavy(project):
    modules, _ = imported(project, "--version")
    assert {name for name in modules if name.partition(".")[0] in HEAVY} == set()


def test_a_run_that_uses_a_fixture_imports_jax(project):
    modules, output = imported(project, "-k", "model")
    assert "1 passed" in output
    assert {"jax", "flax", "numpy"} <= modules


# -- the picture ---------------------------------------------------------------------------------

CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


def picture():
    """The wings from the top to the bottom, what lives in each, and what it may import."""
    lines = []
    for wing in reversed(WINGS):
        below = set(WINGS[: WINGS.index(wing)])
        told = [below_it for below_it in WINGS if below_it in allowed(wing)]
        arrows = "all below" if below and allowed(wing) == below else " ".join(told) or "nothing"
        first = ast.get_docstring(ast.parse(SOURCES[wing])).partition("\n")[0]
        lines += [f"{wing:9} {first}", f"{'':9} -> {arrows}"]
    return "\n".join(lines)


def test_the_picture_in_contributing_is_the_table():
    assert f"```text\n{picture()}\n```" in CONTRIBUTING.read_text(encoding="utf-8")


# -- public names ----------------------------------------------------------------------------------


def test_all_is_complete():
    tree = ast.parse(SOURCES[""])
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for inner in ast.walk(node)
        if isinstance(inner, ast.ImportFrom)
        for alias in inner.names
    }
    assert set(pytest_nnxrng.__all__) == typed
    assert sorted(pytest_nnxrng.__all__) == dir(pytest_nnxrng)
    for name in pytest_nnxrng.__all__:
        assert getattr(pytest_nnxrng, name).__name__ == name


def test_a_name_that_is_not_there():
    with pytest.raises(
        AttributeError, match=r"^module 'pytest_nnxrng' has no attribute 'nothing'$"
    ):
        _ = pytest_nnxrng.nothing


if __name__ == "__main__":
    print(picture())
