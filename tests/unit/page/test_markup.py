"""A text is never markup, whatever it holds."""

from html.parser import HTMLParser

import pytest

from pytest_nnxrng.page.markup import html, tag


class Seen(HTMLParser):
    """What a browser would make of markup."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--",
    "]]>",
    "&lt;b&gt;",
    "' onload='alert(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_a_text(text):
    seen = Seen()
    seen.feed(html(tag("p", text, tag("b", text), text, title=text)))
    seen.close()
    assert seen.tags == [("p", {"title": text}), ("b", {})]
    assert seen.text == text * 3


def test_what_steers_the_eye_or_the_parser_is_written_out():
    assert html(tag("p", "a\u202eb\x00c\ud800")) == "<p>a\\u202eb\\x00c\\ud800</p>"


def test_attributes_are_named_as_html_names_them():
    made = html(tag("label", for_="q", data_leaf="a", hidden=True, open=False, title=None))
    assert made == '<label for="q" data-leaf="a" hidden=""></label>'


def test_children_are_elements_texts_numbers_and_lists_of_these():
    made = html(tag("p", "a", [tag("b", 1), None, ("c", [2])], "d"))
    assert made == "<p>a<b>1</b>c2d</p>"
