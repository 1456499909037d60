"""What stands at the varying places of lines: read for many at once as a plain loop reads one."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.linefields import PLACES, FieldReader, Fields, ShapedLines
from streaming.shapes import Numbers, shapes, shapes_and_numbers

PIECES = st.sampled_from(
    [
        "took",
        "ssh2",
        "12ms",
        "7",
        "-3.50",
        "0x1f",
        "1700000000123456789",
        "deadbeef12",
        "10.0.0.7",
        "/a/b7/c",
        "-0.0",
        '"no 5"',
        "blk_-160",
        "al-7",
        "a=9,b=10",
        "2.5kB",
        "33%",
        "1.2.3",
        "é",
        "12abz",
        "10:30:07",
        "x",
    ]
)
UNITS = {"": 1, "ms": 1e-3, "s": 1, "kB": 1e3, "KiB": 1024, "%": 1, "MHz": 1e6, "us": 1e-6}
MESSAGES = st.lists(st.lists(PIECES, max_size=6).map(" ".join), max_size=12)


def read(texts: list[str], messages: list[str], codes: list[int] | None = None) -> Fields:
    shaped = ShapedLines(*shapes_and_numbers(messages))
    return FieldReader(texts).read(shaped, np.array([1] * len(messages) if codes is None else codes, np.int32))


def told(fields: Fields) -> list[tuple[int, str, str]]:
    """Line, value as it was written, and the tokens around."""
    pairs = zip(fields.lines.tolist(), fields.fields.tolist(), strict=True)
    return [(line, *fields.told(line, field)[:2]) for line, field in pairs]


def decimal(text: str) -> float:
    return float(text) if len(text) <= 15 and text.isdecimal() else np.nan


@settings(max_examples=40, deadline=None)
@given(MESSAGES)
def test_numbers_are_those_that_the_shape_folds(messages: list[str]) -> None:
    found, numbers = shapes_and_numbers(messages)
    assert found == shapes(messages)
    for line, shape in enumerate(found):
        pattern = re.sub("(?<![A-Za-z0-9é])0", "(0[xX][0-9a-f]+|[0-9]+|[0-9a-f]{8,})", re.escape(shape.decode()))
        match = re.fullmatch(pattern, messages[line])
        assert match is not None
        said = numbers.values[numbers.first[line] : numbers.first[line + 1]]
        np.testing.assert_array_equal(said, [decimal(text) for text in match.groups()])


@settings(max_examples=25, deadline=None)
@given(MESSAGES)
def test_a_line_alone_is_read_as_in_a_crowd(messages: list[str]) -> None:
    texts = ["took <*> <*>", " ".join(["<*>"] * 4)]
    codes = [1 + place % 2 for place in range(len(messages))]
    whole = read(texts, messages, codes)
    for line, message in enumerate(messages):
        alone, here = read(texts, [message], codes[line : line + 1]), whole.of_lines(np.array([line]))
        assert alone.fields.tolist() == here.fields.tolist()
        assert alone.keys.tolist() == here.keys.tolist()
        assert [one[1:] for one in told(alone)] == [one[1:] for one in told(whole) if one[0] == line]


def test_values_are_numbers_with_their_unit_and_words() -> None:
    text = "user <*> from <IP> took <NUM> of <NUM> in <NUM> at <PATH> <*>"
    said = read(
        [text],
        [
            "user bob from 10.0.0.1 took 12ms of -3.50 in 1.5MB at /a/b7/c x9",
            "user al-7 from 10.0.0.2 took 0x1f of 017 in 3Kib/s at /a/b7/d y",
        ],
    )
    numbers = said.numbers[~said.are_words].tolist()
    assert numbers == pytest.approx([0.012, -3.5, 1.5e6, 7, 17, 3072])
    assert told(said) == [
        (0, "10.0.0.1", "from <IP> took"), (0, "12ms", "took <NUM> of"), (0, "-3.50", "of <NUM> in"),
        (0, "1.5MB", "in <NUM> at"), (0, "/a/b7/c", "at <PATH> <*>"), (0, "bob", "user <*> from"),
        (0, "x9", "<PATH> <*>"), (1, "7", "user <*> from"), (1, "10.0.0.2", "from <IP> took"),
        (1, "017", "of <NUM> in"), (1, "3Kib/s", "in <NUM> at"), (1, "/a/b7/d", "at <PATH> <*>"),
        (1, "al-<NUM>", "user <*> from"), (1, "y", "<PATH> <*>"),
    ]  # fmt: skip


def test_a_value_keeps_its_place_whatever_else_the_line_says() -> None:
    said = read(["a <*> <NUM>"], ["a b 1", "a c-7 2", 'a "3 4" 5', "a 10.0.0.1 6"])
    last = said.fields == PLACES + 2 * 32
    assert said.numbers[last].tolist() == [1, 2, 5, 6]
    assert said.lines[last].tolist() == [0, 1, 2, 3]


def test_equal_words_have_equal_keys_and_others_do_not() -> None:
    said = read(["from <IP> <*>"], ["from 10.0.0.1 a", "from 10.0.0.12 b", "from 10.0.0.1 b", "from 10.0.1.0 a"])
    address, word = (said.keys[said.fields % PLACES == place].tolist() for place in (33, 2 * 32 + 31))
    assert address[0] == address[2]
    assert len(set(address)) == 3
    assert (word[0], word[1]) == (word[3], word[2])
    assert word[0] != word[1]


def test_only_wanted_fields_of_known_templates_are_read() -> None:
    messages, texts = ["a 1 b 2", "c 3 d 4", "e 5"], ["a <NUM> b <NUM>", "c <NUM> d <NUM>"]
    shaped, codes = ShapedLines(*shapes_and_numbers(messages)), np.array([1, 2, 0], np.int32)
    assert FieldReader(texts).read(shaped, codes).numbers.tolist() == [1, 2, 3, 4]
    assert FieldReader(texts, {2 * PLACES + 32}).read(shaped, codes).numbers.tolist() == [3]
    assert FieldReader(texts, {2 * PLACES + 32}).read(shaped.between(1, 2), codes[1:2]).numbers.tolist() == [3]


def test_plans_are_bounded_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.linefields.PLAN_BYTES", 1000)
    reader, codes = FieldReader(["took <NUM> <*>"]), np.ones(50, np.int32)
    for poll in range(40):
        shaped = ShapedLines(*shapes_and_numbers([f"took {poll} {'x' * poll}{'y' * n}" for n in range(50)]))
        said = reader.read(shaped, codes)
        assert said.numbers[~said.are_words].tolist() == [poll] * 50


def test_lines_of_thousands_of_pieces_are_read_up_to_a_bound() -> None:
    said = read(["<*>"], [",".join("7" * 4000), " ".join("8" * 4000)])
    assert np.bincount(said.lines).tolist() == [16, 128]


def test_numbers_of_some_lines_and_of_several_parts() -> None:
    parts = [shapes_and_numbers(messages)[1] for messages in (["1 2", "x", "3"], [], ["4 5 6"])]
    whole = Numbers.joined(parts)
    assert whole.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert whole.take(np.array([3, 1, 0])).values.tolist() == [4, 5, 6, 1, 2]
    assert np.diff(whole.take(np.array([3, 1, 0])).first).tolist() == [3, 0, 2]
    assert Numbers.joined([]).first.tolist() == [0]


FRACTIONS = st.none() | st.integers(0, 10**6)
NUMBERS = st.tuples(
    st.sampled_from(["", "-", "+"]), st.integers(0, 10**9), FRACTIONS, st.sampled_from(sorted(UNITS))
)  # fmt: skip
NAMES = st.text("abcdefgxyz", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NAMES, st.lists(st.integers(0, 255), min_size=4, max_size=4), NAMES), max_size=8))
def test_values_are_what_was_put_in(said: list[tuple[tuple[str, int, int | None, str], str, list[int], str]]) -> None:
    messages, expected = [], []
    for line, ((sign, whole, part, unit), user, address, quote) in enumerate(said):
        number = f"{sign}{whole}" + ("" if part is None else f".{part}")
        messages.append(f'took {number}{unit} for <{user}> at {".".join(map(str, address))} in "{quote} {whole}"')
        expected.append((line, float(number) * UNITS[unit], user, address, (quote, whole)))
    fields = read(["took <NUM> for <*> at <IP> in <STR>"], messages)
    words: dict[object, int] = {}
    for line, number, user, address, quote in expected:
        own = fields.of_lines(np.array([line]))
        by_place = dict(zip((own.fields % PLACES).tolist(), own.keys.tolist(), strict=True))
        found = own.numbers[own.fields % PLACES == 32]
        assert found.tolist() == [pytest.approx(number, rel=1e-12)]
        for place, word in ((3 * 32 + 31, user), (5 * 32 + 1, tuple(address)), (7 * 32 + 1, quote)):
            assert words.setdefault((place, word), by_place[place]) == by_place[place]
    assert len(set(words.values())) == len({word[1:] for word in words})
