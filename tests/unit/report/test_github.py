"""What GitHub Actions is told: escaped, counted, and cut before GitHub drops it."""

import re
from dataclasses import replace

import pytest

from pytest_nnxrng.report.findings import Finding
from pytest_nnxrng.report.github import MOST_BYTES, commands, summary
from pytest_nnxrng.run.outcomes import Totals

DRAWS = Finding("draws", "1 more key from `params`", ("g/a.json", "g/b.json"), 4, 2, "src/m.py:14")
COMMAND = re.compile(r"::error(?: ([^:]*))?::(.*)")


def parsed(line):
    """A workflow command as the runner reads it: its properties, and its message."""
    found = COMMAND.fullmatch(line)
    assert found, line
    pairs = [pair.partition("=") for pair in (found[1] or "").split(",") if pair]
    return {name: back(value) for name, _, value in pairs}, back(found[2])


def back(text):
    for code, sign in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_an_annotation_stands_on_the_line_that_drew_the_keys():
    (line,) = commands([DRAWS])
    assert parsed(line) == (
        {"file": "src/m.py", "line": "14", "title": "nnx_snapshot: draws"},
        "draws: 1 more key from params (2 goldens)",
    )


def test_where_no_line_drew_keys_it_stands_on_the_line_that_called_the_check():
    shape = Finding("shape", "w", ("g/a.json",), 1, called="tests/test_m.py:5")
    ((properties, _),) = map(parsed, commands([shape], "packages/one"))
    assert (properties["file"], properties["line"]) == ("packages/one/tests/test_m.py", "5")
    assert "| `tests/test_m.py:5` |" in summary(Totals(changed=1), [shape], {}, None)


def test_the_key_map_is_a_block_of_its_own():
    found = replace(DRAWS, keymap=("params  key 0 0  1 key -> 2", "  ```"))
    text = summary(Totals(changed=1), [found], {}, None)
    assert "\n\n```text\nparams  key 0 0  1 key -> 2\n  '''\n```\n" in text
    assert "draws: goldens, and the keys of the first" in text


@pytest.mark.parametrize("evil", ["a%0Ab", "x,y:z", "C:\\m.py:3"])
def test_properties_come_back_as_they_were(evil):
    place = f"{evil}:7"
    ((properties, _),) = map(parsed, commands([Finding("draws", "t", ("g",), 1, 1, place)]))
    assert (properties["file"], properties["line"]) == (evil, "7")


def test_a_text_of_several_lines_is_one_command():
    (line,) = commands([Finding("draws", "one\n::error::two\r100 %", ("g",), 1)])
    assert "\n" not in line
    assert parsed(line)[1] == "draws: one ::error::two 100 % (1 golden)"


def test_ten_annotations_of_which_the_last_counts_the_others():
    found = [Finding("draws", str(n), ("g",), 1) for n in range(14)]
    lines = commands(found)
    assert len(lines) == 10
    assert parsed(lines[-1])[1] == "and 5 more changes: see the job's summary"
    assert len(commands(found[:10])) == 10
    assert "more changes" not in commands(found[:10])[-1]


def test_the_summary_has_the_figures_the_findings_and_the_way_out():
    environ = {"GITHUB_REPOSITORY": "me/nets", "GITHUB_RUN_ID": "42"}
    text = summary(Totals(matched=3, changed=2), [DRAWS], environ, "out")
    assert "3 matched, 2 changed." in text
    assert "| **draws** 1 more key from params | 2 | 4 | 2 | `src/m.py:14` |" in text
    assert "- `g/a.json`" in text
    assert "gh run download 42 --repo me/nets --name nnx-report --dir nnx-report" in text
    assert "nnxrng accept nnx-report --cause draws --dry-run" in text
    assert "gh run download" not in summary(Totals(changed=2), [DRAWS], environ, None)


def test_unknown_is_not_offered_to_be_accepted():
    text = summary(Totals(changed=1), [Finding("unknown", "?", ("g",), 1)], {}, "out")
    assert "--cause CAUSE" in text


def test_hostile_names_stay_text():
    evil = "<script>|[x](http://e) ![i](u) @all `"
    text = summary(Totals(changed=1), [Finding("values", evil, (evil,), 1, 1, evil)], {}, None)
    assert "<script>" not in re.sub(r"`[^`]*`", "", text)
    assert "[x](" not in re.sub(r"`[^`]*`", "", text)
    assert all(row.replace("\\|", "").count("|") == 6 for row in text.splitlines() if "**" in row)


def test_a_summary_is_cut_before_github_drops_it():
    goldens = tuple(f"{n}é" * 40 for n in range(20))
    found = [Finding("draws", f"{n}" * 300, goldens, 1) for n in range(400)]
    text = summary(Totals(changed=9), found, {}, None)
    assert len(text.encode()) <= MOST_BYTES + 100
    assert text.endswith("Cut here: the report has all of it.\n")
