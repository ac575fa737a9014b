"""The text of --nnx-device -> names; who writes a golden; why a device is missing."""

import itertools

import pytest

from pytest_nnxrng.device.notation import (
    NODES,
    DeviceName,
    ids,
    marked,
    one,
    parse,
    surely_here,
    why_missing,
    writer,
)
from pytest_nnxrng.run.settings import BadSetting


@pytest.mark.parametrize(
    ("text", "found", "shown"),
    [
        ("cpu", [DeviceName("cpu")], ["cpu"]),
        ("gpu", [DeviceName("gpu")], ["gpu"]),
        ("tpu", [DeviceName("tpu")], ["tpu"]),
        ("cuda", [DeviceName("cuda")], ["cuda"]),
        ("rocm", [DeviceName("rocm")], ["rocm"]),
        ("gpu:1", [DeviceName("gpu", 1)], ["gpu:1"]),
        ("cpu:3", [DeviceName("cpu", 3)], ["cpu:3"]),
        ("cpu:0", [DeviceName("cpu", 0)], ["cpu:0"]),
        ("gpu:999999", [DeviceName("gpu", 999999)], ["gpu:999999"]),
        ("cpu,gpu", [DeviceName("cpu"), DeviceName("gpu")], ["cpu", "gpu"]),
        ("gpu,cpu", [DeviceName("gpu"), DeviceName("cpu")], ["gpu", "cpu"]),
        ("cpu,gpu:1", [DeviceName("cpu"), DeviceName("gpu", 1)], ["cpu", "gpu:1"]),
        ("cpu:0,cpu:1", [DeviceName("cpu", 0), DeviceName("cpu", 1)], ["cpu:0", "cpu:1"]),
        ("cpu,cpu:1", [DeviceName("cpu"), DeviceName("cpu", 1)], ["cpu:0", "cpu:1"]),
        (
            "cpu:1,cpu,tpu",
            [DeviceName("cpu", 1), DeviceName("cpu"), DeviceName("tpu")],
            ["cpu:1", "cpu:0", "tpu"],
        ),
        ("all", [DeviceName("all")], ["all"]),
    ],
)
def test_names(text, found, shown):
    assert parse(text, "here") == tuple(found)
    assert ids(found) == tuple(shown)
    assert len(set(shown)) == len(found)


BAD = {
    "": "'' has an empty part",
    "cpu,": "'cpu,' has an empty part",
    ",cpu": "has an empty part",
    "cpu,,gpu": "has an empty part",
    ",": "has an empty part",
    "cpu,cpu": "'cpu,cpu' names cpu twice",
    "cpu,cpu:0": "names cpu:0 twice",
    "cpu:0,cpu": "names cpu twice",
    "gpu:1,cpu,gpu:1": "names gpu:1 twice",
    "abacus": "'abacus' is not a device",
    "metal": "'metal' is not a device",
    "CPU": "'CPU' is not a device; names are in lower case",
    "All": "'All' is not a device; names are in lower case",
    "cpu:-1": "an index is a number from 0 on",
    "cpu:+1": "an index is a number from 0 on",
    "cpu:9999999": "an index is a number from 0 on",
    f"cpu:{'9' * 5000}": "an index is a number from 0 on",
    "gpu:": "'gpu:' is not a device; an index",
    "gpu:x": "'gpu:x' is not a device; an index",
    "gpu:01": "an index is a number from 0 on",
    "gpu:1:2": "an index is a number from 0 on",
    "gpu:\u0663": "an index is a number from 0 on",
    "cpu, gpu": "'cpu, gpu' has spaces. Several devices are written cpu,gpu",
    " cpu": "has spaces",
    "cpu\n": "has spaces",
    "all,cpu": "'all,cpu': all takes what is there, and stands alone",
    "cpu,all": "stands alone",
    "all:1": "'all:1' is not a device",
    ":1": "':1' is not a device",
    "cpu;gpu": "'cpu;gpu' is not a device",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:20]))
def test_text_that_names_no_device(text):
    with pytest.raises(BadSetting) as caught:
        parse(text, "--nnx-device")
    assert str(caught.value).startswith("--nnx-device: ")
    assert BAD[text] in str(caught.value)
    assert "cpu,gpu" in str(caught.value) or "twice" in str(caught.value)


@pytest.mark.parametrize("value", ["cpu,gpu", "all", 0, None, ["cpu"], b"cpu", ("cpu",)])
def test_what_is_not_one_device(value):
    with pytest.raises(BadSetting, match=r"^here: .* is not one device, such as 'gpu' or 'gpu:1'$"):
        one(value, "here")


def test_a_marker():
    assert marked(("gpu", "tpu:1"), {}) == (DeviceName("gpu"), DeviceName("tpu", 1))
    with pytest.raises(BadSetting, match=r'takes the names of devices: nnx_device\("gpu", "tpu"\)'):
        marked((), {})
    with pytest.raises(BadSetting, match="takes the names of devices"):
        marked(("gpu",), {"reason": "x"})


@pytest.mark.parametrize(("name", "kind"), [("cuda", "gpu"), ("rocm", "gpu"), ("gpu", "gpu")])
def test_vendors_are_gpus(name, kind):
    assert DeviceName(name).kind == kind


@pytest.mark.parametrize(
    ("text", "cpus", "platforms", "sure"),
    [
        ("cpu", 1, "", True),
        ("cpu", 1, "cpu", True),
        ("cpu", 1, "cuda,cpu", True),
        ("cpu", 1, "cuda", False),
        ("cpu:0", 1, "", True),
        ("cpu:1", 1, "", False),
        ("cpu:1", 2, "", True),
        ("cpu:0,cpu:1", 2, "", True),
        ("cpu,gpu", 2, "", False),
        ("gpu", 8, "", False),
        ("all", 8, "", False),
    ],
)
def test_jax_is_asked_where_that_can_tell_something(text, cpus, platforms, sure):
    assert surely_here(parse(text, ""), cpus, platforms) is sure


@pytest.mark.parametrize(
    ("selected", "platform", "made_on", "own", "found"),
    [
        (["cpu", "gpu"], "cpu", None, False, 0),
        (["cpu", "gpu"], "gpu", None, False, 0),
        (["cpu", "gpu"], "gpu", "cpu", False, 0),
        (["cpu", "gpu"], "cpu", "gpu", False, 1),
        (["gpu", "cpu"], "gpu", "cpu", False, 1),
        (["gpu", "cpu"], "cpu", "cpu", False, 1),
        (["gpu", "tpu"], "gpu", "cpu", False, 0),
        (["gpu", "tpu"], "tpu", "cpu", False, 1),
        (["cpu", "gpu"], "gpu", None, True, 1),
        (["cpu", "gpu", "gpu"], "gpu", None, True, 1),
        (["cpu", "cpu"], "cpu", "cpu", False, 0),
        (["tpu", "gpu", "gpu"], "gpu", "cpu", False, 1),
    ],
)
def test_who_writes(selected, platform, made_on, own, found):
    assert writer(selected, platform, made_on, own) == found


def test_one_device_writes_each_file():
    kinds = ["cpu", "gpu", "tpu"]
    for selected in itertools.product(kinds, repeat=3):
        for made_on in [None, *kinds]:
            shared = {
                writer(selected, platform, made_on, False)
                for platform in selected
                if made_on is None or made_on in selected
            }
            assert len(shared) <= 1
            for platform in selected:
                turn = writer(selected, platform, made_on, True)
                assert selected[turn] == platform


NOTHING = {"cuda": False, "rocm": False}
CUDA = {"cuda": True, "rocm": False}
FILES = "there is no such hardware: none of "


@pytest.mark.parametrize(
    ("platform", "platforms", "words", "nodes", "plugins", "told"),
    [
        ("gpu", "", "Unknown", NOTHING, NOTHING, FILES + "/dev/nvidia0, /dev/nvidiactl, /dev/dxg"),
        ("cuda", "", "", NOTHING, CUDA, FILES + "/dev/nvidia0, /dev/nvidiactl, /dev/dxg exists"),
        ("rocm", "", "", CUDA, NOTHING, FILES + "/dev/kfd, /dev/dxg exists"),
        ("gpu", "cpu", "", CUDA, CUDA, "JAX_PLATFORMS=cpu hides it: unset it, or name cuda in it"),
        ("tpu", "cuda,cpu", "", CUDA, CUDA, "JAX_PLATFORMS=cuda,cpu hides it: unset it, or name t"),
        ("cpu", "cuda", "", NOTHING, NOTHING, "JAX_PLATFORMS=cuda hides it: unset it, or name cpu"),
        ("gpu", "cuda", "", NOTHING, NOTHING, FILES),
        ("gpu", "rocm,cpu", "", NOTHING, NOTHING, FILES),
        ("cuda", "", "", CUDA, NOTHING, 'for cuda is not installed: pip install "jax[cuda12]"'),
        ("gpu", "", "no", CUDA, NOTHING, "plugin for cuda is not installed"),
        ("gpu", "", "CUDA_ERROR_NO_DEVICE", CUDA, CUDA, "CUDA_ERROR_NO_DEVICE"),
        ("gpu", "", "", CUDA, CUDA, "JAX could not start gpu, and does not say why"),
        ("tpu", "", "no libtpu.so", NOTHING, NOTHING, "no libtpu.so"),
    ],
)  # fmt: skip
def test_why_a_platform_is_missing(platform, platforms, words, nodes, plugins, told):
    found = why_missing(platform, platforms, words, nodes, plugins)
    assert found.startswith(told) or told in found


def test_hardware_is_looked_for_where_jax_looks():
    assert set(NODES) == {"cuda", "rocm"}
