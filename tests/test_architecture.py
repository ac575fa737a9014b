"""The arrows between modules point one way; starting pytest imports nothing heavy.

Each module stands in the table with what it may import of this package and of others. What
is imported inside a function, or for type checkers alone, may also be what `LATER` says.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import pytest_nnxrng

PACKAGE = Path(pytest_nnxrng.__file__).parent
LONGEST = 400  # lines

# -- the table: from the bottom of DESIGN's page to its top --------------------------------

STANDARD_LIBRARY_ALONE = {
    "errors": "",
    "naming": "settings",
    "policy": "settings",
    "outcomes": "",
    "places": "errors",
    "startup": "places",
    "hardware": "places",
    "settings": "errors",
    "inventory": "naming outcomes policy",
    "progress": "",
    "report.machine": "inventory outcomes settings",
    "report.summary": "outcomes",
}
# numpy and what holds and packs its arrays
CORE = {
    "slabs": "",
    "digest": "slabs",
    "placement": "",
    "leaf": "placement slabs",
    "moments": "digest leaf slabs",
    "sketch": "digest moments slabs",
    "judge": "sketch",
    "evidence": "",
    "folding": "",
    "selection": "",
    "cautions": "digest leaf slabs",
    "ties": "leaf",
    "values": "digest leaf",
    "spot_text": "leaf selection slabs",
    "golden": "inventory leaf placement sketch spot_text values",
    "numbers": "judge leaf sketch slabs spot_text",
    "compare": "digest leaf numbers placement spot_text",
    "causes": "compare leaf",
    "structure": "causes compare leaf placement",
    "moves": "causes compare judge leaf numbers sketch slabs spot_text",
    "diagnose": "causes compare leaf moves numbers structure",
    "passes": "digest leaf moments progress sketch spot_text",
    "store": "golden inventory values",
    "report.forms": "compare numbers",
    "report.text": "causes compare leaf numbers structure",
}
# the only modules that import jax or flax
JAX = {
    "environment": "",
    "expression": "",
    "source": "",
    "keystream": "",
    "rngs": "settings",
    "devices": "errors hardware places startup",
    "processes": "",
    "sharded": "leaf processes slabs",
    "jaxprs": "",
    "loops": "expression jaxprs",
    "fingerprint": "expression folding jaxprs loops",
    "leaves": "golden leaf placement sharded slabs",
    "arguments": "leaves",
    "program": "selection",
    "elements": "program selection",
    "scans": "program selection",
    "demand": "elements folding jaxprs program scans selection",
    "spots": "demand derivation program selection",
    "derivation": "arguments expression fingerprint leaves loops source",
    "recovery": "evidence keystream leaf rngs",
    "recall": "compare environment leaf recovery spot_text",
    "sampling": "derivation golden leaf leaves spot_text spots",
    "explain": (
        "arguments causes compare derivation diagnose environment golden leaf leaves numbers "
        "passes recall sampling"
    ),
    "checks": "causes compare inventory naming policy progress settings store",
    "lookup": "checks golden leaves naming places ties",
    "agreement": "checks leaf leaves lookup policy processes",
    "allowance": "checks numbers settings",
    "capture": "cautions checks compare derivation explain golden leaves numbers passes progress",
    "equivalence": "checks compare derivation explain leaves numbers passes placement",
    "judging": (
        "allowance causes checks compare derivation environment explain golden leaf leaves lookup "
        "policy sampling"
    ),
    "recording": (
        "checks compare derivation environment explain golden inventory leaf leaves passes policy "
        "processes report.machine sampling store"
    ),
    "snapshot": (
        "agreement allowance arguments capture checks derivation environment equivalence explain "
        "judging leaves lookup naming recording report.forms settings"
    ),
}
# the only modules that import pytest; pytest itself loads `plugin` alone
PYTEST = {
    "items": "",
    "options": "settings",
    "placing": "errors items options settings",
    "fixtures": "errors items options placing",
    "running": "items options placing",
    "recorder": "items options",
    "ending": "inventory items options outcomes places policy report.machine report.summary",
    "plugin": "fixtures items options placing recorder running settings",
}
TOP = {"": "", "report": ""}
MODULES = STANDARD_LIBRARY_ALONE | CORE | JAX | PYTEST | TOP
NUMERIC = {"numpy", "ml_dtypes", "safetensors", "xxhash"}
# pytest executes these, and the package before them, at every start: they import late.
LATER = {
    "settings": "places",
    "items": "checks inventory naming places progress",
    "options": "devices hardware places startup",
    "fixtures": "checks devices inventory processes progress rngs snapshot",
    "running": "agreement checks outcomes policy report.machine report.text",
    "recorder": "ending outcomes",
    "placing": "devices places startup",
    "plugin": "policy progress report.machine",
    "": "cautions checks snapshot",
    "report.machine": "compare leaf",
}
LATER_OTHERS = {module: {"jax", "flax"} for module in PYTEST}


def others(module):
    if module in STANDARD_LIBRARY_ALONE or module in ("", "report"):
        return set()
    if module in PYTEST:
        return {"pytest"}
    return NUMERIC | ({"jax", "jaxlib", "flax"} if module in JAX else set())


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
    return whole if whole in MODULES else inside


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
        if module not in MODULES:
            yield f"{module} is not in the table"
            continue
        now, later = (set(table.get(module, "").split()) for table in (MODULES, LATER))
        for found in imports(source):
            mine = ours(found.module)
            root = found.module.partition(":")[0].partition(".")[0]
            if mine is not None:
                if mine not in now and not (found.later and mine in later):
                    yield f"{module} imports {mine or 'the package'}"
            elif found.module.startswith("."):
                yield f"{module} imports {found.module} relatively"
            elif root not in sys.stdlib_module_names | others(module) and not (
                found.later and root in LATER_OTHERS.get(module, ())
            ):
                yield f"{module} imports {root}"
        yield from (f"{module} uses {name}" for name in internals(source))


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


# -- the rules -------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_imports_what_the_table_allows(module):
    assert list(violations({module: SOURCES[module]})) == []


def test_the_table_has_no_modules_that_are_gone():
    assert MODULES.keys() - SOURCES.keys() == set()


def test_the_arrows_point_one_way():
    done: set[str] = set()
    arrows = {m: set(MODULES[m].split()) | set(LATER.get(m, "").split()) for m in MODULES}
    while len(done) < len(arrows):
        ready = {module for module in arrows.keys() - done if arrows[module] <= done}
        assert ready, f"a circle among {sorted(arrows.keys() - done)}"
        done |= ready


def test_the_groups_are_built_on_each_other():
    standard, core = set(STANDARD_LIBRARY_ALONE), set(STANDARD_LIBRARY_ALONE) | set(CORE)
    for module, needed in STANDARD_LIBRARY_ALONE.items():
        assert set(needed.split()) <= standard, module
    for module, needed in CORE.items():
        assert set(needed.split()) <= core, module
    for module, needed in PYTEST.items():
        assert set(needed.split()) <= standard | set(PYTEST), module


TO_SPLIT: set[str] = set()


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(m, marks=pytest.mark.xfail(strict=False, reason="too long, to be split"))
        if m in TO_SPLIT
        else m
        for m in sorted(SOURCES)
    ],
)
def test_no_module_is_too_long_to_be_read(module):
    assert len(SOURCES[module].splitlines()) <= LONGEST


# -- the rules can fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("naming", "import numpy as np", "naming imports numpy"),
        ("naming", "from pytest_nnxrng import policy", "naming imports policy"),
        ("naming", "from pytest_nnxrng.golden.policy import Mode", "naming imports policy"),
        ("naming", "import pytest_nnxrng.golden.policy", "naming imports policy"),
        ("naming", "import pytest_nnxrng", "naming imports the package"),
        ("naming", "from . import policy", "naming imports .:policy relatively"),
        ("naming", "def f():\n    import jax", "naming imports jax"),
        ("report.summary", "from pytest_nnxrng.report import text", "imports report.text"),
        ("golden", "import jax", "golden imports jax"),
        ("compare", "from flax import nnx", "compare imports flax"),
        ("compare", "import pytest", "compare imports pytest"),
        ("leaves", "import pytest", "leaves imports pytest"),
        ("leaves", "from pytest_nnxrng.check.snapshot import Result", "leaves imports snapshot"),
        ("leaves", "from importlib import import_module; import_module('optax')", "imports optax"),
        ("leaves", "from jax._src import core", "leaves uses jax._src.core"),
        ("leaves", "import jax._src.core", "leaves uses jax._src.core"),
        ("leaves", "import jax\nx = jax._src.core.f()", "is private"),
        ("leaves", "from flax import nnx\nx = nnx.Module._f", "leaves uses nnx.Module._f"),
        ("leaves", "from flax.nnx import graph", "leaves uses flax.nnx.graph"),
        ("leaves", "import flax.nnx.graph", "leaves uses flax.nnx.graph"),
        ("plugin", "from _pytest.config import Config", "plugin imports _pytest"),
        ("plugin", "import jax", "plugin imports jax"),
        ("plugin", "from pytest_nnxrng import snapshot", "plugin imports snapshot"),
        ("plugin", "from pytest_nnxrng import leaves", "plugin imports leaves"),
        ("options", "from pytest_nnxrng import plugin", "options imports plugin"),
        ("running", "import jax", "running imports jax"),
        ("", "from pytest_nnxrng import snapshot", " imports snapshot"),
        ("newcomer", "", "newcomer is not in the table"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(module, line, told):
    assert any(told in text for text in violations({module: line}))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("plugin", "def f():\n    import jax"),
        ("plugin", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flax"),
        ("fixtures", "def f():\n    from pytest_nnxrng import snapshot"),
        ("leaves", "import jax\nx = jax.__version__"),
        ("leaves", "from flax import nnx\nimport jax.numpy as jnp"),
        ("compare", "import numpy as np\nfrom pytest_nnxrng.leaf import Leaf"),
    ],
)
def test_what_is_allowed_is_not_found(module, line):
    assert list(violations({module: line})) == []


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
    assert started | {"", "plugin"} == {"", "errors", "settings", *PYTEST} - {"ending"}


def test_asking_for_the_version_imports_nothing_heavy(project):
    modules, _ = imported(project, "--version")
    assert {name for name in modules if name.partition(".")[0] in HEAVY} == set()


def test_a_run_that_uses_a_fixture_imports_jax(project):
    modules, output = imported(project, "-k", "model")
    assert "1 passed" in output
    assert {"jax", "flax", "numpy"} <= modules


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
