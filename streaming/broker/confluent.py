"""A member of a consumer group through confluent-kafka (librdkafka), of the extra `tsad[confluent]`."""

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import confluent_kafka as rd
import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from typing_extensions import override

from streaming.broker.consumer import LEAVING, MILLISECOND, REFRESH_MS, Consumer, Messages, Place
from streaming.broker.meeting import refuse, spans
from streaming.broker.settings import BrokerError, BrokerSettings, OutageError

PATIENCE = 10.0
"""Seconds that a question to the cluster may take."""
GONE_ON = {KafkaError._MAX_POLL_EXCEEDED, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}
"""What the library says in place of messages, and goes on by itself; a topic that is missing is looked for at start."""
_COMMITTED = rd.IsolationLevel.READ_COMMITTED
PASSING = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD}
"""What may be better later, though the library does not say so."""
_FATAL = {KafkaError._AUTHENTICATION, KafkaError._FATAL, KafkaError._SSL}


class ConfluentConsumer(Consumer):
    """confluent-kafka's. `topics` and `instance` are as with kafka-python.

    What it fetches in the background waits in its own queue, of a bounded size. Fresh partitions stand at their end
    until they are sought: nothing is fetched from a place that nobody asked for.
    """

    def __init__(
        self, settings: BrokerSettings, topics: Sequence[str], group: str | None, instance: str | None
    ) -> None:
        self._held: set[Place] = set()
        self._next: dict[Place, int] = {}
        self._moved = False
        self._said: KafkaError | None = None
        self._coordinated = True
        told: dict[str, Any] = {"error_cb": self._heard}
        if group is not None:
            told |= {"stats_cb": self._counted, "statistics.interval.ms": 1000}
        logger = logging.getLogger("confluent_kafka")
        with broker_faults(", ".join(settings.bootstrap)):
            self._client = rd.Consumer(_options(settings, topics, group, instance) | told, logger=logger)
            try:
                self._reach(settings)
            except BaseException:
                self._client.close()
                raise
            self._admin = AdminClient(settings.librdkafka(), logger=logger)
            if topics:
                self._client.subscribe(list(topics), on_assign=self._dealt, on_revoke=self._revoked)

    def _reach(self, settings: BrokerSettings) -> None:
        """The first answer of the cluster; its refusal is told by what the library was heard to say meanwhile."""
        met: list[str] = []
        for span in spans(PATIENCE):
            try:
                self._client.list_topics(timeout=span)
            except KafkaException as error:
                self._client.poll(0)  # what it has to say comes with a poll
                last = error
            else:
                return
            met += [self._said.str()] if self._said is not None else []
            refuse(settings, met)
        raise KafkaException(self._said or last.args[0]) from last

    def _heard(self, error: KafkaError) -> None:
        if self._said is None or self._said.code() not in _FATAL:
            self._said = error

    def _counted(self, statistics: str) -> None:
        """Whether the group's coordinator is known and connected, once a second."""
        self._coordinated = json.loads(statistics).get("cgrp", {}).get("state", "up") == "up"

    def _dealt(self, client: Any, parts: list[TopicPartition]) -> None:
        client.assign([TopicPartition(part.topic, part.partition, rd.OFFSET_END) for part in parts])
        self._held = {(part.topic, part.partition) for part in parts}
        self._next.clear()
        self._moved = True

    def _revoked(self, client: Any, _parts: list[TopicPartition]) -> None:
        client.unassign()
        self._held = set()

    @override
    def poll(self, seconds: float, most: int) -> dict[Place, Messages]:
        # consume() waits until it has all that it may return: the wait is for the first alone
        with broker_faults("poll"):
            found = self._client.consume(most, 0)
            if not found and seconds > 0:
                found = self._client.consume(1, seconds)
                found += self._client.consume(most - 1, 0) if found and most > 1 else []
        if self._said is not None and self._said.code() in _FATAL:
            raise BrokerError(f"kafka (poll): {_line(self._said)}")
        return {place: self._messages(place, these) for place, these in self._sorted(found).items()}

    def _sorted(self, found: Iterable[Any]) -> dict[Place, list[Any]]:
        by_place: dict[Place, list[Any]] = {}
        for message in found:
            place = message.topic(), message.partition()
            error = message.error()
            if error is None:
                by_place.setdefault(place, []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next[place] = message.offset()
            elif error.code() not in GONE_ON and not error.retriable():
                raise BrokerError(f"kafka ({place[0]}): {_line(error)}")
        return by_place

    def _messages(self, place: Place, found: Sequence[Any]) -> Messages:
        count = len(found)
        stamps = np.fromiter((message.timestamp()[1] for message in found), np.int64, count)
        offsets = np.fromiter((message.offset() for message in found), np.int64, count)
        self._next[place] = max(self._next.get(place, 0), int(offsets[-1]) + 1)
        return Messages(
            [message.value() or b"" for message in found], offsets, np.where(stamps < 0, -1, stamps * MILLISECOND)
        )

    @override
    def moved(self) -> bool:
        moved, self._moved = self._moved, False
        return moved

    @override
    def assigned(self) -> set[Place]:
        return set(self._held)

    @override
    def partitions(self, topic: str) -> int:
        with broker_faults(topic):
            found = self._client.list_topics(topic, timeout=PATIENCE).topics.get(topic)
        return 0 if found is None or found.error is not None else len(found.partitions)

    @override
    def span(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        wanted = list(places)
        first, end = (self._offsets(wanted, which) for which in (OffsetSpec.earliest(), OffsetSpec.latest()))
        return {place: (first[place], end[place]) for place in wanted}

    def _offsets(self, places: Sequence[Place], which: Any) -> dict[Place, int]:
        """One offset of each place. Asked on a connection of its own: on the other one, answers wait behind fetches
        that wait for messages (measured: half a second each)."""
        if not places:
            return {}
        self._admin.poll(0)  # what it logged goes to the logger
        with broker_faults("offsets"):
            asked = self._admin.list_offsets(
                {TopicPartition(*p): which for p in places}, isolation_level=_COMMITTED, request_timeout=PATIENCE
            )
            return {(part.topic, part.partition): answer.result().offset for part, answer in asked.items()}

    @override
    def drained(self, place: Place) -> bool:
        # the end counts markers of transactions, behind which the library says that it is at the end
        return place in self._next and self._next[place] >= self._offsets([place], OffsetSpec.latest())[place]

    @override
    def reaches(self, place: Place, timestamp: int) -> bool:
        found = self._offsets([place], OffsetSpec.for_timestamp(-(-timestamp // MILLISECOND)))
        return found[place] >= 0

    @override
    def seek(self, place: Place, offset: int) -> None:
        wanted = TopicPartition(*place, offset)
        until = time.monotonic() + PATIENCE
        with broker_faults(f"{place[0]} [{place[1]}]"):
            while True:
                try:
                    self._client.seek(wanted)
                    break
                except KafkaException as error:
                    # a partition that has just been dealt out is started by another thread, within moments
                    if error.args[0].code() != KafkaError._STATE or time.monotonic() > until:
                        raise
                    time.sleep(0.002)
        self._next[place] = offset

    @override
    def pause(self, places: Iterable[Place]) -> None:
        self._client.pause(self._ours(places))

    @override
    def resume(self, places: Iterable[Place]) -> None:
        self._client.resume(self._ours(places))

    def _ours(self, places: Iterable[Place]) -> list[TopicPartition]:
        """Those that were not taken from us since the caller looked."""
        return [TopicPartition(*place) for place in places if place in self._held]

    @override
    def commit(self, offsets: Mapping[Place, int]) -> None:
        with suppress(KafkaException):
            self._client.commit(offsets=[TopicPartition(*p, at) for p, at in offsets.items()], asynchronous=True)

    @override
    def reachable(self) -> bool:
        return self._coordinated

    @override
    def end(self, place: Place) -> int | None:
        if place not in self._held:
            return None
        _, end = self._client.get_watermark_offsets(TopicPartition(*place), cached=True)
        return end if end >= 0 else None

    @override
    def close(self) -> None:
        # the library waits for a coordinator that does not answer, and knows no bound
        closing = threading.Thread(target=self._client.close, name="leaving", daemon=True)
        closing.start()
        closing.join(LEAVING / 1000)


def _options(
    settings: BrokerSettings, topics: Sequence[str], group: str | None, instance: str | None
) -> dict[str, Any]:
    """What kafka-python is told, in librdkafka's words."""
    by_pattern = bool(topics) and topics[0].startswith("^")
    options: dict[str, Any] = {
        **settings.librdkafka(),
        "group.id": group or "tsad-looks",  # it wants one even where none is joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "roundrobin" if by_pattern else "range",
        "topic.metadata.refresh.interval.ms": REFRESH_MS if by_pattern else 300_000,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "enable.partition.eof": True,
        "check.crcs": True,
        "max.partition.fetch.bytes": 4 << 20,
        "fetch.wait.max.ms": 100,  # a seek waits for it
        "fetch.queue.backoff.ms": 50,
        "session.timeout.ms": settings.session_ms,
        "max.poll.interval.ms": max(settings.poll_ms, settings.session_ms),  # it refuses a shorter one
        "heartbeat.interval.ms": max(settings.session_ms // 10, 300),
        "reconnect.backoff.max.ms": 2000,
    }
    return options | ({"group.instance.id": instance} if instance else {})


@contextmanager
def broker_faults(what: object) -> Iterator[None]:
    """Turn the client's faults into BrokerError (OutageError where they may pass), naming `what` was asked."""
    try:
        yield
    except KafkaException as error:
        fault = error.args[0]
        passes = fault.retriable() or fault.code() in PASSING
        raise (OutageError if passes else BrokerError)(f"kafka ({what}): {_line(fault)}") from error


def _line(error: KafkaError) -> str:
    return " ".join(error.str().split()) or str(error.name())
