"""Changes -> cards: one edit is one card, with what follows from it."""

from pytest_nnxrng.page.cards import cards
from pytest_nnxrng.run.outcomes import Check


def check(test, golden, *causes, obtained=True, **more):
    rows = tuple(
        {
            "word": word,
            "text": text,
            "finding": text,
            "evidence": "",
            "place": place,
            "leaves": ["kernel"],
        }
        for word, text, place in causes
    )
    kept = {"path": "p", "digest": golden, "target": golden, "against": "a"} if obtained else None
    fields = {"status": "different", "failed": True, "obtained": kept, **more}
    return Check(test, golden, causes=rows, **fields)


FOLLOWS = ("follows", "the model that this test checked before differs", "")


def test_what_moved_the_same_goldens_is_one_card():
    rows = (("draws", "2 more keys", "m.py:3"), ("added", "gate", ""))
    (card,) = cards([check("t::a", "a.1", *rows), check("t::b", "b.1", *rows)])
    assert card.words == ("draws", "added")
    assert len(card.moved) == 2
    assert len(card.ids) == 2
    assert card.leaves == 2  # a kernel in each golden, however many causes it has


def test_changes_of_one_line_are_one_card():
    one, two = ("draws", "1 more key", "m.py:3"), ("draws", "2 more keys", "m.py:3")
    (card,) = cards([check("t::a", "a.1", one), check("t::b", "b.1", two)])
    assert len(card.changes) == 2
    assert card.place == "m.py:3"


def test_changes_of_other_lines_are_cards_of_their_own():
    one, two = ("draws", "1 more key", "m.py:3"), ("draws", "2 more keys", "m.py:9")
    assert len(cards([check("t::a", "a.1", one), check("t::b", "b.1", two)])) == 2


def test_what_follows_stands_under_the_edit_that_it_follows_from():
    edit = ("initializer", "another scale", "")
    (card,) = cards([check("t::a", "a.1", edit), check("t::a", "a.out", FOLLOWS)])
    assert [c.golden for c in card.moved] == ["a.1"]
    assert [c.golden for c in card.follow] == ["a.out"]
    assert card.words == ("initializer",)


def test_what_follows_from_several_edits_is_told_once():
    one, two = ("draws", "1 more key", "m.py:3"), ("static", "rate 0.1 -> 0.2", "")
    other = ("static", "rate 0.1 -> 0.3", "")
    found = cards(
        [
            *(check("t::a", "a.1", one, two), check("t::a", "a.out", FOLLOWS)),
            *(check("t::b", "b.1", one, other), check("t::b", "b.out", FOLLOWS)),
        ]
    )
    assert [card.words for card in found].count(("follows",)) == 1


def test_a_golden_of_two_cards_is_accepted_with_both():
    one, two = ("draws", "1 more key", "m.py:3"), ("static", "rate 0.1 -> 0.2", "")
    found = cards([check("t::a", "a.1", one, two), check("t::b", "b.1", one)])
    draws, static = found
    assert draws.alone
    assert not static.alone
    assert set(static.ids) > set(draws.ids)
    assert static.also == (1,)


def test_unknown_goldens_are_not_joined_by_what_they_share():
    one = ("unknown", "nothing is proven", "")
    (card,) = cards([check("t::a", "a.1", one), check("t::b", "b.1", one)])
    assert len(card.moved) == 2


def test_missing_goldens_come_last():
    missing = [check(f"t::m{n}", f"m{n}.1", status="missing") for n in range(3)]
    found = cards([*missing, check("t::a", "a.1", ("dtype", "float32 -> bfloat16", ""))])
    assert [card.words for card in found] == [("dtype",), ("missing",)]
