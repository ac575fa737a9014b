"""The page as a file: what it says without its script, what it may do, that its bytes repeat."""

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from trees import FOLDER, STREAMS, cause, leaf, model

import pytest_nnxrng.page.assemble as assemble
from pytest_nnxrng.command.artifact import read
from pytest_nnxrng.page.subject import Run


def unpacked(html, name):
    """The JSON that the script would inflate."""
    data = re.search(rf'<template id="data-{name}">([^<]*)</template>', html)[1]
    return json.loads(zlib.decompress(base64.b64decode(data)))


def matched(tree, name, **row):
    golden = f"{FOLDER}/{name}.1.json"
    tree.rows.append(
        {
            "test": f"tests/test_a.py::{name}",
            "golden": golden,
            "status": "matched",
            "failed": False,
            "leaves": 4,
            **row,
        }
    )
    tree.written()


def test_the_first_line_says_how_many_moved_and_by_how_many_changes(tree, drawn, words):
    tree.golden()
    tree.obtained()
    matched(tree, "test_b")
    assert "1 of 2 goldens moved, by 1 change" in words(drawn())


def test_what_is_not_explained_is_no_change(tree, drawn, words):
    tree.golden()
    tree.obtained(causes=[cause(word="unknown", text="nothing is proven of these leaves")])
    assert "1 of 1 golden moved; 1 is not explained" in words(drawn())


def test_a_run_in_which_nothing_moved_says_so(tree, drawn, words):
    matched(tree, "test_a", headroom=0.6, rounded=1, status="rounded", worst="kernel in x.json")
    told = words(drawn())
    assert "Nothing moved: 1 golden match" in told
    assert "the nearest to its tolerance is at 60% of it: kernel in x.json" in told
    assert "What changed" not in told


def test_a_run_without_checks_is_a_page_too(tree, drawn, words):
    tree.written()
    assert "No test held anything against a golden" in words(drawn())


def test_missing_goldens_are_told_apart(tree, drawn, words):
    tree.obtained()
    told = words(drawn())
    assert "1 golden is missing" in told
    assert "moved" not in told.partition("What changed")[0]


def test_a_card_has_cause_line_counts_and_the_command(tree, drawn, words):
    tree.golden()
    row = {**cause(text="1 more key"), "place": "model.py:3", "text": "1 (see model.py:3: f(rngs))"}
    tree.obtained(causes=[row])
    told = words(drawn("out dir"))
    assert "draws 1 more key" in told
    assert "model.py:3 f(rngs)" in told
    assert "1 golden · 1 leaf · 1 test" in told
    assert "Proven by a trace of both builds" in told
    assert re.search(r"nnxrng accept 'out dir' --cause [0-9a-f]{8}\b", told)


def test_a_card_says_how_its_cause_is_known_or_nothing(tree, drawn, words):
    tree.golden()
    tree.obtained(causes=[{**cause(word="shape"), "evidence": ""}])
    assert '<p class="why">' not in drawn()
    tree.obtained(causes=[{**cause(word="nondeterministic"), "evidence": "built twice"}])
    assert "Seen when it was built twice." in words(drawn())


def test_every_check_is_a_row_without_the_script(tree, drawn, words):
    tree.golden()
    tree.obtained()
    matched(tree, "test_b", headroom=0.25)
    told = words(drawn())
    for text in ("test_a", "test_b", "moved", "matches", "tests/test_a.py", "25%"):
        assert text in told.partition("All checks")[2]


def test_the_details_hold_the_leaves_with_their_values(tree, drawn):
    tree.golden()
    tree.obtained()
    told = unpacked(drawn(), "check-0")
    kernel = next(row for row in told["leaves"] if row["path"] == "layers.2.kernel")
    assert len(kernel["heat"]["golden"]) == len(kernel["heat"]["apart"]) == 24
    assert sum(kernel["histogram"]["golden"]) == sum(kernel["histogram"]["now"]) == 24
    assert kernel["worst"][0][0] == "[0, 0]"
    assert kernel["worst"][0][1:4] == ["-1", "-0.5", "0.5"]
    assert told["environment"] == []


def test_values_that_are_not_stored_are_told(tree, drawn):
    bare = model(extra=(leaf("big", np.linspace(0, 1, 300_000, dtype=np.float32), ()),))
    tree.golden(leaves=bare)
    tree.obtained(leaves=bare)
    told = unpacked(drawn(), "check-0")
    big = next(row for row in told["leaves"] if row["path"] == "big")
    assert big["absent"] == [
        "golden: its values are not stored",
        "now: its values are not stored",
    ]


def test_a_golden_that_has_changed_since_is_not_shown_and_told(tree, drawn):
    path = tree.golden()
    tree.obtained()
    path.write_text(path.read_text().replace("cpu", "gpu"))
    told = unpacked(drawn(), "check-0")
    assert told["lacks"] == ["golden: the file is not here, or no longer the run's"]
    assert "golden" not in told["leaves"][0]["heat"]


def test_a_damaged_file_of_values_is_told(tree, drawn):
    tree.golden()
    tree.obtained()
    for path in (tree.root / FOLDER).glob("*.safetensors"):
        path.write_bytes(b"broken")
    told = unpacked(drawn(), "check-0")
    kernel = next(row for row in told["leaves"] if row["path"] == "layers.2.kernel")
    assert "does not hold the values" in kernel["absent"][0]


def test_what_was_held_against_other_code_cannot_be_accepted(tree, words):
    tree.golden()
    tree.obtained()
    checks = read("r", tree.report).checks
    html = assemble.page(Run("r", tree.report, tree.root, checks, against="HEAD (1234567)"))
    assert "Held against HEAD (1234567)." in words(html)
    assert "nnxrng accept" not in words(html)
    assert "target" not in unpacked(html, "index")[0]


def test_a_map_shows_where_keys_were_put_in(tree, drawn, words):
    tree.golden()
    tree.obtained(leaves=model(second="params#3"))
    html = drawn()
    told = words(html)
    assert "Which keys moved" in told
    assert "params (base key 0 0):" in told
    assert 'class="link moved"' in html
    assert "+1" in told


def test_a_map_of_a_hundred_keys_ends_in_how_many_there_are_more(tree, drawn, words):
    streams = {"params": {**STREAMS["params"], "end": 200}}
    leaves = [leaf(f"l{n}", [0.5], (f"params#{n}",)) for n in range(100)]
    moved = [leaf(f"l{n}", [0.5], (f"params#{n + n // 10}",)) for n in range(100)]
    tree.golden(leaves=leaves, streams=streams)
    tree.obtained(leaves=moved)
    html = drawn()
    assert re.search(r"[0-9]+ more keys", words(html))
    assert html.count('class="draw') < 120


# -- what it may do ----------------------------------------------------------------------------


def test_its_policy_lets_one_script_and_one_style_run(tree, drawn):
    tree.golden()
    tree.obtained()
    html = drawn()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1]
    assert policy.startswith("default-src 'none'; ")
    for name in ("script", "style"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_it_asks_for_nothing(tree, drawn):
    tree.golden()
    tree.obtained()
    html = drawn()
    assert not re.search(r"\b(src|srcset|action|style)=", html)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', html))
    assert "@import" not in html
    assert "url(" not in html


@pytest.mark.parametrize("word", ["eval(", "innerHTML", "document.write", "new Function", "fetch("])
def test_its_script_makes_no_code_and_no_markup_of_texts(word):
    assert word not in assemble.script()
    assert "</script" not in assemble.script()


def test_hostile_names_stay_text(tree, drawn):
    name = "<img src=x onerror=alert(1)>"
    leaves = model(extra=(leaf(f"</template>{name}", [1.0, 2.0]),))
    tree.golden(leaves=model())
    row = cause(word="added", text=f"{name} <b>", leaves=[f"</template>{name}"])
    tree.obtained(leaves=leaves, causes=[row], test=f"tests/test_a.py::test_a[{name}</script>]")
    html = drawn()
    assert "<img" not in html
    assert html.count("</script>") == 1
    assert "</template>&lt;" not in html
    assert html.count("<template") == html.count("</template>")


def test_the_same_run_gives_the_same_bytes(tree, drawn):
    tree.golden()
    tree.obtained()
    assert drawn() == drawn()


def test_scripts_and_styles_are_files_in_the_package():
    folder = Path(assemble.__file__).with_name("assets")
    assert {path.name for path in folder.iterdir()} == {"page.css", *assemble._SCRIPTS}
