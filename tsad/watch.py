"""How a run stands, for those outside: noted by the run's own thread once a second, asked for by others."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from storage.engine import Database
from storage.types import StoreError
from streaming.broker.settings import BrokerError
from streaming.broker.source import KafkaSource
from streaming.prometheus.source import PrometheusSource
from streaming.pushed import PushedSource
from tsad.currentscores import CurrentScores, current_scores
from tsad.polling import Poller
from tsad.relay import Relay
from tsad.rows import severity_of, utc
from tsad.runner import Runner
from tsad.worker import Worker

EVERY = 1.0
"""Seconds between two notes."""
SELDOM = 30.0
"""Seconds between two questions to the database."""
SLOW = 10.0
"""Seconds after which a transaction that goes on counts as a database that does not answer."""
BEHIND = 60.0
"""Seconds after which a message that still waits counts as a relay that is behind."""
TWICE = 2.0
"""Entities beyond this multiple of those that the alert budget was computed for, or below its inverse, are told."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a run is not ready: `what` in one word, `detail` in words."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """One partition: `delay` of its watermark (s; None before the first slot), `lags` by topic, `running` alerts,
    topics that are `quiet` for too long, `scores` of the last closed slot."""

    number: int
    epoch: int
    version: str | None
    delay: float | None
    entities: int
    expected: int | None
    lags: Mapping[str, int]
    counts: Mapping[str, int]
    running: Mapping[tuple[str, str], int]
    quiet: tuple[str, ...] = ()
    scores: CurrentScores | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A run at a moment. `partitions_of`: how many partitions the stream has; None where it is not from Kafka."""

    partitions: tuple[PartitionStanding, ...]
    partitions_of: int | None
    troubles: tuple[Trouble, ...]
    retries: Mapping[str, int]
    waiting: Mapping[int, tuple[int, float]]

    @property
    def budget(self) -> tuple[int, float] | None:
        """Entities that are here, and how many there should be by the models' alert budgets: those are for all
        partitions of the stream. None where no model says."""
        said = [part.expected for part in self.partitions if part.expected is not None]
        if not said:
            return None
        share = len(self.partitions) / (self.partitions_of or len(self.partitions))
        return sum(part.entities for part in self.partitions), max(said) * share

    @property
    def mismatch(self) -> bool:
        """Whether the two are apart by more than a factor of two."""
        if self.budget is None:
            return False
        here, expected = self.budget
        return not expected / TWICE <= here <= expected * TWICE


@dataclass
class Watch:
    """Notes how a run stands. `more` is asked for further troubles, now and then; `tick` tells seconds. `worker` is set
    where the run is a member of a group, `poller` where it asks a server."""

    stream: str
    database: Database
    clock: Callable[[], int] = time.time_ns
    tick: Callable[[], float] = time.monotonic
    more: Callable[[], Iterable[Trouble]] = lambda: ()
    stuck_after: float = 360.0
    standing: Standing | None = None
    worker: Worker | None = field(default=None, init=False)
    poller: Poller | None = field(default=None, init=False)
    _noted: float = float("-inf")
    _asked: float = float("-inf")
    _more: tuple[Trouble, ...] = ()
    _partitions_of: int | None = field(default=None, init=False)

    def note(self, runners: Mapping[int, Runner]) -> None:
        """How the run stands now; a call within a second of the last one does nothing."""
        now = self.tick()
        if now - self._noted < EVERY:
            return
        self._noted = now
        if now - self._asked >= SELDOM:
            self._asked, self._more = now, tuple(self.more())
            self._partitions_of = self._count()
        relay = None if self.worker is None else self.worker.relay
        self.standing = Standing(
            tuple(self._partition(number, runner) for number, runner in sorted(runners.items())),
            self._partitions_of,
            self._more,
            {
                "database": self.database.retries,
                "cluster": 0 if self.worker is None else self.worker.retries,
                "delivery": 0 if relay is None else relay.retries,
                "server": 0 if self.poller is None else self.poller.retries,
            },
            self._waiting(relay),
        )

    def troubles(self) -> list[Trouble]:
        """Why the run is not ready; none if it is. Asked from any thread."""
        standing, waits = self.standing, self.database.waits()
        if standing is None:
            return [Trouble("starting", f"stream {self.stream!r} is being brought back to where it was")]
        found = []
        if self.worker is not None:
            if self.worker.fault is not None or not self.worker.feed.consumer.reachable():
                said = self.worker.fault or "the coordinator of the consumer group does not answer"
                found.append(Trouble("cluster", said))
            if not standing.partitions:
                found.append(Trouble("partitions", "no partitions are assigned to this member of the group"))
        if self.poller is not None and self.poller.fault is not None:
            found.append(Trouble("server", self.poller.fault))
        if self.database.faulty or waits > SLOW:
            since = f" for {waits:.0f} s" if waits > SLOW else ""
            found.append(Trouble("database", f"{self.database.name} does not answer{since}"))
        late = [number for number, (_, age) in standing.waiting.items() if age > BEHIND]
        if late:
            fault = self.worker.relay.fault if self.worker is not None and self.worker.relay is not None else None
            said = f": {fault}" if fault else ""
            found.append(Trouble("relay", f"messages of partitions {late} wait longer than {BEHIND:.0f} s{said}"))
        return [*found, *standing.troubles]

    def stuck(self) -> float | None:
        """Seconds for which a worker has not looked at its cluster, where those are too many; else None.

        A file or standard input may keep a run waiting for good."""
        if self.worker is None:
            return None
        idle = time.monotonic() - self.worker.feed.pumped
        return idle if idle > self.stuck_after else None

    def held(self) -> tuple[int, int] | None:
        """Messages that were fetched and wait, and their bytes; None where the run is no member of a group. Asked from
        any thread."""
        return None if self.worker is None else self.worker.feed.held()

    def _partition(self, number: int, runner: Runner) -> PartitionStanding:
        windower = runner.partition.windower
        closed, step = windower.closed_through, runner.writer.step
        running: Counter[tuple[str, str]] = Counter(
            (case.track.episode.state, severity_of(case))
            for case in runner.partition.book.cases.values()
            if case.track.episode.running
        )
        lags = {source.name: source.lag() for source in _sources(runner)}
        eras = runner.partition.eras
        return PartitionStanding(
            number,
            runner.epoch,
            eras[-1].version if eras else None,
            None if closed is None else (self.clock() - (closed + 1) * step) / 1e9,
            sum(name is not None for name in windower.roster.names),
            _expected(runner),
            {topic: lag for topic, lag in lags.items() if lag is not None},
            dict(runner.counts),
            running,
            () if runner.absence is None else tuple(runner.absence.open),
            current_scores(runner.partition),
        )

    def _count(self) -> int | None:
        """How many partitions the stream has."""
        if self.worker is None:
            return None
        with suppress(BrokerError, StoreError):  # asked again
            return self.worker.layout.size(self.worker.feed.consumer) or None
        return self._partitions_of

    def _waiting(self, relay: Relay | None) -> dict[int, tuple[int, float]]:
        if relay is None:
            return {}
        now = utc(self.clock())
        return {number: (count, (now - oldest).total_seconds()) for number, (count, oldest) in relay.waiting.items()}


def _sources(runner: Runner) -> list[KafkaSource | PushedSource | PrometheusSource]:
    live = (KafkaSource, PushedSource, PrometheusSource)
    return [source for source in runner.sources.values() if isinstance(source, live)]


def _expected(runner: Runner) -> int | None:
    """The number of entities that the alert budget of the model in force was computed for."""
    eras = runner.partition.eras
    if not eras or not eras[-1].ensemble.names:
        return None
    ensemble = eras[-1].ensemble
    return ensemble.settings.expected_entities or len(ensemble.names)
