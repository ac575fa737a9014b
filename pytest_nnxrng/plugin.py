"""The pytest plugin: options, hooks and fixtures. The only file that imports pytest."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng import inventory, policy, progress, settings
from pytest_nnxrng.naming import FOLDER, Identity
from pytest_nnxrng.outcomes import Check, Outcomes, findings, totals
from pytest_nnxrng.policy import Mode, Outcome
from pytest_nnxrng.progress import Progress
from pytest_nnxrng.report import machine
from pytest_nnxrng.settings import BadSetting, Settings, first

if TYPE_CHECKING:
    import jax
    from flax import nnx

    from pytest_nnxrng.checks import TestChecks
    from pytest_nnxrng.snapshot import Snapshot

SETTINGS = pytest.StashKey[Settings]()
OUTCOMES = pytest.StashKey[Outcomes]()
GIVEN = pytest.StashKey["nnx.Rngs"]()
CHECKS = pytest.StashKey["TestChecks"]()
PROGRESS = pytest.StashKey[Progress]()
FOLDERS = pytest.StashKey[inventory.Folders]()

# Options that keep tests from being collected, run or seen: no proof is made under them.
_NARROWING = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "lf": "--lf",
    "failedfirst": "--ff",
    "stepwise": "--sw",
    "stepwise_skip": "--sw-skip",
    "stepwise_reset": "--sw-reset",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "maxfail": "-x/--maxfail",
    "collectonly": "--collect-only",
}


# A run that came to its end; the last test of a suite may be the one that is gone.
_ENDED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class SnapshotMismatch(AssertionError):
    """A test whose body passed, with checks that did not: its text is the whole report."""


# -- options ---------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nnxrng", "deterministic tests of Flax NNX models")
    group.addoption(
        "--nnx-update-snapshots",
        action="store_true",
        help="write goldens that are missing or no longer match, for tests that pass otherwise",
    )
    group.addoption(
        "--nnx-update-only",
        metavar="CAUSES",
        help="update only goldens all of whose causes are among these: draws,environment",
    )
    group.addoption(
        "--nnx-report",
        metavar="DIR",
        help="write DIR/report.json, and to DIR/obtained what is missing or differs",
    )
    group.addoption(
        "--nnx-refresh-snapshots",
        action="store_true",
        help="rewrite goldens that match but were recorded under another environment",
    )
    group.addoption(
        "--nnx-prune-snapshots",
        action="store_true",
        help="delete goldens whose test is gone; refuses in a run that cannot prove it",
    )
    group.addoption(
        "--nnx-device", metavar="DEVICE", help="where tests run: cpu, gpu, tpu, cuda, rocm, gpu:1"
    )
    group.addoption("--nnx-seed", metavar="N", help="the seed of the rngs fixture (default: 0)")
    parser.addini("nnx_seed", "the seed of the rngs fixture", default="")
    parser.addini("nnx_device", "where tests run, as --nnx-device", default="")
    parser.addini("nnx_snapshot_dir", "name of the folder of goldens", default="")
    parser.addini(
        "nnx_snapshot_store_limit",
        "largest leaf whose values a golden keeps, such as 64 KiB (default: 256 KiB)",
        default="",
    )
    parser.addini(
        "nnx_weights_tol", "tolerances of check_init, such as float32 = 1e-5", type="linelist"
    )
    parser.addini("nnx_outputs_tol", "tolerances of check, such as float32 = 1e-5", type="linelist")
    parser.addini(
        "nnx_strict", "use the stricter tolerances for every check", type="bool", default=False
    )


def read_settings(config: pytest.Config) -> Settings:
    """The settings of a run, each from its option, its ini key or its default."""
    ini, option = config.getini, config.getoption
    source = "--nnx-seed" if option("nnx_seed") is not None else "nnx_seed"
    only, report = option("nnx_update_only"), option("nnx_report")
    limit = ini("nnx_snapshot_store_limit")
    return Settings(
        seed=settings.seed(first(option("nnx_seed"), ini("nnx_seed"), 0), source),
        mode=Mode(
            option("nnx_update_snapshots") or bool(only),
            option("nnx_refresh_snapshots"),
            settings.causes(only, "--nnx-update-only") if only else frozenset(),
        ),
        prune=option("nnx_prune_snapshots"),
        device=first(option("nnx_device"), ini("nnx_device")),
        folder=settings.folder_name(first(ini("nnx_snapshot_dir"), FOLDER), "nnx_snapshot_dir"),
        store_limit=(
            settings.size(limit, "nnx_snapshot_store_limit") if limit else settings.STORE_LIMIT
        ),
        weights_tol=settings.tolerances(ini("nnx_weights_tol"), "nnx_weights_tol"),
        outputs_tol=settings.tolerances(ini("nnx_outputs_tol"), "nnx_outputs_tol"),
        strict=ini("nnx_strict"),
        report=config.invocation_params.dir / report if report else None,
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "nnx_rngs(seed) or nnx_rngs(**streams): what the rngs fixture gives this test: one "
        "integer is the seed, anything else goes to nnx.Rngs as it is.",
    )
    try:
        config.stash[SETTINGS] = made = read_settings(config)
        config.stash[OUTCOMES] = Outcomes()
        config.stash[FOLDERS] = inventory.Folders()
        if made.prune and (refusal := policy.prune_refusal(policy.Run(_narrowed(config)))):
            raise BadSetting(refusal)
        if made.report is not None and not hasattr(config, "workerinput"):
            machine.prepare(made.report)
        if made.device is not None:
            _use_device(config, made.device)
        config.pluginmanager.register(Recorder(config), "nnxrng-recorder")
        config.stash[PROGRESS] = progress.on(
            sys.stdout, worker=hasattr(config, "workerinput"), environ=os.environ
        )
        config.add_cleanup(config.stash[PROGRESS].close)
    except BadSetting as error:
        raise pytest.UsageError(str(error)) from None


def _use_device(config: pytest.Config, device: str) -> None:
    from pytest_nnxrng import devices

    if _is_xdist_controller(config):
        # The controller runs no test: it must not hold an accelerator.
        devices.probe(device)
        return
    import jax

    jax.config.update("jax_default_device", devices.find(device))


def pytest_report_header(config: pytest.Config) -> list[str]:
    made = config.stash[SETTINGS]
    shown = [f"seed {made.seed}"] if made.seed else []
    shown += [f"device {made.device}"] if made.device else []
    return [f"nnxrng: {', '.join(shown)}"] if shown else []


def _is_xdist_controller(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


def _narrowed(config: pytest.Config) -> tuple[str, ...]:
    found = [flag for name, flag in _NARROWING.items() if config.getoption(name, None)]
    return (*found, *(["a node id"] if any("::" in arg for arg in config.args) else []))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep pytest from asking about every golden, of which there may be thousands."""
    is_named_so = collection_path.name == config.stash[SETTINGS].folder
    return True if is_named_so and inventory.holds_goldens(collection_path) else None


# -- fixtures --------------------------------------------------------------------------


@pytest.fixture
def rngs(request: pytest.FixtureRequest) -> nnx.Rngs:
    """A fresh, seeded nnx.Rngs with the streams params, dropout and default.

    With seed S (0, or --nnx-seed) it is nnx.Rngs(params=S, dropout=S + 10_000,
    default=S + 20_000). Choose others with @pytest.mark.nnx_rngs(7),
    @pytest.mark.nnx_rngs(params=0, dropout=1) or
    @pytest.mark.parametrize("rngs", [0, 1, 2], indirect=True).
    """
    made = _rngs(request)
    request.node.stash[GIVEN] = made
    return made


def _rngs(request: pytest.FixtureRequest) -> nnx.Rngs:
    from pytest_nnxrng import rngs as streams

    seed = request.config.stash[SETTINGS].seed
    marker = request.node.get_closest_marker("nnx_rngs")
    try:
        if hasattr(request, "param"):
            return streams.make((request.param,), {}, seed, "the parameter of rngs")
        if marker is None:
            return streams.make((), {}, seed, "rngs")
        if not marker.args and not marker.kwargs:
            raise BadSetting("@pytest.mark.nnx_rngs needs a seed or streams: nnx_rngs(7)")
        return streams.make(marker.args, marker.kwargs, seed, "@pytest.mark.nnx_rngs")
    except BadSetting as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def rngs_factory(pytestconfig: pytest.Config) -> Callable[..., nnx.Rngs]:
    """Makes fresh nnx.Rngs, for model fixtures of any scope.

    rngs_factory() gives what rngs gives, rngs_factory(7) that of seed 7, and
    rngs_factory(params=0, noise=5) is nnx.Rngs(params=0, noise=5).
    """
    from pytest_nnxrng import rngs as streams

    def make(*args: Any, **kwargs: Any) -> nnx.Rngs:
        return streams.make(args, kwargs, pytestconfig.stash[SETTINGS].seed, "rngs_factory")

    return make


@pytest.fixture(scope="session")
def nnx_device(pytestconfig: pytest.Config) -> jax.Device:
    """The jax.Device under test: --nnx-device, or JAX's default device."""
    from pytest_nnxrng import devices

    return devices.find(pytestconfig.stash[SETTINGS].device)


@pytest.fixture
def nnx_snapshot(request: pytest.FixtureRequest, nnx_device: jax.Device) -> Snapshot:
    """Snapshot assertions that keep a model's weights and outputs in golden files.

    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs) calls MLP(2, 10, 5, rngs=rngs),
    checks how it was initialised, and returns it; nnx_snapshot.check(value, "output") checks a
    model, state, array or pytree. nnx_snapshot(tol=..., only=..., ...) gives the same with
    options. Goldens are written by pytest --nnx-update-snapshots.
    """
    from pytest_nnxrng.checks import TestChecks
    from pytest_nnxrng.snapshot import Snapshot

    checks = TestChecks(
        identity(request.node),
        request.path,
        request.config.stash[SETTINGS],
        lambda: nnx_device,
        request.config.rootpath,
        lambda: _given(request.node),
        request.config.stash[PROGRESS],
        request.config.stash[FOLDERS],
    )
    if getattr(request.function, "is_hypothesis_test", False):
        checks.closed = (
            "under hypothesis's @given, which runs the body many times for one golden. Check in "
            "a test of its own, for values that you name"
        )
    request.node.stash[CHECKS] = checks
    return Snapshot(checks)


def _given(item: pytest.Item) -> dict[str, Any]:
    from pytest_nnxrng import rngs as streams

    given = item.stash.get(GIVEN, None)
    return streams.base_keys(given) if given is not None else {}


def identity(item: pytest.Item) -> Identity:
    """What names a test's goldens: classes, function and parameters, as plain text."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    function = getattr(item, "originalname", None) or item.name
    rest = item.name.removeprefix(function)
    parameters = rest[1:-1] if rest.startswith("[") and rest.endswith("]") else None
    return Identity(".".join(classes), function, parameters)


# -- a test's run ----------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    __tracebackhide__ = True
    try:
        result = yield
    finally:
        checks = item.stash.get(CHECKS, None)
        if checks is not None and not checks.closed:
            checks.closed = (
                "after the test's body had ended (in teardown, or kept by another test): its "
                "checks are settled. Check inside the test, or in the set-up of a fixture it uses"
            )
    if checks is not None and checks.failing:
        for result in checks.failing:
            for cause in result.causes:
                item.user_properties.append(("nnx_cause", f"{cause.word}: {cause.text}"))
        raise SnapshotMismatch(_texts(item, checks)[0])
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    checks = item.stash.get(CHECKS, None)
    if call.when == "call" and checks is not None and not checks.closed:
        # A report of a subtest, made while the body runs.
        checks.subtest_failed |= report.failed
        return report
    if checks is not None and checks.results:
        _settle(item, call, report, checks)
    if call.when == "call" or not report.passed:
        _attach(item, report, checks)
    return report


def _settle(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, checks: TestChecks
) -> None:
    from pytest_nnxrng.report.text import Failure

    if call.when == "setup" and report.passed:
        return
    good = call.when == "call" and report.passed and not hasattr(report, "wasxfail")
    outcome = Outcome.PASSED if good and not checks.subtest_failed else Outcome.OTHER
    for result, error in checks.settle(outcome):
        problem = f"{result.path} could not be written: {error.strerror or error}"
        report.outcome = "failed"
        report.longrepr = Failure.of(problem, problem)
    if not checks.failing or not report.failed or call.when == "teardown":
        return
    text, headline = _texts(item, checks)
    if call.excinfo is not None and isinstance(call.excinfo.value, SnapshotMismatch):
        report.longrepr = Failure.of(text, headline)
    else:
        report.sections.append(("nnx_snapshot", text))


def _texts(item: pytest.Item, checks: TestChecks) -> tuple[str, str]:
    """The text of a test's failing checks, and its headline."""
    from pytest_nnxrng.report import text

    root = item.config.rootpath
    shown = [(result, _relative(result.path, root)) for result in checks.failing]
    where = os.path.relpath(item.path, item.config.invocation_params.dir)
    node = "::".join([where, *item.nodeid.split("::")[1:]])
    command = f"pytest --nnx-update-snapshots {shlex.quote(node)}"
    return text.failure(shown, command), text.headline(shown)


def _attach(item: pytest.Item, report: pytest.TestReport, checks: TestChecks | None) -> None:
    """Put on the report what the summary needs: reports are what xdist's workers send."""
    who, root = identity(item), item.config.rootpath
    found = [_row(item.nodeid, result, root) for result in checks.results] if checks else []
    passed = report.when == "call" and report.passed and not hasattr(report, "wasxfail")
    report.nnxrng = {  # type: ignore[attr-defined]
        "test": [_relative(item.path, root), who.cls, who.function, who.parameters],
        "passed": passed and not (checks and checks.subtest_failed),
        "checks": [row.to_json() for row in found],
    }


def _row(nodeid: str, result: Any, root: Path) -> Check:
    golden = _relative(result.path, root)
    comparison = result.comparison
    rounded = comparison.rounded if comparison is not None else {}
    near = max(rounded, key=lambda path: rounded[path].headroom, default=None)
    return Check(
        test=nodeid,
        golden=golden,
        status=result.status.value,
        failed=result.decision.fails,
        written=result.written,
        leaves=comparison.leaves if comparison is not None else 0,
        rounded=len(rounded),
        headroom=rounded[near].headroom if near is not None else 0.0,
        worst=f"{near or 'the value'} in {golden}" if near is not None else "",
        same_environment=not result.changes,
        unread=len(comparison.unread) if comparison is not None else 0,
        fingerprints=result.fingerprints,
        causes=tuple(asdict(cause) for cause in result.causes),
        differences=tuple(map(machine.difference, comparison.differences)) if comparison else (),
        notes=(result.note,) if result.note and result.written else (),
    )


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


# -- the run ---------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    parts = {Path(arg.split("::")[0]).name for arg in config.args if "::" in arg}
    rows = []
    for item in items:
        who, file = identity(item), _relative(item.path, config.rootpath)
        rows.append((file, item.path.name not in parts, who.cls, who.function, who.parameters))
    config.stash[OUTCOMES].collect(rows)


class Recorder:
    """Gathers the outcomes of a run where its reports meet: here, or in xdist's controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = config.stash[SETTINGS]
        self.outcomes = config.stash[OUTCOMES]
        self.survey = inventory.Survey()
        self.deleted: list[str] = []
        self.refusal: str | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes.troubles.append(f"{report.nodeid or 'a file'} could not be collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "nnxrng", None)
        if row is not None:
            self.outcomes.add(report.nodeid, row)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has ended, by itself or not."""
        if error is not None:
            self.outcomes.troubles.append(f"worker {node.gateway.id} crashed")
        self.outcomes.collect(getattr(node, "workeroutput", {}).get("nnxrng", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["nnxrng"] = self.outcomes.collected_rows()
            return
        root = self.config.rootpath
        beside = {(root / file).parent for file in self.outcomes.collected}
        if self.settings.prune:
            beside |= set(inventory.directories_below(self._roots(), self.settings.folder))
        found = inventory.folders(sorted(beside), self.settings.folder)
        self.survey = inventory.survey(self.outcomes, root, found)
        if self.settings.prune:
            self._prune(session)
        if self.settings.report is not None:
            machine.write(self.settings.report, self.outcomes, self.survey, root)

    def _roots(self) -> list[Path]:
        here = self.config.invocation_params.dir
        return [
            path if path.is_dir() else path.parent for path in map(here.joinpath, self.config.args)
        ]

    def _prune(self, session: pytest.Session) -> None:
        troubles = list(dict.fromkeys(self.outcomes.troubles))
        for file in self.survey.silent:
            troubles.append(
                f"{_relative(file, self.config.rootpath)} is there but collected no test"
            )
        if session.exitstatus not in _ENDED:
            troubles.append("the run did not come to its end")
        self.refusal = policy.prune_refusal(policy.Run((), tuple(troubles)))
        if self.refusal is not None:
            if session.exitstatus != pytest.ExitCode.TESTS_FAILED:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        for path in self.survey.gone:
            inventory.delete(path)
            self.deleted.append(_relative(path, self.config.rootpath))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from pytest_nnxrng.report import summary

        root = self.config.rootpath
        unused = [_relative(path, root) for path in self.survey.unused]
        gone = [] if self.deleted else [_relative(path, root) for path in self.survey.gone]
        checks = self.outcomes.all()
        if not (checks or unused or gone or self.deleted or self.refusal):
            return
        terminalreporter.section("nnx snapshots", sep="-")
        lines = summary.lines(
            totals(checks), unused, gone, self.deleted, self._notes(checks), findings(checks)
        )
        for line in lines:
            terminalreporter.line(line)

    def _notes(self, checks: list[Check]) -> list[str]:
        notes = list(dict.fromkeys(note for check in checks for note in check.notes))
        return notes + ([self.refusal] if self.refusal else [])
