"""Queries as a source: PromQL evaluated at every step, as time goes on or over a range of the past."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from streaming.assembly import Block, place_blocks
from streaming.broker.settings import BrokerError
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.mapping import SeriesMapping
from streaming.prometheus.answers import Points, Table, read, tabled
from streaming.prometheus.client import Client
from streaming.prometheus.settings import MS, QueryError, Questions, Server, TooMuchError, UnansweredError
from streaming.settings import SECOND
from streaming.types import Records, SourceChanged, Topic

PARALLEL = 4
"""Queries that are asked at a time: a Prometheus answers 20."""
POINTS = 200_000
"""Points of an answer that are aimed at: as Python objects, before they are arrays, they take 27 MB."""
CELLS = 2_000_000
"""Cells (time, entity, query) of a poll that are aimed at."""
LONGEST = 10.0
"""Seconds between two attempts at a server that does not answer."""
PATIENCE = 300.0
"""Seconds for which a server that does not answer is asked again about the past."""
BEGINNING = 16
"""Times that the first poll asks for."""
CAUTIOUS = 20
"""Polls behind one that was too much which ask for no more times than it got."""


class PrometheusSource:
    """Asks `questions` at times that are multiples of the step. A position's `row` is the number of the next one (its
    time is that many steps after the epoch), `first` that where the stream began, which the first position fixes.

    A time may be asked once it is `delay` (ns) behind the clock, and with `until` (a number) only below that one: then
    the source has an end. A source without a position begins at the number `begin` tells of the newest that may be
    asked. `entities`: others are left out. `heard` is when (by the clock) values came last; `ingested` the first and
    the newest such moment.
    """

    topic: Topic = "telemetry"

    def __init__(
        self,
        name: str,
        client: Client,
        questions: Questions,
        columns: Columns,
        *,
        delay: int = 0,
        begin: Callable[[int], int] = lambda newest: newest,
        until: int | None = None,
        entities: Collection[str] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.client = client
        self.questions = questions
        self.columns = columns
        self.truncated: tuple[int, int] | None = None
        self.ingested: tuple[int, int] | None = None
        self.heard: int | None = None
        self._delay, self._begin, self._until, self._clock = delay, begin, until, clock
        self._entities = None if entities is None else frozenset(entities)
        self._mapping = SeriesMapping(questions.mapping, questions.default_entity)
        self._dead = DeadLetters()
        self._first: int | None = None
        self._next = 0
        self._span = BEGINNING
        self._cautious = 0
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="query")

    @property
    def waiting(self) -> bool:
        """Whether a time may be asked, or the end is reached."""
        return self._until is not None or self.lag() > 0

    def poll(self, max_records: int = 5000) -> Records | None:
        """The rows of the next times, of `max_records` at most; perhaps none. UnansweredError and QueryError leave the
        source where it is; of a range that is refused or too large the first half is asked."""
        self.open()
        if self._until is not None and self._next >= self._until:
            return None
        found, count = self._asked(min(self.lag(), max_records, self._span))
        rows = tabled(found, self._mapping, self._next * self._step_ms, self._step_ms, count, self._entities)
        first, self._next = self._next, self._next + count
        if count:
            self._span = self._room(max(len(one.labels) for one in found), len(rows.names))
        return self._records(rows, first)

    def at(self) -> int:
        """The number behind the last time that was asked."""
        return self._next

    def end(self) -> int:
        """The number behind the newest time that may be asked."""
        return (self._clock() - self._delay) // self.questions.step + 1 if self._until is None else self._until

    def lag(self) -> int:
        """Times that may be asked and were not."""
        self.open()
        return max(self.end() - self._next, 0)

    def drained(self) -> bool:
        """Whether every time that may be asked was."""
        return self.lag() == 0

    def reaches(self, timestamp: int) -> bool:
        """Whether values came at `timestamp` (ns) or later."""
        return self.ingested is not None and self.ingested[1] >= timestamp

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: the next time's number, that of the first one, and the step that both count."""
        return {
            "topic": self.name, "step": self.questions.step, "first": self._first, "row": next_position,
            "decoder": {"dead": self._dead.state(next_position)}, "ingested": self.ingested, "heard": self.heard,
        }  # fmt: skip

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`, or from its `first` where it names no row; SourceChanged where it is another source's,
        or counts another step."""
        if position.get("topic") != self.name:
            before = position.get("topic") or position.get("path")
            raise SourceChanged(f"{self.name}: the stream was read from {before!r} before, and goes on there only")
        if position["step"] != self.questions.step:
            seconds = position["step"] / SECOND
            raise SourceChanged(
                f"{self.name}: the stream was read in steps of {seconds:g} s before, and goes on so only"
            )
        self._first = position["first"]
        self._next = position.get("row", self._first)
        if "decoder" in position:
            self._dead.restore(position["decoder"]["dead"])
            self.ingested = tuple(position["ingested"]) if position.get("ingested") else None
            self.heard = position.get("heard")

    def open(self) -> None:
        """Fix where the stream begins, unless a position was sought before."""
        if self._first is None:
            self._first = self._next = self._begin(self.end() - 1)

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.shutdown(cancel_futures=True)
        self.client.close()

    @property
    def _step_ms(self) -> int:
        return self.questions.step // MS

    def _room(self, series: int, entities: int) -> int:
        """How many times the next poll may ask for: twice as many as this one, where that is not too much."""
        fits = min(POINTS // max(series, 1), CELLS // max(entities * len(self.questions.queries), 1))
        self._cautious, wanted = max(self._cautious - 1, 0), self._span * (1 if self._cautious else 2)
        return max(min(wanted, fits, self.client.server.max_points), 1)

    def _asked(self, count: int) -> tuple[list[Points], int]:
        """The answer of each query at the next `count` times, or as many as can be had at once."""
        asked = [self._pool.submit(self._answer, feature, count) for feature in self.questions.queries if count]
        try:
            return [one.result() for one in asked], count
        except TooMuchError:  # never of one time
            self._span, self._cautious = count // 2, CAUTIOUS
            return self._asked(count // 2)
        except Exception:  # it may have been too much for the time it has
            self._span, self._cautious = max(count // 2, 1), CAUTIOUS
            raise
        finally:
            for one in asked:
                one.cancel()

    def _answer(self, feature: str, count: int) -> Points:
        client, first, step = self.client, self._next, self._step_ms
        try:
            query = self.questions.queries[feature]
            payload = client.over(query, first * step, (first + count - 1) * step, step)
            return read(payload, client.server.max_series).check(first * step, step, count)
        except TooMuchError as error:
            if count > 1:
                raise
            if error.wrong:
                raise QueryError(f"query {feature!r}: {error}") from error
            return Points.none(str(error))
        except BrokerError as error:
            raise type(error)(f"query {feature!r}: {error}") from error

    def _records(self, rows: Table, first: int) -> Records:
        """The rows of times from the number `first` on."""
        now, count, queries = self._clock(), len(rows.codes), list(self.questions.queries)
        for fault in rows.faults:
            self._dead.add(first + fault.place, fault.reason, f"query {queries[fault.query]!r}: {fault.detail}", None)
        dead, dead_counts = self._dead.take()
        block = Block(np.arange(count), queries[: rows.values.shape[1]], rows.values)
        values, unknown = place_blocks([block], np.ones(count, np.bool_), self.columns)
        used, codes = np.unique(rows.codes, return_inverse=True)
        names = [rows.names[code] for code in used.tolist()]
        if count:
            self.heard, self.ingested = now, ((self.ingested or (now, 0))[0], now)
        return Records(
            names, codes.astype(np.int32), (first + rows.places) * self.questions.step, values, first + rows.places,
            np.full(count, now, np.int64), self.columns.names, self._next,
            labels={name: rows.labels[name] for name in names if rows.labels[name]},
            dead=dead, dead_counts=dead_counts, unknown=unknown,
        )  # fmt: skip


class PrometheusRange(PrometheusSource):
    """A range of the past, with an end. A server that does not answer is asked again for `patience` seconds; `doze`
    waits (s)."""

    patience: float = PATIENCE
    doze: Callable[[float], None] = staticmethod(time.sleep)

    def poll(self, max_records: int = 5000) -> Records | None:
        """As any source's; None at the end."""
        return insisting(self.patience, self.doze)(super().poll, max_records)


def insisting(patience: float, doze: Callable[[float], None] = time.sleep) -> Retrying:
    """Calls what meets no answer again, less and less often, for `patience` seconds; `doze` waits (s)."""
    return Retrying(
        retry=retry_if_exception_type(UnansweredError), wait=wait_random_exponential(multiplier=0.5, max=LONGEST),
        stop=stop_after_delay(patience), sleep=doze, reraise=True,
    )  # fmt: skip


def open_range(
    server: Server,
    questions: Questions,
    columns: Columns,
    since_ns: int,
    until_ns: int,
    *,
    entities: Collection[str] | None = None,
    delay: int = 0,
    clock: Callable[[], int] = time.time_ns,
    name: str = "prometheus",
) -> PrometheusRange:
    """The times from `since_ns` on and before `until_ns`, as far as they are `delay` (ns) behind the clock, of all
    entities or some: no query can be narrowed to those, so that others are read and left out."""
    first, until = numbers(since_ns, min(until_ns, clock() - delay + 1), questions.step)
    return PrometheusRange(
        name, Client(server), questions, columns, begin=lambda _: first, until=until, entities=entities, clock=clock
    )


def numbers(since_ns: int, until_ns: int, step: int) -> tuple[int, int]:
    """The numbers of the multiples of `step` in [since, until): the first, and the one behind the last."""
    first = -(-since_ns // step)
    return first, max(-(-until_ns // step), first)
