"""A journal that keeps each message once, whoever is killed and whatever is sent again."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.journal import SEGMENT_HEAD, Journal, JournalError, JournalFullError, bases_in, place_of
from streaming.journalreader import JournalReader

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "web" / "logs"


def once(folder: Path, **more: Any) -> Journal:
    return Journal(folder, 64 * MIB, once=True, **more)


def held(folder: Path) -> list[tuple[str, bytes]]:
    return [(entry.format, entry.payload) for entry in JournalReader(folder).read(100_000)]


def test_what_is_sent_again_is_kept_once_where_that_is_wanted(folder: Path) -> None:
    for made, copies in ((once(folder / "logs"), 1), (Journal(folder / "metrics", MIB), 3)):
        for _ in range(3):
            made.put("otlp", b"same")
        made.put("otlp-json", b"same")
        made.put("otlp", b"other")
        made.close()
        assert held(made.folder) == [("otlp", b"same")] * copies + [("otlp-json", b"same"), ("otlp", b"other")]


def test_it_is_known_again_after_a_restart_and_in_the_segment_before(folder: Path) -> None:
    first = once(folder, segment_bytes=100)
    for number in range(6):
        first.put("otlp", b"%02d" % number + b"x" * 50)
    first.close()
    segments = bases_in(folder)
    assert len(segments) > 2
    again = once(folder, segment_bytes=100)
    for number in range(segments[-2], 6):
        again.put("otlp", b"%02d" % number + b"x" * 50)
    assert len(held(folder)) == 6
    again.put("otlp", b"00" + b"x" * 50)
    assert len(held(folder)) == 7, "too long ago"
    again.close()


def test_so_many_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.journal.REMEMBERED", 3)
    made = once(folder)
    for number in (0, 1, 2, 3, 3, 2, 1, 0):
        made.put("otlp", b"%d" % number)
    made.close()
    assert [payload for _, payload in held(folder)] == [b"0", b"1", b"2", b"3", b"0"]


def test_what_was_not_kept_is_not_known(folder: Path) -> None:
    """A disk that refuses: the message is not on it for sure, and is written when it comes again."""
    faults = [OSError(28, "No space left on device")]

    def sync(fd: int) -> None:
        if faults and os.fstat(fd).st_size > SEGMENT_HEAD.size:
            raise faults.pop()
        os.fdatasync(fd)

    made = once(folder, sync=sync)
    with pytest.raises(JournalError, match="No space left"):
        made.put("otlp", b"same")
    for _ in range(2):
        made.put("otlp", b"same")
    made.close()
    assert held(folder) == [("otlp", b"same")], "what was written before the fault was there after all"
    full = Journal(folder, 10, once=True)
    for _ in range(2):
        with pytest.raises(JournalFullError):
            full.put("otlp", b"more")
    full.put("otlp", b"same")  # it is there
    full.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=8), st.sets(st.integers(0, 7)),
    st.integers(60, 400),
)  # fmt: skip
def test_whoever_is_killed_each_message_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, lives: list[list[int]], torn: set[int], segment: int
) -> None:
    """Writers come and go, some in the middle of a message, and clients send again what they like."""
    folder, sent = tmp_path_factory.mktemp("once"), list[int]()
    for life, numbers in enumerate(lives):
        made = once(folder, segment_bytes=segment)
        for number in numbers:
            made.put("otlp", b"message %d" % number)
            sent.append(number)
        made.close()
        if life in torn:
            with place_of(folder, bases_in(folder)[-1]).open("ab") as file:
                file.write(b"\x01\x02\x03")
    found = [int(payload.split()[1]) for _, payload in held(folder)]
    assert set(found) == set(sent)
    if len(bases_in(folder)) <= 2:
        assert found == list(dict.fromkeys(sent)), "in the order in which they came first"
