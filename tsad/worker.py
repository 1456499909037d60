"""One process of a stream that comes from Kafka: a runner for each partition that the consumer group gives to it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from streaming.broker.consumer import Place
from streaming.broker.feed import Feed, PartitionLostError
from streaming.broker.settings import BrokerError, OutageError
from streaming.settings import SECOND
from tsad.eventtopic import EventTopic
from tsad.layout import Layout
from tsad.progress import Progress, frozen_heap
from tsad.relay import Relay
from tsad.runner import LeaseLostError, Runner

COMMIT_EVERY = 5 * SECOND
PATIENCE = 0.2
"""Seconds that an idle worker waits for messages."""
LONGEST = 10.0
"""Seconds between two attempts at a cluster that does not answer."""


def attempts(patience: int, stop: Callable[[], bool], again: Callable[[RetryCallState], None]) -> Retrying:
    """Attempts at a cluster that does not answer: for `patience` (ns), less and less often; `again` is told of each."""

    def doze(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not stop():
            time.sleep(0.1)

    return Retrying(
        retry=retry_if_exception_type(OutageError),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST),
        stop=stop_after_delay(patience / SECOND),
        sleep=doze,
        before_sleep=again,
        reraise=True,
    )


def tell_outage(state: RetryCallState, log: Any, what: str = "the cluster") -> str:
    """Log an attempt that met no answer, and say what it met."""
    reason = str(state.outcome and state.outcome.exception())
    log.warning(f"{what} does not answer", attempt=state.attempt_number, reason=reason)
    return reason


@dataclass
class Worker:
    """Runs the partitions of one stream, which lie as `layout` says. `make` brings a partition back to where it was,
    and takes its lease; `epochs` tells the lease of each; `clock` (ns) paces what the group is told; `relay` delivers
    what was saved for others; `events` brings context events, before the first partition is taken up those that are
    there.

    The deal of the group says which partitions are run, the leases who may write: a save under a lease that is over
    drops the partition, whatever the group still says, until the group deals again. A cluster that does not answer is
    borne for `patience` (ns); `fault` says what it answered meanwhile.
    """

    layout: Layout
    feed: Feed
    make: Callable[[int], Runner]
    epochs: Callable[[], dict[int, int]]
    clock: Callable[[], int] = time.time_ns
    runners: dict[int, Runner] = field(default_factory=dict)
    log: Any = field(default_factory=structlog.get_logger)
    relay: Relay | None = None
    events: EventTopic | None = None
    patience: int = 300 * SECOND
    retries: int = 0
    fault: str | None = None
    _gone: Progress = field(default_factory=Progress)
    _committed: int = 0
    _undealt: bool = False
    _answered: float | None = None

    def run(
        self,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Progress], None] = lambda _: None,
        last: Callable[[], None] = lambda: None,
        done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Go on until `stop` or `done` answers True; after `last` every partition keeps its memory as a snapshot."""
        with self.relay or nullcontext(), self.events or nullcontext(), self._member(), frozen_heap():
            while not (stop() or done()):
                self._ride_out(self.step, stop)
                tell(self.progress)
            last()
            self.close()

    @contextmanager
    def _member(self) -> Iterator[None]:
        """Whatever happens, the group is told that we go: others have our partitions at once."""
        try:
            yield
        except BaseException:
            self.feed.consumer.close()
            raise

    def _ride_out(self, work: Callable[[], object], stop: Callable[[], bool]) -> None:
        """Do `work`; while the cluster does not answer it is tried again, until `stop` or the end of patience."""
        for attempt in attempts(self.patience, stop, self._again):
            if stop():
                return
            with attempt:
                work()
                self.fault = None

    def _again(self, state: RetryCallState) -> None:
        self.retries, self.fault = self.retries + 1, tell_outage(state, self.log)

    def meanwhile(self) -> None:
        """What must go on while something takes long: the membership. Full inboxes pause their partitions."""
        with suppress(BrokerError):  # met again, and told, by the next step
            self.feed.pump(0)

    def _hear(self) -> None:
        """BrokerError where the group's coordinator has not been known for longer than patience."""
        now = time.monotonic()
        if self._answered is None or self.feed.consumer.reachable():
            self._answered = now
        elif now - self._answered >= self.patience / SECOND:
            raise BrokerError(f"kafka: the group has had no coordinator for {self.patience // SECOND} s")

    def read_out(
        self, stop: Callable[[], bool] = lambda: False, tell: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """Go on to where the topics end now and close every open slot, as the end of a file does."""
        while not self.runners and not stop():
            self._ride_out(self.step, stop)
        ends: dict[Place, int] = {}
        self.run(stop, tell, self.finish, lambda: self._reached(ends))

    def finish(self) -> None:
        """Every topic of every partition ends here."""
        for number, runner in list(self.runners.items()):
            self._guarded(number, runner.close_all)

    def _reached(self, ends: dict[Place, int]) -> bool:
        """Whether all that is ours was read up to `ends`, which learns of a place when it is first seen."""
        with suppress(OutageError):  # met again, and told, by the next step
            for number in [n for n, runner in self.runners.items() if not runner.waiting]:
                self._guarded(number, partial(self.runners[number].listen, last=True))
            mine = {place for number in self.runners for place in self.layout.places(number).values()}
            if fresh := mine - ends.keys():
                ends |= {place: end for place, (_, end) in self.feed.consumer.span(fresh).items()}
            # where the last message is followed by the marker of a transaction, no message reaches the end
            return all(self.feed.at(place) >= ends[place] or self.feed.drained(place) for place in mine)
        return False

    @property
    def counts(self) -> dict[str, int]:
        """The counters of all partitions that are here, together."""
        total: Counter[str] = Counter()
        for runner in self.runners.values():
            total.update(runner.counts)
        return dict(total)

    def step(self) -> int:
        """Fetch, and give every partition that has something one poll; how many had."""
        busy = [number for number, runner in self.runners.items() if runner.waiting]
        self.feed.pump(0 if busy else PATIENCE)
        self._hear()
        if self.events is not None:
            self.events.serve(self.clock())
        self._undealt |= self.feed.moved()
        if self._undealt:
            self._dealt()
        ready = [number for number, runner in self.runners.items() if runner.waiting]
        for number in ready:
            self._guarded(number, self.runners[number].step)
        explain = not ready
        for number in self.runners.keys() - set(ready):
            # explaining can wait while others are busy; that a topic has gone quiet may be what stops a partition
            runner = self.runners[number]
            explained = self._guarded(number, runner.listen if ready else partial(runner.rest, explain))
            explain = explain and not explained
        if self.clock() - self._committed >= COMMIT_EVERY:
            self._commit()
        if self.relay is not None:
            self.relay.serve({number: runner.epoch for number, runner in self.runners.items()})
        return len(ready)

    def close(self) -> None:
        """Keep what is in memory, tell the group where we stand, and leave it."""
        for number in list(self.runners):
            self._guarded(number, self.runners[number].snapshot)
        self._commit()
        self.feed.consumer.close()

    @property
    def progress(self) -> Progress:
        """All partitions together, those that went to others too; the slot is that of the one furthest behind."""
        parts = [runner.progress for runner in self.runners.values()]
        slots = [part.slot for part in parts if part.slot is not None]
        missing = [part.missing_slots for part in parts if part.missing_slots is not None]
        total = Progress(slot=min(slots, default=None), missing_slots=max(missing, default=None))
        for part in [*parts, self._gone]:
            total.rows += part.rows
            total.windows += part.windows
            total.alerts += part.alerts
        return total

    def _dealt(self) -> None:
        """The group has dealt: let go what is not ours, take up what is new, go on with what nobody else had."""
        mine = self.layout.dealt(self.feed.consumer)
        for number in self.runners.keys() - mine:
            self._drop(number, "another member has it now")
        epochs = self.epochs()
        for number in [n for n, runner in self.runners.items() if epochs.get(n) != runner.epoch]:
            self._drop(number, "another member had it meanwhile")
        for number in sorted(mine - self.runners.keys()):
            try:
                self.runners[number] = self.make(number)
            except PartitionLostError as error:
                self.log.info("partition lost while it was brought back", partition=number, reason=str(error))
                return  # dealt again: the next step takes up what is left
            self.log.info("partition taken up", partition=number, epoch=self.runners[number].epoch)
        self._undealt = False

    def _guarded(self, number: int, work: Callable[[], object]) -> object:
        try:
            return work()
        except (LeaseLostError, PartitionLostError) as error:
            self._drop(number, str(error))
            return None

    def _drop(self, number: int, reason: str) -> None:
        runner = self.runners.pop(number)
        for source in runner.sources.values():
            source.close()
        for part in ("rows", "windows", "alerts"):
            setattr(self._gone, part, getattr(self._gone, part) + getattr(runner.progress, part))
        self.log.info("partition let go", partition=number, reason=reason)

    def _commit(self) -> None:
        self._committed = self.clock()
        places = [place for runner in self.runners.values() for place in runner.positions.values()]
        offsets: dict[Place, int] = {
            (place["topic"], place["partition"]): place["row"] for place in places if isinstance(place, dict)
        }
        if offsets:
            self.feed.consumer.commit(offsets)
