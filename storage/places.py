"""The numbers of a stream's partitions where it reads topics by a pattern: each partition of each topic has one, for
good."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.schema import places, streams
from storage.types import LIVE, StoreError
from storage.upsert import encode, upsert


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A row of `places`."""

    topic: str
    number: int
    partition: int


class Places:
    """The numbered places of a database's streams; `clock` only dates them."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def numbers(self, stream: str, wanted: Iterable[tuple[str, int]], run: str = LIVE) -> dict[tuple[str, int], int]:
        """The stream's partition for each of `wanted` (a topic and one of its partitions). What has none gets the next,
        by topic and partition. StoreError where the stream is not known."""
        asked = sorted(set(wanted))
        known = self._database.read(lambda connection: _of(connection, run, stream))
        if any(place not in known for place in asked):
            known = self._database.write(lambda connection: self._numbered(connection, run, stream, asked))
        return {place: known[place] for place in asked}

    def count(self, stream: str, run: str = LIVE) -> int:
        """How many places of the stream have a number."""
        return len(self._database.read(lambda connection: _of(connection, run, stream)))

    def _numbered(
        self, connection: Connection, run: str, stream: str, asked: list[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        mine = sa.and_(streams.c.run == run, streams.c.stream == stream)
        # locks the stream's row: two that number at once do so one after the other
        if not connection.execute(sa.update(streams).where(mine).values(stream=stream)).rowcount:
            raise StoreError(f"{self._database.name}: there is no stream {stream!r}")
        known = _of(connection, run, stream)
        following = max(known.values(), default=-1) + 1
        fresh = [place for place in asked if place not in known]
        rows = [_Numbered(topic, number, following + index) for index, (topic, number) in enumerate(fresh)]
        shared = {"run": run, "stream": stream, "saved_at": self._clock()}
        upsert(connection, places, encode(places, connection.dialect, rows, shared), None)
        return known | {(row.topic, row.number): row.partition for row in rows}


def _of(connection: Connection, run: str, stream: str) -> dict[tuple[str, int], int]:
    query = sa.select(places.c.topic, places.c.number, places.c.partition)
    rows = connection.execute(query.where(places.c.run == run, places.c.stream == stream))
    return {(topic, number): partition for topic, number, partition in rows}
