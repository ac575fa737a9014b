"""``--nnx-against=REV``: proof without goldens, against what another revision's code gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import Project
from repositories import Repository, git

DEAR = (
    "Starts the tests of another revision in a process, as other stories here do; "
    "tests/unit/against holds the parts."
)

TESTS = """
import jax.numpy as jnp
from models import MLP

def test_mlp(rngs, nnx_snapshot):
    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)
    nnx_snapshot.check(model(jnp.ones((1, 2))), "output")

def test_numbers(nnx_snapshot):
    nnx_snapshot.check(jnp.arange(3.0), "numbers")
"""
FEWER = ("self.layer1 = nnx.Linear", "rngs.params()\n        self.layer1 = nnx.Linear")


@pytest.fixture
def repository(project: Project) -> Repository:
    project.test(TESTS)
    return Repository(project).commit()


@pytest.mark.dear(DEAR)
def test_a_refactor_that_changes_nothing_is_silent(repository: Repository):
    repository.project.change("models.py", "nnx.relu(self.layer1(x))", "nnx.relu(self.hidden(x))")
    repository.project.change(
        "models.py", "    def __call__(self, x):\n        return self.layer2", HIDDEN
    )
    run = repository.against("main").came_to(passed=2)
    assert run.figures == f"against main ({repository.short}): 3 the same"
    run.does_not_say("The code is the same")
    assert not repository.project.goldens()


HIDDEN = """    def hidden(self, x):
        return self.layer1(x)

    def __call__(self, x):
        return self.layer2"""


def test_what_changed_is_told_with_its_cause(repository: Repository):
    repository.project.change("models.py", *FEWER)
    run = repository.against("main").came_to(passed=1, failed=1)
    assert run.figures == f"against main ({repository.short}): 1 the same, 2 changed"
    run.says(
        f"against main ({repository.short})",
        "draws: 1 more key is drawn from `params` by the model itself (MLP): 2 leaves "
        "moved (see models.py:8: rngs.params())",
    )
    run.does_not_say("--nnx-update-snapshots", "--nnx-update-only", "nnxrng-against-")


def test_goldens_in_the_repository_are_neither_read_nor_written(repository: Repository):
    project = repository.project.made()
    repository.commit("Goldens")
    for name in project.goldens():
        (project.path / name).write_text("no golden")
    run = repository.against("HEAD").came_to(passed=2)
    assert run.figures.endswith("3 the same")
    run.says("The code is the same as in HEAD")


@pytest.mark.dear(DEAR)
def test_what_the_revision_cannot_run_is_told_apart_from_what_is_new(repository: Repository):
    project = repository.project
    project.change("models.py", "class Net", "class Wide(MLP):\n    pass\n\n\nclass Net")
    project.test(
        """
        import jax.numpy as jnp
        from models import MLP, Net

        def test_mlp(rngs, nnx_snapshot):
            model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs)

        def test_new(nnx_snapshot):
            nnx_snapshot.check(jnp.ones(3))

        def test_wide(rngs, nnx_snapshot):
            import models
            nnx_snapshot.check_init(models.Wide, 2, 10, 5, rngs=rngs)
        """
    )
    run = repository.against("main").came_to(passed=3)
    assert run.figures.endswith("2 the same, 1 that it cannot run")
    run.says(
        "It cannot run tests/test_model.py::test_wide: AttributeError: module 'models' has no "
        "attribute 'Wide'"
    )


@pytest.mark.dear(DEAR)
def test_a_check_that_comes_before_a_failure_there_is_compared(repository: Repository):
    project = repository.project
    project.change("models.py", "class Net", "NEW = 1\n\n\nclass Net").change("models.py", *FEWER)
    project.change(
        "tests/test_model.py", "from models import MLP", "import models\nMLP = models.MLP"
    )
    project.change(
        "tests/test_model.py",
        "rngs=rngs)",
        "rngs=rngs)\n    assert models.NEW",
    )
    run = repository.against("main").came_to(passed=1, failed=1)
    assert run.figures.endswith("1 the same, 1 changed, 1 that it cannot run")


@pytest.mark.dear(DEAR)
def test_where_nothing_was_compared_the_run_is_an_error(repository: Repository):
    project = repository.project
    project.change("models.py", "class MLP", "class Old")
    repository.commit("Old name")
    project.change("models.py", "class Old", "class MLP")
    run = repository.against("HEAD", "tests/test_model.py")
    assert run.ret == 4
    run.says(
        f"nothing was compared to HEAD ({git(project.path, 'rev-parse', 'HEAD')[:7]}): none of the "
        "tests could run there.",
        "tests/test_model.py: ImportError: cannot import name 'MLP' from 'models'",
    )


def test_tests_of_no_module_of_the_project_prove_nothing(repository: Repository):
    repository.project.test("def test_it(nnx_snapshot):\n    nnx_snapshot.check(1)\n")
    run = repository.against("main")
    assert run.ret == 4
    run.says("the tests import no module of", "which are the same on both sides")


@pytest.mark.dear(DEAR)
def test_with_workers_a_report_and_a_selection(repository: Repository):
    repository.project.change("models.py", *FEWER)
    alone = repository.project.run("--nnx-against=main", "-k", "mlp")
    run = repository.project.run(
        "--nnx-against=main", "-n", "2", "-k", "mlp", "--nnx-report=site/report"
    )
    assert run.figures == f"against main ({repository.short}): 0 the same, 2 changed"
    assert run.summary == [*alone.summary, "A page to look at: site/report/index.html"]
    report = json.loads((repository.path / "site/report/report.json").read_text())
    assert report["against"]["commit"].startswith(repository.short)
    assert {check["golden"] for check in report["checks"]} == {
        f"tests/__nnx_snapshots__/test_model/test_mlp.{name}.json" for name in ("1", "output")
    }
    obtained = repository.path / "site/report/obtained/tests/__nnx_snapshots__/test_model"
    assert (obtained / "test_mlp.output.json").exists()


@pytest.mark.dear(DEAR)
@pytest.mark.parametrize("revision", ["HEAD~1", "v1", "merge-base:side"])
def test_a_revision_by_other_names(repository: Repository, revision: str):
    git(repository.path, "tag", "v1")
    git(repository.path, "branch", "side")
    repository.project.change("models.py", *FEWER)
    repository.commit("A key more")
    run = repository.against(revision, "-k", "mlp")
    assert run.figures == f"against {revision} ({repository.first}): 0 the same, 2 changed"


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("nothing", "'nothing' is no commit of"),
        ("", "'' is not a revision"),
        ("-x", "'-x' is not a revision"),
        ("main..main", "'main..main' is no commit of"),
        ("main:models.py", "'main:models.py' is no commit of"),
        ("merge-base:nothing", "'nothing' is no commit of"),
    ],
)
def test_a_revision_that_is_none(repository: Repository, revision: str, told: str):
    run = repository.against(revision)
    assert (run.ret, run.outcomes) == (4, {})
    run.says(f"--nnx-against: {told}")


def test_no_repository(project: Project):
    run = project.test(TESTS).run("--nnx-against=main")
    assert run.ret == 4
    run.says("is in no git repository")


def test_options_that_write_are_refused(repository: Repository):
    run = repository.against("main", "--nnx-update-snapshots")
    assert run.ret == 4
    run.says("leave out the options that do")


# -- git bisect ------------------------------------------------------------------------------


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "refactor.md"


@pytest.mark.dear(DEAR)
def test_git_finds_the_commit_that_moved_the_model(project: Project):
    """By the documentation's own lines, past a commit that cannot be imported."""
    project.write({"models.py": "import numpy\n\n\ndef make():\n    return numpy.arange(3.0)\n"})
    project.test(
        """
        from models import make

        def test_it(nnx_snapshot):
            nnx_snapshot.check(make())
        """
    )
    repository = Repository(project).commit()
    git(project.path, "tag", "v1.0")
    for message, old, new in [
        ("Nothing moves", "import numpy", "import numpy  # 1"),
        ("Broken", "  # 1", "; import nothing_there"),
        ("Mended", "; import nothing_there", "  # 2"),
        ("It moves", "arange(3.0)", "arange(1.0, 4.0)"),
        ("The last", "  # 2", "  # 3"),
    ]:
        project.change("models.py", old, new)
        repository.commit(message)
    done = subprocess.run(
        ["sh", "-e", "-c", "\n".join(_bisection())],
        cwd=project.path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert git(project.path, "show", "-s", "--format=%s", "refs/bisect/bad") == "It moves", said
    log = git(project.path, "bisect", "log")
    assert [line.split()[2] for line in log.splitlines() if line.startswith("git bisect ")] == [
        "start",
        "skip",
        "good",
        "bad",
    ]
    assert not git(project.path, "status", "--porcelain")


def _bisection() -> list[str]:
    """The lines of the documentation that bisect."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("git bisect ")]
    assert [line.split()[2] for line in found] == ["start", "run"]
    return found


# -- how the run ends ------------------------------------------------------------------------


SLOW = """
import os, pathlib, time
pathlib.Path(os.environ["MARK"]).write_text(str(os.getpid()))
time.sleep(120)
"""


# Where a suite runs in the background, SIGINT is ignored from there on.
INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
"""


@pytest.mark.dear(DEAR)
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_nothing(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory, ended_by: signal.Signals
):
    project, outside = repository.project, tmp_path_factory.mktemp("outside")
    project.write({"slow.py": SLOW}).change("models.py", "import jax\n", "import slow\n")
    repository.commit("Slow")
    before = repository.bytes()
    mark = outside / "mark"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-p", "no:cacheprovider", "--nnx-against=HEAD"],
        cwd=project.path,
        env={**os.environ, "MARK": str(mark), "TMPDIR": str(outside)},
        stdout=subprocess.DEVNULL,
    )
    _until(lambda: mark.exists() and mark.read_text())
    there = int(mark.read_text())
    process.send_signal(ended_by)
    process.wait()
    _until(lambda: not _runs(there))
    _until(lambda: not list(outside.glob("nnxrng-against-*")))
    assert repository.bytes() == before


def _until(done: Callable[[], object]) -> None:
    for _ in range(1200):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("it does not come")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


# -- layouts -------------------------------------------------------------------------------------


@pytest.fixture
def packaged(project: Project) -> Repository:
    """A repository with a package of a src layout, in a sub-folder, run from there."""
    models = (project.path / "models.py").read_text()
    (project.path / "models.py").unlink()
    (project.path / "pytest.ini").unlink()
    project.write(
        {
            "parts/one/pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
            "parts/one/src/pkg/__init__.py": "",
            "parts/one/src/pkg/models.py": models,
            "parts/one/tests/test_model.py": TESTS.replace("from models", "from pkg.models"),
        }
    )
    return Repository(project).commit()


@pytest.mark.dear(DEAR)
def test_an_editable_package_in_a_folder_of_a_monorepo(packaged: Repository):
    project = packaged.project.change("parts/one/src/pkg/models.py", *FEWER)
    project.env(PYTHONPATH=f"{project.path}/parts/one/src:{os.environ.get('PYTHONPATH', '')}")
    before = packaged.bytes()
    os.chdir(project.path / "parts/one")
    run = project.run_apart("--nnx-against=main")
    assert run.figures == f"against main ({packaged.short}): 1 the same, 2 changed"
    assert packaged.bytes() == before


@pytest.mark.dear(DEAR)
def test_a_plain_install_that_is_not_the_checkout_is_refused(packaged: Repository):
    project, site = packaged.project, packaged.path / "site/site-packages"
    shutil.copytree(project.path / "parts/one/src/pkg", site / "pkg")
    project.change("parts/one/src/pkg/models.py", *FEWER)
    project.env(PYTHONPATH=f"{site}:{os.environ.get('PYTHONPATH', '')}")
    run = project.run_apart("--nnx-against=main", "--rootdir=parts/one", "parts/one/tests")
    assert run.ret == 4
    run.says(
        "nothing was compared to main",
        f"the tests import pkg from {site}/pkg, which is not what {project.path}/parts/one/src/pkg "
        "holds (models.py is another). Install it again, or so that it follows the checkout: pip "
        "install -e .",
    )
    shutil.copytree(project.path / "parts/one/src/pkg", site / "pkg", dirs_exist_ok=True)
    run = project.run_apart("--nnx-against=main", "--rootdir=parts/one", "parts/one/tests")
    assert run.figures == f"against main ({packaged.short}): 1 the same, 2 changed"


# -- another interpreter ---------------------------------------------------------------------


@pytest.fixture
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python under which JAX draws other bits."""
    path = tmp_path_factory.mktemp("other") / "python"
    set_flag = "JAX_THREEFRY_PARTITIONABLE=0 PYTHONDONTWRITEBYTECODE=1"
    path.write_text(f'#!/bin/sh\n{set_flag} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_what_another_interpreter_gives(project: Project, other_python: Path):
    before = sorted(project.test(TESTS).path.rglob("*"))
    run = project.run(f"--nnx-against-python={other_python}", "-p", "no:cacheprovider")
    run.came_to(passed=1, failed=1)
    assert run.figures.startswith("against jax ")
    assert run.figures.endswith(": 1 the same, 2 changed")
    run.says("environment: jax_threefry_partitionable false -> true")
    assert sorted(p for p in project.path.rglob("*") if "__pycache__" not in p.parts) == before


@pytest.mark.dear(DEAR)
def test_another_revision_under_another_interpreter(repository: Repository, other_python: Path):
    repository.project.change("models.py", *FEWER)
    run = repository.against("main", f"--nnx-against-python={other_python}")
    assert run.figures.startswith(f"against main ({repository.short}), jax ")
    run.says("draws: 1 more key", "environment: jax_threefry_partitionable false -> true")
