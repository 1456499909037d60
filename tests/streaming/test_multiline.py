import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.linereader import LineReader
from streaming.multiline import MOST_BYTES, MOST_LINES, RecordReader


def reader(text: bytes) -> RecordReader:
    return RecordReader(LineReader(io.BytesIO(text), "a"), lambda line: line.startswith(b">"))


def all_of(text: bytes, poll: int = 5000, wait: bool = True) -> list[bytes]:
    """Every record of `text`."""
    source, found = reader(text), list[bytes]()
    while records := source.read(poll, wait=wait):
        assert len(records) <= poll
        found += records
    assert source.read(poll, wait=wait) == []
    return found


@pytest.mark.parametrize(
    ("text", "records"),
    [
        (b">a\n b\n>c\n", [b">a\n b", b">c"]),
        (b"x\ny\n>a\nb", [b"x", b"y", b">a\nb"]),
        (b">a\r\n\r\n b\r\n", [b">a\n b"]),
        (b"", []),
    ],
)
def test_what_begins_no_record_belongs_to_the_one_before(text: bytes, records: list[bytes]) -> None:
    assert all_of(text) == records


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b">a", b" b", b"c", b""]), max_size=20), st.integers(1, 6), st.booleans())
def test_the_size_of_a_poll_does_not_matter_and_no_line_is_lost(lines: list[bytes], poll: int, wait: bool) -> None:
    text = b"\n".join(lines)
    found = all_of(text, poll, wait)
    assert found == all_of(text)
    assert b"\n".join(found) == b"\n".join(line for line in lines if line)


def test_a_record_without_end_is_cut() -> None:
    (many,) = all_of(b">a\n" + b"b\n" * (2 * MOST_LINES))
    assert many.count(b"\n") == MOST_LINES - 1
    (large,) = all_of(b">a\n" + (b"b" * 1000 + b"\n") * 200)
    assert MOST_BYTES - 1100 < len(large) <= MOST_BYTES
