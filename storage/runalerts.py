"""The alerts of runs, a part at a time: those of two runs side by side, and what led each."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.engine import Database
from storage.types import Severity

ALERTS, PARTS = schema.alerts, schema.explanations
ENTITIES = 200
"""Entities that are looked at together."""
PAGE = 500
"""Alerts that are read together."""
NAMES = ("run", "id", "entity", "first_time", "last_time", "severity", "score", "attribution")


class RunAlert(NamedTuple):
    """An alert as two runs are compared by. `channel` has the greatest part in it: by its explanation, or, where it has
    none, by the detectors' own shares; empty where neither says one."""

    run: str
    id: str
    entity: str
    first_time: datetime
    last_time: datetime
    severity: Severity
    score: float
    channel: str


class RunAlerts:
    """Of a database. Alerts that were retracted are left out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def side_by_side(self, one: str, other: str, stream: str) -> Iterator[RunAlert]:
        """The alerts of two runs of a stream: those of an entity together, by when they began."""
        after: str | None = None
        while entities := self._entities((one, other), stream, after):
            place = {name: number for number, name in enumerate(entities)}
            sides = [self._alerts(run, stream, entities) for run in (one, other)]
            yield from merge(*sides, key=lambda alert: (place[alert.entity], alert.first_time, alert.id))
            after = entities[-1]

    def channels(self, run: str) -> Iterator[tuple[str, float]]:
        """What led each alert of a run, and the alert's score; nothing of those that nothing led."""
        table, last = ALERTS, None
        query = sa.select(*(table.c[name] for name in NAMES)).where(table.c.run == run, table.c.state != "retracted")
        query = query.order_by(table.c.first_time, table.c.id).limit(PAGE)
        place = table.c.first_time, table.c.id
        while rows := self._page(query if last is None else query.where(sa.tuple_(*place) > _key(place, last))):
            yield from ((row.channel, row.score) for row in rows if row.channel)
            last = rows[-1].first_time, rows[-1].id

    def _entities(self, runs: Sequence[str], stream: str, after: str | None) -> list[str]:
        """The next ones that any of `runs` has alerts of, in the database's order of names."""
        table, parts = ALERTS, []
        for run in runs:
            mine = sa.select(table.c.entity).distinct().where(table.c.run == run, table.c.stream == stream)
            mine = mine if after is None else mine.where(table.c.entity > after)
            # SQLite takes no limit within a union, but in a subquery of it
            parts.append(sa.select(mine.order_by(table.c.entity).limit(ENTITIES).subquery().c.entity))
        query = sa.union(*parts).order_by("entity").limit(ENTITIES)
        return self._database.read(lambda connection: list(connection.execute(query).scalars()))

    def _alerts(self, run: str, stream: str, entities: Sequence[str]) -> Iterator[RunAlert]:
        """Of these entities, in their order, by when they began."""
        table, last = ALERTS, None
        mine = table.c.run == run, table.c.stream == stream, table.c.state != "retracted"
        query = sa.select(*(table.c[name] for name in NAMES)).where(*mine, table.c.entity.in_(entities))
        place = table.c.entity, table.c.first_time, table.c.id
        query = query.order_by(*place).limit(PAGE)
        while rows := self._page(query if last is None else query.where(sa.tuple_(*place) > _key(place, last))):
            yield from rows
            last = rows[-1].entity, rows[-1].first_time, rows[-1].id

    def _page(self, query: sa.Select[Any]) -> list[RunAlert]:
        def work(connection: Connection) -> list[RunAlert]:
            rows = connection.execute(query).all()
            led = _led(connection, [row.id for row in rows])
            return [RunAlert._make((*row[:-1], led.get(row.id) or _greatest(row.attribution))) for row in rows]

        return self._database.read(work)


def _key(place: Sequence[sa.Column[Any]], values: Sequence[Any]) -> Any:
    return sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(values, place, strict=True)))


def _led(connection: Connection, alerts: Sequence[str]) -> dict[str, str]:
    """Of the alerts that are explained: what pushes most at the peak, or at the latest slot that is explained."""
    at_peak = sa.case((PARTS.c.slot == ALERTS.c.peak_slot, 0), else_=1)
    order = at_peak, PARTS.c.slot.desc(), PARTS.c.value.desc(), PARTS.c.feature
    number = sa.func.row_number().over(partition_by=PARTS.c.alert_id, order_by=order).label("number")
    joined = PARTS.join(ALERTS, ALERTS.c.id == PARTS.c.alert_id)
    inner = sa.select(PARTS.c.alert_id, PARTS.c.feature, number).select_from(joined)
    found = inner.where(PARTS.c.alert_id.in_(alerts), PARTS.c.target == "decision").subquery()
    query = sa.select(found.c.alert_id, found.c.feature).where(found.c.number == 1)
    return dict(connection.execute(query).tuples().all()) if alerts else {}


def _greatest(shares: dict[str, float]) -> str:
    return min(shares, key=lambda name: (-shares[name], name), default="")
