"""The command line of a run -> that of the same run on other code."""

from __future__ import annotations

import pytest

from pytest_nnxrng.against import replay


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("-k mlp -m slow tests/a.py::test_b", "-k mlp -m slow tests/a.py::test_b"),
        ("-n 2 --dist loadfile -p no:randomly", "-n 2 --dist loadfile -p no:randomly"),
        ("--nnx-against=main --nnx-seed=7", "--nnx-seed=7"),
        ("--nnx-against main tests", "tests"),
        ("--nnx-report out --junitxml out.xml --junit-xml=o.xml tests", "tests"),
        ("--cov=pkg --cov-report=xml --cov-fail-under=90 --cov tests", "tests"),
        ("--pdb --trace -x --exitfirst --maxfail=3 --maxfail 3 tests", "tests"),
        ("--basetemp=/tmp/x -c other.ini --rootdir . tests", "tests"),
        ("-- --nnx-against", "-- --nnx-against"),
        ("--lf --deselect tests/a.py", "--lf --deselect tests/a.py"),
    ],
)
def test_what_is_repeated(words: str, kept: str):
    assert replay.repeated(words.split()) == kept.split()


@pytest.mark.parametrize("workers", ["-n 2", "-n2", "-nauto", "--numprocesses=2 --dist loadfile"])
def test_where_there_are_no_workers(workers: str):
    assert replay.alone(["-k", "new", *workers.split(), "tests"]) == ["-k", "new", "tests"]


@pytest.mark.parametrize("off", [True, False])
def test_a_cache_of_its_own_where_there_is_one(off: bool):
    place = replay.Place("/tree", "/tree/pytest.ini", "/tree")
    words = replay.command("python", ["-p", "no:cacheprovider"] if off else [], place, "/t")
    assert ("cache_dir=/t/cache" in words) is not off


@pytest.mark.parametrize(
    ("word", "there"),
    [
        ("/code/proj/tests", "/tree/tests"),
        ("/code/proj/tests/a.py::test_b", "/tree/tests/a.py::test_b"),
        ("/code/proj", "/tree"),
        ("--ignore=/code/proj/tests/b.py", "--ignore=/tree/tests/b.py"),
        ("/code/project/tests", "/code/project/tests"),
        ("tests/a.py::test_b[/code/proj]", "tests/a.py::test_b[/code/proj]"),
        ("-k", "-k"),
        ("a=b", "a=b"),
    ],
)
def test_paths_of_the_checkout_are_moved(word: str, there: str):
    assert replay.moved([word], "/code/proj", "/tree") == [there]


def test_what_the_run_adds_wins_and_stands_before_a_double_dash():
    place = replay.Place("/tree", "/tree/pytest.ini", "/tree")
    words = replay.command("python", ["-v", "--", "-odd.py"], place, "/tmp/t", ["plugin"])
    assert words[:6] == ["python", "-P", "-m", "pytest", "-p", "plugin"]
    assert words[-2:] == ["--", "-odd.py"]
    assert "--maxfail=0" in words
    assert words.index("-v") < words.index("--maxfail=0")
