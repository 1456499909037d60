"""Which partition an entity belongs to: the first that had a record of it, for good.

A row is written before any record of its entity takes effect and is never changed but by people (`move`), so that
whoever reads a partition, however often, gets the same answer. It needs no lease: that a partition holds an entity is
true of its records, whoever has read them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.documents import storable
from storage.engine import Database, chunks
from storage.leases import Clock, utc_now
from storage.schema import homes
from storage.types import LIVE, StoreError
from storage.upsert import encode, upsert


@dataclass(frozen=True, slots=True)
class Home:
    """An entity's partition, and the first other one that has had a record of it too, with when that was found."""

    entity: str
    partition: int
    stray: int | None = None
    strayed_at: datetime | None = None


class Homes:
    """The homes of a database's entities; `clock` only dates them, no decision depends on it."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def claim(self, stream: str, partition: int, entities: Iterable[str], run: str = LIVE) -> dict[str, int]:
        """The partition that each of `entities`, of which `partition` has a record, belongs to: `partition` itself
        where no other one was there before."""
        names = {entity: storable(entity) for entity in entities}
        wanted = sorted(set(names.values()))  # two that claim at once wait for each other in one order
        found = self._database.read(lambda connection: _of(connection, run, stream, wanted))
        fresh = [name for name in wanted if name not in found]
        if fresh:
            found |= self._database.write(lambda connection: self._settle(connection, run, stream, partition, fresh))
        news = [name for name in wanted if found[name].partition != partition and found[name].stray is None]
        if news:
            self._database.write(lambda connection: self._stray(connection, run, stream, partition, news))
        return {entity: found[name].partition for entity, name in names.items()}

    def of(self, stream: str, entities: Iterable[str], run: str = LIVE) -> dict[str, int]:
        """The partition of each of `entities` that has a home; none is given one."""
        names = {entity: storable(entity) for entity in entities}
        found = self._database.read(lambda connection: _of(connection, run, stream, sorted(set(names.values()))))
        return {entity: found[name].partition for entity, name in names.items() if name in found}

    def move(self, stream: str, entity: str, partition: int | None = None, run: str = LIVE) -> tuple[int, int]:
        """Give `entity` to `partition`, else to the one that had records of it too: where it was, and where it is now.

        Only while nobody reads the stream: who does remembers. StoreError where there is nothing to move."""
        name = storable(entity)
        found = self._database.read(lambda connection: _of(connection, run, stream, [name])).get(name)
        if found is None:
            raise StoreError(f"stream {stream!r} has no entity {entity!r} that belongs to a partition")
        target = found.stray if partition is None else partition
        if target is None:
            raise StoreError(f"entity {entity!r} has come on partition {found.partition} alone; say --partition N")
        mine = sa.and_(homes.c.run == run, homes.c.stream == stream, homes.c.entity == name)
        told = sa.update(homes).where(mine).values(partition=target, stray=None, strayed_at=None)
        self._database.write(lambda connection: connection.execute(told).rowcount)
        return found.partition, target

    def strays(self, stream: str, run: str = LIVE) -> list[Home]:
        """The entities that two partitions have had records of, by name."""
        mine = sa.and_(homes.c.run == run, homes.c.stream == stream, homes.c.stray.is_not(None))
        query = sa.select(*_COLUMNS).where(mine).order_by(homes.c.entity)
        return self._database.read(lambda connection: [Home(*row) for row in connection.execute(query)])

    def _settle(
        self, connection: Connection, run: str, stream: str, partition: int, entities: list[str]
    ) -> dict[str, Home]:
        """Give `entities` to `partition`, unless they have a home by now; where each belongs."""
        shared = {"run": run, "stream": stream, "saved_at": self._clock()}
        rows = encode(homes, connection.dialect, [Home(entity, partition) for entity in entities], shared)
        upsert(connection, homes, rows, None)
        return _of(connection, run, stream, entities)

    def _stray(self, connection: Connection, run: str, stream: str, partition: int, entities: list[str]) -> None:
        """Note the first partition that is not the home of `entities`; for people, no answer depends on it."""
        mine = sa.and_(homes.c.run == run, homes.c.stream == stream, homes.c.stray.is_(None))
        for part in chunks(entities):
            told = sa.update(homes).where(mine, homes.c.entity.in_(part))
            connection.execute(told.values(stray=partition, strayed_at=self._clock()))


_COLUMNS = (homes.c.entity, homes.c.partition, homes.c.stray, homes.c.strayed_at)


def _of(connection: Connection, run: str, stream: str, entities: list[str]) -> dict[str, Home]:
    mine = sa.and_(homes.c.run == run, homes.c.stream == stream)
    found: dict[str, Home] = {}
    for part in chunks(entities):
        query = sa.select(*_COLUMNS).where(mine, homes.c.entity.in_(part))
        found |= {row.entity: Home(*row) for row in connection.execute(query)}
    return found
