"""What a topic's partition still holds, read again from its beginning: a finite source of no group."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from streaming.broker.batches import Batch as Batched
from streaming.broker.batches import by_batches, gathered
from streaming.broker.belonging import Sieve
from streaming.broker.consumer import EMPTY, MILLISECOND, Messages, Place, broker_faults
from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerError, BrokerSettings
from streaming.decoders import PayloadDecoder
from streaming.types import Batch

PATIENCE = 60.0
"""Seconds without an answer after which reading is given up."""


class KeptSource:
    """The messages of `place` below the offset `end`, at most `most` of them: the newest.

    Records of entities that belong to another partition (`belonging`) are left out, as the stream does. Nothing is
    committed. `begins`: the first offset; `cut`: whether there were messages before it; `bounded`: whether more are
    there than `most`.
    BrokerError where the cluster does not answer.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        place: Place,
        end: int,
        most: int,
        decoder: PayloadDecoder,
        belonging: Sieve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._end, self._clock = f"{place[0]} [{place[1]}]", end, clock
        self._decoder, self._belonging, self._place = decoder, belonging, TopicPartition(*place)
        told = {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": 4 << 20,
            "allow_auto_create_topics": False,
            **settings.pure(),
        }
        self._client: Any = meet(settings, lambda most: KafkaConsumer(bootstrap_timeout_ms=most, **told))
        by_batches(self._client)
        with broker_faults(self._name):
            self._client.assign([self._place])
            first = self._client.beginning_offsets([self._place])[self._place]
            self.begins = max(first, end - most)
            self._client.seek(self._place, self.begins)
        self.cut, self.bounded = self.begins > 0, end - most > first

    def poll(self, max_records: int = 5000) -> Batch | None:
        """The next messages; None behind the last."""
        messages = self._next(max_records)
        if not len(messages):
            return None
        stamps = np.where(messages.timestamps < 0, time.time_ns(), messages.timestamps)
        behind = int(messages.offsets[-1]) + 1
        batch: Batch = self._decoder.decode(messages.values, messages.offsets, stamps, behind)
        return self._belonging.sift(batch, messages, self._decoder.dead)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close(autocommit=False, timeout_ms=2000)

    def _next(self, most: int) -> Messages:
        since = self._clock()
        with broker_faults(self._name):
            # not the offset of the last message: a transaction ends with a marker that is none
            while self._client.position(self._place) < self._end:
                found = self._client.poll(timeout_ms=500, max_records=most).get(self._place)
                if found:
                    return self._below(gathered(found))
                if self._clock() - since > PATIENCE:
                    raise BrokerError(f"kafka ({self._name}): nothing came for {PATIENCE:.0f} s")
        return EMPTY

    def _below(self, batch: Batched) -> Messages:
        """Without what lies behind the end."""
        kept = slice(0, int(np.searchsorted(batch.offsets, self._end)))
        stamps = batch.timestamps[kept]
        return Messages(batch.values[kept], batch.offsets[kept], np.where(stamps < 0, -1, stamps * MILLISECOND))
