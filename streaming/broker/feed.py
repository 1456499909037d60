"""One consumer, many partitions: what was fetched waits in an inbox a place until its source takes it."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from streaming.broker.consumer import EMPTY, Consumer, Messages, Place
from streaming.broker.settings import BrokerError
from streaming.types import SourceChanged

FULL = 20_000
"""Messages of an inbox from which on its place is paused; it is fetched again when half of them are taken."""
HELD = 256 << 20
"""Bytes of all inboxes together, likewise: each has its share."""
LEAST = 4 << 20
"""Bytes of the share of an inbox at least."""


class PartitionLostError(Exception):
    """The group has given the place to another member."""


@dataclass(slots=True)
class _Inbox:
    """Messages from `at` on (the first offset not taken) up to `next` (the first not fetched)."""

    at: int
    next: int
    waiting: deque[Messages] = field(default_factory=deque)
    size: int = 0
    bytes: int = 0
    paused: bool = False

    def put(self, messages: Messages) -> None:
        """Append what lies behind `next`."""
        fresh = messages.part(int(np.searchsorted(messages.offsets, self.next)), len(messages))
        if len(fresh):
            self.waiting.append(fresh)
            self.size += len(fresh)
            self.bytes += fresh.bytes
            self.next = int(fresh.offsets[-1]) + 1

    def take(self, below: int, most: int) -> Messages:
        """Up to `most` messages of one fetch, with offsets below `below`."""
        if not self.waiting:
            return EMPTY
        first = self.waiting[0]
        count = min(int(np.searchsorted(first.offsets, below)), most)
        if count == len(first):
            self.waiting.popleft()
        elif count:
            self.waiting[0] = first.part(count, len(first))
        taken = first.part(0, count)
        self.size -= count
        self.bytes -= taken.bytes
        # offsets may leave gaps (compaction, transactions): where nothing lies below, the place goes on there
        self.at = int(taken.offsets[-1]) + 1 if count else min(below, int(first.offsets[0]))
        return taken


class Feed:
    """Pumps a consumer's messages into inboxes. Places without one are paused, and what comes of them is dropped."""

    def __init__(self, consumer: Consumer, fetch: int = 5000, held: int = HELD) -> None:
        self.consumer = consumer
        self._fetch, self._held = fetch, held
        self._inboxes: dict[Place, _Inbox] = {}
        self._moved = False
        self.pumped = time.monotonic()

    def pump(self, seconds: float) -> int:
        """Fetch once, waiting at most `seconds`; how many messages came in."""
        self.pumped = time.monotonic()
        found = self.consumer.poll(seconds, self._fetch)
        if self.consumer.moved():
            self._dealt_out()
            return 0  # what came with the deal was read from places that the group knows, not from ours
        for place, messages in found.items():
            inbox = self._inboxes.get(place)
            if inbox is not None:
                inbox.put(messages)
        self._hold()
        return sum(map(len, found.values()))

    def moved(self) -> bool:
        """Whether places came or went since the last call."""
        moved, self._moved = self._moved, False
        return moved

    def open(self, place: Place, offset: int | None) -> int:
        """Read `place` from `offset` on (None: from the first that is kept) and answer where that is.

        SourceChanged where the topic holds less than was read from it; PartitionLostError where it is not ours.
        """
        if place not in self.consumer.assigned():
            raise PartitionLostError(f"{place[0]} [{place[1]}] belongs to another member of the group")
        first, end = self.consumer.span([place])[place]
        if offset is not None and offset > end:
            raise SourceChanged(
                f"topic {place[0]!r} [{place[1]}] ends at offset {end}, but was read up to {offset}: it was made anew; "
                "name another stream for it, or another database"
            )
        start = first if offset is None else max(offset, first)
        self._inboxes[place] = _Inbox(start, start)
        self.consumer.seek(place, start)
        self.consumer.resume([place])
        return start

    def close(self, place: Place) -> None:
        """Drop the inbox of `place`, and fetch nothing of it."""
        if self._inboxes.pop(place, None) is not None and place in self.consumer.assigned():
            self.consumer.pause([place])

    def take(self, place: Place, below: int, most: int) -> Messages:
        """Up to `most` messages of `place` with offsets below `below`; perhaps none."""
        return self._inbox(place).take(below, most)

    def at(self, place: Place) -> int:
        """The offset behind what was taken of `place`."""
        return self._inbox(place).at

    def waiting(self, place: Place) -> int:
        """How many messages of `place` are here and were not taken."""
        inbox = self._inboxes.get(place)
        return 0 if inbox is None else inbox.size

    def held(self) -> tuple[int, int]:
        """Messages that are here and were not taken, and their bytes; of all places, asked from any thread."""
        inboxes = list(self._inboxes.values())
        return sum(inbox.size for inbox in inboxes), sum(inbox.bytes for inbox in inboxes)

    def drained(self, place: Place) -> bool:
        """Whether all that `place` holds now was taken."""
        return not self._inbox(place).size and self.consumer.drained(place)

    def _inbox(self, place: Place) -> _Inbox:
        if place not in self._inboxes:
            raise PartitionLostError(f"{place[0]} [{place[1]}] belongs to another member of the group")
        return self._inboxes[place]

    def _dealt_out(self) -> None:
        """The group has dealt anew: fetching goes on where the inboxes stand, of what is still ours."""
        self._moved = True
        assigned = self.consumer.assigned()
        for place in self._inboxes.keys() - assigned:
            del self._inboxes[place]
        for place, inbox in self._inboxes.items():
            self.consumer.seek(place, inbox.next)
            inbox.paused = False
        self.consumer.resume(self._inboxes)  # what was held back before stays so else, and is never fetched again
        self.consumer.pause(assigned - self._inboxes.keys())

    def _hold(self) -> None:
        """Pause full inboxes, resume those that have room again."""
        share = max(self._held // max(len(self._inboxes), 1), LEAST)
        filled = {place: max(inbox.size / FULL, inbox.bytes / share) for place, inbox in self._inboxes.items()}
        self._turn([place for place, part in filled.items() if part >= 1 and not self._inboxes[place].paused], True)
        self._turn([place for place, part in filled.items() if part <= 0.5 and self._inboxes[place].paused], False)

    def _turn(self, places: Iterable[Place], paused: bool) -> None:
        wanted = list(places)
        if not wanted:
            return
        (self.consumer.pause if paused else self.consumer.resume)(wanted)
        for place in wanted:
            self._inboxes[place].paused = paused


def numbers(consumer: Consumer, topics: Iterable[str]) -> set[int]:
    """The partition numbers that this member has of every one of `topics`; BrokerError where it has them of some only,
    which equal partition counts and the range assignor exclude."""
    assigned = consumer.assigned()
    each = {topic: {number for name, number in assigned if name == topic} for topic in topics}
    common = set.intersection(*each.values())
    for topic, held in each.items():
        if held != common:
            raise BrokerError(
                f"topic {topic!r}: partitions {sorted(held - common)} came without those of {sorted(each)}; "
                "topics of one stream need equal partition counts and the range assignor"
            )
    return common
