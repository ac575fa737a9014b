"""The fixtures. What needs JAX is imported in their bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.item import (
    CHECKS,
    FOLDERS,
    GIVEN,
    MEMORIES,
    PROGRESS,
    identity,
    is_place,
    our_place,
)
from pytest_nnxrng.hooks.options import SETTINGS
from pytest_nnxrng.hooks.parametrize import PLACES, first_of, places_of
from pytest_nnxrng.run.settings import BadSetting, MissingDevice

if TYPE_CHECKING:
    import jax
    from flax import nnx

    from pytest_nnxrng.check.snapshot import Snapshot


@pytest.fixture
def rngs(request: pytest.FixtureRequest, nnx_device: jax.Device) -> nnx.Rngs:
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
    from pytest_nnxrng.nnx import rngs as streams

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
def rngs_factory(pytestconfig: pytest.Config, nnx_device: jax.Device) -> Callable[..., nnx.Rngs]:
    """Makes fresh nnx.Rngs, for model fixtures of any scope.

    rngs_factory() gives what rngs gives, rngs_factory(7) that of seed 7, and
    rngs_factory(params=0, noise=5) is nnx.Rngs(params=0, noise=5).
    """
    from pytest_nnxrng.nnx import rngs as streams

    def make(*args: Any, **kwargs: Any) -> nnx.Rngs:
        return streams.make(args, kwargs, pytestconfig.stash[SETTINGS].seed, "rngs_factory")

    return make


@pytest.fixture(scope="session")
def nnx_device(request: pytest.FixtureRequest) -> jax.Device:
    """The jax.Device under test: --nnx-device, or JAX's default device.

    With several devices, each test that uses a fixture of this plugin runs on each of them,
    and so do the fixtures that use this one. A test may choose its own instead:
    @pytest.mark.parametrize("nnx_device", ["cpu", "gpu"], indirect=True).
    """
    from pytest_nnxrng.device import resolve

    selected = request.config.stash[PLACES]
    own = getattr(request, "param", first_of(selected) if selected else None)
    try:
        if own is None:
            return resolve.default()
        if not is_place(own):
            return resolve.of(own, "the parameter of nnx_device")
    except MissingDevice as error:
        pytest.skip(str(error))
    except BadSetting as error:
        pytest.fail(str(error), pytrace=False)
    if own.missing:
        pytest.skip(own.missing)
    return own.device


@pytest.fixture(scope="session")
def nnx_mesh(nnx_device: jax.Device) -> Callable[..., jax.sharding.Mesh]:
    """Makes meshes over devices of the platform under test: nnx_mesh(data=2, model=4).

    The axes are in the order as written. With too few devices the test is skipped; on a CPU
    pytest --nnx-cpu-devices=8 gives as many as are needed.
    """
    from pytest_nnxrng.device import resolve

    def make(**axes: int) -> jax.sharding.Mesh:
        __tracebackhide__ = True
        try:
            return resolve.mesh(nnx_device, axes)
        except resolve.TooFewDevices as error:
            pytest.skip(str(error))

    return make


@pytest.fixture
def nnx_snapshot(request: pytest.FixtureRequest, nnx_device: jax.Device) -> Snapshot:
    """Snapshot assertions that keep a model's weights and outputs in golden files.

    model = nnx_snapshot.check_init(MLP, 2, 10, 5, rngs=rngs) calls MLP(2, 10, 5, rngs=rngs),
    checks how it was initialised, and returns it; nnx_snapshot.check(value, "output") checks a
    model, state, array or pytree. nnx_snapshot(tol=..., only=..., ...) gives the same with
    options. Goldens are written by pytest --nnx-update-snapshots.
    """
    from pytest_nnxrng.check.memory import Memory
    from pytest_nnxrng.check.snapshot import Snapshot
    from pytest_nnxrng.check.state import TestChecks
    from pytest_nnxrng.device import processes, resolve
    from pytest_nnxrng.golden.inventory import Folders
    from pytest_nnxrng.hooks import collected
    from pytest_nnxrng.run.progress import Progress

    processes.LIMIT.set(request.config.stash[SETTINGS].process_timeout)
    try:
        # A test or a project may have put a name in place of the fixture's device.
        device = resolve.of(nnx_device, "nnx_device")
    except MissingDevice as error:
        pytest.skip(str(error))
    except BadSetting as error:
        pytest.fail(str(error), pytrace=False)
    checks = TestChecks(
        identity(request.node),
        request.path,
        request.config.stash[SETTINGS],
        lambda: device,
        request.config.rootpath,
        lambda: _given(request.node),
        request.config.stash.get(PROGRESS, None) or Progress(),
        request.config.stash.setdefault(FOLDERS, Folders()),
    )
    known = collected.of(request.config)
    checks.lost = lambda: known.lost
    memories = request.config.stash.setdefault(MEMORIES, {})
    checks.memory = memories.setdefault(str(device), Memory())
    checks.models = lambda: _models(request.node)
    checks.clashes = lambda: known.clash(request.path, checks.identity)
    if place := our_place(request.node):
        present = places_of(request.node)
        checks.devices = tuple((one.name, one.device.platform) for one in present)
        checks.turn = present.index(place)
    if getattr(request.function, "is_hypothesis_test", False):
        checks.closed = (
            "under hypothesis's @given, which runs the body many times for one golden. Check in "
            "a test of its own, for values that you name"
        )
    request.node.stash[CHECKS] = checks
    return Snapshot(checks)


def _models(item: pytest.Item) -> list[nnx.Module]:
    """The models among the values of the fixtures that the test uses."""
    from flax import nnx

    values = getattr(item, "funcargs", {}).values()
    return [value for value in values if isinstance(value, nnx.Module)]


def _given(item: pytest.Item) -> dict[str, Any]:
    from pytest_nnxrng.nnx import rngs as streams

    given = item.stash.get(GIVEN, None)
    return streams.base_keys(given) if given is not None else {}
