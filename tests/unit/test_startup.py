"""Settings -> the variables that must stand before JAX starts."""

import pytest

from pytest_nnxrng.startup import Wish, plan


@pytest.mark.parametrize(
    ("number", "environ", "found"),
    [
        (None, {}, {}),
        (None, {"JAX_NUM_CPU_DEVICES": "2"}, {}),
        (4, {}, {"JAX_NUM_CPU_DEVICES": "4"}),
        (4, {"JAX_NUM_CPU_DEVICES": "2"}, {"JAX_NUM_CPU_DEVICES": "4"}),
        (4, {"JAX_NUM_CPU_DEVICES": "4"}, {}),
    ],
)
def test_cpu_devices(number, environ, found):
    assert plan(Wish(cpu_devices=number), environ) == found
