"""The command itself: how it starts, what it prints where, its exit codes."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import pytest_nnxrng
from pytest_nnxrng.command.terminal import NARROWEST, Screen, plural, table, wrapped

VERBS = ("show", "diff", "pending", "accept", "review", "report", "git-config")
HEAVY = {"jax", "jaxlib", "flax", "numpy", "ml_dtypes", "safetensors", "xxhash", "rich", "pytest"}
SOURCE = Path(pytest_nnxrng.__file__).parent.parent


def started(*args, cwd, **more):
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-X", "importtime", "-m", "pytest_nnxrng", *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, **more
    )


@pytest.mark.parametrize("verb", ["--help", "show", "pending"])
def test_starting_loads_nothing_heavy(tree, verb):
    golden = tree.golden()
    tree.obtained()
    args = {"--help": ["--help"], "show": ["show", golden], "pending": ["pending", tree.report]}
    done = started(*args[verb], cwd=tree.root)
    assert done.stdout, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "argparse" in loaded
    assert loaded & HEAVY == set()


def test_help_names_every_verb_and_the_exit_codes(capsys):
    from pytest_nnxrng.command.entry import main

    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {verb}" in text for verb in VERBS)
    assert "0 same, 1 different, 2 trouble" in text


def test_a_shell_that_completes_is_answered(monkeypatch):
    from pytest_nnxrng.command.entry import main

    asked = []
    monkeypatch.setitem(sys.modules, "argcomplete", SimpleNamespace(autocomplete=asked.append))
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert [parser.prog for parser in asked] == ["nnxrng"]
    monkeypatch.setitem(sys.modules, "argcomplete", None)  # is not installed
    with pytest.raises(SystemExit):
        main(["--help"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_json(verb, capsys):
    from pytest_nnxrng.command.entry import main

    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("args", [[], ["nothing"], ["accept", "--caus", "draws"]])
def test_wrong_use_is_trouble(args, capsys):
    from pytest_nnxrng.command.entry import main

    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2


def test_a_closed_pipe_is_quiet_and_writes_nothing(tree):
    for n in range(200):
        tree.golden(f"test_a.{n}")
        tree.obtained(f"test_a.{n}")
    before = tree.files()
    command = f"{sys.executable} -m pytest_nnxrng accept {tree.report} --all; echo $? >../code"
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        cwd=tree.root,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert (tree.path / "code").read_text() == "2\n"
    assert tree.files() == before


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, False),  # this is no terminal
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "", "NO_COLOR": ""}, False),
    ],
)
def test_colour_comes_and_goes_with_the_environment(tree, nnxrng, environ, coloured):
    tree.golden()
    tree.obtained()
    assert ("\x1b[" in nnxrng("pending", tree.report, **environ).out) is coloured


def test_a_terminal_has_colour_unless_it_is_dumb():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert Screen.of(Terminal(), {"TERM": "xterm"}).colour
    assert not Screen.of(Terminal(), {"TERM": "dumb"}).colour
    assert not Screen.of(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}).colour
    assert not Screen.of(io.StringIO(), {"TERM": "xterm"}).colour


@pytest.mark.parametrize("width", [1, 20, 80, 200])
def test_every_verb_prints_on_every_width(tree, nnxrng, width):
    golden = tree.golden()
    tree.obtained()
    for args in (["show", golden], ["show", "--tree", golden], ["pending", tree.report]):
        ran = nnxrng(*args, width=width)
        assert ran.err == ""
        for line in ran.lines:
            whole = " " not in line.strip() or "nnxrng accept" in line or "/" in line
            assert len(line) <= max(width, NARROWEST) or whole, line


def test_hostile_names_do_not_steer_the_terminal(tree, nnxrng):
    tree.golden()
    tree.obtained(causes=[{**_cause("draws", "\x1b[2Jgone\nhidden")}])
    for args in (["pending", tree.report], ["accept", tree.report, "--all", "--dry-run"]):
        ran = nnxrng(*args)
        assert "\x1b" not in ran.out
        assert "\\x1b[2Jgone\\nhidden" in ran.out


def _cause(word, text):
    return {"word": word, "leaves": ["a"], "text": text, "evidence": "", "finding": text}


def test_words_and_tables():
    assert [plural(n, "leaf") for n in (0, 1, 2000)] == ["0 leaves", "1 leaf", "2,000 leaves"]
    assert plural(2, "golden") == "2 goldens"
    assert table([["a", "n"], ["bb", "10"], ["c", "9"]], 80) == ["a    n", "bb  10", "c    9"]
    assert table([["a" * 30, "b"]], 20) == ["a" * 17 + "..."]
    assert table([["a" * 30 + "b"]], 20) == ["..." + "a" * 16 + "b"]  # a name keeps its end
    assert table([], 80) == []
    assert wrapped("one two", 3, "  ", "    ") == ["  one two"]  # never narrower than 20 columns
    assert wrapped("", 80) == [""]
