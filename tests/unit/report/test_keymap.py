"""The key map: each key that was drawn, in order, and what it became; two of them, aligned."""

import pytest

from pytest_nnxrng.report.keymap import Draw, Keys, aligned, lanes, of_manifest, picture, segments


def keys(draws, end=6, key=(0, 0), count=0, **owners):
    streams = {"params": {"impl": "threefry2x32", "key": list(key), "count": count, "end": end}}
    return Keys(streams, draws, owners)


def layers(*names, first=0, step=2):
    """A key for each kernel and one for its bias, which is zeros and so becomes nothing."""
    return {name: [f"params#{first + step * n}"] for n, name in enumerate(names)}


# -- one golden --------------------------------------------------------------------------------


def test_each_key_is_a_row_and_keys_that_became_nothing_are_one():
    assert picture(keys({"a": ["params#0"], "b": ["params#3"]}, end=5)) == [
        "params  key 0 0  5 keys",
        "  ├─● #0        a",
        "  ├─○ #1 .. #2  nothing random",
        "  ├─● #3        b",
        "  └─○ #4        nothing random",
    ]


def test_a_key_that_is_used_twice():
    assert picture(keys({"a": ["params#0"], "b": ["params#0"], "c": ["params#0"]}, end=1)) == [
        "params  key 0 0  1 key",
        "  └─◆ #0  a, b, c  (used 3 times)",
    ]
    assert "(used twice)" in picture(keys({"a": ["params#0"], "b": ["params#0"]}, end=1))[1]


def test_a_key_that_is_split_is_used_once():
    shown = picture(keys({"a": ["params#0/0", "params#0/1"], "b": ["params#0/2"]}, end=1))
    assert shown[1] == "  └─● #0  a (0), a (1), b (2)"


def test_a_stream_that_nothing_was_drawn_from():
    assert picture(keys({}, end=0)) == ["params  key 0 0  no key drawn"]


def test_a_stream_that_is_drawn_from_later_begins_there():
    assert lanes(keys({"a": ["params#7"]}, count=7, end=9))["params"] == [Draw(7, ("a",)), Draw(8)]


def test_a_finished_models_stream_has_no_counts():
    made = Keys({"params": {"impl": "x", "key": [0, 0]}}, {"a": ["params#3"]})
    assert picture(made) == ["params  key 0 0  1 key", "  └─● #3  a"]


def test_a_stream_that_the_golden_does_not_list():
    assert picture(Keys({}, {"a": ["noise#0"]}))[0] == "noise  key unknown  1 key"


def test_owners_name_what_became_nothing():
    made = keys({"a.kernel": ["params#0"]}, end=2, params=["a.kernel", "a.bias"])
    assert picture(made)[1:] == ["  ├─● #0  a.kernel", "  └─○ #1  nothing random (a.bias)"]


def test_a_manifest_is_read_as_it_is():
    document = {
        "streams": {"params": {"key": [0, 0], "count": 0, "end": 1}},
        "leaves": {"a": {"draws": ["params#0"]}, "b": {"draws": []}, "c": {}},
    }
    assert of_manifest(document) == Keys(document["streams"], {"a": ["params#0"], "b": []})


@pytest.mark.parametrize("label", ["", "#", "params", "params#x", "params#-1", "a#b#c"])
def test_a_label_that_is_none_is_left_out(label):
    assert lanes(keys({"a": [label]}, end=0)) == {"params": []}


@pytest.mark.parametrize("end", [2**32 - 1, "many", None, [3]])
def test_counts_are_not_trusted(end):
    assert len(lanes(keys({"a": ["params#0"]}, end=end))["params"]) <= 5000


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_row_is_wider_than_the_screen(width):
    one, two = keys(layers("a" * 90, "b", "c" * 90)), keys(layers("b", "c" * 90, "d", "a" * 90))
    for lines in (picture(one, width), aligned(one, two, width)):
        assert max(map(len, lines)) <= width


# -- two goldens -------------------------------------------------------------------------------


def test_a_layer_put_in_between_is_a_gap_and_a_shift():
    old, new = keys(layers("a", "b", "c")), keys(layers("a", "new", "b", "c"), end=8)
    assert aligned(old, new) == [
        "params  key 0 0  6 keys -> 8",
        "  golden   │ #0 .. #1 │          │ #2 .. #5 │",
        "  now      │ #0 .. #1 │ #2 .. #3 │ #4 .. #7 │",
        "               same      2 more       +2",
        "    more   #2  new",
        "    more   #3  nothing random",
        "    moved  #2 -> #4  b",
        "    moved  #4 -> #6  c",
    ]


def test_one_key_more_that_becomes_nothing():
    old = keys({"a": ["params#0"], "b": ["params#1"]}, end=2)
    new = keys({"a": ["params#0"], "b": ["params#2"]}, end=3)
    assert aligned(old, new)[-2:] == ["    more   #1  nothing random", "    moved  #1 -> #2  b"]


def test_a_layer_that_is_gone():
    old, new = keys(layers("a", "b", "c")), keys(layers("a", "c"), end=4)
    shown = aligned(old, new)
    assert "2 fewer" in shown[3]
    assert shown[4:] == [
        "    fewer  #2  b",
        "    fewer  #3  nothing random",
        "    moved  #4 -> #2  c",
    ]


def test_layers_that_change_places_moved_and_are_neither_more_nor_fewer():
    old, new = keys(layers("a", "b")), keys(layers("b", "a"))
    told = [line.split(None, 1)[1] for line in aligned(old, new) if "    moved" in line]
    assert sorted(told) == ["#0 -> #2  a", "#2 -> #0  b"]
    assert not any(
        line.endswith((" a", " b")) and "    m" not in line for line in aligned(old, new)
    )


def test_what_is_alike_is_one_line_each():
    one = keys(layers("a", "b"), end=4)
    assert aligned(one, one) == ["params  key 0 0  4 keys, drawn alike"]


def test_another_base_key_is_told_with_the_lane():
    one, two = keys(layers("a"), end=2), keys(layers("a"), end=2, key=(0, 7))
    assert aligned(one, two) == ["params  key 0 0 -> key 0 7  2 keys, drawn alike"]


def test_keys_drawn_before_the_build_shift_the_whole_lane():
    old, new = keys(layers("a", "b"), end=4), keys(layers("a", "b", first=3), count=3, end=7)
    assert [s.shift for s in segments(lanes(old)["params"], lanes(new)["params"])] == [3]


def test_another_stream_is_fewer_in_one_lane_and_more_in_the_other():
    streams = {name: {"key": [0, 0], "count": 0, "end": 0} for name in ("params", "noise")}
    old = Keys({**streams, "params": {"key": [0, 0], "count": 0, "end": 1}}, {"a": ["params#0"]})
    new = Keys({**streams, "noise": {"key": [0, 0], "count": 0, "end": 1}}, {"a": ["noise#0"]})
    shown = aligned(old, new)
    assert "    fewer  #0  a" in shown
    assert "    more   #0  a" in shown


def test_owners_align_what_leaves_cannot():
    old = keys({}, end=2, params=["drop.a", "drop.b"])
    new = keys({}, end=3, params=["drop.a", "drop.new", "drop.b"])
    assert "    more   #1  nothing random (drop.new)" in aligned(old, new)


def test_a_key_that_the_model_itself_drew_is_the_one_that_came():
    before = keys({"a.w": ["params#0"], "b.w": ["params#2"]}, end=3, params=["a", "b", "b"])
    after = keys({"a.w": ["params#0"], "b.w": ["params#3"]}, end=4, params=["a", "", "b", "b"])
    assert aligned(before, after) == [
        "params  key 0 0  3 keys -> 4",
        "  golden   │  #0  │        │ #1 .. #2 │",
        "  now      │  #0  │   #1   │ #2 .. #3 │",
        "             same   1 more      +1",
        "    more   #1  nothing random (the model itself)",
        "    moved  #1 -> #2  nothing random (b)",
        "    moved  #2 -> #3  b.w",
    ]


def test_owners_on_one_side_alone_are_not_compared():
    draws = layers("a", "b")
    old, new = keys(draws, end=4), keys(draws, end=4, params=["a", "a.bias", "b", "b.bias"])
    assert aligned(old, new) == ["params  key 0 0  4 keys, drawn alike"]


def test_a_long_list_is_cut_and_counted():
    old, new = keys(layers(*"abcdefghijkl"), end=24), keys(layers(*"Zabcdefghijkl"), end=26)
    assert aligned(old, new)[-1] == "    ... and 4 more"


def test_banks_are_broken_where_the_screen_ends():
    old, new = keys(layers(*"abcdef"), end=12), keys(layers(*"aXbYcZdef"), end=18)
    narrow, wide = aligned(old, new, 60), aligned(old, new, 200)
    assert sum("golden" in line for line in narrow) > sum("golden" in line for line in wide) == 1
