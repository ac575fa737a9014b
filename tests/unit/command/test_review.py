"""Deciding in a terminal: driven by keys, and through a real pseudo-terminal."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trees import FOLDER, cause, model

import pytest_nnxrng
from pytest_nnxrng.command.artifact import opened
from pytest_nnxrng.command.proposal import plan
from pytest_nnxrng.command.review import Review, decide, end
from pytest_nnxrng.command.terminal import Screen

NAMES = ("test_a.1", "test_a.2", "test_b.1", "test_c.1")
DRAWN = (
    [cause()],
    [cause(), cause("added", "tail.kernel")],
    [cause(text="2 fewer keys")],
    [cause("values", "an edit")],
)


@pytest.fixture
def four(tree):
    """Changes 1 and 2 are of draws and of one golden each, or two; test_a.2 moved by two."""
    for name in NAMES:
        tree.golden(name)
    for name, causes in zip(NAMES, DRAWN, strict=True):
        tree.obtained(name, causes=causes)
    return tree


class Reviewed:
    """What a review of ``keys`` came to."""

    def __init__(self, tree, keys, out):
        before = tree.files()
        left = iter(keys)
        with opened([str(tree.report)]) as artifacts:
            review = Review(plan(artifacts, tree.root))
            screen = Screen(out, 80)
            decide(review, tree.root, screen, lambda: next(left, ""))
            self.decided = {review.plan.changes[n - 1].text: d for n, d in review.decisions.items()}
            self.code = end(review, tree.root, screen, lambda: next(left, ""))
        after = tree.files()
        changed = {Path(name).stem for name in after if before.get(name) != after[name]}
        self.written = changed & set(NAMES)
        self.rest = "".join(left)


@pytest.fixture
def reviewed(four, capsys):
    def run(keys):
        made = Reviewed(four, keys, sys.stdout)
        made.out = capsys.readouterr().out
        return made

    return run


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ("aaaay", set(NAMES)),
        ("arrry", {"test_a.1"}),
        ("rrray", {"test_c.1"}),
        ("rrrr", set()),
        ("ssss", set()),
        ("aaaan", set()),  # nothing is written before the question at the end
        ("aaaa", set()),  # nor when the terminal goes away
        ("aqy", {"test_a.1"}),
        ("q", set()),
        ("", set()),
        ("Aaay", set(NAMES)),
        ("Aqy", {"test_a.1", "test_b.1"}),
        ("aaauuurqy", set()),  # three taken back, and the first decided otherwise
        ("abrqy", set()),  # back, and decided otherwise
        ("auqy", set()),
        ("uaqy", {"test_a.1"}),
        ("x?dkaqy", {"test_a.1"}),  # keys that decide nothing
    ],
)
def test_keys_decide_what_is_written(reviewed, keys, written):
    assert reviewed(keys).written == written


def test_a_golden_needs_all_its_changes(reviewed):
    made = reviewed("asrry")
    assert made.written == {"test_a.1"}
    assert "left, as not all that moved it was accepted" in " ".join(made.out.split())
    assert "(needs added, too)" in made.out


def test_details_and_the_key_map_are_shown(reviewed):
    made = reviewed("dkq")
    words = " ".join(made.out.split())
    assert "layers.2.kernel 24 of 24 elements differ" in words
    assert "golden │ #0" in words
    assert "a accept r leave s skip" in words


def test_the_place_and_the_line_are_told(reviewed):
    out = reviewed("q").out
    assert "[1/4] draws: 1 more key" in out
    assert "see model.py:3" in out
    assert "Nothing was accepted, nothing is written." in out


def test_what_changed_meanwhile_is_refused(four, capsys):
    keys = iter("aqy")

    def read():
        key = next(keys)
        if key == "y":
            four.golden("test_a.1", model(seed=7.0))
        return key

    with opened([str(four.report)]) as artifacts:
        review, screen = Review(plan(artifacts, four.root)), Screen(sys.stdout, 80)
        decide(review, four.root, screen, read)
        assert end(review, four.root, screen, read) == 2
    assert "refused: " in capsys.readouterr().out


def test_without_a_terminal_it_names_the_commands(four, nnxrng):
    before = four.files()
    ran = nnxrng("review", "../out")
    assert ran.code == 2
    assert "review needs a terminal" in ran.out
    assert "  nnxrng accept ../out --cause 1" in ran.lines
    ran = nnxrng("review", "../out", "--json")
    assert ran.code == 2
    assert "nnxrng accept ../out --cause 1" in ran.json["commands"]
    assert four.files() == before


# -- through a pseudo-terminal -----------------------------------------------------------------


# Takes the terminal for its own, so that Ctrl-C is a signal. Not by preexec_fn, which forks a
# process in which other tests may have started JAX's threads.
_LAUNCH = """
import fcntl, runpy, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a job in the background
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("pytest_nnxrng", run_name="__main__", alter_sys=True)
"""


def in_terminal(tree, keys, columns=80, seconds=60):
    """Run the command in a terminal, a key whenever it waits; its output and exit code."""
    pty, _, _ = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(pytest_nnxrng.__file__).parent.parent),
        "COLUMNS": str(columns),
        "TERM": "xterm",
    }
    for name in ("NO_COLOR", "FORCE_COLOR"):
        environ.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, "review", str(tree.report)],
        cwd=tree.root,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, left, deadline = b"", list(keys), time.monotonic() + seconds
    asked = 0
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 0.2)
            try:
                data = os.read(ours, 65536) if ready else b""
            except OSError:
                break
            if ready and not data:
                break
            shown += data
            waits = shown.count(b"to the end") + shown.count(b"write nothing")
            if waits > asked and left:
                asked = waits
                os.write(ours, left.pop(0).encode())
    finally:
        os.close(ours)
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
    return shown.decode(), process.wait(20)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("columns", [20, 80])
def test_in_a_real_terminal(four, columns):
    shown, code = in_terminal(four, "arrry", columns)
    assert "\x1b[33m[1/4] draws:" in shown
    assert "Wrote 1 golden" in " ".join(shown.split())
    assert code == 1  # three are left
    there = four.report / "obtained" / FOLDER / "test_a.1.json"
    assert (four.root / FOLDER / "test_a.1.json").read_bytes() == there.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["end", "interrupt"])
def test_a_terminal_that_ends_writes_nothing(four, key):
    before = four.files()
    _, code = in_terminal(four, ["a", key])
    assert code in (1, 2)
    assert four.files() == before
