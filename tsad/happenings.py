"""Context events from outside, for one partition: read from a file and the database, and made orders.

An order names the event and the next slot to close: what is judged from there on knows it, in a replay too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog

from storage.events import ContextEvent
from storage.types import Order
from streaming.onsets import Onset, Symptom
from streaming.settings import SECOND
from streaming.signs import Sighting
from streaming.timestamps import EventTimes
from tsad.circumstances import Circumstances
from tsad.context import Happening
from tsad.rows import EPOCH, utc
from tsad.wording import one_line, utc_text

EVENT = "event"
"""The kind of order."""
AHEAD = 400 * 86_400 * SECOND
"""How far in the future an event may be planned."""


class _Line(msgspec.Struct):
    """A line of the file."""

    time: str | int | float
    kind: str
    entity: str | None = None
    end: str | int | float | None = None
    title: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


def read_events(text: str, source: str, now_ns: int) -> tuple[list[ContextEvent], list[tuple[int, str]]]:
    """The events of JSON Lines, and (line number from 1, what is wrong) of those that are none. A last line without an
    end that cannot be read is still being written, and left for later."""
    events, faults = [], []
    times = EventTimes(max_ahead=AHEAD)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(event_from(line, times, source, now_ns))
        except (msgspec.MsgspecError, ValueError) as error:
            if number < len(lines):
                faults.append((number, one_line(str(error), 200)))
    return events, faults


def telling(text: str, source: Path, now_ns: int, log: Any) -> list[ContextEvent]:
    """The events of JSON Lines read from `source`; of lines that are none the `log` is told some."""
    events, faults = read_events(text, str(source), now_ns)
    for number, fault in faults[:3]:
        log.warning("no context event", file=str(source), line=number, reason=fault)
    return events


def event_from(said: str | bytes, times: EventTimes, source: str, now_ns: int) -> ContextEvent:
    """The event that a JSON object tells of. msgspec.MsgspecError or ValueError where it tells of none."""
    line = msgspec.json.decode(said, type=_Line)
    if not line.kind:
        raise ValueError("kind is empty")
    start = _moment("time", line.time, times, now_ns)
    end = None if line.end is None else _moment("end", line.end, times, now_ns)
    if end is not None and end < start:
        raise ValueError(f"end {line.end!r} lies before time {line.time!r}")
    return ContextEvent(line.kind, start, line.entity, end, line.title, line.detail, source)


def _moment(name: str, raw: str | int | float, times: EventTimes, now_ns: int) -> datetime:
    found, faults = times.read([raw], np.array([now_ns], np.int64))
    if faults[0]:
        raise ValueError(f"{name}: {times.explain(int(faults[0]), raw, now_ns)}")
    return utc(int(found[0]))


def happening_of(event: ContextEvent, step: int, known: int) -> Happening:
    """An event in slots of `step` ns, for judgements from the slot `known` on."""
    first = _slot(event.start, step)
    last = first if event.end is None else _slot(event.end, step)
    said = f"{utc_text(event.start)} UTC"
    return Happening(event.id, event.kind, event.entity, first, last, event.title, said, known)


def _slot(time: datetime, step: int) -> int:
    since = time - EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000 // step


def order_of(event: ContextEvent, first_slot: int) -> Order:
    """The order that makes an event known."""
    end = None if event.end is None else event.end.isoformat()
    detail = {
        "kind": event.kind, "entity": event.entity, "start": event.start.isoformat(), "end": end, "title": event.title,
    }  # fmt: skip
    return Order(EVENT, event.id, first_slot, detail)


def event_of(order: Order) -> ContextEvent:
    """The event that an order names."""
    said = order.detail
    end = None if said["end"] is None else datetime.fromisoformat(said["end"])
    return ContextEvent(said["kind"], datetime.fromisoformat(said["start"]), said["entity"], end, said["title"])


@dataclass
class Happenings:
    """Follows what is told of around a partition, whose `circumstances` it makes known.

    `source`: the file, if there is one. `listed(since)` gives what the database holds of what began or ended then or
    later. `fresh` and `rows` are what the next save stores.
    """

    circumstances: Circumstances
    step: int
    clock: Callable[[], int]
    listed: Callable[[datetime | None], list[ContextEvent]]
    source: Path | None = None
    fresh: list[Order] = field(default_factory=list)
    rows: list[ContextEvent] = field(default_factory=list)
    log: Any = field(default_factory=structlog.get_logger)
    _known: set[str] = field(default_factory=set)
    _read: tuple[int, int] | None = None

    def restore(self, orders: Sequence[Order]) -> None:
        """Obey the stored `orders`."""
        for order in orders:
            if order.kind == EVENT:
                self._known.add(order.version)
                self.circumstances.add([happening_of(event_of(order), self.step, order.first_slot)])

    def follow(self, closed: int | None) -> None:
        """Order what has been told since; `closed` is the last slot that has closed."""
        if closed is not None:
            self.circumstances.forget(closed)
        found = self._from_file()
        self.rows += found
        oldest = None if closed is None else utc(max(closed - self.circumstances.span, 0) * self.step)
        for event in [*found, *self.listed(oldest)]:
            ends = event.end or event.start
            if event.id in self._known or (oldest is not None and ends < oldest):
                continue
            self._known.add(event.id)
            order = order_of(event, 0 if closed is None else closed + 1)
            self.fresh.append(order)
            self.circumstances.add([happening_of(event, self.step, order.first_slot)])
            self.log.info("context event", kind=event.kind, entity=event.entity, title=event.title, start=event.start)

    @property
    def to_save(self) -> list[ContextEvent]:
        """Events that the next save stores."""
        return [*self.rows, *self.circumstances.named]

    def sight(
        self, sightings: Iterable[Sighting], onsets: Iterable[Onset], symptoms: Iterable[Symptom], closed: int | None
    ) -> None:
        """Take in what the partition's own lines tell of: in its records, so no order is needed."""
        for onset in onsets:
            self.circumstances.onset(onset, closed)
        for symptom in symptoms:
            self.circumstances.complaints.add(symptom)
        for one in sightings:
            event = self.circumstances.sight(one, closed)
            if event is not None:
                self.rows.append(event)

    def saved(self) -> None:
        """What was to be saved is."""
        self.fresh.clear()
        self.rows.clear()
        self.circumstances.named.clear()

    def _from_file(self) -> list[ContextEvent]:
        """The events of the file, if it has changed since it was last read."""
        if self.source is None:
            return []
        try:
            stat = self.source.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if mark == self._read:
                return []
            text = self.source.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if self._read != (0, 0):
                self.log.warning("context events cannot be read", file=str(self.source), reason=error.strerror)
            self._read = (0, 0)
            return []
        self._read = mark
        return telling(text, self.source, self.clock(), self.log)
