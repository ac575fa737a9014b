"""Progress: what a line says, where there is none, and that it leaves the screen as it was."""

import io
import os
import threading

import pytest

from pytest_nnxrng.run import progress
from pytest_nnxrng.run.progress import Progress, line, on, silent

pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")


@pytest.fixture
def terminal():
    """A pseudo-terminal: the program's end as a stream, and ours."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream, ours
    os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("hashing LM", 0, 0, 2.0, 80), "nnx_snapshot: hashing LM (2 s)"),
        (("hashing LM", 25, 100, 3.4, 80), "nnx_snapshot: hashing LM, 25 % (3 s)"),
        (("hashing LM", 101, 100, 3.4, 80), "nnx_snapshot: hashing LM, 100 % (3 s)"),
        (("hashing LM", 0, 100, 3.4, 21), "nnx_snapshot: hashin"),
        (("hashing \x1b[2J\n", 0, 0, 2.0, 80), "nnx_snapshot: hashing ?[2J? (2 s)"),
        (("hashing LM", 0, 0, 2.0, 0), ""),
    ],
)
def test_a_line(arguments, text):
    assert line(*arguments) == text


@pytest.mark.parametrize(
    ("environ", "tells"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_where_a_terminal_is_told(terminal, environ, tells):
    made = on(terminal[0], environ=environ)
    with made.step("x") as advance:
        assert (advance is not silent) == tells
    made.close()


@pytest.mark.parametrize("kind", ["file", "text", "closed", "none"])
def test_what_is_no_terminal_is_told_nothing(tmp_path, kind):
    with (tmp_path / "log").open("w") as file:
        stream = {"file": file, "text": io.StringIO(), "closed": io.StringIO(), "none": None}[kind]
        if kind == "closed":
            stream.close()
        made = on(stream, environ={"TERM": "xterm"})
        with made.step("x") as advance:
            assert advance is silent
        made.close()


def test_a_long_step_is_told_below_the_cursor_and_erased(terminal, monkeypatch):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "line", lambda *args: line(*args[:3], 7, 80))
    made = on(terminal[0], environ={"TERM": "xterm"})
    with made.step("hashing LM") as advance:
        advance(1)
        text = os.read(terminal[1], 10_000).decode()  # waits until it is told
    made.close()
    text += os.read(terminal[1], 10_000).decode()
    down, up = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[K", "\x1b8"
    assert text.startswith(f"{down}nnx_snapshot: hashing LM (7 s){up}")
    assert text.endswith(f"{up}{down}{up}")


def test_a_short_step_is_not_told(terminal):
    made = on(terminal[0], environ={"TERM": "xterm"})
    with made.step("a few", 1000) as advance:
        assert advance is silent
    with made.step("many", 1 << 30):
        pass  # over before anything is written
    made.close()
    os.set_blocking(terminal[1], False)
    with pytest.raises(BlockingIOError):
        os.read(terminal[1], 1)


def test_an_error_passes_through_and_ends_the_step(terminal):
    made = on(terminal[0], environ={"TERM": "xterm"})
    before = threading.active_count()
    with pytest.raises(ValueError, match="inside"), made.step("x"):
        raise ValueError("inside")
    assert threading.active_count() == before
    made.close()


def test_a_terminal_that_is_gone_is_no_error(terminal, monkeypatch):
    told = threading.Event()
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "line", lambda *_: told.set() or "")
    read, write = os.pipe()  # no terminal: asking its width fails, as that of a gone one does
    os.close(read)
    made = Progress(write)
    with made.step("x"):
        pass
    made.close()
    made.close()
    assert not told.is_set()
