"""A journal of pushed messages: what is acknowledged is read, once, whatever is killed and wherever a file is cut."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.journal import (
    ENTRY_HEAD,
    FORMATS,
    SEGMENT_HEAD,
    Entry,
    Journal,
    JournalError,
    JournalFullError,
    bases_in,
    held_in,
    packed,
    place_of,
)
from streaming.journalreader import JournalReader
from streaming.types import SourceChanged

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "web" / "telemetry"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    made = Journal(folder, 64 * MIB, clock=iter(range(100, 10_000)).__next__)
    yield made
    made.close()


def payloads(reader: JournalReader, most: int = 10_000) -> list[bytes]:
    return [entry.payload for entry in reader.read(most)]


def test_what_was_put_is_read_in_its_order(journal: Journal, folder: Path) -> None:
    reader = JournalReader(folder)
    assert (reader.waiting, reader.read(10), reader.end(), reader.newest()) == (False, [], 0, None)
    journal.put("otlp", b"one")
    journal.put("otlp-json", b"")
    journal.put("remote-write", b"three" * 1000)
    assert reader.waiting
    assert reader.read(2) == [Entry(0, 100, "otlp", b"one"), Entry(1, 101, "otlp-json", b"")]
    assert reader.waiting
    assert reader.read(2) == [Entry(2, 102, "remote-write", b"three" * 1000)]
    assert (reader.waiting, reader.number, reader.end(), reader.newest()) == (False, 3, 3, 102)
    journal.put("otlp", b"four")
    assert payloads(reader) == [b"four"]


def test_a_read_gives_no_more_than_it_was_asked_for(journal: Journal, folder: Path) -> None:
    for _ in range(5):
        journal.put("otlp", b"x" * 1000)
    reader = JournalReader(folder)
    assert [len(reader.read(10, most_bytes=1500)) for _ in range(4)] == [2, 2, 1, 0]


def test_segments_follow_each_other_and_go_when_all_is_past(folder: Path) -> None:
    journal = Journal(folder, 64 * MIB, segment_bytes=1000)
    reader = JournalReader(folder)
    for n in range(12):
        journal.put("otlp", bytes([n]) * 400)
    assert bases_in(folder) == [0, 3, 6, 9]
    assert [text[0] for text in payloads(reader, 4)] == [0, 1, 2, 3]
    assert reader.drop(6) == 2
    assert bases_in(folder) == [6, 9]
    with pytest.raises(SourceChanged, match="ends at entry 12, but was read up to 13: it was made anew"):
        reader.open(13)
    assert reader.open(2) == 6, "what was dropped is skipped"
    assert reader.open(10) == 10
    assert [text[0] for text in payloads(reader)] == [10, 11]
    assert reader.drop(12) == 1
    assert bases_in(folder) == [9], "the last one stays, so that numbers go on"
    journal.put("otlp", b"next")
    assert payloads(reader) == [b"next"]
    assert reader.number == 13
    journal.close()


def test_one_process_writes_and_another_goes_on_behind_it(journal: Journal, folder: Path) -> None:
    journal.put("otlp", b"a")
    other = Journal(folder, 64 * MIB)
    with pytest.raises(JournalError, match="is written by another process"):
        other.put("otlp", b"b")
    journal.close()
    other.put("otlp", b"b")
    other.close()
    assert payloads(JournalReader(folder)) == [b"a", b"b"]


def test_a_full_journal_takes_no_more_until_something_is_dropped(folder: Path) -> None:
    journal = Journal(folder, 4000, segment_bytes=1000)
    taken = 0
    with pytest.raises(JournalFullError, match="and 4000 are allowed"):
        while True:
            journal.put("otlp", b"x" * 400)
            taken += 1
    assert held_in(folder) <= 4000
    assert taken >= 8
    reader = JournalReader(folder)
    assert len(reader.read(100)) == taken
    reader.drop(reader.number)
    journal.put("otlp", b"y")
    assert payloads(reader) == [b"y"]
    journal.close()


def test_another_journal_in_its_place_is_noticed(journal: Journal, folder: Path, tmp_path: Path) -> None:
    journal.put("otlp", b"a")
    reader = JournalReader(folder)
    reader.open(0)
    first = reader.identity
    assert reader.open(0, first) == 0
    journal.close()
    folder.rename(tmp_path / "gone")
    again = Journal(folder, 64 * MIB)
    again.put("otlp", b"b")
    with pytest.raises(SourceChanged, match="another journal than the one that was read from"):
        reader.open(0, first)
    again.close()


class Disk:
    """A disk that refuses the syncs of these numbers."""

    def __init__(self, *refused: int) -> None:
        self.refused, self.count, self.gate, self.met = refused, 0, threading.Event(), threading.Event()
        self.gate.set()

    def sync(self, fd: int) -> None:
        if not self.gate.is_set():
            self.met.set()
        self.gate.wait()
        self.count += 1
        if self.count in self.refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)


def test_a_disk_that_refuses_acknowledges_nothing(folder: Path) -> None:
    disk = Disk(3)
    journal = Journal(folder, 64 * MIB, sync=disk.sync)
    journal.put("otlp", b"a")
    with pytest.raises(JournalError, match=f"{folder}: Input/output error"):
        journal.put("otlp", b"b")
    journal.put("otlp", b"c")
    assert payloads(JournalReader(folder)) in ([b"a", b"c"], [b"a", b"b", b"c"])
    journal.close()


def test_those_that_come_together_share_a_sync(folder: Path) -> None:
    disk = Disk()
    journal = Journal(folder, 64 * MIB, sync=disk.sync)
    journal.put("otlp", b"first")
    before = disk.count
    disk.gate.clear()
    threads = [threading.Thread(target=journal.put, args=("otlp", b"%d" % n)) for n in range(8)]
    threads[0].start()
    assert disk.met.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(journal._queue) < 7:
        threads[1].join(0.001)
    assert payloads(JournalReader(folder))[0] == b"first"
    disk.gate.set()
    for thread in threads:
        thread.join()
    assert disk.count - before == 2, "the first one's, and one for the seven that came meanwhile"
    assert sorted(payloads(JournalReader(folder))) == [*(b"%d" % n for n in range(8)), b"first"]
    journal.close()


MESSAGES = st.lists(st.tuples(st.sampled_from(FORMATS), st.binary(max_size=60)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(told=MESSAGES, cut=st.integers(0, 10**6), junk=st.binary(max_size=40), segment=st.sampled_from([100, 10**6]))
def test_any_cut_of_the_tail_leaves_exactly_the_whole_entries(
    told: list[tuple[str, bytes]], cut: int, junk: bytes, segment: int
) -> None:
    """Wherever a kill cut the last segment, and whatever the disk made of the rest: what is whole is read, then what is
    put behind it, and nothing else."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        journal = Journal(folder, MIB, segment_bytes=segment, clock=lambda: 7)
        for form, payload in told:
            journal.put(form, payload)  # type: ignore[arg-type]
        journal.close()
        last = bases_in(folder)[-1]
        path = place_of(folder, last)
        whole = path.read_bytes()
        kept = cut % (len(whole) + 1)
        path.write_bytes(whole[:kept] + junk)
        ends = [SEGMENT_HEAD.size]
        for form, payload in told[last:]:
            ends.append(ends[-1] + len(packed(Entry(0, 7, form, payload))))  # type: ignore[arg-type]
        left = told[: last + sum(end <= kept for end in ends[1:])]
        if junk and whole.startswith(whole[:kept] + junk):
            return  # the junk is what was cut away
        reader = JournalReader(folder)
        assert [(entry.format, entry.payload) for entry in reader.read(100)] == left
        assert reader.end() == len(left)
        assert [reader.read(100), reader.waiting] == [[], False], "a torn tail is nothing to wait for"
        again = Journal(folder, MIB, segment_bytes=segment)
        again.put("otlp", b"behind it")
        assert [(entry.number, entry.payload) for entry in reader.read(100)] == [(len(left), b"behind it")]
        again.close()
        fresh = JournalReader(folder).read(100)
        assert [entry.payload for entry in fresh] == [*(payload for _, payload in left), b"behind it"]
        assert [entry.number for entry in fresh] == list(range(len(left) + 1))


@pytest.mark.parametrize("harm", ["flip", "zeros", "length"])
def test_a_damaged_segment_costs_what_lies_in_it_and_is_told(folder: Path, harm: str) -> None:
    journal = Journal(folder, 64 * MIB, segment_bytes=1000)
    for n in range(9):
        journal.put("otlp", bytes([n]) * 400)
    journal.close()
    path = place_of(folder, 3)
    held = bytearray(path.read_bytes())
    second = SEGMENT_HEAD.size + ENTRY_HEAD.size + 400
    if harm == "flip":
        held[second + 50] ^= 1
    elif harm == "zeros":
        held[second:] = bytes(len(held) - second)
    else:
        held[second + 4 : second + 8] = b"\xff\xff\xff\x7f"
    path.write_bytes(held)
    reader = JournalReader(folder)
    assert [entry.number for entry in reader.read(100)] == [0, 1, 2, 3]
    assert reader.lost == []
    assert [entry.number for entry in reader.read(100)] == [6, 7, 8]
    assert reader.lost == [(4, 6)]


def test_a_reader_sees_each_entry_once_while_others_write(folder: Path) -> None:
    journal, reader = Journal(folder, 64 * MIB, segment_bytes=2000), JournalReader(folder)
    found: list[int] = []

    def write(first: int) -> None:
        for n in range(first, first + 40):
            journal.put("otlp", n.to_bytes(4, "big") * 20)

    threads = [threading.Thread(target=write, args=(100 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    while len(found) < 160:
        found += [int.from_bytes(entry.payload[:4], "big") for entry in reader.read(7)]
        if not any(thread.is_alive() for thread in threads) and not reader.waiting:
            break
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(100 * k + n for k in range(4) for n in range(40))
    for k in range(4):
        mine = [n for n in found if n // 100 == k]
        assert mine == sorted(mine)
    journal.close()


def test_a_killed_beginning_of_a_segment_is_begun_again(folder: Path) -> None:
    journal = Journal(folder, 64 * MIB, segment_bytes=100)
    journal.put("otlp", b"x" * 200)
    journal.close()
    place_of(folder, 1).write_bytes(b"tsadj")
    reader = JournalReader(folder)
    assert [payloads(reader), payloads(reader)] == [[b"x" * 200], []]
    assert not reader.waiting
    again = Journal(folder, 64 * MIB, segment_bytes=100)
    again.put("otlp", b"y")
    assert payloads(reader) == [b"y"]
    again.close()


def test_room_is_not_made_by_what_an_entry_says(folder: Path, journal: Journal) -> None:
    """A length of 2 GiB in a file of some bytes is read as what it is: nothing."""
    journal.put("otlp", b"a")
    journal.close()
    with place_of(folder, 0).open("ab") as file:
        file.write(ENTRY_HEAD.pack(1, 2**31 - 1, 1, 1, 0))
    read: list[int] = []
    real: Callable[[int, int, int], bytes] = os.pread

    def noted(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(fd, size, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", noted)
        assert payloads(JournalReader(folder)) == [b"a"]
    assert max(read) <= 4 * MIB
