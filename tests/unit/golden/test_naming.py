"""A test's identity -> its golden's file name: readable where it can be, never shared."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_nnxrng.golden.naming import (
    MAX_CHECK_NAME,
    BadName,
    Identity,
    check_name,
    folder,
    paths,
    stem,
    test_files,
)

test_files.__test__ = False  # not a test, whatever its name begins with

PLAIN = {
    "test_mlp.1": (Identity("", "test_mlp"), "1"),
    "test_mlp.output": (Identity("", "test_mlp"), "output"),
    "test_mlp[adam].output": (Identity("", "test_mlp", "adam"), "output"),
    "test_mlp[].output": (Identity("", "test_mlp", ""), "output"),
    "test_mlp[0-1e-3,x=2.5].after-training": (
        Identity("", "test_mlp", "0-1e-3,x=2.5"),
        "after-training",
    ),
    "outer.inner.test_mlp.1": (Identity("outer.inner", "test_mlp"), "1"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_identity_is_its_name(name):
    assert stem(*PLAIN[name]) == name


ODD = {
    "upper-case letters, which a file system may fold": (Identity("TestA", "test_mlp"), "1"),
    "an upper-case parameter": (Identity("", "test_mlp", "Adam"), "1"),
    "an upper-case check": (Identity("", "test_mlp"), "Output"),
    "a path in a parameter": (Identity("", "test_mlp", "../../etc/passwd"), "1"),
    "brackets in a parameter": (Identity("", "test_mlp", "a][b"), "1"),
    "a dot in a check": (Identity("", "test_mlp"), "a.b"),
    "an @, which marks a platform's golden": (Identity("", "test_mlp", "a@gpu"), "1"),
    "an @ in a check": (Identity("", "test_mlp"), "1@gpu"),
    "letters beyond ASCII": (Identity("", "test_größe", "é"), "ñ"),
    "what Windows refuses": (Identity("", "test_mlp", 'a:b*c?d"e<f>g|h'), "1"),
    "spaces": (Identity("", "test_mlp", "a b"), "1"),
    "a line break": (Identity("", "test_mlp", "a\n"), "1"),
    "a hash's own mark": (Identity("", "test_mlp", "~12345678"), "1"),
    "great length": (Identity("", "test_" + "x" * 300), "1"),
    "a long parameter": (Identity("", "test_mlp", "x" * 300), "1"),
    "a function with a dot in its name": (Identity("", "a.test_mlp"), "1"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_identity_gets_a_hash_and_a_tame_name(case):
    name = stem(*ODD[case])
    assert re.fullmatch(r"[A-Za-z0-9_.,=+\[\]-]+~[0-9a-f]{8}\.[A-Za-z0-9_.,=+\[\]-]+", name)
    assert len(name) <= 120


def test_the_readable_part_stays_in_front_of_the_hash():
    assert stem(Identity("TestA", "test_mlp", "Adam"), "Out put").startswith(
        "TestA.test_mlp[Adam]~"
    )
    assert stem(Identity("TestA", "test_mlp", "Adam"), "Out put").endswith(".Out-put")


def test_a_name_is_the_same_in_every_process():
    # Pinned: changing it would orphan everybody's goldens.
    assert stem(Identity("TestA", "test_mlp"), "1") == "TestA.test_mlp~276578b6.1"


def test_a_platform_s_golden_has_a_name_that_no_check_can_have():
    directory = Path("x")
    shared, own = paths(directory, "test_mlp.1", "gpu")
    assert (shared, own) == (directory / "test_mlp.1.json", directory / "test_mlp.1@gpu.json")
    assert "@" not in stem(Identity("", "test_mlp"), "1@gpu")


text = st.text(
    st.sampled_from("aAbB.-_[]@~#/\\ éÉßſKk0=\u0130\u00e9e\u0301"), max_size=6
) | st.text(max_size=4)
identities = st.tuples(
    st.builds(Identity, cls=text, function=text, parameters=st.none() | text), text
)


def folds_to(name):
    return name.casefold()


@settings(deadline=None, max_examples=400)
@given(identities, identities)
@example((Identity("a", "b"), "1"), (Identity("", "a.b"), "1"))
@example((Identity("", "a", "x"), "1"), (Identity("", "a[x]"), "1"))
@example((Identity("", "a", None), "1"), (Identity("", "a", ""), "1"))
@example((Identity("", "Test"), "1"), (Identity("", "test"), "1"))
@example((Identity("", "test"), "a.b"), (Identity("", "test.a"), "b"))
def test_no_two_identities_share_a_file_even_where_case_is_folded(one, other):
    assert (folds_to(stem(*one)) == folds_to(stem(*other))) == (one == other)


@settings(deadline=None)
@given(st.sets(identities, min_size=2, max_size=30))
def test_many_identities_have_as_many_files(every):
    for platform in ("cpu", "gpu"):
        names = {
            folds_to(path.name) for who in every for path in paths(Path(), stem(*who), platform)
        }
        assert len(names) == 2 * len(every)


@settings(deadline=None)
@given(identities)
def test_a_stem_is_one_short_portable_file_name(who):
    name = stem(*who)
    assert re.fullmatch(r"[A-Za-z0-9_.,=+~\[\]-]+", name)
    assert len(f".{name}.12345678.safetensors") < 200
    assert Path(name).name == name


# -- the names of checks ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["output", "Output 2", "größe", "a.b", "x" * MAX_CHECK_NAME, "1a"])
def test_names_a_check_may_have(name):
    assert check_name(name) == name


BAD = {
    "": "the check's name '' is empty",
    "  ": "the check's name '  ' is empty",
    "a/b": "the check's name 'a/b' has a path separator",
    "a\\b": r"the check's name 'a\\b' has a path separator",
    "..": "the check's name '..' has '..'",
    "a..b": "the check's name 'a..b' has '..'",
    ".": "the check's name '.' has '..'",
    "a\nb": r"the check's name 'a\nb' has a character that cannot be printed",
    "a\0": r"the check's name 'a\x00' has a character that cannot be printed",
    "a\ud800": r"the check's name 'a\ud800' has a character that cannot be printed",
    "12": "the check's name '12' is a number, as the names of unnamed checks are",
    "x" * 81: f"the check's name {'x' * 40!r}... has 81 characters; 80 are the most",
    7: "the check's name 7 is a int, not text",
    None: "the check's name None is a NoneType, not text",
}


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_names_a_check_may_not_have(name):
    with pytest.raises(BadName) as caught:
        check_name(name)
    assert str(caught.value) == (
        f'{BAD[name]}. Give it a short plain name: nnx_snapshot.check(value, "output")'
    )


# -- folders ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "directory"),
    [
        ("tests/test_a.py", "tests/__nnx_snapshots__/test_a"),
        ("tests/test_a.b.py", "tests/__nnx_snapshots__/test_a.b"),
        ("tests/README.md", "tests/__nnx_snapshots__/README.md"),
        ("tests/test_a", "tests/__nnx_snapshots__/test_a"),
    ],
)
def test_goldens_lie_beside_their_test_file(file, directory):
    assert folder(Path(file)) == Path(directory)
    assert Path(file) in test_files(Path(directory))


def test_the_folder_s_name_can_be_chosen():
    assert folder(Path("tests/test_a.py"), "goldens") == Path("tests/goldens/test_a")
    assert test_files(Path("tests/goldens/test_a")) == (
        Path("tests/test_a.py"),
        Path("tests/test_a"),
    )


@settings(deadline=None)
@given(st.text(st.sampled_from("ab._-"), min_size=1, max_size=6).filter(lambda s: s.strip(".")))
def test_test_files_inverts_folder(name):
    for file in (Path(f"t/{name}.py"), Path(f"t/{name}.txt")):
        assert file in test_files(folder(file))
