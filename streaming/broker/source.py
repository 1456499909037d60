"""One partition of a Kafka topic as a source: offsets are its rows."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from streaming.broker.belonging import Sieve
from streaming.broker.consumer import Place
from streaming.broker.feed import Feed
from streaming.decoders import PayloadDecoder
from streaming.types import Batch, SourceChanged, Topic


class KafkaSource:
    """Reads `place` from `feed`. A position's `row` is the next offset, `first` the one where the stream began.
    Records of entities that belong to another partition (`belonging`) are dead letters.

    It never ends. Messages without a timestamp count as ingested when they are read (`clock`, ns). `ingested` are the
    first and the newest ingest timestamp (ns) of what could be used; None before any was. `heard` is when (by the
    clock) the last message was read.
    """

    def __init__(
        self,
        feed: Feed,
        topic: Topic,
        place: Place,
        decoder: PayloadDecoder,
        clock: Callable[[], int] = time.time_ns,
        patience: float = 0.05,
        belonging: Sieve | None = None,
    ) -> None:
        self.topic = topic
        self.decoder = decoder
        self.truncated: tuple[int, int] | None = None
        self._feed, self._place, self._clock, self._patience = feed, place, clock, patience
        self._belonging = belonging
        self._first: int | None = None
        self.ingested: tuple[int, int] | None = None
        self.heard: int | None = None

    @property
    def waiting(self) -> bool:
        """Whether messages are here."""
        return self._feed.waiting(self._place) > 0

    def poll(self, max_records: int = 5000) -> Batch:
        """The messages that are here, at most `max_records` and of as many offsets; waits a moment where none is."""
        self.open()
        if not self.waiting:
            self._feed.pump(self._patience)
        start = self._feed.at(self._place)
        messages = self._feed.take(self._place, start + max_records, max_records)
        if len(messages):
            self.heard = self._clock()
        ingested = messages.timestamps
        if (ingested < 0).any():
            ingested = np.where(ingested < 0, self._clock(), ingested)
        batch: Batch = self.decoder.decode(messages.values, messages.offsets, ingested, self._feed.at(self._place))
        if self._belonging is not None:
            batch = self._belonging.sift(batch, messages, self.decoder.dead)
        if len(batch.ingested):
            first, newest = self.ingested or (int(batch.ingested[0]), 0)
            self.ingested = first, max(newest, int(batch.ingested.max()))
        return batch

    def at(self) -> int:
        """The offset behind what was taken."""
        return self._feed.at(self._place)

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._place[0]

    def lag(self) -> int | None:
        """Messages of the topic that were not taken, as of the last fetch; None where that is not known."""
        end = self._feed.consumer.end(self._place)
        return None if end is None else max(end - self._feed.at(self._place), 0)

    def drained(self) -> bool:
        """Whether all that the topic holds now was taken."""
        return self._feed.drained(self._place)

    def reaches(self, timestamp: int) -> bool:
        """Whether the topic holds a message that was ingested at `timestamp` (ns) or later, taken or not."""
        return self._feed.consumer.reaches(self._place, timestamp)

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: topic, partition, the next offset, the first of all, and what the decoder must remember there."""
        topic, partition = self._place
        state = self.decoder.state(next_position)
        return {
            "topic": topic, "partition": partition, "first": self._first, "row": next_position, "decoder": state,
            "ingested": self.ingested, "heard": self.heard,
        }  # fmt: skip

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`, or from its `first` where it names no row.

        SourceChanged where the position is another source's, or the topic holds less than was read. What was deleted
        meanwhile is skipped: `truncated` then says from which offset to which.
        """
        topic, partition = self._place
        if (position.get("topic"), position.get("partition")) != (topic, partition):
            before = position.get("topic") or position.get("path")
            raise SourceChanged(f"topic {topic!r}: the stream was read from {before!r} before, and goes on there only")
        self._first = position["first"]
        wanted = position.get("row", self._first)
        start = self._feed.open(self._place, wanted)
        self.truncated = (wanted, start) if start > wanted else None
        if "decoder" in position:
            self.ingested = tuple(position["ingested"]) if position.get("ingested") else None
            self.heard = position.get("heard")
            self.decoder.restore(position["decoder"])

    def close(self) -> None:
        """Fetch nothing more."""
        self._feed.close(self._place)

    def open(self) -> None:
        """Begin with the first message that is kept, unless a position was sought before."""
        if self._first is None:
            self._first = self._feed.open(self._place, None)
