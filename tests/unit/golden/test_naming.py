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
    folding_stem,
    former_stem,
    paths,
    stem,
    stems,
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
    "TestBlock.test_block[0].y": (Identity("TestBlock", "test_block", "0"), "y"),
    "test_mlp[Adam-float32].Loss": (Identity("", "test_mlp", "Adam-float32"), "Loss"),
    "test_mlp.a%2eb": (Identity("", "test_mlp"), "a.b"),
    "test_mlp.Out%20put": (Identity("", "test_mlp"), "Out put"),
    "test_mlp.1%40gpu": (Identity("", "test_mlp"), "1@gpu"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_identity_is_its_name(name):
    assert stem(*PLAIN[name]) == name


ODD = {
    "a path in a parameter": (Identity("", "test_mlp", "../../etc/passwd"), "1"),
    "brackets in a parameter": (Identity("", "test_mlp", "a][b"), "1"),
    "an @, which marks a platform's golden": (Identity("", "test_mlp", "a@gpu"), "1"),
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
    assert re.fullmatch(r"[A-Za-z0-9_.,=+\[\]-]+~[0-9a-f]{8}\.[A-Za-z0-9_%-]+", name)
    assert len(name) <= 120


@pytest.mark.parametrize("case", ODD)
def test_all_checks_of_a_test_have_one_hash(case):
    who = ODD[case][0]
    heads = {stem(who, check).rpartition(".")[0] for check in ("1", "2", "loss", "Loss", "a b")}
    assert len(heads) == 1
    assert heads.pop().count("~") == 1


def test_the_readable_part_stays_in_front_of_the_hash():
    name = stem(Identity("TestA", "test_mlp", "Adam x"), "Out put")
    assert re.fullmatch(r"TestA\.test_mlp\[Adam-x\]~[0-9a-f]{8}\.Out%20put", name)


def test_a_name_is_the_same_in_every_process():
    # Pinned: changing one would orphan everybody's goldens.
    assert stem(Identity("TestA", "test_mlp", "a b"), "1") == "TestA.test_mlp[a-b]~e5acfea3.1"
    assert folding_stem(Identity("TestA", "test_mlp"), "A") == "TestA.test_mlp~183b0c16.%41"
    assert former_stem(Identity("TestA", "test_mlp"), "1") == "TestA.test_mlp~276578b6.1"


def test_the_names_that_a_golden_may_have():
    assert stems(Identity("", "test_mlp"), "1") == ("test_mlp.1", "test_mlp.1", "test_mlp.1")
    assert stems(Identity("TestA", "test_mlp"), "1") == (
        "TestA.test_mlp.1",
        "TestA.test_mlp~183b0c16.1",
        "TestA.test_mlp~276578b6.1",
    )


def test_a_platform_s_golden_has_a_name_that_no_check_can_have():
    directory = Path("x")
    shared, own = paths(directory, "test_mlp.1", "gpu")
    assert (shared, own) == (directory / "test_mlp.1.json", directory / "test_mlp.1@gpu.json")
    for name in stems(Identity("", "test_mlp", "@"), "1@gpu"):
        assert "@" not in name


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
@example((Identity("", "test"), "A"), (Identity("", "test"), "%41"))
def test_no_two_identities_share_a_file(one, other):
    if one == other:
        return
    assert not set(stems(*one)) & set(stems(*other))
    # Even where case is folded.
    assert folds_to(folding_stem(*one)) != folds_to(folding_stem(*other))
    assert folds_to(folding_stem(*one)) not in {
        folds_to(name) for name in stems(*other) if name != stem(*other)
    }


@settings(deadline=None)
@given(st.sets(identities, min_size=2, max_size=30))
def test_many_identities_have_as_many_files(every):
    for platform in ("cpu", "gpu"):
        names = {
            folds_to(path.name)
            for who in every
            for path in paths(Path(), folding_stem(*who), platform)
        }
        assert len(names) == 2 * len(every)


@settings(deadline=None)
@given(identities)
def test_a_stem_is_one_short_portable_file_name(who):
    for name in stems(*who):
        assert re.fullmatch(r"[A-Za-z0-9_.,=+~%\[\]-]+", name)
        assert len(f".{name}.1234567-12345678.nnx-tmp") < 255
        assert Path(name).name == name


def test_the_longest_names():
    who = Identity("T" * 60, "t" * 50, "p")
    for check in ("x" * 80, "é" * 80, "X" * 80, "x" * 79 + "é"):
        for name in stems(who, check):
            assert len(f".{name}.1234567-12345678.nnx-tmp") < 255
    assert len({stem(who, check) for check in ("é" * 80, "è" * 80)}) == 2


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
