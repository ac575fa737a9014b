"""What a machine has, on machines that are made up of files."""

from pathlib import Path

import pytest

from pytest_nnxrng.device.hardware import found, nodes, plugins


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    return tmp_path


def smi(root: Path, body: str) -> str:
    path = root / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


def test_a_bare_machine_has_nothing(root: Path):
    assert nodes(root) == {"cuda": False, "rocm": False}
    assert [found(vendor, root) for vendor in ("cuda", "rocm", "tpu")] == [[], [], []]


def test_nvidia_gpus_are_counted_by_their_own_tool(root: Path):
    (root / "dev/nvidiactl").touch()
    two = (
        "echo 'GPU 0: NVIDIA X (UUID: GPU-a)'; echo '  MIG 1g (UUID: MIG-b)'; echo 'GPU 1: NVIDIA'"
    )
    assert nodes(root)["cuda"]
    assert found("cuda", root, smi(root, two)) == ["0", "1"]
    assert found("cuda", root, smi(root, f"{two}; exit 9")) == []
    assert found("cuda", root, str(root / "absent")) == []


def test_the_tool_is_not_run_where_there_is_no_such_gpu(root: Path):
    tool = smi(root, f"touch {root}/ran; echo 'GPU 0: NVIDIA X'")
    assert found("cuda", root, tool) == []
    assert not (root / "ran").exists()


def test_gpus_of_amd(root: Path):
    for number, text in enumerate(["0\n", "51234\n", "51235\n", ""]):
        folder = root / f"sys/class/kfd/kfd/topology/nodes/{number}"
        folder.mkdir(parents=True)
        (folder / "gpu_id").write_text(text, encoding="ascii")
    assert found("rocm", root) == ["0", "1"]


def test_tpus(root: Path):
    for number in range(4):
        (root / f"dev/accel{number}").touch()
    assert found("tpu", root) == ["0", "1", "2", "3"]


def test_plugins_are_looked_for_without_importing_them():
    assert set(plugins()) == {"cuda", "rocm"}
