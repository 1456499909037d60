"""`tsad produce`: a data set replayed into topics, in the pace of its event time or as fast as it goes."""

import heapq
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from streaming.broker.raw import Raw, Writer, partition_of
from streaming.encode import json_payloads
from streaming.settings import SECOND
from streaming.types import Source

POLL = 5000
BATCH = 2000
"""Messages that are written at once."""
NAP = 0.2
"""Seconds after which a wait looks whether it is to stop."""


def speed_of(said: str) -> float | None:
    """ "60x" is sixty seconds of event time a second; "max" is None. ValueError for anything else."""
    if said == "max":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", said)
    if match is None or not 0 < float(match[1]) < 1e9:
        raise ValueError(f"{said!r} is no speed; write a multiple of real time, such as 60x, or max")
    return float(match[1])


class Pace:
    """When event times are due, `speed` times as fast as they went by, from the first one on; None: at once."""

    def __init__(
        self,
        speed: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._first: tuple[int, float] | None = None

    def ahead(self, at: int) -> float:
        """Seconds until event time `at` (ns) is due; 0 where it is."""
        if self._speed is None:
            return 0.0
        if self._first is None:
            self._first = at, self._clock()
        began, since = self._first
        return max((at - began) / SECOND / self._speed - (self._clock() - since), 0.0)

    def wait(self, at: int, stop: Callable[[], bool]) -> None:
        """Sleep until `at` is due, or `stop` answers True."""
        while not stop() and (left := self.ahead(at)) > 0:
            self._sleep(min(left, NAP))


@dataclass(slots=True)
class Lane:
    """What goes into `topic`: `sources` one after another. `stamped`: Kafka is told event time, else it takes now."""

    topic: str
    sources: Sequence[Source]
    writer: Writer
    partitions: int
    stamped: bool = False
    waiting: list[Raw] = field(default_factory=list)
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def messages(self) -> Iterator[tuple[int, "Lane", Raw]]:
        """Everything, with the newest event time so far."""
        newest = None
        for source in self.sources:
            while (batch := source.poll(POLL)) is not None:
                self.left_out.update(batch.dead_counts)
                keys = [name.encode() for name in batch.names]
                for code, at, value in zip(
                    batch.codes.tolist(), batch.times.tolist(), json_payloads(batch), strict=True
                ):
                    newest = at if newest is None else max(newest, at)
                    stamp = at // 1_000_000 if self.stamped else None
                    yield newest, self, Raw(partition_of(keys[code], self.partitions), -1, stamp, keys[code], value)

    def flush(self) -> None:
        """Write what waits; BrokerError where that fails."""
        if self.waiting:
            self.writer.write(self.waiting)
            self.written += len(self.waiting)
            self.waiting = []


def produce(
    lanes: Sequence[Lane],
    pace: Pace,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int], None] = lambda _: None,
) -> bool:
    """Write everything that the lanes hold, by event time; True at the end, False where `stop` said so before.

    Late records follow the one before them in their file. What was due by then is written in any case.
    """
    for at, lane, message in heapq.merge(*(lane.messages() for lane in lanes), key=itemgetter(0)):
        if pace.ahead(at) > 0:
            _flush(lanes, tell)
            pace.wait(at, stop)
        if stop():
            _flush(lanes, tell)
            return False
        lane.waiting.append(message)
        if len(lane.waiting) >= BATCH:
            _flush(lanes, tell)
    _flush(lanes, tell)
    return True


def _flush(lanes: Sequence[Lane], tell: Callable[[int], None]) -> None:
    for lane in lanes:
        lane.flush()
    tell(sum(lane.written for lane in lanes))
