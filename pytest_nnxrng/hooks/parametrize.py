"""Where the tests of a run take place: devices are looked up, tests parametrised, or skipped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_nnxrng.hooks.item import CHECKS, GIVEN, PARAMETER, is_place, our_place
from pytest_nnxrng.hooks.options import LATE, SETTINGS
from pytest_nnxrng.run.settings import BadSetting, DeviceName, Settings

if TYPE_CHECKING:
    import jax

    from pytest_nnxrng.device.notation import Place

# The devices named for this run; none: JAX's own default.
PLACES: pytest.StashKey[tuple[Place, ...]] = pytest.StashKey()
# Why no test of this worker can run.
TROUBLE = pytest.StashKey[str]()


def is_xdist_controller(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config, made = session.config, session.config.stash[SETTINGS]
    if config.getoption("showfixtures") or config.getoption("show_fixtures_per_test"):
        return  # what is but listed needs no device
    try:
        if is_xdist_controller(config):
            # It runs no test: it must not hold an accelerator.
            _probe(made)
        else:
            _refuse(config.stash.get(LATE, ()))
            config.stash[PLACES] = _places(made)
    except BadSetting as error:
        if not hasattr(config, "workerinput"):
            raise pytest.UsageError(str(error)) from None
        # A worker that ends is started again, and again: its tests say it in its place.
        config.stash[PLACES], config.stash[TROUBLE] = (), str(error)


def _probe(made: Settings) -> None:
    from pytest_nnxrng.device import notation, startup

    here = os.environ.get(startup.PLATFORMS, "")
    if (
        not made.devices
        or made.missing_skips
        or made.devices == (notation.DeviceName(notation.ALL),)
    ):
        return
    if notation.surely_here(made.devices, made.cpu_devices or 1, here):
        return
    from pytest_nnxrng.device import resolve

    try:
        absent = resolve.probe(made.devices)
    except BadSetting as error:
        raise BadSetting(f"{made.devices_from}: {error}") from None
    if absent:
        raise BadSetting(_absent(made, absent))


def _refuse(late: tuple[str, ...]) -> None:
    if not late:
        return
    from pytest_nnxrng.device.startup import CPU_DEVICES

    names = [name for name in late if name != CPU_DEVICES]  # of which the number is looked at
    if names:
        raise BadSetting(
            f"{' and '.join(names)} must be set before JAX starts, and JAX has started already. "
            "What is loaded before conftest.py, such as a plugin named by -p, must not use JAX "
            "when it is imported"
        )


def _absent(made: Settings, why: str) -> str:
    return f"{made.devices_from}: {why}. To skip its tests: --nnx-device-missing=skip"


def _places(made: Settings) -> tuple[Place, ...]:
    if made.cpu_devices is not None and "jax" in sys.modules:
        from pytest_nnxrng.device import resolve

        resolve.make_cpu_devices(made.cpu_devices)
    if not made.devices:
        return ()
    from pytest_nnxrng.device import resolve

    try:
        found = resolve.resolve(made.devices)
    except BadSetting as error:
        raise BadSetting(f"{made.devices_from}: {error}") from None
    absent = [place for place in found if place.missing]
    if absent and not made.missing_skips:
        raise BadSetting(_absent(made, resolve.missing(absent)))
    first = next((place.device for place in found if place.device is not None), None)
    if first is not None:
        _use(first)
    return found


def _use(device: jax.Device | str | None) -> None:
    """Make it JAX's default device in all threads, as jax.default_device does in one."""
    import jax

    if jax.config.jax_default_device != device:
        jax.config.update("jax_default_device", device)


@contextlib.contextmanager
def _used(device: jax.Device) -> Iterator[None]:
    import jax

    before = jax.config.jax_default_device
    _use(device)
    try:
        yield
    finally:
        _use(before)


def shown(config: pytest.Config) -> list[str]:
    """The named devices, for the header."""
    devices = config.stash[SETTINGS].devices
    if not devices:
        return []
    from pytest_nnxrng.device import notation

    names = notation.ids(devices)
    found = config.stash.get(PLACES, None)
    if found is not None:
        names = tuple(f"{place.name} (missing)" if place.missing else place.name for place in found)
    return [f"device{'s' if len(names) > 1 else ''} {', '.join(names)}"]


# -- tests -----------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Make each test that uses a fixture of ours a test on each device.

    After all others, so that the device stands last in the id: ``items.identity`` takes it
    off from there.
    """
    yield
    selected = metafunc.config.stash.get(PLACES, ())
    if len(selected) < 2 or PARAMETER not in metafunc.fixturenames:
        return
    made = [
        pytest.param(
            place,
            id=place.name,
            marks=[pytest.mark.skip(reason=place.missing)] if place.missing else [],
        )
        for place in selected
    ]
    try:
        metafunc.parametrize(PARAMETER, made, indirect=True, scope="session")
    except Exception as error:
        # The test, or its project, chooses its devices itself.
        if "duplicate parametrization" not in str(error):
            raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    device = _own_device(item)
    if device is None:
        return (yield)
    with _used(device):
        return (yield)


def _own_device(item: pytest.Item) -> Any:
    """The device that is a parameter of the test, ours or its own; None for the run's."""
    value = getattr(getattr(item, "callspec", None), "params", {}).get(PARAMETER)
    if is_place(value):
        return value.device
    if value is None:
        return None
    from pytest_nnxrng.device import resolve

    try:
        return resolve.of(value, "")
    except BadSetting:
        return None  # the fixture says so, or it is no device at all


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if TROUBLE in item.config.stash:
        pytest.fail(item.config.stash[TROUBLE], pytrace=False)
    selected = item.config.stash.get(PLACES, ())
    names = getattr(item, "fixturenames", ())
    if PARAMETER in names and our_place(item) is None and selected and _own_device(item) is None:
        first = first_of(selected)
        if first.missing:
            item.add_marker(pytest.mark.skip(reason=first.missing))
    marker = item.get_closest_marker("nnx_device")
    if marker is not None:
        from pytest_nnxrng.device import notation

        try:
            _restrict(item, notation.marked(marker.args, marker.kwargs.keys()), selected)
        except BadSetting as error:
            pytest.fail(str(error), pytrace=False)


def unplaced(item: pytest.Item) -> bool:
    """Whether the test used our fixtures on one device of several, not being parametrised."""
    if len(item.config.stash.get(PLACES, ())) < 2 or our_place(item) or _own_device(item):
        return False
    asked = PARAMETER in getattr(item, "fixturenames", ())
    return asked or GIVEN in item.stash or CHECKS in item.stash


def places_of(item: pytest.Item) -> list[Place]:
    """The devices on which a parametrised test runs: those here that its marker lets through."""
    from pytest_nnxrng.device import notation, resolve

    marker = item.get_closest_marker("nnx_device")
    names = notation.marked(marker.args, marker.kwargs.keys()) if marker else None
    return [
        place
        for place in item.config.stash[PLACES]
        if not place.missing
        and (names is None or any(resolve.serves(name, place.device) for name in names))
    ]


def first_of(selected: tuple[Place, ...]) -> Place:
    """The device of tests that cannot be parametrised: the first that is there."""
    return next((place for place in selected if place.device is not None), selected[0])


def _restrict(
    item: pytest.Item, names: tuple[DeviceName, ...], selected: tuple[Place, ...]
) -> None:
    from pytest_nnxrng.device import resolve

    place = our_place(item) or (first_of(selected) if selected else None)
    if place is not None and place.missing:
        return  # it is skipped for that
    device = _own_device(item) or (place.device if place is not None else resolve.default())
    if not any(resolve.serves(name, device) for name in names):
        wanted = ", ".join(map(str, names))
        reason = f"for {wanted} (@pytest.mark.nnx_device), and this is {device.platform}"
        item.add_marker(pytest.mark.skip(reason=reason))
