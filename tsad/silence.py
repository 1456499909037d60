"""A topic that has gone quiet must not hold back the other one's slots; when it does not, is an order.

Between `idle` and `resumed` the topic's watermark is the other's. Both orders name the topic and the offset at which it
fell silent (`logs@1234`). `resumed` says with which record the topic came back (`position`), and its first slot is the
one that this record finds next to close. With both known, a replay does the same however it reads the two topics; with
the first alone, the topic is idle when everything was read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np

from storage.types import Order
from streaming.settings import SECOND
from streaming.types import Ints, Topic
from streaming.windower import Windower

IDLE, RESUMED = "idle", "resumed"


class Listened(Protocol):
    """A source whose end can be told from a pause; see `KafkaSource`."""

    ingested: tuple[int, int] | None

    def drained(self) -> bool:
        """Whether all that it holds now was taken."""
        ...

    def reaches(self, timestamp: int) -> bool:
        """Whether it holds what was ingested at `timestamp` (ns) or later."""
        ...

    def at(self) -> int:
        """The offset behind what was taken."""
        ...


@dataclass(slots=True)
class Silence:
    """The idle topics of one partition; `sources` (by topic) are asked, those of finite streams are none.

    `open`: the idleness (as the orders name it) of each topic that is idle. `fresh`: orders that the next save stores.
    """

    windower: Windower
    idle_after: int
    sources: Mapping[Topic, Listened] = field(default_factory=dict)
    open: dict[Topic, str] = field(default_factory=dict)
    fresh: list[Order] = field(default_factory=list)
    _looked: int = 0

    def due(self, now: int) -> Topic | None:
        """The topic that is idle from now on; the broker is asked ten times in `idle_after`, or once a second."""
        if len(self.sources) < 2 or now - self._looked < max(self.idle_after // 10, SECOND):
            return None
        self._looked = now
        return self._idle(self._outlasted)

    def over(self) -> Topic | None:
        """The topic that is idle from now on, because what it holds now is all that is wanted of it."""
        return self._idle(lambda _: True)

    def _idle(self, wanted: Callable[[Topic], bool]) -> Topic | None:
        for topic, source in self.sources.items():
            slot = self.windower.held_back(topic)
            # the end is asked last: what came to this topic before the other one's message is then seen
            if slot is not None and wanted(topic) and source.drained():
                self.open[topic] = f"{topic}@{source.at()}"
                self.fresh.append(Order(IDLE, self.open[topic], slot))
                return topic
        return None

    def heard(self, topic: Topic, positions: Ints) -> None:
        """Records of `topic` are about to be processed: if it was idle, it is not any longer."""
        if topic not in self.open:
            return
        first = int(np.searchsorted(positions, _offset(self.open[topic])))
        if first < len(positions):
            closed = self.windower.closed_through
            slot = -1 if closed is None else closed + 1
            order = Order(RESUMED, self.open.pop(topic), slot, {"position": int(positions[first])})
            self.fresh.append(order)
            self._lift(order)

    @property
    def missed(self) -> list[Topic]:
        """What is idle by the orders, and not yet for the windower: a replay has to tell it."""
        return [topic for topic in self.open if not self.windower.is_idle(topic)]

    def restore(self, orders: Sequence[Order]) -> None:
        """Obey the stored `orders`, by first slot."""
        self.open = {_topic(order.version): order.version for order in orders if order.kind == IDLE}
        for order in orders:
            if order.kind == RESUMED:
                self._lift(order)
                if self.open.get(_topic(order.version)) == order.version:
                    del self.open[_topic(order.version)]

    def _lift(self, order: Order) -> None:
        self.windower.lift(_topic(order.version), order.detail["position"], order.first_slot)

    def _outlasted(self, topic: Topic) -> bool:
        """Whether another topic has something that was ingested `idle_after` past the last of `topic`."""
        source = self.sources[topic]
        others = [other for name, other in self.sources.items() if name != topic]
        began = [other.ingested[0] for other in others if other.ingested is not None]
        last = source.ingested[1] if source.ingested is not None else min(began, default=None)
        return last is not None and any(other.reaches(last + self.idle_after) for other in others)


def _topic(version: str) -> Topic:
    return cast(Topic, version.partition("@")[0])


def _offset(version: str) -> int:
    return int(version.partition("@")[2])
