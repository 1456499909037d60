"""Context events from a Kafka topic: each worker of a stream reads all of it, since every partition needs every event.

What was read is kept in the database, each event once whoever reads it; partitions find it there and make it orders.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import msgspec
import structlog

from storage.events import ContextEvent
from storage.types import DeadLetter
from streaming.broker.consumer import Messages
from streaming.broker.whole import WholeTopic
from streaming.deadletters import DeadLetters, DeadReason
from streaming.settings import SECOND
from streaming.timestamps import EventTimes
from tsad.happenings import AHEAD, event_from
from tsad.wording import one_line

EVERY = SECOND
"""Time between two looks at the topic."""
AWHILE = 0.01
"""Seconds that a look may take."""
LONGEST = 64 << 10
"""Bytes of a message."""
TOPIC = "context"
"""What dead letters call it; their partition is the topic's own."""


class Bury(Protocol):
    """Keeps what a partition of the topic has that tells of no event."""

    def __call__(self, partition: int, letters: Iterable[DeadLetter]) -> None:
        """Each once."""
        ...


@dataclass
class EventTopic:
    """The topic `name`, which `connect` opens. `add` keeps events, `bury` what tells of none."""

    name: str
    connect: Callable[[], WholeTopic]
    add: Callable[[list[ContextEvent]], None]
    bury: Bury
    log: Any = field(default_factory=structlog.get_logger)
    _topic: WholeTopic | None = None
    _dead: dict[int, DeadLetters] = field(default_factory=dict)
    _served: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._topic is not None:
            self._topic.close()
            self._topic = None

    def serve(self, now_ns: int) -> None:
        """Keep what has come, at the first call all that is there. BrokerError as for the other topics."""
        if self._topic is None:
            self._topic = self._opened(now_ns)
        elif now_ns - self._served >= EVERY:
            self._keep(self._topic.poll(AWHILE), now_ns)
        else:
            return
        self._served = now_ns

    def _opened(self, now_ns: int) -> WholeTopic:
        """The topic, all of which that is there now was kept: begun anew where that fails."""
        topic = self.connect()
        try:
            for found in topic.read_up():
                self._keep(found, now_ns)
        except BaseException:
            topic.close()
            raise
        return topic

    def _keep(self, found: Mapping[int, Messages], now_ns: int) -> None:
        for partition, messages in found.items():
            dead, events = self._dead.setdefault(partition, DeadLetters()), list[ContextEvent]()
            places = zip(messages.values, messages.offsets.tolist(), messages.timestamps.tolist(), strict=True)
            for payload, offset, stamp in places:
                try:
                    events.append(self._event(payload, stamp if stamp >= 0 else now_ns))
                except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                    dead.add(offset, _reason(payload, error), one_line(str(error), 400), payload)
            self.add(events)
            letters, counts = dead.take()
            self.bury(
                partition, [DeadLetter(TOPIC, one.position, one.reason, one.detail, one.payload) for one in letters]
            )
            if counts:
                self.log.warning("no context events", topic=self.name, partition=partition, **counts)

    def _event(self, payload: bytes, stamp: int) -> ContextEvent:
        if len(payload) > LONGEST:
            raise ValueError(f"longer than {LONGEST} bytes, the most that is allowed")
        # a unit of time for each message: what came before must not say how the next one is read
        event = event_from(payload, EventTimes(max_ahead=AHEAD), f"kafka:{self.name}", stamp)
        if "\0" in payload.decode() or "\\u0000" in payload.decode():
            raise ValueError("a NUL character is in it, which cannot be stored")
        return event


def _reason(payload: bytes, error: Exception) -> DeadReason:
    """The reason of a dead letter."""
    if not payload.strip():
        return "empty"
    if len(payload) > LONGEST:
        return "too_long"
    if isinstance(error, msgspec.ValidationError):
        return "missing_values" if "missing required" in str(error) else "wrong_type"
    if isinstance(error, UnicodeDecodeError):
        return "bad_encoding"
    if isinstance(error, msgspec.MsgspecError | RecursionError):
        return "broken_json"
    return "bad_time" if str(error).startswith(("time", "end")) else "missing_values"
