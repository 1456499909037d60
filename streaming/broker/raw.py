"""Messages as they lie in topics: read in order of time over all partitions, written as they are."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heapreplace
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2
from kafka.structs import OffsetAndMetadata

from streaming.broker.consumer import broker_faults
from streaming.broker.meeting import meet
from streaming.broker.producer import LARGEST
from streaming.broker.settings import BrokerError, BrokerSettings

HELD = 20_000
"""Messages of a partition from which on it is not fetched, until the others have come on."""
PATIENCE = 60.0
"""Seconds without an answer after which reading and writing are given up."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A message with the partition and offset where it lies (-1: nowhere yet); `timestamp` in ms, None = none."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@lru_cache(100_000)
def partition_of(key: bytes, partitions: int) -> int:
    """Where a message of `key` goes, as the Java client and kafka-python have it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class Merged:
    """What a topic holds now, behind what `group` has committed: by timestamp, and in order within each partition.

    An offset past a partition's end is an error: the topic was made anew. BrokerError where nothing answers.
    """

    def __init__(
        self, settings: BrokerSettings, topic: str, group: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.topic, self._clock = topic, clock
        told = {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": 4 << 20,
            "allow_auto_create_topics": False,
            **settings.pure(),
        }
        self._client = meet(settings, lambda most: KafkaConsumer(bootstrap_timeout_ms=most, **told))
        with broker_faults(topic):
            numbers = sorted(self._client.partitions_for_topic(topic) or ())
            self._places = {number: TopicPartition(topic, number) for number in numbers}
            self._client.assign(list(self._places.values()))
            places = self._places.items()
            committed = {number: self._client.committed(place) for number, place in places}
            first, end = (ask(list(self._places.values())) for ask in (
                self._client.beginning_offsets, self._client.end_offsets,
            ))  # fmt: skip
        self.committed = {number: offset for number, offset in committed.items() if offset is not None}
        self._first = {number: first[place] for number, place in places}
        self._ends = {number: end[place] for number, place in places}
        self._held: dict[int, deque[Raw]] = {number: deque() for number in numbers}

    def begin(self, again: bool) -> tuple[dict[tuple[str, int], int], int]:
        """Go on behind what is committed, or `again` from the first that is kept: the offset of each place, and how
        many lie ahead of them together."""
        starts = {}
        for number, place in self._places.items():
            wanted = 0 if again else self.committed.get(number, 0)
            if wanted > self._ends[number]:
                raise BrokerError(
                    f"topic {self.topic!r} [{number}] ends at {self._ends[number]}, but was read up to {wanted}: "
                    "it was made anew; copy it into a new topic"
                )
            starts[self.topic, number] = max(wanted, self._first[number])
            with broker_faults(self.topic):
                self._client.seek(place, starts[self.topic, number])
        return starts, sum(self._ends.values()) - sum(starts.values())

    def take(self, most: int) -> list[Raw]:
        """The next messages, at most `most`; none at the end."""
        taken: list[Raw] = []
        while len(taken) < most and self._fill():
            heap = [(held[0].timestamp or 0, number) for number, held in self._held.items() if held]
            heapify(heap)
            while heap and len(taken) < most:
                number = heap[0][1]
                held = self._held[number]
                taken.append(held.popleft())
                if not held:
                    break  # perhaps it has more, which come before the others'
                heapreplace(heap, (held[0].timestamp or 0, number))
        return taken

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close(autocommit=False, timeout_ms=5000)

    def _fill(self) -> bool:
        """Hold a message of every partition that has one left; False where none has."""
        since = self._clock()
        while lacking := [number for number, held in self._held.items() if not held and not self._over(number)]:
            full = [place for number, place in self._places.items() if len(self._held[number]) >= HELD]
            with broker_faults(self.topic):
                self._client.resume(*self._places.values())
                self._client.pause(*full)
                found = self._client.poll(timeout_ms=500, max_records=5000)
            for place, records in found.items():
                end = self._ends[place.partition]
                self._held[place.partition] += [_raw(record) for record in records if record.offset < end]
            if found:
                since = self._clock()
            elif self._clock() - since > PATIENCE:
                raise BrokerError(f"kafka ({self.topic}): nothing of partitions {lacking} for {PATIENCE:.0f} s")
        return any(self._held.values())

    def _over(self, number: int) -> bool:
        with broker_faults(self.topic):
            return bool(self._client.position(self._places[number]) >= self._ends[number])


def _raw(record: Any) -> Raw:
    stamp = record.timestamp if record.timestamp is not None and record.timestamp >= 0 else None
    return Raw(record.partition, record.offset, stamp, record.key, record.value, record.headers)


class Writer:
    """Writes to one topic: every in-sync replica has a message before `write` returns, none is there twice.

    With `name` each `write` is a transaction under that name, which ends those of others of the same name.
    """

    def __init__(self, settings: BrokerSettings, topic: str, name: str | None = None) -> None:
        self.topic, self._name = topic, name
        limit = int(PATIENCE * 1000)
        told = {
            "acks": "all",
            "enable_idempotence": True,
            "transactional_id": name,
            "linger_ms": 20,
            "batch_size": 1 << 18,  # each batch wakes the sender
            "max_request_size": LARGEST,
            "max_block_ms": limit,
            "delivery_timeout_ms": limit,
            **settings.pure(),
        }
        self._client = meet(settings, lambda most: KafkaProducer(bootstrap_timeout_ms=most, **told))
        if name is not None:
            with broker_faults(topic):
                self._client.init_transactions()

    def write(
        self, messages: Sequence[Raw], group: str = "", read: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        """Write `messages` to their partitions, in order; in a transaction `group` has then `read` up to there.

        BrokerError where one of them was not written; in a transaction, none was then.
        """
        with broker_faults(self.topic):
            if self._name is None:
                self._send(messages)
                return
            self._client.begin_transaction()
            try:
                self._send(messages)
                offsets = {TopicPartition(*place): OffsetAndMetadata(at, "", -1) for place, at in (read or {}).items()}
                self._client.send_offsets_to_transaction(offsets, group)
                self._client.commit_transaction()
            except KafkaError:
                self._client.abort_transaction()
                raise

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close(timeout=0)

    def _send(self, messages: Sequence[Raw]) -> None:
        send, topic = self._client.send, self.topic
        sent = [send(topic, m.value, m.key, list(m.headers), m.partition, m.timestamp) for m in messages]
        self._client.flush(PATIENCE)
        for answer in sent:
            answer.get(timeout=0)
