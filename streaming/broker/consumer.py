"""A member of a consumer group: raw messages of the partitions that the group gives it."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.structs import OffsetAndMetadata
from typing_extensions import override

from streaming.broker.batches import by_batches, gathered
from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerError, BrokerSettings, OutageError
from streaming.types import Ints

Place = tuple[str, int]
"""A topic's name and the number of one of its partitions."""
MILLISECOND = 1_000_000
LEAVING = 2000
"""Milliseconds that leaving the group may take."""
_JOINING = 0.5
"""Seconds that a poll has at least while the group deals."""
REFRESH_MS = 30_000
"""How often topics are looked for that a pattern matches."""


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one place in the order of their offsets (N); `timestamps` (N) are Kafka's, in ns, -1 = none."""

    values: Sequence[bytes]
    offsets: Ints
    timestamps: Ints

    def __len__(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        """Of the values."""
        return sum(map(len, self.values))

    def part(self, start: int, stop: int) -> "Messages":
        """Those from `start` up to `stop`."""
        return Messages(self.values[start:stop], self.offsets[start:stop], self.timestamps[start:stop])


EMPTY = Messages((), np.zeros(0, np.int64), np.zeros(0, np.int64))


class Consumer(Protocol):
    """What a client library has to give. Nothing is committed on its own; every fault is a BrokerError."""

    def poll(self, seconds: float, most: int) -> dict[Place, Messages]:
        """About `most` messages, waiting for the first at most `seconds`; keeps the membership alive."""
        ...

    def moved(self) -> bool:
        """Whether the group has dealt partitions out since the last call."""
        ...

    def assigned(self) -> set[Place]:
        """What the group has given to this member."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 where it does not exist."""
        ...

    def span(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset that is kept of each place, and the offset behind its last message."""
        ...

    def drained(self, place: Place) -> bool:
        """Whether all that `place` holds now was fetched."""
        ...

    def reaches(self, place: Place, timestamp: int) -> bool:
        """Whether `place` holds a message of Kafka's `timestamp` (ns) or a later one."""
        ...

    def seek(self, place: Place, offset: int) -> None:
        """Go on reading `place` with `offset`."""
        ...

    def pause(self, places: Iterable[Place]) -> None:
        """Fetch nothing from `places` for now."""
        ...

    def resume(self, places: Iterable[Place]) -> None:
        """Fetch from them again."""
        ...

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tell the group where we stand, for displays of lag; failing at that is no fault."""
        ...

    def reachable(self) -> bool:
        """Whether the group's coordinator is known and answers, as far as this member knows."""
        return True

    def end(self, place: Place) -> int | None:  # noqa: ARG002 -- a client may not know
        """The offset behind the last message of `place`, as of the last fetch; None where that is not known."""
        return None

    def close(self) -> None:
        """Leave the group."""
        ...


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes that partitions moved; it runs within a poll, on the client's own thread."""

    def __init__(self) -> None:
        self.moved = threading.Event()

    @override
    def on_partitions_revoked(self, revoked: Any) -> None:
        """What is ours is only told by the deal that follows."""

    @override
    def on_partitions_assigned(self, assigned: Any) -> None:
        self.moved.set()


class _Dealt(Future):  # type: ignore[misc]
    """A deal that is over, but looks as if it were not until somebody waits for it."""

    def __init__(self, deal: Future) -> None:
        super().__init__()
        self._deal = deal

    def add_callback(self, f: Callable[[Any], object], *args: Any, **kwargs: Any) -> Future:
        return self._deal.add_callback(f, *args, **kwargs)

    def add_errback(self, f: Callable[[Any], object], *args: Any, **kwargs: Any) -> Future:
        return self._deal.add_errback(f, *args, **kwargs)


class PureConsumer(Consumer):
    """kafka-python's. `topics` are names, or one pattern that begins with "^".

    `instance` makes the membership static: a restarted process keeps its partitions.
    """

    def __init__(
        self, settings: BrokerSettings, topics: Sequence[str], group: str | None, instance: str | None
    ) -> None:
        self._listener = _Listener()
        self._each = 64  # messages of a batch, as of the last poll: the client counts batches
        by_pattern = bool(topics) and topics[0].startswith("^")
        told = {
            "group_id": group,
            "group_instance_id": instance,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",  # what a producer has taken back never was
            # range keeps equal numbers together, and gives all topics of one partition to the same member
            "partition_assignment_strategy": (RoundRobinPartitionAssignor if by_pattern else RangePartitionAssignor,),
            "metadata_max_age_ms": REFRESH_MS if by_pattern else 300_000,
            "max_partition_fetch_bytes": 4 << 20,
            "fetch_max_wait_ms": 100,  # whatever else is asked on the connection waits behind a fetch
            "allow_auto_create_topics": False,
            "session_timeout_ms": settings.session_ms,
            "max_poll_interval_ms": settings.poll_ms,
            "heartbeat_interval_ms": max(settings.session_ms // 10, 300),
            **settings.pure(),
        }
        self._client = meet(settings, lambda limit: KafkaConsumer(bootstrap_timeout_ms=limit, **told))
        by_batches(self._client)
        with broker_faults(", ".join(settings.bootstrap)):
            if by_pattern:
                self._client.subscribe(pattern=topics[0], listener=self._listener)
            elif topics:
                self._client.subscribe(list(topics), listener=self._listener)

    @override
    def poll(self, seconds: float, most: int) -> dict[Place, Messages]:
        # A poll shorter than a round trip gives up joining and begins again with the next: measured, never through.
        if self._joining():
            seconds = max(seconds, _JOINING)
        self._make_room()
        with broker_faults("poll"):
            found = self._client.poll(timeout_ms=int(seconds * 1000), max_records=max(most // self._each, 1))
        messages = {(place.topic, place.partition): messages_of(records) for place, records in found.items()}
        if messages:
            self._each = max(sum(map(len, messages.values())) // sum(map(len, found.values())), 1)
        return messages

    def _make_room(self) -> None:
        """kafka-python 3.0.12 brings back what it holds of a place that was paused only where nothing else is in line,
        and takes a fetch that is used up for something: the place stood still until another one had messages."""
        fetcher = self._client._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def _joining(self) -> bool:
        """Whether the group deals.

        A deal that was over between two polls is not taken by kafka-python 3.0.12: it begins another one, or, where it
        had begun this one since a topic had changed, forgets it, and stands still for good without a heartbeat (as
        Java's client did: KAFKA-9815).
        """
        coordinator = self._client._coordinator
        if coordinator is None or not (coordinator.rejoining or coordinator.need_rejoin()):
            return False
        coordinator.request_rejoin()
        deal = coordinator._join_task
        if deal is not None and deal.is_done:
            coordinator._join_task = _Dealt(deal)
        return True

    @override
    def moved(self) -> bool:
        moved = self._listener.moved.is_set()
        self._listener.moved.clear()
        return moved

    @override
    def assigned(self) -> set[Place]:
        return {(place.topic, place.partition) for place in self._client.assignment()}

    @override
    def partitions(self, topic: str) -> int:
        with broker_faults(topic):
            return len(self._client.partitions_for_topic(topic) or ())

    @override
    def span(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        wanted = [TopicPartition(*place) for place in places]
        with broker_faults("offsets"):
            first, end = self._client.beginning_offsets(wanted), self._client.end_offsets(wanted)
        return {(place.topic, place.partition): (first[place], end[place]) for place in wanted}

    @override
    def drained(self, place: Place) -> bool:
        asked = TopicPartition(*place)
        with broker_faults("offsets"):
            end = self._client.end_offsets([asked])[asked]
            # not the offset behind the last message: a transaction ends with a marker that is none
            return bool(self._client.position(asked) >= end)

    @override
    def reaches(self, place: Place, timestamp: int) -> bool:
        asked = TopicPartition(*place)
        with broker_faults("offsets"):
            found = self._client.offsets_for_times({asked: -(-timestamp // MILLISECOND)})
        return found[asked] is not None

    @override
    def seek(self, place: Place, offset: int) -> None:
        self._client.seek(TopicPartition(*place), offset)

    @override
    def pause(self, places: Iterable[Place]) -> None:
        self._client.pause(*(TopicPartition(*place) for place in places))

    @override
    def resume(self, places: Iterable[Place]) -> None:
        self._client.resume(*(TopicPartition(*place) for place in places))

    @override
    def commit(self, offsets: Mapping[Place, int]) -> None:
        self._client.commit_async({TopicPartition(*p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()})

    @override
    def reachable(self) -> bool:
        coordinator = self._client._coordinator
        return coordinator is None or coordinator.coordinator_id is not None

    @override
    def end(self, place: Place) -> int | None:
        asked = TopicPartition(*place)
        return self._client.highwater(asked) if asked in self._client.assignment() else None

    @override
    def close(self) -> None:
        self._client.close(autocommit=False, timeout_ms=LEAVING)


@contextmanager
def broker_faults(what: object) -> Iterator[None]:
    """Turn the client's faults into BrokerError (OutageError where they may pass), naming `what` was asked."""
    try:
        yield
    except KafkaError as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise (OutageError if error.retriable else BrokerError)(f"kafka ({what}): {said}") from error


def messages_of(records: Sequence[Any]) -> Messages:
    """What a client gave of one place."""
    batch = gathered(records)
    stamps = batch.timestamps
    return Messages(batch.values, batch.offsets, np.where(stamps < 0, -1, stamps * MILLISECOND))


def open_consumer(
    settings: BrokerSettings, topics: Sequence[str], group: str | None, instance: str | None = None
) -> Consumer:
    """A member of `group` that reads `topics` through the configured library; BrokerError where that is missing."""
    if settings.client == "kafka-python":
        return PureConsumer(settings, topics, group, instance)
    try:
        from streaming.broker.confluent import ConfluentConsumer
    except ImportError as error:
        raise BrokerError(
            "kafka.client = 'confluent' needs the package confluent-kafka: pip install 'tsad[confluent]'; "
            "'kafka-python' needs nothing"
        ) from error
    return ConfluentConsumer(settings, topics, group, instance)


@contextmanager
def reading(settings: BrokerSettings) -> Iterator[Consumer]:
    """A consumer that belongs to no group, for a look at topics."""
    consumer = open_consumer(settings, (), None)
    try:
        yield consumer
    finally:
        consumer.close()
