"""A part of a topic's partition, from one offset to another: a finite source of no group that can be sought in."""

from collections.abc import Callable, Iterable
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streaming.broker.belonging import Sieve
from streaming.broker.consumer import MILLISECOND, Place, broker_faults
from streaming.broker.kept import KeptSource
from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerSettings
from streaming.decoders import PayloadDecoder
from streaming.types import Batch, SourceChanged, Topic


class PartSource:
    """The messages of `place` from the offset `first` to before `end`, for the stream's `topic`. BrokerError where the
    cluster does not answer, SourceChanged where the topic has deleted what is wanted."""

    def __init__(
        self, topic: Topic, settings: BrokerSettings, place: Place, first: int, end: int, decoder: PayloadDecoder,
        belonging: Sieve,
    ) -> None:  # fmt: skip
        self.topic, self.waiting = topic, True
        self.truncated: tuple[int, int] | None = None
        self._place, self._first, self._end, self._decoder = place, first, end, decoder
        self._next = first
        self._open: Callable[[int], KeptSource] = lambda most: KeptSource(
            settings, place, end, most, decoder, belonging
        )
        self._kept: KeptSource | None = None

    def poll(self, max_records: int = 5000) -> Batch | None:
        """The next messages; None behind the last."""
        if self._next >= self._end:
            return None
        batch = self._opened().poll(max_records)
        self._next = self._end if batch is None else batch.next_position
        return batch

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: the topic, its partition, the offset, and what the decoder must remember there."""
        name, partition = self._place
        state = self._decoder.state(next_position)
        return {"topic": name, "partition": partition, "row": next_position, "first": self._first, "decoder": state}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`. SourceChanged where it is of another part."""
        if (position.get("topic"), position.get("partition")) != self._place:
            raise SourceChanged(f"{self._named()}: the unit was read from {position.get('topic')!r} before")
        self.close()
        self._next = position.get("row", self._first)
        if "decoder" in position:
            self._decoder.restore(position["decoder"])

    def close(self) -> None:
        """Let go of the connections."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _opened(self) -> KeptSource:
        if self._kept is None:
            self._kept = self._open(self._end - self._next)
            if self._kept.begins > self._next:
                said = (
                    f"offsets {self._next} to {self._kept.begins - 1} are gone: its retention was shorter than the wait"
                )
                raise SourceChanged(f"{self._named()}: {said}")
        return self._kept

    def _named(self) -> str:
        return f"topic {self._place[0]!r}, partition {self._place[1]}"


def extents(settings: BrokerSettings, places: Iterable[Place], since: int | None) -> dict[Place, tuple[int, int]]:
    """Of each of `places` the first offset that it still holds (with `since`, ns, of the first message that was written
    then or later) and the one behind its last. BrokerError where the cluster does not answer."""
    parts = [TopicPartition(*place) for place in places]
    told = {"group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed", **settings.pure()}
    told["allow_auto_create_topics"] = False
    client: Any = meet(settings, lambda most: KafkaConsumer(bootstrap_timeout_ms=most, **told))
    try:
        with broker_faults(", ".join(sorted({part.topic for part in parts}))):
            first, end = client.beginning_offsets(parts), client.end_offsets(parts)
            if since is not None:
                found = client.offsets_for_times(dict.fromkeys(parts, max(since // MILLISECOND, 0)))
                first = {part: end[part] if found[part] is None else found[part].offset for part in parts}
    finally:
        client.close(autocommit=False, timeout_ms=2000)
    return {(part.topic, part.partition): (first[part], end[part]) for part in parts}
