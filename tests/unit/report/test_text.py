"""Failures and the summary as text: every kind's words, in 80 columns."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from pytest_nnxrng.compare.differences import Comparison, Difference, compare
from pytest_nnxrng.compare.numbers import Numbers
from pytest_nnxrng.compare.tolerance import Tolerance
from pytest_nnxrng.leaf.digest import digest
from pytest_nnxrng.leaf.leaf import Leaf
from pytest_nnxrng.report.findings import Finding
from pytest_nnxrng.report.rows import WIDTH
from pytest_nnxrng.report.summary import Failure, lines, style
from pytest_nnxrng.report.text import again, failure, headline
from pytest_nnxrng.run.outcomes import Totals
from pytest_nnxrng.run.settings import Mode
from pytest_nnxrng.why.cause import Cause, Evidence

COMMAND = "pytest --nnx-update-snapshots tests/test_a.py::test_mlp"
GOLDEN = "tests/__nnx_snapshots__/test_a/test_mlp.output.json"


@dataclass
class Shown:
    comparison: Comparison | None = None
    problem: str = ""
    also: str = ""
    lacks: str = ""
    gone: str = ""
    new: str = ""
    name: str = "output"
    kind: str = "value"
    where: str = "test_a.py:7: nnx_snapshot.check(y, 'output')"
    changes: tuple = ()
    causes: tuple = field(default_factory=tuple)
    evidence: Evidence | None = None


def leaf(values, path="layer.kernel", dtype=np.float32, **more):
    array = np.asarray(values, dtype)
    return Leaf(
        path, more.pop("type", "Param"), array.shape, array.dtype.name,
        digest=digest(array), read=lambda: array, **more,
    )  # fmt: skip


def compared(old, new, aliases=({}, {}), tolerance=None, **more):
    return compare(old, new, tolerance or Tolerance({"*": 1e-5}), aliases, **more)


def text(comparison=None, **more):
    return failure([(Shown(comparison, **more), GOLDEN)], COMMAND, verbosity=1).full


def words(shown):
    """Text without its line breaks: what a reader reads."""
    return " ".join(shown.split())


def of(old, new, **more):
    return words(text(compared((old,), (new,), **more)))


# -- the whole -------------------------------------------------------------------------


def test_a_failure_from_head_to_foot():
    old = (leaf([1, 2], "a"), leaf([[1, 2], [3, 4]]), leaf([0], "gone"))
    new = (leaf([1, 2], "a"), leaf([[1, 2], [3, 5]]))
    finding = "layer.kernel has other values"
    cause = Cause("values", ("layer.kernel",), "1 leaf has other values", "", finding)
    changes = (("jax", "0.9", "0.10"), ("xla_flags", None, "--x"))
    shown = text(compared(old, new), changes=changes, causes=(cause,))
    assert shown == (
        "test_mlp.output: values: layer.kernel has other values\n"
        f"  file    {GOLDEN}\n"
        "  called  test_a.py:7: nnx_snapshot.check(y, 'output')\n"
        "  why     values: 1 leaf has other values\n"
        "  leaves  1 match, 2 differ\n"
        "  gone  Param float32[1]\n"
        "      removed: the golden has it\n"
        "  layer.kernel  Param float32[2, 2]\n"
        "      1 of 4 elements differ; the largest difference is 1\n"
        "      (allowed 4e-05; the golden's largest element is 4)\n"
        "      at [1, 1]: golden 4, now 5\n"
        "\n"
        "  not as recorded in the golden's environment:\n"
        "      jax 0.9 -> 0.10\n"
        "      xla_flags - -> --x\n"
        "\n"
        f"to accept: {COMMAND}"
    )


def test_a_missing_golden():
    assert text() == (
        "test_mlp.output: the golden is missing\n"
        f"  file    {GOLDEN}\n"
        "  called  test_a.py:7: nnx_snapshot.check(y, 'output')\n"
        "\n"
        f"to write: {COMMAND}"
    )


def test_a_problem_that_an_update_solves():
    shown = text(problem="g.json: is empty. Write it anew with pytest --nnx-update-snapshots")
    assert shown.startswith("test_mlp.output: the golden cannot be compared\n")
    assert "  g.json: is empty. Write it anew with pytest --nnx-update-snapshots\n" in shown
    assert shown.endswith(COMMAND)


def test_a_problem_that_an_update_does_not_solve():
    shown = text(problem="g.json: is a Git LFS pointer. Fetch it: git lfs pull")
    assert COMMAND not in shown
    assert shown.endswith("Fetch it: git lfs pull")


def test_several_checks_share_one_way_out():
    differs = Shown(compared((leaf([1]),), (leaf([2]),)))
    shown = failure([(differs, "g/a.1.json"), (Shown(), "g/a.2.json")], COMMAND).full
    assert shown.count(COMMAND) == 1
    assert f"\n\nto accept: {COMMAND}" in shown
    assert "\n\na.2: the golden is missing\n" in shown


def test_the_same_environment_is_said():
    assert "\n\n  environment: as recorded in the golden\n" in text(
        compared((leaf([1]),), (leaf([2]),))
    )


def test_what_matched_is_counted():
    old = (leaf([1], "a"), leaf([1], "b"), Leaf("c", "Param", (1,), "float32"), leaf([1], "d"))
    new = (leaf([1], "a"), leaf([1.000001], "b"), leaf([1], "c"), leaf([2], "d"))
    shown = text(compared(old, new))
    assert "  leaves  1 match, 1 match by rounding, 1 agree but for values, 1 differ\n" in shown


def test_causes_come_first():
    causes = (
        Cause("draws", ("a", "b"), "two more keys " * 9, "", ""),
        Cause("shape", ("c",), "wider", "", ""),
    )
    shown = text(compared((leaf([1]),), (leaf([2]),)), causes=causes).splitlines()
    at = next(n for n, line in enumerate(shown) if line.startswith("  why "))
    assert shown[at].startswith("  why     draws: two more keys two more")
    assert shown[at + 1].startswith("          more keys")
    assert shown[at + 2] == "  why     shape: wider"


# -- each kind's words -----------------------------------------------------------------

BIG = Leaf("w", "Param", (4,), "float32", digest="0" * 32, stored=False)
KINDS = {
    "added": (None, leaf([1], "n"), "n Param float32[1] added: the golden does not have it"),
    "removed": (leaf([1], "n"), None, "n Param float32[1] removed: the golden has it"),
    "type": (leaf([1]), leaf([1], type="Cache"), "Variable type: golden Param, now Cache"),
    "shape": (leaf([1]), leaf([[1, 2]]), "shape: golden [1], now [1, 2]"),
    "dtype": (leaf([1]), leaf([1], dtype=np.float16), "dtype: golden float32, now float16"),
    "a scalar": (
        leaf(1.5, ""),
        leaf(2.5, ""),
        "(the value) Param float32 the value differs; the largest difference is 1 "
        "(allowed 1.5e-05; the golden's largest element is 1.5) golden 1.5, now 2.5 ",
    ),
    "NaN": (
        leaf([1, 2, 3]),
        leaf([1, np.nan, 4]),
        "2 of 3 elements differ, 1 of them NaN or infinite on one side at [1]: golden 2, now nan",
    ),
    "integers": (
        leaf([1, 2], dtype=np.int32),
        leaf([1, 9], dtype=np.int32),
        "1 of 2 elements differ at [1]: golden 2, now 9",
    ),
    "bools": (
        leaf([True], dtype=bool),
        leaf([False], dtype=bool),
        "the value differs at [0]: golden True, now False",
    ),
    "far apart": (
        leaf([1e-30, 4]),
        leaf([1, 4]),
        "at [0]: golden 1e-30, now 1 environment",
    ),
    "not stored": (
        Leaf(**{**BIG.__dict__, "statistics": {"mean": 0.5, "std": 2}}),
        leaf([1, 2, 3, 4], "w"),
        "the values differ; the golden keeps a digest of this leaf but not its values "
        "(mean 0.5, std 2), as it is larger than nnx_snapshot_store_limit",
    ),
    "not stored, nothing known": (BIG, leaf([1, 2, 3, 4], "w"), "values (no statistics), as it"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_words(kind):
    old, new, told = KINDS[kind]
    comparison = compared((old,) if old else (), (new,) if new else ())
    assert told in words(text(comparison))


def test_words_for_sharding():
    old, new = leaf([1], sharding=("data", None)), leaf([1])
    text = "sharding: no longer sharded over data: annotated P('data', None) -> P()"
    assert text in of(old, new, sharding=True)


def test_words_for_another_derivation():
    old = Leaf("w", "Param", (1,), "float32", draws=("params#2",), initializer="ab")
    new = Leaf("w", "Param", (1,), "float32", draws=(), initializer="cd")
    assert "golden: from params#2 by initializer ab; now: from no key by initializer cd" in of(
        old, new
    )


def test_words_for_the_same_derivation_from_another_base_key():
    leaf = Leaf("w", "Param", (1,), "float32", draws=("params#2",), initializer="ab")
    shown = of(leaf, leaf, rekeyed=("params",))
    assert "from params#2 by the same initializer; the base key of its stream is another" in shown
    assert "now: from" not in shown


def test_words_for_a_sketch():
    numbers = Numbers(0, 4, scale=2, allowed=1e-5, worst=0.5, sketched="it moved", changed=True)
    difference = Difference("w", ("values",), BIG, leaf([1, 2, 3, 4], "w"), numbers)
    shown = words(text(Comparison(differences=(difference,))))
    assert (
        "by the golden's sketch, its values not being stored: it moved (allowed 1e-05 for each "
        "element; the golden's largest is 2)" in shown
    )


ALIASES = {
    "untied": (("embed", None), "no longer tied: in the golden it is embed itself, now it has"),
    "tied": ((None, "embed"), "tied: it is embed itself now, in the golden it has values of its"),
    "retied": (("embed", "head"), "tied to head now, to embed in the golden"),
}


@pytest.mark.parametrize("kind", ALIASES)
def test_words_for_aliasing(kind):
    alias, told = ALIASES[kind]
    difference = Difference("out", ("aliasing",), alias=alias)
    assert f"out {told}" in words(text(Comparison(differences=(difference,))))


@pytest.mark.parametrize("kind", ["added", "removed"])
def test_words_for_an_alias_that_is_new_or_gone(kind):
    alias = ("embed", None) if kind == "removed" else (None, "embed")
    difference = Difference("out", ("aliasing", kind), alias=alias)
    shown = words(text(Comparison(differences=(difference,))))
    assert kind in shown
    assert "values of its own" not in shown


def test_rng_state_stands_apart_from_the_weights():
    def pair(value):
        return (leaf([value], "rngs.count", rng=True), leaf([value], "w"))

    shown = text(compared(pair(1), pair(2)))
    title = "\n\n  RNG state (keys and counts), apart from the weights:\n"
    assert shown.index("  w  Param") < shown.index(title) < shown.index("  rngs.count  Param")


def test_many_leaves_get_a_line_each_and_very_many_are_counted():
    old = [leaf([1, 2], f"l{n:03}") for n in range(300)]
    new = [leaf([1, 3], f"l{n:03}") for n in range(300)]
    shown = text(compared(tuple(old), tuple(new)))
    assert shown.count("the largest difference") == 5
    assert shown.count("1 of 2 elements differ\n") == 195
    assert "\n  ... and 100 more leaves that differ (-vv: all)\n" in shown
    assert len(shown) < 20_000


# -- width -----------------------------------------------------------------------------

LONG = "layers.0.attention.self.query_key_value_projection.low_rank_adapter.kernel"


def wide(kind):
    """What makes a line long, on a leaf of an ordinary name."""
    more = {"type": "AVariableTypeWithARatherLongNameToRead"}
    old, new = {
        "shape": (leaf(np.zeros((1,) * 12)), leaf(np.zeros((2,) + (1,) * 12))),
        "type": (leaf([1], **more), leaf([1], type=f"{more['type']}Again")),
        "sharding": (
            leaf([1], sharding=("data", None, ("model", "expert", "sequence"), "pipeline")),
            leaf([1], sharding=(("model", "expert"), None, "sequence", "pipeline", "data")),
        ),
        "values": (leaf(-np.pi * np.ones((9,) * 3)), leaf(np.e * np.ones((9,) * 3))),
        "name": (leaf([1], LONG), leaf([2], LONG)),
        "alias": (leaf([1], LONG), leaf([1], LONG)),
        "where": (leaf([1]), leaf([2])),
        "not stored": (BIG, leaf([1, 2, 3, 4], "w")),
    }[kind]
    aliases = ({"b": LONG}, {}) if kind == "alias" else ({}, {})
    return compared((old,), (new,), aliases, sharding=True)


@pytest.mark.parametrize(
    "kind",
    ["values", "alias", "where", "not stored", "shape", "type", "sharding", "name"],
)
def test_no_line_is_wider_than_a_terminal_but_for_what_cannot_be_broken(kind):
    changes = (("xla_flags", "--xla_a=1 " * 20, None), ("device", "x" * 30, "y" * 30))
    cause = Cause("draws", (LONG,), f"{LONG} draws `params#4`, " * 5, "", "")
    shown = text(
        wide(kind), changes=changes, causes=(cause,), where="test_a.py:7: " + "check(x, y) " * 20
    )
    for line in shown.splitlines():
        if not line.startswith(("  file  ", "to accept: ")):
            assert len(line) <= WIDTH or len(line.split()) == 1, line


@pytest.mark.parametrize("problem", ["a problem " * 30, "p" * 200])
def test_a_problem_is_wrapped(problem):
    for line in text(problem=problem).splitlines():
        assert len(line) <= WIDTH or len(line.split()) == 1 or line.startswith("  file  ")


@pytest.mark.parametrize("where", ["path", "type", "draws", "change", "problem"])
def test_what_a_hostile_golden_holds_does_not_reach_the_terminal(where):
    evil = "\x1b]0;pwned\x07"
    old = Leaf(
        evil if where == "path" else "w",
        evil if where == "type" else "Param",
        (1,),
        "float32",
        draws=(evil if where == "draws" else "params#1",),
    )
    new = Leaf("w", "Param", (1,), "float32", draws=("params#0",))
    shown = text(
        None if where == "problem" else compared((old,), (new,)),
        problem=evil if where == "problem" else "",
        changes=(("jax", evil, "1"),) if where == "change" else (),
    )
    assert all(line.isprintable() for line in shown.splitlines())


# -- what a cause explains -------------------------------------------------------------


def layers(number, value):
    return tuple(leaf([value, 2], f"layers.{n}.kernel") for n in range(number))


def test_what_a_cause_explains_is_folded_under_it_and_not_listed_again():
    paths = tuple(f"layers.{n}.kernel" for n in range(12))
    cause = Cause("draws", paths, "1 more key: 12 leaves", "", "1 more key from `params`")
    shown = Shown(compared(layers(12, 1), layers(12, 3)), causes=(cause,))
    told = failure([(shown, GOLDEN)])
    assert told.full.splitlines()[0] == "test_mlp.output: 1 more key from params"
    assert "\n            layers.{0..11}.kernel\n" in told.full
    assert "  leaves  0 match, 12 differ, as told above\n" in told.full
    assert "elements differ" not in told.full
    assert "12 differ\n  layers.0.kernel  Param" in failure(
        [(shown, GOLDEN)], verbosity=1
    ).full.replace(", as told above", "")
    assert failure([(shown, GOLDEN)], verbosity=2).full.count("the largest difference") == 12


def test_what_nothing_explains_has_its_numbers():
    draws = Cause("draws", ("layers.0.kernel",), "1 more key", "", "1 more key")
    unknown = Cause("unknown", ("layers.1.kernel",), "nothing is proven", "", "nothing")
    shown = Shown(compared(layers(2, 1), layers(2, 3)), causes=(draws, unknown))
    told = failure([(shown, GOLDEN)])
    assert "  leaves  0 match, 2 differ, 1 of them as told above\n" in told.full
    assert "  layers.1.kernel  Param" in told.full
    assert "  layers.0.kernel  Param" not in told.full
    assert told.key == "", "each such test needs a look"


def test_a_renamed_leaf_is_not_listed_as_removed_and_added():
    cause = Cause("renamed", ("new",), "old -> new", "", "old -> new")
    shown = Shown(compared((leaf([1], "old"),), (leaf([1], "new"),)), causes=(cause,))
    told = failure([(shown, GOLDEN)]).full
    assert "removed: the golden" not in told
    assert "2 differ, as told above" in told


def test_a_change_has_one_key_wherever_it_shows():
    def told(golden, text):
        cause = Cause("draws", ("w",), text, "", "1 more key")
        comparison = compared((leaf([1], "w"),), (leaf([2], "w"),))
        return failure([(Shown(comparison, causes=(cause,)), golden)])

    one, other = told("g/a.1.json", "in a"), told("g/b.1.json", "in b")
    assert one.key == other.key != ""
    assert again(other.headline, "test_a.py::test_a").splitlines() == [
        "b.1: 1 more key",
        "  the same change as in test_a.py::test_a, where it is told",
    ]


def test_an_output_that_follows_is_told_in_a_line():
    follows = Cause("follows", ("layer.kernel",), "the model differs: layer.kernel")
    shown = Shown(compared((leaf([1]),), (leaf([2]),)), causes=(follows,))
    told = failure([(shown, GOLDEN)])
    assert told.headline == "test_mlp.output: follows from the model"
    assert "elements differ" not in told.full


@pytest.mark.parametrize("kind", ["value", "call"])
def test_what_follows_is_not_the_headline_where_something_else_moved_too(kind):
    follows = Cause("follows", ("", "a"), "it follows: kernel", "", "it follows: kernel")
    own = Cause("computation", ("",), "MLP computes otherwise", "", "MLP computes otherwise")
    shown = Shown(compared((leaf([1]),), (leaf([9]),)), causes=(follows, own), kind=kind)
    told = failure([(shown, GOLDEN)])
    assert told.headline == "test_mlp.output: computation: MLP computes otherwise (+1 more cause)"


# -- the headline, and markup ----------------------------------------------------------


def test_the_headline_is_one_line():
    causes = tuple(
        Cause(word, ("a",) * n, "", "", f"{n} more") for n, word in enumerate(("draws", "shape"))
    )
    differs = Shown(compared((leaf([1]),), (leaf([2]),)), causes=causes)
    broken = Shown(problem="g.json: is empty. Restore it")
    shown = headline([(differs, "g/a.1.json"), (Shown(), "g/a.2.json"), (broken, "g/a.3.json")])
    assert shown == (
        "a.1: shape: 1 more (+1 more cause); a.2: the golden is missing; "
        "a.3: the golden cannot be compared"
    )


@pytest.mark.parametrize(
    ("line", "markup"),
    [
        ("test_mlp.1: the golden is missing", {"red": True, "bold": True}),
        ("  file    tests/x.json", {}),
        ("  called  test_a.py:7: x", {}),
        ("  leaves  1 match, 2 differ", {}),
        ("  why     draws: two more", {"yellow": True, "bold": True}),
        ("  not as recorded in the golden's environment:", {"yellow": True, "bold": True}),
        ("  layer.kernel  Param float32[2,3]", {"bold": True}),
        ("      at [1]: golden 1, now 2", {"red": True}),
        ("to accept: pytest --nnx-update-snapshots", {"green": True}),
        ("to write: pytest --nnx-update-snapshots", {"green": True}),
        ("", {}),
        ("      2 of 3 elements differ", {}),
    ],
)
def test_style(line, markup):
    assert style(line) == markup


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 3, 4)])
def test_a_leaf_s_line_is_bold_whatever_its_shape(shape):
    new = leaf(np.zeros(shape))
    old = leaf(np.ones(shape))
    (line,) = (line for line in text(compared((old,), (new,))).splitlines() if "  Param " in line)
    assert style(line) == {"bold": True}


def test_a_failure_paints_itself():
    class Writer:
        written = ()

        def line(self, text, **markup):
            self.written = (*self.written, (text, markup))

    made, writer = Failure.of("x: the golden is missing\n  file    y", "golden x"), Writer()
    made.toterminal(writer)
    assert writer.written == (
        ("x: the golden is missing", {"red": True, "bold": True}),
        ("  file    y", {}),
    )
    assert made == "x: the golden is missing\n  file    y"
    assert str(made.reprcrash) == made.reprcrash.message == "golden x"


def test_a_failure_in_one_line_paints_that_alone():
    made = Failure.of("x\n  file    y", "golden x", "tests/test_a.py:7", is_line=True)
    made.toterminal(None)
    assert str(made.reprcrash) == "tests/test_a.py:7: golden x"
    assert made.reprcrash.message == "golden x", "for pytest's short summary and JUnit's file"
    assert (made.reprcrash.path, made.reprcrash.lineno) == ("tests/test_a.py", 7), "for json-report"


def test_the_place_of_a_failure_is_its_first_check():
    told = failure([(Shown(where="tests/a.py:3: check(x)"), GOLDEN), (Shown(), GOLDEN)])
    assert told.place == "tests/a.py:3"


# -- long and short --------------------------------------------------------------------


def drawn(*draws, end):
    old, new = (leaf([n], "a.kernel", draws=(f"params#{n}",)) for n in draws)
    streams = tuple({"params": {"key": [0, 0], "count": 0, "end": n}} for n in end)
    both = compared((old,), (new,))
    seen = Evidence("init", both, {"a.kernel": old}, {"a.kernel": new}, streams)
    return {"comparison": both, "evidence": seen}


@pytest.mark.parametrize("word", ["draws", "stream", "seed"])
def test_the_key_map_stands_behind_v_where_keys_moved(word):
    cause = Cause(word, ("a.kernel",), "1 more key", "", "1 more key")
    shown = Shown(**drawn(0, 1, end=(1, 2)), causes=(cause,))
    assert (
        "  keys\n"
        "    params  key 0 0  1 key -> 2\n"
        "      golden   │        │ #0 │\n"
        "      now      │   #0   │ #1 │\n"
        "                 1 more   +1\n"
        "        more   #0  nothing random\n"
        "        moved  #0 -> #1  a.kernel\n"
        "  leaves  "
    ) in failure([(shown, GOLDEN)], verbosity=1).full
    assert "  keys" not in failure([(shown, GOLDEN)]).full


def test_no_key_map_of_what_moved_otherwise():
    cause = Cause("values", ("a.kernel",), "other values")
    shown = Shown(**drawn(0, 1, end=(1, 2)), causes=(cause,))
    assert "  keys" not in failure([(shown, GOLDEN)], verbosity=2).full


def test_the_short_text_has_one_leaf_and_no_environment_but_one_that_changed():
    both = compared((leaf([1], "a"), leaf([2], "b")), (leaf([3], "a"), leaf([4], "b")))
    short = failure([(Shown(both), GOLDEN)], brief=True).full
    assert "  a  Param float32[1]" in short
    assert "  ... and 1 more leaf that differs (-vv: all)" in short
    assert "environment" not in short
    changed = Shown(both, changes=(("jax", "0.9", "0.10"),))
    assert "jax 0.9 -> 0.10" in failure([(changed, GOLDEN)], brief=True).full


def test_against_other_code_there_is_no_golden_that_recorded_an_environment():
    both = compared((leaf([1]),), (leaf([2]),))
    assert "environment" not in failure([(Shown(both), GOLDEN)], against="main (a1b2c3d)").full
    changed = Shown(both, changes=(("jax", "0.9", "0.10"),))
    told = failure([(changed, GOLDEN)], against="jax 0.9").full
    assert "  not as in jax 0.9:\n      jax 0.9 -> 0.10" in told
    assert "golden's environment" not in told


# -- the summary -----------------------------------------------------------------------


def summary(totals=None, unused=(), gone=(), deleted=(), notes=(), findings=()):
    return lines(totals or Totals(), unused, gone, deleted, notes, findings)


def test_the_summary_of_a_run_that_matched():
    assert summary(Totals(matched=3)) == ["3 matched."]


def test_the_summary_of_a_run_that_has_everything():
    totals = Totals(
        matched=1, rounded=2, written=3, missing=4, changed=5, unreadable=6, unread=7,
        headroom=0.12345, worst="layer.kernel in g.json", unproven_rounding=1, moved=8, movable=2,
    )  # fmt: skip
    findings = [
        Finding("draws", "two more keys", ("a", "b"), 3, 2, "src/m.py:14"),
        Finding("shape", "w", ("a",), 1),
    ]
    unused, gone = [["u[0].json", "u[0].1.safetensors"]], [["g.json", "g.1.safetensors"]]
    shown = summary(totals, unused, gone, [["d.json", "d.1.safetensors"]], ["a note"], findings)
    assert shown[:2] == [
        "1 matched, 2 matched by rounding, 3 written, 8 moved, 4 missing, 5 changed, 6",
        "unreadable, 2 unused, 1 deleted.",
    ]
    told = words("\n".join(shown))
    for text in (
        "Rounding came nearest to its tolerance at 0.12 of it (layer.kernel in g.json).",
        "1 matched only by rounding although the environment is the one recorded: those numbers "
        "do not repeat to the bit here",
        "Checked without values, the golden or the check being abstract: 7.",
        "draws: two more keys (2 goldens, 3 leaves, 2 tests) at src/m.py:14 "
        f"pytest --nnx-update-only={findings[0].id} shape: w (1 golden, 1 leaf) "
        f"pytest --nnx-update-only={findings[1].id} a note",
        "To write or accept them: pytest --nnx-update-snapshots",
        "To accept only what moved by certain causes: --nnx-update-only=draws,shape",
        "Equal to goldens of tests that are gone: 2. To move these to where their tests are now: "
        "pytest --nnx-move-snapshots",
        "Unused: their tests passed without them. To remove them: "
        "git rm -- \\ 'u[0].json' \\ 'u[0].1.safetensors' Unused: their tests are gone "
        "(pytest --nnx-prune-snapshots): g.json g.1.safetensors",
        "Deleted, their tests being gone: d.json d.1.safetensors",
    ):
        assert text in told


def test_what_was_asked_for_in_vain_is_not_advised_again():
    totals = Totals(changed=2)
    findings = [Finding("draws", "1 more key", ("a",), 3), Finding("follows", "it", ("b",), 1)]

    def told(mode):
        return words("\n".join(lines(totals, (), (), (), (), findings, "", mode)))

    every, some = "To write or accept them", "--nnx-update-only=draws"
    assert every in told(Mode())
    assert some in told(Mode())
    assert "1 follows: not judged. Goldens of one test are written together" in told(Mode())
    only = told(Mode(update=True, only=frozenset(["draws"])))
    assert every in only
    assert "To accept only what moved by certain causes: --nnx-update-only=draws,follows" in only
    assert "these were not named: name the word follows, too" in only
    both = told(Mode(update=True, only=frozenset(["draws", "follows"])))
    assert every in both
    assert some not in both
    assert "1 follows: not judged." in both
    assert "follows, too" not in both
    assert some in told(Mode(update=True, only=frozenset(["shape"])))
    assert every not in told(Mode(update=True))
    assert some not in told(Mode(update=True))


def test_each_of_several_changes_has_its_command():
    one, two = Finding("draws", "1 more key", ("a",), 3), Finding("draws", "the other", ("b",), 3)
    both = replace(two, together=(one.id, two.id), of_tests=(one.id, two.id))
    follows, unknown = Finding("follows", "it", ("c",), 1), Finding("unknown", "?", ("d",), 1)

    def told(*findings, report="", mode=None, against=""):
        mode = mode or Mode()
        shown = lines(Totals(changed=2), (), (), (), (), findings, against, mode, report)
        return [line for line in shown if line.startswith("  ")]

    assert told(one, two) == [
        f"  pytest --nnx-update-only={one.id}",
        f"  pytest --nnx-update-only={two.id}",
    ]
    assert told(one, both, report="out dir") == [
        f"  nnxrng accept 'out dir' --cause {one.id}",
        f"  nnxrng accept 'out dir' --cause {one.id},{two.id}",
    ]
    assert told(replace(one, of_tests=both.of_tests), both) == [
        f"  pytest --nnx-update-only={one.id},{two.id}"
    ], "once"
    assert told(one) == told(one, follows, unknown) == [], "the line at the end does"
    assert told(one, two, against="main: 2 changed") == []
    assert told(one, two, mode=Mode(update=True)) == []
    assert told(one, two, mode=Mode(update=True, only=frozenset([one.id]))) == [
        f"  pytest --nnx-update-only={two.id}"
    ]


@pytest.mark.parametrize("which", ["unused", "gone", "deleted"])
def test_many_goldens_are_counted(which):
    shown = summary(**{which: [[f"{n}.json", f"{n}.1.safetensors"] for n in range(30)]})
    assert shown[-1] == "  ... and 22 more goldens (--nnx-report=DIR lists all)"
    assert len(shown) == 1 + 1 + (which == "unused") + 16 + 1


def test_a_failure_that_equals_the_golden_of_a_test_that_is_gone():
    same = leaf(np.zeros(3))
    shown = Shown(compared((same,), (same,)), gone="old.json, whose test is gone")
    told = failure([(shown, "new.json")], "pytest --nnx-update-snapshots t.py::test_new").full
    assert told.startswith("new: the golden is missing; it equals one whose test is gone")
    assert "  equals  old.json, whose test is gone" in told
    assert told.endswith("to move: pytest --nnx-move-snapshots t.py::test_new")


def test_a_failure_of_a_golden_that_lacks_its_values():
    same = leaf(np.zeros(3))
    lacks = "its values file x is missing. Write it anew with pytest --nnx-update-snapshots"
    told = failure([(Shown(compared((same,), (same,)), lacks=lacks), "g.json")], "pytest u").full
    assert told.startswith("g: the golden lacks its values")
    assert told.endswith("to write: pytest u")


def test_many_causes_are_counted():
    findings = [Finding("draws", str(n), ("a",), 1) for n in range(11)]
    assert summary(findings=findings)[-1] == "... and 3 more causes"


def test_the_summary_is_no_wider_than_a_terminal():
    findings = [Finding("draws", "a long text " * 20, ("a",), 1)]
    for line in summary(Totals(rounded=1, worst="x y " * 40), notes=["n " * 99], findings=findings):
        assert len(line) <= 80


def test_a_rounding_without_a_distance_has_no_nearest():
    totals = Totals(matched=0, rounded=1)  # a zero of the other sign
    assert not [line for line in summary(totals, [], []) if "came nearest" in line]
