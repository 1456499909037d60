"""A topic that is read whole, every partition of it, by each process by itself: it belongs to no group."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streaming.broker.batches import by_batches
from streaming.broker.consumer import Messages, broker_faults, messages_of
from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerError, BrokerSettings

PATIENCE = 60.0
"""Seconds without an answer after which reading what is there is given up."""


class WholeTopic:
    """The messages of `topic` from the first that is kept on. Nothing is committed. BrokerError where there is no such
    topic, or the cluster does not answer."""

    def __init__(self, settings: BrokerSettings, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = topic, clock
        told = {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            **settings.pure(),
        }
        self._client: Any = meet(settings, lambda limit: KafkaConsumer(bootstrap_timeout_ms=limit, **told))
        by_batches(self._client)
        with broker_faults(topic):
            numbers = self._client.partitions_for_topic(topic)
            if not numbers:
                self.close()
                raise BrokerError(f"topic {topic!r} does not exist")
            self._places = [TopicPartition(topic, number) for number in sorted(numbers)]
            self._client.assign(self._places)
            for place, first in self._client.beginning_offsets(self._places).items():
                self._client.seek(place, first)

    def poll(self, seconds: float = 0) -> dict[int, Messages]:
        """What has come since, by partition; waits at most so long where nothing has."""
        with broker_faults(self._name):
            found = self._client.poll(timeout_ms=int(seconds * 1000))
        return {place.partition: messages_of(records) for place, records in found.items()}

    def read_up(self) -> Iterator[dict[int, Messages]]:
        """All that the topic holds now, and what comes meanwhile."""
        with broker_faults(self._name):
            ends = self._client.end_offsets(self._places)
        since = self._clock()
        # not the offset of the last message: a transaction ends with a marker that is none
        while any(self._client.position(place) < end for place, end in ends.items()):
            found = self.poll(0.5)
            if found:
                since = self._clock()
                yield found
            elif self._clock() - since > PATIENCE:
                raise BrokerError(f"kafka ({self._name}): nothing came for {PATIENCE:.0f} s")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close(autocommit=False, timeout_ms=2000)
