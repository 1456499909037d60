"""A journal as a source: what was pushed to the API, read as messages of a topic are."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np

from streaming.columns import Columns
from streaming.decode import MAX_AHEAD
from streaming.journal import Entry
from streaming.journalreader import JournalReader
from streaming.messages import MetricDecoder, joined, runs
from streaming.otlp_logs import OtlpLineDecoder, joined_lines
from streaming.settings import LogFormat, TelemetryFormat
from streaming.types import Batch, Lines, Records, SourceChanged, Topic


class PushedSource:
    """Reads the journal of `topic`, called `name`. A position's `row` is the next entry's number, `first` that of the
    one where the stream began.

    It never ends. Each entry is decoded as a message of its format, as one of a Kafka topic is. `ingested` are the
    first and the newest ingest timestamp (ns) of what could be used; None before any was. `heard` is when (by the
    clock) the last entry was read.
    """

    def __init__(
        self,
        name: str,
        reader: JournalReader,
        format: TelemetryFormat | LogFormat,
        columns: Columns,
        *,
        clock: Callable[[], int] = time.time_ns,
        max_ahead: int = MAX_AHEAD,
    ) -> None:
        self.topic: Topic = "logs" if isinstance(format, LogFormat) else "telemetry"
        self.name = name
        self.reader = reader
        self.decoder: MetricDecoder | OtlpLineDecoder
        if isinstance(format, LogFormat):
            self.decoder = OtlpLineDecoder(format, max_ahead=max_ahead)
        else:
            self.decoder = MetricDecoder(format, columns, max_ahead=max_ahead)
        self.truncated: tuple[int, int] | None = None
        self.ingested: tuple[int, int] | None = None
        self.heard: int | None = None
        self._clock = clock
        self._first: int | None = None

    @property
    def waiting(self) -> bool:
        """Whether entries are there."""
        return self.reader.waiting

    def poll(self, max_records: int = 5000) -> Batch:
        """The entries that are there, at most `max_records`, and perhaps none."""
        self.open()
        held = self.reader.read(max_records)
        if held:
            self.heard = self._clock()
        self._bury_lost()
        batch = self._decoded(held)
        if len(batch.ingested):
            first, newest = self.ingested or (int(batch.ingested[0]), 0)
            self.ingested = first, max(newest, int(batch.ingested.max()))
        return batch

    def at(self) -> int:
        """The number behind what was taken."""
        return self.reader.number

    def end(self) -> int:
        """The number behind what the journal holds now."""
        return self.reader.end()

    def drained(self) -> bool:
        """Whether all that the journal holds now was taken."""
        return not self.reader.waiting

    def lag(self) -> int:
        """Entries of the journal that were not taken."""
        return self.reader.end() - self.reader.number if self.reader.waiting else 0

    def reaches(self, timestamp: int) -> bool:
        """Whether the journal ends with what was ingested at `timestamp` (ns) or later."""
        newest = self.reader.newest()
        return newest is not None and newest >= timestamp

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: the journal, the next entry, the first of all, and what the decoder must remember there."""
        return {
            "topic": self.name, "path": str(self.reader.folder), "journal": self.reader.identity, "first": self._first,
            "row": next_position, "decoder": self.decoder.state(next_position), "ingested": self.ingested,
            "heard": self.heard,
        }  # fmt: skip

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`, or from its `first` where it names no row.

        SourceChanged where the position is another source's, or the journal is not the one that was read. What was
        dropped meanwhile is skipped: `truncated` then says from which entry to which.
        """
        if position.get("topic") != self.name:
            before = position.get("topic") or position.get("path")
            raise SourceChanged(f"{self.name}: the stream was read from {before!r} before, and goes on there only")
        self._first = position["first"]
        wanted = position.get("row", self._first)
        start = self.reader.open(wanted, position.get("journal"))
        self.truncated = (wanted, start) if start > wanted else None
        if "decoder" in position:
            self.ingested = tuple(position["ingested"]) if position.get("ingested") else None
            self.heard = position.get("heard")
            self.decoder.restore(position["decoder"])

    def open(self) -> None:
        """Begin with the first entry that is kept, unless a position was sought before."""
        if self._first is None:
            self._first = self.reader.open(None)

    def close(self) -> None:
        """Close the journal's file."""
        self.reader.close()

    def _decoded(self, held: list[Entry]) -> Batch:
        """Each entry in its format, in their order: what is learnt depends on that."""
        payloads = [entry.payload for entry in held]
        numbers = np.array([entry.number for entry in held], np.int64)
        ingested = np.array([entry.ingested for entry in held], np.int64)
        decoder, following, parts = self.decoder, self.reader.number, []
        for start, stop in runs([entry.format for entry in held]):
            decoder.format = replace(decoder.format, format=held[start].format)  # type: ignore[arg-type]
            parts.append(decoder.decode(payloads[start:stop], numbers[start:stop], ingested[start:stop], following))
        if not parts:
            return decoder.decode([], numbers, ingested, following)
        if self.topic == "logs":
            return joined_lines(cast(list[Lines], parts))
        return joined(cast(list[Records], parts))

    def _bury_lost(self) -> None:
        for start, stop in self.reader.lost:
            said = f"the journal is damaged: entries {start} to {stop - 1} cannot be read"
            self.decoder.dead.add(start, "broken_message", said, None)
        self.reader.lost.clear()
