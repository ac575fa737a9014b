"""``python -m tests.neighbours [-k PATTERN]``: the plugin beside others, and under many settings.

Makes a virtual environment with the neighbours, writes one project with its goldens, runs it beside
each of them, and prints the table of the docs. A neighbour *works* when the same tests pass, a
changed model fails in the same tests and no others, and an update writes the same bytes as without.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("pytest-xdist", "pytest-randomly", "pytest-rerunfailures", "pytest-repeat", "pytest-cov"),
    *("pytest-timeout", "pytest-asyncio", "anyio", "trio", "pytest-subtests", "hypothesis"),
    *("syrupy", "pytest-regressions", "pytest-benchmark", "pytest-forked", "pytest-html"),
    *("pytest-json-report", "pytest-sugar", "pytest-split", "pytest-mock", "pytest-env"),
    *("pytest-order", "pytest-clarity", "pytest-instafail", "jaxtyping", "pytest-picked"),
    *("pytest-random-order", "pytest-reverse", "pytest-check", "pytest-socket", "pyfakefs"),
    *("pytest-run-parallel", "pytest-testmon", "pytest-freezer", "pytest-doctestplus"),
    "pytest-memray",
)
# Each is switched off unless its row asks for it.
PLUGINS = {
    "pytest-randomly": "randomly",
    "pytest-rerunfailures": "rerunfailures",
    "pytest-repeat": "repeat",
    "pytest-cov": "pytest_cov",
    "pytest-timeout": "timeout",
    "pytest-asyncio": "asyncio",
    "anyio": "anyio",
    "hypothesis": "hypothesispytest",
    "pytest-subtests": "subtests",
    "syrupy": "syrupy",
    "pytest-regressions": "regressions",
    "pytest-benchmark": "benchmark",
    "pytest-forked": "pytest_forked",
    "pytest-html": "html",
    "pytest-json-report": "pytest_jsonreport",
    "pytest-sugar": "sugar",
    "pytest-split": "pytest-split",
    "pytest-mock": "pytest_mock",
    "pytest-env": "env",
    "pytest-order": "pytest_order",
    "pytest-clarity": "clarity",
    "pytest-instafail": "instafail",
    "pytest-picked": "picked",
    "pytest-xdist": "xdist",
    "pytest-random-order": "random_order",
    "pytest-reverse": "reverse",
    "pytest-check": "check",
    "pytest-socket": "socket",
    "pyfakefs": "fakefs",
    "pytest-run-parallel": "run-parallel",
    "pytest-testmon": "pytest-testmon",
    "pytest-freezer": "freezer",
    "pytest-doctestplus": "pytest_doctestplus",
    "pytest-memray": "memray",
}

MODELS = """
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, din, dmid, dout, *, rngs):
            self.first = nnx.Linear(din, dmid, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(dmid, dout, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(nnx.relu(self.first(x))))
"""
TESTS = """
    import unittest

    import jax
    import jax.numpy as jnp
    import pytest
    from models import MLP

    @pytest.mark.parametrize("width", [3, 8])
    def test_mlp(rngs, nnx_snapshot, width):
        model = nnx_snapshot.check_init(MLP, 2, width, 5, rngs=rngs)
        nnx_snapshot.check(model(jnp.ones((1, 2), jnp.float32)), "output")

    @pytest.fixture(scope="module")
    def shared(rngs_factory):
        return MLP(2, 4, 3, rngs=rngs_factory(7))

    class TestShared:
        def test_weights(self, shared, nnx_snapshot):
            nnx_snapshot.check(shared)

        def test_abstract(self, rngs, nnx_snapshot):
            nnx_snapshot(abstract=True).check_init(MLP, 64, 64, 64, rngs=rngs)

    class TestUnit(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _take(self, nnx_snapshot, rngs):
            self.nnx_snapshot, self.rngs = nnx_snapshot, rngs

        def test_method(self):
            self.nnx_snapshot.check_init(MLP, 3, 4, 5, rngs=self.rngs)

    def test_same(rngs, nnx_snapshot):
        nnx_snapshot.check(rngs.params())
"""
FIRST = "self.first = nnx.Linear(din, dmid, rngs=rngs)"
CHANGE = (FIRST, f"rngs.params(); {FIRST}")


@dataclass(frozen=True)
class Row:
    """A neighbour or a setting: pytest's options, the environment, what more the project holds.

    ``note`` is what to know of a row whose goldens are others; one that is ``refused`` fails with
    this error.
    """

    name: str
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    python: tuple[str, ...] = ("-m", "pytest")
    plugins: tuple[str, ...] = ()
    cwd: str = "."
    tests: str = "tests"
    note: str = ""
    refused: str = ""


def _script(text: str) -> dict[str, str]:
    return {"script.py": text}


ASYNC = {
    "tests/test_async.py": """
        import jax.numpy as jnp
        import pytest

        @pytest.mark.MARK
        async def test_async(rngs, nnx_snapshot):
            nnx_snapshot.check(rngs.params())
    """
}
TWICE = """
    import sys, pytest
    first = pytest.main(sys.argv[1:])
    sys.exit(first or pytest.main(sys.argv[1:]))
"""
EQUAL_NAMES = {
    f"tests/{name}/{file}": text
    for name in ("a", "b")
    for file, text in {
        "__init__.py": "",
        "test_it.py": f"""
            def test_it(nnx_snapshot):
                nnx_snapshot.check({ord(name)}.5)
        """,
    }.items()
}


def rows() -> Iterator[Row]:
    yield Row("pytest alone")
    for mode in ("load", "loadfile", "loadscope", "worksteal"):
        yield Row(f"xdist -n 2 --dist={mode}", ("-n2", f"--dist={mode}"), plugins=("pytest-xdist",))
    yield Row("xdist --maxprocesses=1", ("-nauto", "--maxprocesses=1"), plugins=("pytest-xdist",))
    yield Row("xdist --dist=each", ("--tx=2*popen", "--dist=each"), plugins=("pytest-xdist",))
    yield Row("randomly", ("-p", "randomly"), plugins=("pytest-randomly",))
    both = ("pytest-randomly", "pytest-xdist")
    yield Row("randomly, xdist -n 2", ("-n2",), plugins=both)
    yield Row("rerunfailures", ("--reruns=1",), plugins=("pytest-rerunfailures",))
    yield Row("repeat --count=2", ("--count=2",), plugins=("pytest-repeat",))
    scoped = ("--count=2", "--repeat-scope=session")
    yield Row("repeat --repeat-scope=session", scoped, plugins=("pytest-repeat",))
    yield Row("repeat, xdist -n 2", ("--count=2", "-n2"), plugins=("pytest-repeat", "pytest-xdist"))
    yield Row("cov", ("--cov=models",), plugins=("pytest-cov",))
    yield Row("cov, xdist -n 2", ("--cov=models", "-n2"), plugins=("pytest-cov", "pytest-xdist"))
    yield Row("timeout", ("--timeout=300",), plugins=("pytest-timeout",))
    threads = ("--timeout=300", "--timeout-method=thread")
    yield Row("timeout in a thread", threads, plugins=("pytest-timeout",))
    marked = {n: t.replace("MARK", "asyncio") for n, t in ASYNC.items()}
    yield Row("asyncio", files=marked, plugins=("pytest-asyncio",))
    marked = {n: t.replace("MARK", "anyio") for n, t in ASYNC.items()}
    yield Row("anyio, two backends", files=marked, plugins=("anyio",))
    subtests = """
        def test_parts(rngs, nnx_snapshot, subtests):
            for part in range(2):
                with subtests.test(part=part):
                    nnx_snapshot.check(rngs.params())
    """
    yield Row("subtests", files={"tests/test_sub.py": subtests}, plugins=("pytest-subtests",))
    given = """
        from hypothesis import given, strategies as st

        @given(st.integers())
        def test_given(number):
            assert number == number
    """
    yield Row("hypothesis", files={"tests/test_given.py": given}, plugins=("hypothesis",))
    given = """
        from hypothesis import HealthCheck, given, settings, strategies as st

        @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(number=st.integers())
        def test_given(nnx_snapshot, number):
            nnx_snapshot.check(number)
    """
    files = {"tests/test_given.py": given}
    beside = ("hypothesis",)
    yield Row("a check under hypothesis's @given", files=files, plugins=beside, refused=GIVEN)
    others = """
        def test_others(snapshot, data_regression, rngs, nnx_snapshot):
            assert {"a": 1} == snapshot
            data_regression.check({"a": 1})
            nnx_snapshot.check(rngs.params())
    """
    files = {"tests/test_others.py": others, "tests/test_others/test_others.yml": "a: 1\n"}
    beside = ("syrupy", "pytest-regressions")
    yield Row("syrupy and pytest-regressions", ("--snapshot-update",), {}, files, plugins=beside)
    bench = """
        def test_fast(benchmark, rngs, nnx_snapshot):
            nnx_snapshot.check(benchmark(lambda: 1.5))
    """
    yield Row("benchmark", files={"tests/test_fast.py": bench}, plugins=("pytest-benchmark",))
    yield Row("forked", ("--forked",), plugins=("pytest-forked",))
    yield Row("html", ("--html=out.html",), plugins=("pytest-html",))
    yield Row("json-report", ("--json-report",), plugins=("pytest-json-report",))
    yield Row("sugar", plugins=("pytest-sugar",))
    yield Row("split", ("--splits=1", "--group=1"), plugins=("pytest-split",))
    for name in ("mock", "env", "order", "clarity", "instafail", "doctestplus", "freezer"):
        yield Row(name, plugins=(f"pytest-{name}",))
    yield Row("random-order", ("--random-order",), plugins=("pytest-random-order",))
    yield Row("reverse", ("--reverse",), plugins=("pytest-reverse",))
    yield Row("check", plugins=("pytest-check",))
    yield Row("socket --disable-socket", ("--disable-socket",), plugins=("pytest-socket",))
    yield Row("testmon", ("--testmon-noselect",), plugins=("pytest-testmon",))
    yield Row("memray", ("--memray",), plugins=("pytest-memray",))
    threads = ("--parallel-threads=2",)
    yield Row("run-parallel --parallel-threads=2", threads, plugins=("pytest-run-parallel",))
    fake = """
        def test_fake(fs, nnx_snapshot):
            nnx_snapshot.check(1.5)
    """
    yield Row("pyfakefs", files={"tests/test_fake.py": fake}, plugins=("pyfakefs",))
    hook = ("--jaxtyping-packages=models,beartype.beartype",)
    yield Row("jaxtyping's import hook", hook)
    yield Row("doctests", ("--doctest-modules",))
    yield Row("pytest.main twice", python=("script.py",), files=_script(TWICE))
    yield Row("--import-mode=importlib", ("--import-mode=importlib",))
    yield Row("--import-mode=append", ("--import-mode=append",))
    yield Row("-p no:cacheprovider", ("-p", "no:cacheprovider"))
    yield Row("-W error", ("-W", "error"))
    yield Row("-s -v", ("-s", "-v"))
    yield Row("--capture=sys", ("--capture=sys",))
    yield Row("--tb=native", ("--tb=native",))
    yield Row("another rootdir", ("--rootdir=..",))
    yield Row("started in tests/", cwd="tests", tests=".")
    yield Row("a checkout behind a link", tests="../link/tests")
    yield Row("packages of equal names", files=EQUAL_NAMES)
    yield Row("python -O", python=("-O", "-m", "pytest"))
    yield Row("python -X dev", python=("-X", "dev", "-m", "pytest"))
    yield Row("python -I", python=("-I", "-m", "pytest"))
    for switch, value in JAX:
        yield Row(f"{switch.lower()}={value}", env={switch: value})
    yield from combinations()
    yield Row("jax_enable_x64=1", env={"JAX_ENABLE_X64": "1"}, note=X64)


def combinations() -> Iterator[Row]:
    """Several at once: what suites of some age have."""
    workers = ("pytest-xdist", "pytest-rerunfailures")
    usual = ("-n2", "--reruns=1", "--cov=models")
    beside = (*workers, "pytest-cov", "pytest-randomly")
    yield Row("xdist, rerunfailures, cov, randomly", usual, plugins=beside)
    more = (*usual, "--timeout=300", "--html=out.html", "--json-report", "--import-mode=importlib")
    beside = (*workers, "pytest-cov", "pytest-timeout", "pytest-html", "pytest-json-report")
    yield Row(
        "xdist, rerunfailures, cov, timeout, html, json-report, importlib", more, plugins=beside
    )
    marked = {n: t.replace("MARK", "asyncio") for n, t in ASYNC.items()}
    beside = ("pytest-xdist", "pytest-asyncio", "pytest-mock", "pytest-sugar")
    apart = ("-n2", "--dist=loadscope")
    yield Row("xdist --dist=loadscope, asyncio, mock, sugar", apart, {}, marked, plugins=beside)
    beside = ("pytest-repeat", "pytest-randomly", "pytest-rerunfailures")
    yield Row("repeat, randomly, rerunfailures", ("--count=2", "--reruns=1"), plugins=beside)
    optimized = ("-O", "-X", "dev", "-m", "pytest")
    beside = ("pytest-xdist", "pytest-cov")
    yield Row(
        "python -O -X dev, xdist, cov", ("-n2", "--cov=models"), python=optimized, plugins=beside
    )
    switches = dict([JAX[0], JAX[2], JAX[6], JAX[7]])
    yield Row("jax_debug_nans, tracer leaks, strict dtypes and ranks", env=switches)
    guarded = dict([JAX[3], JAX[10]])
    yield Row(
        "jax_transfer_guard=disallow, jax_enable_checks, -n 2",
        ("-n2",),
        guarded,
        plugins=("pytest-xdist",),
    )


JAX = (
    *(("JAX_DEBUG_NANS", "1"), ("JAX_DEBUG_INFS", "1"), ("JAX_CHECK_TRACER_LEAKS", "1")),
    *(("JAX_TRANSFER_GUARD", "disallow"), ("JAX_TRANSFER_GUARD", "log")),
    *(("JAX_DEBUG_KEY_REUSE", "1"), ("JAX_NUMPY_DTYPE_PROMOTION", "strict")),
    *(("JAX_NUMPY_RANK_PROMOTION", "raise"), ("JAX_DISABLE_JIT", "1"), ("JAX_LOG_COMPILES", "1")),
    *(("JAX_ENABLE_CHECKS", "1"), ("JAX_TRACEBACK_FILTERING", "off")),
)
GIVEN = "under hypothesis's @given, which runs the body many times for one golden"
X64 = "counts as another environment: `python float` and int64 leaves differ"


# -- running -----------------------------------------------------------------------------------


class Neighbourhood:
    """The project, and the interpreter that runs it."""

    def __init__(self, python: Path, work: Path, *, quick: bool) -> None:
        self.python, self.work, self.quick = python, work, quick
        self.plain = self.project(Row("plain"), "plain")
        self.run(Row("plain"), self.plain, "--nnx-update-snapshots")
        self.goldens = goldens(self.plain)
        self.change(self.plain)
        self.failing = failures(self.run(Row("plain"), self.plain)[1])
        assert self.goldens, "the plain project wrote no goldens"
        assert self.failing, "the plain project passes whatever is changed"

    def project(self, row: Row, name: str) -> Path:
        folder = self.work / name / "project"
        files = {"pytest.ini": "[pytest]\npythonpath = .\n", "models.py": MODELS}
        files |= {"tests/test_model.py": TESTS, **row.files}
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(textwrap.dedent(text), encoding="utf-8")
        (folder.parent / "link").symlink_to(folder)
        return folder

    def change(self, folder: Path) -> None:
        path = folder / "models.py"
        path.write_text(path.read_text().replace(*CHANGE))

    def run(self, row: Row, folder: Path, *options: str) -> tuple[int, str]:
        off = [f"no:{name}" for package, name in PLUGINS.items() if package not in row.plugins]
        switched = [word for name in off for word in ("-p", name)]
        tests = [row.tests]
        command = [str(self.python), *row.python, *switched, *row.options, *options, *tests]
        environment = {
            n: v for n, v in os.environ.items() if not n.startswith(("PYTEST", "PYTHON"))
        }
        environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPYCACHEPREFIX": str(self.work / "bytecode")}
        environment |= row.env
        try:
            done = subprocess.run(
                command,
                cwd=folder / row.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=400,
            )
        except subprocess.TimeoutExpired:
            return 124, "it did not end"
        return done.returncode, done.stdout + done.stderr

    def judge(self, row: Row) -> tuple[str, str]:
        """What becomes of the plugin beside this neighbour, and what there is to say."""
        how, told = self._judge(row)
        if how == "FAILS" and not self.works_without(row):
            return "fails without us, too", "every test, whatever it uses"
        return how, told

    def works_without(self, row: Row) -> bool:
        """Whether the neighbour runs a test that has nothing to do with the plugin."""
        folder = self.work / "without" / "project"
        path = folder / row.cwd / row.tests / "test_control.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def test_control():\n    pass\n", encoding="utf-8")
        try:
            return self.run(row, folder, "-p", "no:nnxrng")[0] == 0
        finally:
            shutil.rmtree(folder.parent)

    def _judge(self, row: Row) -> tuple[str, str]:
        folder = self.project(row, re.sub(r"\W+", "-", row.name))
        if row.files or not self.quick:
            code, text = self.run(row, folder, "--nnx-update-snapshots")
            if row.refused:
                told = row.refused in " ".join(text.split()) and code == 1
                return (
                    ("refused with a clear error", row.refused) if told else ("FAILS", _tail(text))
                )
            if code != 0:
                return "FAILS", f"the update: {_tail(text)}"
            written = {name: data for name, data in goldens(folder).items() if name in self.goldens}
            if written != self.goldens and not row.note:
                return "FAILS", f"other goldens: {sorted(set(self.goldens) ^ set(written))[:3]}"
        else:
            for name, data in self.goldens.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        self.change(folder)
        code, text = self.run(row, folder)
        if code == 0 or failures(text) != self.failing:
            return "FAILS", f"a changed model: {sorted(self.failing ^ failures(text))[:3]}"
        return ("works, with a note", row.note) if row.note else ("works", "")


def goldens(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("__nnx_snapshots__/*/*"))
    }


def failures(text: str) -> set[str]:
    """The names of the tests that failed, without what neighbours add to them."""
    found = re.findall(
        r"^(?:FAILED|ERROR) \S*?::(?:\w+::)?(\w+(?:\[[^\]]*\])?)", text, re.MULTILINE
    )
    return {
        re.sub(r"(?<=[\[-])[12]-2(?=[-\]])", "", n).replace("-]", "]").replace("[]", "")
        for n in found
    }


def _tail(text: str) -> str:
    told = [line for line in text.splitlines() if re.match(r"(E  |ERROR|FAILED|\w*Error)", line)]
    return " / ".join(line.strip()[:120] for line in (told or text.splitlines())[-3:])


def environment(folder: Path) -> Path:
    """A virtual environment with the neighbours and this checkout."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [python, "-m", "pip", "install", "-q", "-e", str(ROOT), *PACKAGES, "beartype"]
    subprocess.run(command, check=True)
    return python


def table(found: Mapping[str, tuple[str, str]]) -> str:
    lines = ["| beside, or under | | |", "|---|---|---|"]
    lines += [f"| {name} | {how} | {told} |" for name, (how, told) in found.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-k", default="", help="rows alone in whose name this pattern is found")
    parser.add_argument("--python", type=Path, help="an interpreter that has the neighbours")
    parser.add_argument("--quick", action="store_true", help="compare alone, where that tells")
    chosen = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="neighbours-"))
    try:
        python = chosen.python or environment(work / "venv")
        neighbourhood = Neighbourhood(python, work, quick=chosen.quick)
        found = {}
        for row in rows():
            if re.search(chosen.k, row.name):
                found[row.name] = neighbourhood.judge(row)
                print(f"{row.name}: {' '.join(found[row.name])}", flush=True)
        print(table(found))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return int(any(how == "FAILS" for how, _ in found.values()))


if __name__ == "__main__":
    sys.exit(main())
