import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming.shapes import shapes


def plain(message: str) -> bytes:
    """The definition, by a regular expression on one line."""
    return re.sub(r"(?<![A-Za-z0-9\x80-\U0010ffff])[0-9]+", "0", message.replace("\n", " ")).encode(
        "utf-8", "surrogatepass"
    )


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        ("took 12ms at 10.0.0.1:80", "took 0ms at 0.0.0.0:0"),
        ("ssh2 of utf8", "ssh2 of utf8"),
        ("blk_-1608999687919862906", "blk_-0"),
        ("550e8400-e29b", "0e8400-e29b"),
        ("1", "0"),
        ("", ""),
        ("two\nlines 2", "two lines 0"),
    ],
)
def test_numbers_are_folded_and_names_are_not(message: str, shape: str) -> None:
    assert shapes([message]) == [shape.encode()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.one_of(st.sampled_from("a0139.-é\n \x1c"), st.characters()), max_size=20), max_size=12))
@example(["9", "9"])
@example(["", ""])
@example(["a", "7a7"])
@example(["\ud800" + "5"])
def test_many_lines_at_once_have_the_shapes_of_each_alone(messages: list[str]) -> None:
    assert shapes(messages) == [plain(message) for message in messages]


def test_no_lines_have_no_shapes() -> None:
    assert shapes([]) == []
