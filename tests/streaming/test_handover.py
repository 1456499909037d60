"""Messages handed over to the process that writes a journal: on disk before that is told, refused for its reasons."""

from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE
from threading import Thread

import pytest

from streaming.handover import Receiver, Remote
from streaming.journal import Journal, JournalError, JournalFullError
from streaming.journalreader import JournalReader

MIB = 1 << 20


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal", 64 * MIB)
    yield made
    made.close()


def test_what_is_handed_over_is_kept_as_it_came(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "other", MIB)
    with Receiver({str(one.folder): one for one in (journal, other)}) as receiver:
        mine, others = (Remote(receiver.address, str(one.folder)) for one in (journal, other))
        mine.put("otlp", b"\x00one")
        others.put("remote-write", b"")
        mine.put("otlp-json", b"two" * MIB)
        mine.close()
        mine.put("otlp", b"three")
        assert S_IMODE(Path(receiver.address).parent.stat().st_mode) == 0o700
    kept = [(entry.format, entry.payload) for entry in JournalReader(journal.folder).read(100)]
    assert kept == [("otlp", b"\x00one"), ("otlp-json", b"two" * MIB), ("otlp", b"three")]
    assert [entry.format for entry in JournalReader(other.folder).read(100)] == ["remote-write"]
    other.close()


def test_many_threads_share_it(journal: Journal) -> None:
    with Receiver({str(journal.folder): journal}) as receiver:
        remote = Remote(receiver.address, str(journal.folder))
        threads = [Thread(target=remote.put, args=("otlp", bytes([number]))) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(entry.payload[0] for entry in JournalReader(journal.folder).read(100)) == list(range(16))


def test_why_something_is_not_kept_is_told_as_the_journal_tells_it(tmp_path: Path) -> None:
    small, kept, taken = Journal(tmp_path / "small", 100), Journal(tmp_path / "taken", MIB), tmp_path / "taken"
    kept.put("otlp", b"first")
    second = Journal(taken, MIB)
    with Receiver({str(small.folder): small, str(taken): second}) as receiver:
        full, locked = Remote(receiver.address, str(small.folder)), Remote(receiver.address, str(taken))
        for _ in range(2):  # the line goes on
            with pytest.raises(JournalFullError) as found:
                full.put("otlp", bytes(200))
            with pytest.raises(JournalFullError) as own:
                small.put("otlp", bytes(200))
            assert str(found.value) == str(own.value)
        with pytest.raises(JournalError) as refused:
            locked.put("otlp", b"second")
        with pytest.raises(JournalError) as refused_here:
            second.put("otlp", b"second")
        assert str(refused.value) == str(refused_here.value)
        assert not isinstance(refused.value, JournalFullError)
    for one in (small, kept, second):
        one.close()


def test_where_nobody_listens_nothing_is_promised(journal: Journal) -> None:
    with Receiver({str(journal.folder): journal}) as receiver:
        remote = Remote(receiver.address, str(journal.folder))
    with pytest.raises(JournalError, match="the process that writes it does not answer"):
        remote.put("otlp", b"one")
    remote.close()
