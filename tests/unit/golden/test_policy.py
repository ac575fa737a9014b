"""The policy as tables: what becomes of a golden, what is known of one, when none is pruned."""

from itertools import product

import pytest

from pytest_nnxrng.golden.policy import (
    Collected,
    Decision,
    File,
    Mode,
    Outcome,
    Run,
    Status,
    Use,
    decide,
    may_define,
    prune_refusal,
    use,
)

OK = Decision(fails=False, writes=False)
FAIL = Decision(fails=True, writes=False)
WRITE = Decision(fails=False, writes=True)

# What each mode does with each status, in a test that passes, under the recorded environment.
TABLE = {
    #                   neither update refresh both
    Status.MISSING: (FAIL, WRITE, FAIL, WRITE),
    Status.MATCHED: (OK, OK, OK, OK),
    Status.ROUNDED: (OK, OK, OK, OK),
    Status.DIFFERENT: (FAIL, WRITE, FAIL, WRITE),
    Status.UNREADABLE: (FAIL, WRITE, FAIL, WRITE),
    Status.LOCKED: (FAIL, FAIL, FAIL, FAIL),
}
# The same under another environment: a refresh rewrites what still matches, and nothing else.
ELSEWHERE = TABLE | {
    Status.MATCHED: (OK, OK, WRITE, WRITE),
    Status.ROUNDED: (OK, OK, WRITE, WRITE),
}
MODES = (Mode(), Mode(update=True), Mode(refresh=True), Mode(update=True, refresh=True))
CASES = list(product(Status, range(len(MODES)), Outcome, (True, False), (True, False)))


def expected(status, mode, outcome, same_environment, repeats):
    if not repeats:
        return FAIL
    decision = (TABLE if same_environment else ELSEWHERE)[status][mode]
    if outcome is Outcome.OTHER:  # a test that did not pass writes nothing
        return Decision(decision.fails, writes=False)
    return decision


@pytest.mark.parametrize(("status", "mode", "outcome", "same_environment", "repeats"), CASES)
def test_decide(status, mode, outcome, same_environment, repeats):
    made = decide(status, MODES[mode], outcome, gains=not same_environment, repeats=repeats)
    assert made == expected(status, mode, outcome, same_environment, repeats)
    otherwise = decide(status, MODES[mode], outcome, repeats=repeats, agrees=False)
    assert (otherwise.fails, otherwise.writes) == (True, False)


def test_the_table_is_the_whole_space():
    assert len(CASES) == 6 * 4 * 3 * 2 * 2
    assert TABLE.keys() == ELSEWHERE.keys() == set(Status)


def every_decision():
    for status, mode, outcome, same, repeats in CASES:
        arguments = (status, MODES[mode], outcome, same, repeats)
        made = decide(status, MODES[mode], outcome, gains=not same, repeats=repeats)
        yield arguments, made


RULES = {
    "nothing is written without an option that asks for it": lambda a, d: (
        a[1] != Mode() or not d.writes
    ),
    "nothing is written for a test that did not pass": lambda a, d: (
        a[2] is not Outcome.OTHER or not d.writes
    ),
    "what fails is not written": lambda a, d: not (d.fails and d.writes),
    "a locked golden is never written and never green": lambda a, d: (
        a[0] is not Status.LOCKED or d == FAIL
    ),
    "a build that does not repeat itself fails, always": lambda a, d: a[4] or d == FAIL,
    "a missing golden fails, unless it is about to be written": lambda a, d: (
        a[0] is not Status.MISSING or d.fails or a[1].update
    ),
    "a golden that matches here stays, byte for byte": lambda a, d: (
        not (d.writes and a[0] in (Status.MATCHED, Status.ROUNDED) and a[3])
    ),
    "whether the check fails does not hang on the rest of the test": lambda a, d: (
        d.fails == decide(a[0], a[1], Outcome.PASSED, gains=not a[3], repeats=a[4]).fails
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_that_protect_the_user(rule):
    broken = [arguments for arguments, made in every_decision() if not RULES[rule](arguments, made)]
    assert broken == []


@pytest.mark.parametrize(("status", "mode", "outcome", "same_environment", "repeats"), list(CASES))
def test_a_golden_that_is_left_to_another_device_is_never_written(
    status, mode, outcome, same_environment, repeats
):
    alone, left = (
        decide(
            status,
            MODES[mode],
            outcome,
            gains=not same_environment,
            repeats=repeats,
            left=left,
        )
        for left in (False, True)
    )
    assert left.fails == alone.fails, "what is to be accepted is accepted, there"
    assert not left.writes


def test_a_check_is_green_and_unwritten_by_default_where_nothing_is_known():
    assert decide(Status.MATCHED, Mode(), Outcome.PASSED) == OK


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("outcome", Outcome)
def test_against_other_code_what_differs_fails_and_nothing_is_written(status, outcome):
    made = decide(status, Mode(against=True), outcome, gains=True, astray=True)
    assert made == Decision(fails=status.bad and status is not Status.MISSING, writes=False)


# -- use -------------------------------------------------------------------------------

OWNER = ("TestA", "test_f", "x")


def file(*, exists=True, whole=True, functions=None, source=""):
    collected = None
    if functions is not None:
        frozen = {key: frozenset(parameters) for key, parameters in functions.items()}
        collected = Collected(whole, frozen)
    return File(exists, collected, source)


THERE = {("TestA", "test_f"): ["x", "y"]}
BOTH = [("TestA", "test_f", "x"), ("TestA", "test_f", "y")]

USES = {
    "whose it is cannot be read": (None, file(functions=THERE), BOTH, Use.UNKNOWN),
    "whose it is cannot be read, file gone": (None, file(exists=False), [], Use.UNKNOWN),
    "its file is gone": (OWNER, file(exists=False), [], Use.GONE),
    "its file was not collected": (OWNER, file(functions=None), [], Use.UNKNOWN),
    "its function is gone": (OWNER, file(functions={}, source="def test_g(): ..."), [], Use.GONE),
    "its class is gone, a function of that name lives elsewhere": (
        OWNER,
        file(functions={("", "test_f"): [None]}, source="def test_f(): ..."),
        [],
        Use.GONE,
    ),
    "its class was renamed": (
        OWNER,
        file(functions={("TestB", "test_g"): ["x"]}, source="class TestB: ..."),
        [("TestB", "test_g", "x")],
        Use.GONE,
    ),
    "its function is behind an if": (
        OWNER,
        file(functions={}, source="class TestA:\n  if GPU:\n    def test_f(self): ..."),
        [],
        Use.UNKNOWN,
    ),
    "only a longer name is in the source": (
        OWNER,
        file(functions={}, source="def test_f_more(self): ..."),
        [],
        Use.GONE,
    ),
    "all of its function passed without it": (OWNER, file(functions=THERE), BOTH, Use.UNUSED),
    "a sibling parameter did not pass": (OWNER, file(functions=THERE), BOTH[:1], Use.UNKNOWN),
    "none of its function passed": (OWNER, file(functions=THERE), [], Use.UNKNOWN),
    "its parameter is no longer collected, the others passed": (
        ("TestA", "test_f", "old"),
        file(functions=THERE),
        BOTH,
        Use.UNUSED,
    ),
    "its parameter is no longer collected, another did not pass": (
        ("TestA", "test_f", "old"),
        file(functions=THERE),
        BOTH[:1],
        Use.UNKNOWN,
    ),
    "asked for by node id, passed": (OWNER, file(whole=False, functions=THERE), BOTH, Use.UNUSED),
    "asked for by node id, another passed": (
        OWNER,
        file(whole=False, functions=THERE),
        BOTH[1:],
        Use.UNKNOWN,
    ),
    "its function is not among the node ids": (
        OWNER,
        file(whole=False, functions={}, source=""),
        [],
        Use.UNKNOWN,
    ),
}


@pytest.mark.parametrize("case", USES)
def test_use(case):
    owner, where, passed, known = USES[case]
    assert use(owner, where, passed) is known


def test_use_takes_any_iterable_of_passed_tests():
    assert use(OWNER, file(functions=THERE), iter(BOTH)) is Use.UNUSED


@pytest.mark.parametrize(("other", "known"), [("TestA", Use.GONE), ("TestB", Use.UNKNOWN)])
def test_a_method_that_a_base_may_hold_is_gone_where_its_class_was_collected(other, known):
    there = file(functions={(other, "test_g"): [None]}, source="class TestA(Base):\n    pass")
    assert use(OWNER, there, []) is known


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("functions", [{}, THERE, None])
@pytest.mark.parametrize("passed", [[], BOTH])
def test_a_golden_whose_function_was_collected_is_never_called_gone(whole, functions, passed):
    if functions == {} and whole:
        return  # gone indeed: see the table
    assert use(OWNER, file(whole=whole, functions=functions), passed) is not Use.GONE


# -- prune_refusal ---------------------------------------------------------------------


def test_a_whole_run_may_prune():
    assert prune_refusal(Run()) is None


REFUSALS = [
    (Run(narrowed=("-k",)), ["-k leaves tests out"]),
    (Run(narrowed=("-k", "a node id")), ["-k leaves tests out", "a node id leaves tests out"]),
    (Run(troubles=("worker gw1 crashed",)), ["worker gw1 crashed"]),
    (
        Run(("--lf",), ("tests/test_a.py could not be collected",)),
        ["--lf leaves tests out", "tests/test_a.py could not be collected"],
    ),
]


@pytest.mark.parametrize(("run", "reasons"), REFUSALS)
def test_a_run_that_cannot_see_everything_says_why_it_deletes_nothing(run, reasons):
    then = "Run it over the whole suite" if run.narrowed else "Mend that first, then run it again"
    assert prune_refusal(run) == (
        f"--nnx-prune-snapshots deletes nothing here: {'; '.join(reasons)}. "
        f"{then}: pytest --nnx-prune-snapshots"
    )


# -- only: an update of goldens all of whose causes are named --------------------------------

ONLY = {
    ("draws",): {(): FAIL, ("draws",): WRITE, ("draws", "shape"): FAIL, ("shape",): FAIL},
    ("draws", "shape"): {
        (): FAIL,
        ("draws",): WRITE,
        ("shape", "draws"): WRITE,
        ("draws", "shape", "unknown"): FAIL,
    },
}


@pytest.mark.parametrize("refresh", [True, False])
@pytest.mark.parametrize(("only", "causes"), [(only, c) for only in ONLY for c in ONLY[only]])
def test_an_update_of_some_causes_takes_goldens_of_these_alone(only, causes, refresh):
    mode = Mode(update=True, refresh=refresh, only=frozenset(only))
    made = decide(Status.DIFFERENT, mode, Outcome.PASSED, causes=causes)
    assert made == ONLY[only][causes]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.DIFFERENT])
def test_an_update_of_some_causes_leaves_goldens_that_have_none(status):
    mode = Mode(update=True, only=frozenset({"draws"}))
    expected = OK if status in (Status.MATCHED, Status.ROUNDED) else FAIL
    assert decide(status, mode, Outcome.PASSED, causes=("draws",)) == expected


@pytest.mark.parametrize("outcome", [Outcome.OTHER])
def test_an_update_of_some_causes_needs_a_test_that_passes(outcome):
    mode = Mode(update=True, only=frozenset({"draws"}))
    assert decide(Status.DIFFERENT, mode, outcome, causes=("draws",)) == OK


INSIDE = "class TestA:\n    class TestB:\n        def test_f(): ..."
DEFINITIONS = {
    # The source, the class, whether other tests of the class were collected, the answer.
    "behind an if": ("if X:\n    def test_f(): ...", "", False, True),
    "imported or not": ("try:\n    from a import test_f\nexcept E: ...", "", False, True),
    "made by a call": ("if X:\n    test_f = make()", "", False, True),
    "set by name": ("setattr(module, 'test_f', 1)", "", False, True),
    "whatever that brings": ("if X:\n    from a import *", "", False, True),
    "brought for all": ("from a import *", "", False, False),
    "not there": ("def test_g(): ...", "", False, False),
    "a remark alone": ("# test_f", "", False, False),
    "inside a function": ("def make():\n    def test_f(): ...", "", False, False),
    "a method, not the function": ("class TestB:\n    def test_f(): ...", "", False, False),
    "another class's method": ("class TestB:\n    def test_f(): ...", "TestA", False, False),
    "an inner class": (INSIDE, "TestA.TestB", False, True),
    "another inner class": (INSIDE, "TestA.TestC", False, False),
    "inherited, class behind an if": ("if X:\n    class TestA(B): ...", "TestA", False, True),
    "inherited no more": ("class TestA(B): ...", "TestA", True, False),
    "inherited from below": (
        "class B:\n    if X:\n        def test_f(): ...\nclass TestA(B): ...",
        "TestA",
        True,
        True,
    ),
    "a class made by a call": ("TestA = make()", "TestA", False, True),
    "not Python": ("def (", "", False, True),
    "made in a loop": ('for n in N:\n    globals()[f"test_{n}"] = make(n)', "", False, True),
    "made in a loop, under other names": (
        'for n in N:\n    globals()[f"check_{n}"] = make(n)',
        "",
        False,
        False,
    ),
    "made by a name": ("for name in N:\n    globals()[name] = make(name)", "", False, True),
    "made by concatenation": ('vars()["test_" + n] = make(n)', "", False, True),
    "made by concatenation, under other names": (
        'globals()["check_" + n] = make(n)',
        "",
        False,
        False,
    ),
    "made by a format": ('globals()["test_{}".format(n)] = make(n)', "", False, True),
    "made by a percent": ('globals()["test_%s" % n] = make(n)', "", False, True),
    "set in a loop": ("for n in N:\n    setattr(TestA, n, make(n))", "TestA", True, True),
    "set in a module": ("sys.modules[__name__].__dict__[name] = f", "", False, True),
    "made all at once": ("globals().update(make())", "", False, True),
    "made all at once, by name": ("globals().update(test_g=1)", "", False, False),
    "read by name alone": ("x = globals()[name]", "", False, False),
    "a dictionary's item": ("for n in N:\n    table[n] = 1", "", False, False),
    "executed": ("exec(text)", "", False, True),
    "a text that could be its name": ('x = f"test_{n}"\nglobals()[x] = 1', "", False, True),
}


@pytest.mark.parametrize("case", DEFINITIONS)
def test_may_define(case):
    source, cls, class_collected, answer = DEFINITIONS[case]
    assert may_define(source, cls, "test_f", class_collected=class_collected) is answer


MOVE = Decision(fails=False, writes=False, moves=True)
MODES_OF_MOVING = {
    # What is asked for, and what becomes of a golden that agrees and stands elsewhere, of one
    # whose test is gone, which is missing at the place of the new, and of one that differs.
    Mode(): (OK, FAIL, FAIL),
    Mode(refresh=True): (OK, FAIL, FAIL),
    Mode(move=True): (MOVE, MOVE, FAIL),
    Mode(update=True): (MOVE, MOVE, WRITE),
    Mode(update=True, move=True): (MOVE, MOVE, WRITE),
    Mode(update=True, only=frozenset({"draws"})): (OK, FAIL, FAIL),
    Mode(update=True, only=frozenset({"draws"}), move=True): (MOVE, MOVE, FAIL),
}


@pytest.mark.parametrize("mode", MODES_OF_MOVING)
@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("left", [False, True])
def test_goldens_that_stand_elsewhere(mode, outcome, left):
    statuses = (Status.MATCHED, Status.MISSING, Status.DIFFERENT)
    for status, decision in zip(statuses, MODES_OF_MOVING[mode], strict=True):
        made = decide(status, mode, outcome, astray=True, left=left)
        assert made.fails == decision.fails
        may = not left and outcome is not Outcome.OTHER
        assert (made.writes, made.moves) == (may and decision.writes, may and decision.moves)


def test_what_is_to_be_refreshed_is_written_where_it_belongs():
    mode = Mode(refresh=True, update=True)
    assert decide(Status.MATCHED, mode, Outcome.PASSED, astray=True, gains=True) == WRITE
