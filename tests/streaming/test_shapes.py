import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming.shapes import shapes


def plain(message: str) -> bytes:
    """The definition, by regular expressions on one line."""
    text = re.sub("0[xX][0-9A-Fa-f]+", "0", message.replace("\n", "\v"))
    letter = "A-Za-z\x80-\U0010ffff"
    word = rf"(?<![{letter}0-9])(?=[A-Fa-f]*[0-9])(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{{8,}}(?![{letter}0-9])"
    text = re.sub(word, "0", text)
    return re.sub(rf"(?<![{letter}0-9])[0-9]+", "0", text).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        ("took 12ms at 10.0.0.1:80", "took 0ms at 0.0.0.0:0"),
        ("ssh2 of utf8", "ssh2 of utf8"),
        ("blk_-1608999687919862906", "blk_-0"),
        ("550e8400-e29b-41d4", "0-e29b-0d4"),
        ("at 0xDEADbeef of 0x1f, 80x25", "at 0 of 0, 0"),
        ("trace 9e8a820408225258ebe1050dd8d91d8c deadbeef deadbee1", "trace 0 deadbeef 0"),
        ("1", "0"),
        ("", ""),
        ("two\nlines 2", "two\vlines 0"),
    ],
)
def test_numbers_are_folded_and_names_are_not(message: str, shape: str) -> None:
    assert shapes([message]) == [shape.encode()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.one_of(st.sampled_from("a0139fx.-é\n \x1c"), st.characters()), max_size=20), max_size=12))
@example(["9", "9"])
@example(["1234567a", "a1234567", "1234567g", "0x", "x0x1"])
@example(["0" * 9 + "a" * 9, "aaaaaaaa", "99999999"])
@example(["", ""])
@example(["a", "7a7"])
@example(["\ud800" + "5"])
def test_many_lines_at_once_have_the_shapes_of_each_alone(messages: list[str]) -> None:
    assert shapes(messages) == [plain(message) for message in messages]


def test_no_lines_have_no_shapes() -> None:
    assert shapes([]) == []
