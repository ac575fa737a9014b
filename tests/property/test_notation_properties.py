"""Any text after --nnx-device is a list of devices or one clear error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_nnxrng.device.notation import PLATFORMS, DeviceName, ids, parse
from pytest_nnxrng.run.settings import BadSetting

PIECES = st.sampled_from([*PLATFORMS, "all", ":", ",", "0", "1", "01", " ", "CPU", "-1", "x"])
NAMES = st.builds(DeviceName, st.sampled_from(PLATFORMS), st.none() | st.integers(0, 999_999))


@given(st.text() | st.lists(PIECES).map("".join))
def test_text_is_parsed_and_comes_back_or_is_refused(text: str):
    found, said = (), "--nnx-device: "
    try:
        found = parse(text, "--nnx-device")
    except BadSetting as error:
        said = str(error)
    assert said.startswith("--nnx-device: ")
    assert not found or ",".join(map(str, found)) == text


@given(st.lists(NAMES, min_size=1))
def test_devices_that_differ_are_accepted_and_have_ids_that_differ(names: list[DeviceName]):
    text = ",".join(map(str, names))
    if len({(name.platform, name.number or 0) for name in names}) < len(names):
        with pytest.raises(BadSetting, match="twice"):
            parse(text, "here")
        return
    assert parse(text, "here") == tuple(names)
    assert len(set(ids(names))) == len(names)
