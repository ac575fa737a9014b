"""One process at a time; a dead one holds nothing, a stopped one is not waited for without end."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_nnxrng.golden import locks
from pytest_nnxrng.golden.locks import file_to_disk, folder_to_disk, locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")

HOLD = """
import fcntl, os, sys, time
opened = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(opened, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_that_another_holds_is_waited_for_a_while(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    told = "another process has kept it locked for 0 seconds"
    with pytest.raises(OSError, match=told) as caught, locked(tmp_path):
        raise AssertionError("two hold it")
    assert caught.value.filename == str(tmp_path)


def test_a_process_that_dies_leaves_no_lock(holder, tmp_path):
    holder.kill()
    with locked(tmp_path):
        assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for what is open")
def test_it_is_free_afterwards_even_for_a_fork_that_was_made_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0)
    with locked(tmp_path):
        held = [os.dup(n) for n in _opened(tmp_path)]  # as a fork has it
    assert len(held) == 1
    with locked(tmp_path):
        pass
    os.close(held[0])


def _opened(folder):
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if path.readlink() == folder:
                found.append(int(path.name))
    return found


def test_a_folder_is_made_or_not(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(FileNotFoundError), locked(tmp_path / "c", make=False):
        raise AssertionError("there is no such folder")
    assert not (tmp_path / "c").exists()


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    before = time.monotonic()
    with locked(tmp_path):
        pass
    assert time.monotonic() - before < locks.PATIENCE / 2


def test_lost_data_is_an_error_and_a_system_without_sync_is_none(tmp_path, monkeypatch):
    file = tmp_path / "x"
    file.touch()
    file_to_disk(file)
    folder_to_disk(tmp_path)
    code = [errno.EIO]

    def fails(_):
        raise OSError(code[0], os.strerror(code[0]))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file_to_disk(file)
    folder_to_disk(tmp_path)
    code[0] = errno.EINVAL
    file_to_disk(file)
