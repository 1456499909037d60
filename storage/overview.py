"""What an overview asks: counts, busy entities, how far streams have come, what has changed. Every question reads a
bounded number of rows, however many there are."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.engine import Database
from storage.pages import LISTED
from storage.read import Listing
from storage.types import LIVE, Alert

GOING_ON = ("open", "confirmed")
"""The states of an episode that has not ended."""
COUNTED = 10_000
"""Alerts that are counted at most where they go on; one more means: there are more."""
NEWEST = 100_000
"""Alerts of a stretch of time that are looked at at most, the newest."""
TOUCHING = 100
"""Alerts of an entity in a stretch of time, the newest."""
ALIKE = 400
"""Past alerts of a stream among which similar ones are looked for, the newest."""

LOOKED_AT = 1000
"""Rows of entities among which some are found."""

Place = tuple[str, str]
"""Stream and entity."""


class Overview:
    """Figures of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def going_on(self, stream: str | None = None, run: str = LIVE) -> dict[str, int]:
        """Alerts that have not ended, by severity; of the first `COUNTED` and one more."""
        table = schema.alerts
        some = sa.select(table.c.severity).where(*_mine(run, stream), table.c.state.in_(GOING_ON)).limit(COUNTED + 1)
        inner = some.subquery()
        query = sa.select(inner.c.severity, sa.func.count()).group_by(inner.c.severity)
        return self._database.read(lambda c: dict(c.execute(query).tuples().all()))

    def newest(self, stream: str | None = None, run: str = LIVE) -> datetime | None:
        """When the newest alert began."""
        query = sa.select(schema.alerts.c.first_time).where(*_mine(run, stream))
        query = query.order_by(schema.alerts.c.first_time.desc(), schema.alerts.c.id.desc()).limit(1)
        return self._database.read(lambda c: c.execute(query).scalar())

    def beginnings(self, run: str = LIVE) -> dict[str, int]:
        """By stream, the first slot of any entity, in nanoseconds since the epoch."""
        streams, table = schema.streams, schema.entities
        same = sa.and_(streams.c.run == table.c.run, streams.c.stream == table.c.stream)
        first = sa.func.min(table.c.first_slot) * streams.c.step_ns
        query = sa.select(streams.c.stream, first).select_from(streams.join(table, same)).where(streams.c.run == run)
        query = query.group_by(streams.c.stream, streams.c.step_ns)
        return self._database.read(lambda c: dict(c.execute(query).tuples().all()))

    def over_time(
        self, since: datetime, until: datetime, seconds: int, stream: str | None, entity: str | None, run: str = LIVE
    ) -> Listing:
        """Alerts that began from `since` until before `until` and were not retracted: `bucket` (since the epoch, of
        `seconds` each), `severity`, `count`. Of more than `NEWEST` only the newest."""
        table = schema.alerts
        some = sa.select(table.c.first_time, table.c.severity)
        some = some.where(*_mine(run, stream), *_began(since, until), table.c.state != "retracted")
        some = some if entity is None else some.where(table.c.entity == entity)
        inner = some.order_by(table.c.first_time.desc(), table.c.id.desc()).limit(NEWEST).subquery()
        bucket = (sa.cast(sa.extract("epoch", inner.c.first_time), sa.BigInteger) // seconds).label("bucket")
        query = sa.select(bucket, inner.c.severity, sa.func.count().label("count"))
        return self._dicts(query.group_by(bucket, inner.c.severity).order_by(bucket))

    def busiest(
        self, since: datetime, until: datetime, stream: str | None, limit: int, run: str = LIVE
    ) -> list[tuple[Place, int]]:
        """The entities with most alerts that began then and were not retracted, and how many."""
        table = schema.alerts
        keys = ("stream", "entity")
        some = sa.select(*(table.c[key] for key in keys))
        some = some.where(*_mine(run, stream), *_began(since, until), table.c.state != "retracted")
        inner = some.order_by(table.c.first_time.desc(), table.c.id.desc()).limit(NEWEST).subquery()
        columns, count = [inner.c[key] for key in keys], sa.func.count()
        query = sa.select(*columns, count).group_by(*columns).order_by(count.desc(), *columns).limit(limit)
        return self._database.read(lambda c: [((row[0], row[1]), row[2]) for row in c.execute(query)])

    def some(self, stream: str | None, limit: int, run: str = LIVE) -> list[Place]:
        """Entities, the first by stream, partition and name."""
        table = schema.entities
        query = sa.select(table.c.stream, table.c.entity).where(table.c.run == run)
        query = query if stream is None else query.where(table.c.stream == stream)
        query = query.order_by(table.c.stream, table.c.partition, table.c.entity).limit(LOOKED_AT)
        found = self._database.read(lambda c: [(row[0], row[1]) for row in c.execute(query)])
        return list(dict.fromkeys(found))[:limit]

    def partitions_of(self, places: Sequence[Place], run: str = LIVE) -> dict[Place, list[int]]:
        """Where each of `places` was seen, the newest last: a series that is cut in time has several partitions. Those
        that were never seen are left out."""
        table, found = schema.entities, dict[Place, list[int]]()
        these = [table.c.run == run, table.c.stream.in_({stream for stream, _ in places})]
        query = sa.select(table.c.stream, table.c.entity, table.c.partition)
        query = query.where(*these, table.c.entity.in_({entity for _, entity in places}))
        for stream, entity, partition in self._database.read(
            lambda c: c.execute(query.order_by(table.c.last_slot, table.c.partition)).tuples().all()
        ):
            found.setdefault((stream, entity), []).append(partition)
        return {place: found[place] for place in places if place in found}

    def hours(self, places: Sequence[Place], since: datetime, until: datetime, run: str = LIVE) -> Listing:
        """Of each of `places`, its hours of that time: stream, partition, entity, hour, maximum, mean, count."""
        table = schema.score_rollups
        these = [
            sa.and_(table.c.stream == place[0], table.c.partition.in_(partitions), table.c.entity == place[1])
            for place, partitions in self.partitions_of(places, run).items()
        ]
        if not these:
            return []
        query = sa.select(table).where(table.c.run == run, sa.or_(*these), table.c.hour >= since, table.c.hour < until)
        return self._dicts(query.order_by(table.c.hour))

    def strangest(
        self,
        stream: str,
        entity: str,
        time: tuple[datetime, datetime],
        without: Sequence[tuple[datetime, datetime]],
        limit: int,
        run: str = LIVE,
    ) -> Listing:
        """An entity's stored scores of that time, the greatest first; not those of the stretches `without`."""
        table = schema.scores
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream, table.c.entity == entity)
        query = query.where(table.c.time >= time[0], table.c.time < time[1])
        query = query.where(*(sa.not_(table.c.time.between(first, last)) for first, last in without))
        return self._dicts(query.order_by(table.c.score.desc(), table.c.slot).limit(limit))

    def touching(self, stream: str, entity: str, since: datetime, until: datetime, run: str = LIVE) -> Listing:
        """An entity's alerts that touch that time (`TOUCHING`): id, first_time, last_time, state, attribution."""
        table = schema.alerts
        names = ("id", "first_time", "last_time", "state", "attribution")
        query = sa.select(*(table.c[name] for name in names)).where(*_mine(run, stream), table.c.entity == entity)
        query = query.where(table.c.last_time >= since, table.c.first_time < until)
        return self._dicts(query.order_by(table.c.first_time.desc()).limit(TOUCHING))

    def progress(self, run: str = LIVE) -> Listing:
        """Every partition of every stream: stream, step_ns, partition, next_slot, counts, saved_at, owner."""
        streams, points, owners = schema.streams, schema.checkpoints, schema.leases
        same = sa.and_(streams.c.run == points.c.run, streams.c.stream == points.c.stream)
        owned = sa.and_(*(owners.c[key] == points.c[key] for key in ("run", "stream", "partition")))
        columns = (points.c.partition, points.c.next_slot, points.c.counts, points.c.saved_at, owners.c.owner)
        query = sa.select(streams.c.stream, streams.c.step_ns, *columns)
        query = query.select_from(streams.outerjoin(points, same).outerjoin(owners, owned)).where(streams.c.run == run)
        return self._dicts(query.order_by(streams.c.stream, points.c.partition))

    def past(self, alert: Alert) -> Listing:
        """The explained alerts of its stream that began before it, the newest first, `ALIKE` at most."""
        table = schema.alerts
        before = sa.and_(table.c.run == alert.run, table.c.stream == alert.stream)
        before = sa.and_(before, table.c.first_time < alert.first_time, table.c.explanation == "done")
        query = sa.select(*(table.c[name] for name in LISTED)).where(before)
        return self._dicts(query.order_by(table.c.first_time.desc()).limit(ALIKE))

    def changed(self, since: datetime, limit: int, run: str = LIVE) -> Listing:
        """Alerts that were written at `since` or later, the earliest first, with `saved_at`."""
        table = schema.alerts
        columns = [table.c[name] for name in (*LISTED, "saved_at")]
        query = sa.select(*columns).where(table.c.saved_at >= since, table.c.run == run)
        return self._dicts(query.order_by(table.c.saved_at, table.c.id).limit(limit))

    def _dicts(self, query: sa.Select[Any]) -> Listing:
        return self._database.read(lambda c: [dict(row) for row in c.execute(query).mappings()])


def _mine(run: str, stream: str | None) -> list[sa.ColumnElement[bool]]:
    table = schema.alerts
    return [table.c.run == run, *([] if stream is None else [table.c.stream == stream])]


def _began(since: datetime, until: datetime) -> list[sa.ColumnElement[bool]]:
    return [schema.alerts.c.first_time >= since, schema.alerts.c.first_time < until]
