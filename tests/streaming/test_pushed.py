"""A journal as a source: its positions, and what is decoded of its entries, poll by poll."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import OTLP, as_json
from reading import INGESTED

from streaming.columns import Columns
from streaming.journal import Journal, bases_in, place_of
from streaming.journalreader import JournalReader
from streaming.pushed import PushedSource
from streaming.settings import TelemetryFormat
from streaming.types import Records, SourceChanged

PROTOBUF, JSON = OTLP.SerializeToString(), as_json(OTLP)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal", 64 << 20, lambda: INGESTED, segment_bytes=1000)
    yield made
    made.close()


def source(journal: Journal, name: str = "push:s.telemetry") -> PushedSource:
    reader = JournalReader(journal.folder)
    return PushedSource(name, reader, TelemetryFormat(format="auto"), Columns(), clock=lambda: INGESTED + 5)


def values(batch: Any) -> list[list[float]]:
    assert isinstance(batch, Records)
    return np.nan_to_num(batch.values).tolist()


def test_an_empty_journal_gives_empty_batches_and_does_not_end(journal: Journal) -> None:
    empty = source(journal)
    batch = empty.poll()
    assert (len(batch.codes), batch.next_position, empty.waiting, empty.drained()) == (0, 0, False, True)
    assert (empty.heard, empty.ingested, empty.lag(), empty.reaches(0)) == (None, None, 0, False)


def test_each_entry_is_decoded_in_its_format(journal: Journal) -> None:
    journal.put("otlp", PROTOBUF)
    journal.put("otlp-json", JSON)
    journal.put("otlp", JSON)
    one = source(journal)
    batch = one.poll()
    assert batch.positions.tolist() == [0, 0, 1, 1]
    assert values(batch)[:2] == values(batch)[2:]
    assert [(letter.position, letter.reason) for letter in batch.dead] == [(2, "broken_message")]
    assert (batch.next_position, one.at(), one.heard) == (3, 3, INGESTED + 5)
    assert one.ingested == (INGESTED, INGESTED)
    assert one.reaches(INGESTED)
    assert not one.reaches(INGESTED + 1)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_source_goes_on_at_any_position(journal: Journal, most: int) -> None:
    for n in range(5):
        journal.put("otlp" if n % 2 else "otlp-json", PROTOBUF if n % 2 else JSON)
    whole, found, one = source(journal).poll().positions.tolist(), list[int](), source(journal)
    while one.waiting:
        batch = one.poll(most)
        found += batch.positions.tolist()
        position = one.position(batch.next_position)
        one.close()
        one = source(journal)
        one.seek(position)
        assert (one.at(), one.truncated) == (position["row"], None)
    assert found == whole


def test_what_was_dropped_is_told_and_another_source_refused(journal: Journal) -> None:
    for _ in range(6):
        journal.put("otlp-json", JSON)
    one = source(journal)
    start = one.position(one.poll(1).next_position)
    first = one.reader.open(None)
    one.reader.drop(4)
    kept = bases_in(journal.folder)[0]
    assert first < kept <= 4
    again = source(journal)
    again.seek(start)
    assert again.truncated == (1, kept)
    with pytest.raises(SourceChanged, match=r"was read from 'push:s.telemetry' before, and goes on there only"):
        source(journal, "push:other.telemetry").seek(start)


def test_entries_that_nobody_can_read_are_a_dead_letter(journal: Journal) -> None:
    for _ in range(8):
        journal.put("otlp-json", JSON)
    journal.close()
    damaged = place_of(journal.folder, bases_in(journal.folder)[0])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    one, dead = source(journal), []
    while one.waiting:
        dead += [(letter.position, letter.reason, letter.detail) for letter in one.poll().dead]
    (letter,) = dead
    assert letter[1] == "broken_message"
    assert "the journal is damaged: entries" in letter[2]
