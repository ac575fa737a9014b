"""Settings -> the variables that must stand before JAX starts."""

import pytest

from pytest_nnxrng.device.notation import parse
from pytest_nnxrng.device.startup import Wish, Worker, plan, share, worker

GPU, CPU, ALL = parse("gpu", ""), parse("cpu", ""), parse("all", "")
TPU = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "true"}
FIRST, THIRD = Worker(0, 4), Worker(2, 4)


def machine(**vendors):
    """A machine with so many devices of each vendor."""
    return lambda vendor: [str(n) for n in range(vendors.get(vendor, 0))]


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


def test_the_precision_of_the_environment_wins():
    wish = Wish(precision="float32")
    assert plan(wish, {}) == {"JAX_DEFAULT_MATMUL_PRECISION": "float32"}
    assert plan(wish, {"JAX_DEFAULT_MATMUL_PRECISION": "high"}) == {}


FLAG = "--xla_gpu_deterministic_ops"


@pytest.mark.parametrize(
    ("names", "environ", "found"),
    [
        (GPU, {}, f"{FLAG}=true"),
        (parse("cpu,cuda:1", ""), {}, f"{FLAG}=true"),
        (parse("rocm", ""), {}, f"{FLAG}=true"),
        (ALL, {}, f"{FLAG}=true"),
        ((), {"JAX_PLATFORMS": "cuda,cpu"}, f"{FLAG}=true"),
        (GPU, {"XLA_FLAGS": "--xla_a=1"}, f"--xla_a=1 {FLAG}=true"),
        (GPU, {"XLA_FLAGS": f"{FLAG}=false"}, None),
        (CPU, {}, None),
        (parse("tpu", ""), {}, None),
        ((), {}, None),
        ((), {"JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_deterministic_reductions_where_a_gpu_was_asked_for(names, environ, found):
    wish = Wish(names, deterministic=True)
    assert plan(wish, environ) == ({} if found is None else {"XLA_FLAGS": found})
    assert plan(Wish(names), environ) == {}


@pytest.mark.parametrize(
    "name",
    [
        "XLA_PYTHON_CLIENT_PREALLOCATE",
        "XLA_PYTHON_CLIENT_MEM_FRACTION",
        "XLA_CLIENT_MEM_FRACTION",
        "XLA_PYTHON_CLIENT_ALLOCATOR",
    ],
)
def test_workers_take_memory_as_they_need_it_unless_the_user_has_a_plan(name):
    assert plan(Wish(), {}) == {}
    assert plan(Wish(), {}, FIRST) == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    assert plan(Wish(), {name: "x"}, FIRST) == {}


def shown(names, environ, as_worker, **vendors):
    found = plan(Wish(parse(names, "")), environ, as_worker, machine(**vendors))
    found.pop("XLA_PYTHON_CLIENT_PREALLOCATE")
    return found


@pytest.mark.parametrize(
    ("names", "environ", "as_worker", "vendors", "found"),
    [
        ("gpu", {}, THIRD, {"cuda": 4}, {"CUDA_VISIBLE_DEVICES": "2"}),
        ("cuda", {}, FIRST, {"cuda": 8}, {"CUDA_VISIBLE_DEVICES": "0,4"}),
        ("cpu,gpu", {}, THIRD, {"cuda": 2}, {"CUDA_VISIBLE_DEVICES": "0"}),
        ("all", {}, Worker(1, 2), {"cuda": 2}, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("gpu", {}, THIRD, {"cuda": 1}, {}),
        ("gpu", {}, THIRD, {}, {}),
        ("gpu:1", {}, THIRD, {"cuda": 4}, {}),
        ("gpu:0,gpu:1", {}, THIRD, {"cuda": 4}, {}),
        ("gpu,gpu:1", {}, THIRD, {"cuda": 4}, {}),
        ("cpu", {}, THIRD, {"cuda": 4}, {}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": "4,5,7"}, Worker(1, 2), {}, {"CUDA_VISIBLE_DEVICES": "5"}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": "4, 5"}, FIRST, {}, {"CUDA_VISIBLE_DEVICES": "4"}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": "GPU-a,b"}, FIRST, {}, {"CUDA_VISIBLE_DEVICES": "GPU-a"}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": "3"}, THIRD, {"cuda": 4}, {}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": ""}, THIRD, {"cuda": 4}, {}),
        ("gpu", {"CUDA_VISIBLE_DEVICES": "0,-1"}, THIRD, {"cuda": 4}, {}),
        ("rocm", {}, THIRD, {"rocm": 4, "cuda": 4}, {"ROCR_VISIBLE_DEVICES": "2"}),
        ("rocm", {"ROCR_VISIBLE_DEVICES": "1,3"}, Worker(1, 2), {}, {"ROCR_VISIBLE_DEVICES": "3"}),
        ("gpu", {"HIP_VISIBLE_DEVICES": "1,3"}, Worker(1, 2), {}, {"HIP_VISIBLE_DEVICES": "3"}),
        ("tpu", {}, THIRD, {"tpu": 4}, TPU | {"TPU_VISIBLE_CHIPS": "2"}),
        ("tpu", {}, Worker(1, 2), {"tpu": 4}, TPU | {"TPU_VISIBLE_CHIPS": "1"}),
        ("tpu", {}, Worker(1, 2), {"tpu": 1}, {}),
    ],
)  # fmt: skip
def test_devices_are_spread_over_workers(names, environ, as_worker, vendors, found):
    assert shown(names, environ, as_worker, **vendors) == found


def test_the_machine_is_asked_for_nothing_without_need():
    def found(vendor):
        raise AssertionError(vendor)

    plan(Wish(GPU), {}, None, found)
    plan(Wish(CPU), {}, FIRST, found)
    plan(Wish(), {}, FIRST, found)
    plan(Wish(parse("cuda", "")), {"CUDA_VISIBLE_DEVICES": "0,1"}, FIRST, found)


@pytest.mark.parametrize("devices", range(1, 10))
@pytest.mark.parametrize("workers", range(1, 10))
def test_every_device_has_a_worker_and_every_worker_a_device(devices, workers):
    names = [str(n) for n in range(devices)]
    parts = [share(names, Worker(n, workers)) for n in range(workers)]
    assert all(parts)
    if workers >= devices:
        assert {len(part) for part in parts} == {1}
    else:
        assert sorted(name for part in parts for name in part) == names
    assert {name for part in parts for name in part} == set(names)
    assert share(names, Worker(workers, workers)) == parts[0], "a worker in place of one that died"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"PYTEST_XDIST_WORKER": "master"}, None),
        ({"PYTEST_XDIST_WORKER": "gw1"}, None),
        ({"PYTEST_XDIST_WORKER": "gw1", "PYTEST_XDIST_WORKER_COUNT": "2"}, Worker(1, 2)),
        ({"PYTEST_XDIST_WORKER": "gw12", "PYTEST_XDIST_WORKER_COUNT": "0"}, Worker(12, 1)),
        ({"PYTEST_XDIST_WORKER": "gw", "PYTEST_XDIST_WORKER_COUNT": "2"}, None),
    ],
)
def test_which_worker_this_is(environ, found):
    assert worker(environ) == found
