"""Processes that run pytest, forked from one that has imported JAX: its import is paid for once.

A fork hides what it has imported until something imports it again, so that a run starts as a fresh
process does: the plugin sees no JAX, and what it sets before JAX comes is heeded. The workers of
pytest-xdist are forked, too: `Workers` has them started by this file in place of ``python``.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

# Variables that JAX reads when it is imported, and that can be told to one that has been.
_TOLD = ("JAX_NUM_CPU_DEVICES", "JAX_DEFAULT_MATMUL_PRECISION")
_READ_ONCE = ("JAX_", "XLA_FLAGS", "CUDA_", "PYTHON")
_OWN = ("PYTHONPATH", *_TOLD)  # each fork has its own
_REFUSED = "refused"
# JAX, and what holds on to it once it is imported.
_HIDDEN = ("jax", "jaxlib", "flax", "optax", "orbax", "chex", "etils", "treescope")


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process reads but once: a fork cannot be given other values."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_READ_ONCE) and name not in _OWN
    }


# -- in the tests ----------------------------------------------------------------------


class Forks:
    """The process that is forked, started when it is first needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.folder = tempfile.mkdtemp(prefix="forks-")
        self.address = f"{self.folder}/socket"
        self.settings = settings(environ)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.address)
            server.listen(16)
            command = [sys.executable, __file__, "serve", str(server.fileno())]
            self.process = subprocess.Popen(command, env=environ, pass_fds=[server.fileno()])
        atexit.register(self.end)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, args: Sequence[str], path: Path) -> tuple[int, list[str], list[str]]:
        """The exit code of ``pytest ARGS`` in ``path``, its lines of output and of errors.

        Raises:
          RuntimeError: where the process has other settings than the one that is forked.
        """
        found = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
        environ = {**os.environ, "PYTHONPATH": found}  # as pytester has it
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with Path(os.devnull).open("rb") as nothing:
                fds = [file.fileno() for file in (nothing, out, err)]
                asked = {"args": list(args), "path": str(path), "environ": environ}
                answer = _ask(self.address, {**asked, "workers": self.address}, fds)
            if answer == _REFUSED:
                raise RuntimeError("this run cannot be forked: run_fresh")
            lines = []
            for file in (out, err):
                file.seek(0)
                lines.append(file.read().decode("utf-8", "replace").splitlines())
        return int(answer), lines[0], lines[1]


class Workers:
    """A plugin of the controller: xdist's workers are forked from the process at ``address``."""

    def __init__(self, address: str) -> None:
        self.python = f"{sys.executable} -S -E -s {__file__} {address}"

    def pytest_configure(self, config: Any) -> None:
        tx = getattr(config.option, "tx", None)
        if tx and not hasattr(config, "workerinput"):
            # xdist's own form, and those that a user writes: 2*popen
            config.option.tx = [re.sub("popen$", f"popen//python={self.python}", x) for x in tx]


def _ask(address: str, asked: Mapping[str, Any], fds: Sequence[int]) -> str:
    """Have a process forked with these three files as its standard ones; how it ended."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        socket.send_fds(client, [b"."], list(fds))
        client.sendall(json.dumps(asked).encode() + b"\n")
        with client.makefile() as answer:
            return answer.readline().strip()


def _stand_in(address: str, args: Sequence[str]) -> int:
    """Be ``python ARGS``, in a fork where that is possible."""
    asked = {"args": list(args), "path": str(Path.cwd()), "environ": dict(os.environ)}
    answer = _ask(address, asked, [0, 1, 2])
    if answer == _REFUSED:
        os.execv(sys.executable, [sys.executable, *args])
    return int(answer or 1)


# -- in the process that is forked -----------------------------------------------------


class _Hidden:
    """Finds the modules that were imported before the fork, as if they were imported now."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self.modules = dict(modules)
        self.specs = {name: module.__spec__ for name, module in modules.items()}

    def find_spec(self, name: str, *_: Any) -> Any:
        if name not in self.modules:
            return None
        from importlib.util import spec_from_loader

        sys.meta_path.remove(self)  # type: ignore[arg-type]
        # With the module itself, the import would take that one's own spec, and run it again.
        sys.modules.update({n: module for n, module in self.modules.items() if n != name})
        for variable in _TOLD:
            value = os.environ.get(variable, "")
            if value:
                told = int(value) if value.isdecimal() else value
                self.modules["jax"].config.update(variable.lower(), told)
        return spec_from_loader(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        return self.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.specs[module.__name__]


def _serve(number: int) -> None:
    for name in _TOLD:
        os.environ.pop(name, None)
    import flax.nnx  # noqa: F401
    import jax  # noqa: F401
    import pytest

    names = [name for name in sys.modules if name.partition(".")[0] in _HIDDEN]
    hidden = _Hidden({name: sys.modules.pop(name) for name in names})
    here = settings(os.environ)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [path for path in sys.path[1:] if path not in own]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()  # a fork that collects garbage would copy all that is imported here
    with socket.socket(fileno=number) as server:
        while True:
            client, _ = server.accept()
            with client:
                _, fds, _, _ = socket.recv_fds(client, 1, 3)
                with client.makefile("rb") as lines:
                    asked = json.loads(lines.readline())
                if settings(asked["environ"]) != here:
                    client.sendall(_REFUSED.encode())
                elif not os.fork():
                    _keep(client, fds, hidden, asked, pytest.main)
                for fd in fds:
                    os.close(fd)


def _keep(client: socket.socket, fds: Any, hidden: Any, asked: Any, main: Any) -> None:
    """Fork what was asked for, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        client.close()
        os._exit(_run(fds, hidden, asked, main))
    for fd in (0, 1, 2, *fds):
        os.close(fd)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        client.sendall(str(code).encode())
    os._exit(0)


def _run(fds: Sequence[int], hidden: _Hidden, asked: Mapping[str, Any], main: Any) -> int:
    """Become ``python -m pytest ARGS``, or what xdist starts: ``python -u -c CODE``."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = (
        open(fd, mode, closefd=False)  # noqa: SIM115
        for fd, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["path"])
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [asked["path"], *filter(None, found)]
    sys.meta_path.insert(0, hidden)  # type: ignore[arg-type]
    args = asked["args"]
    code = 0
    try:
        if "workers" in asked:
            sys.argv = ["pytest", *args]
            code = int(main(args, plugins=[Workers(asked["workers"])]))
        else:
            sys.argv = ["-c"]
            exec(args[args.index("-c") + 1], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(int(sys.argv[2]))
    else:
        sys.exit(_stand_in(sys.argv[1], sys.argv[2:]))
