"""What the commands and pages ask of the database. Nothing here writes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.columns import begins, metadata
from storage.engine import Database, chunks
from storage.seen import each
from storage.store import of_partition, record_of
from storage.types import (
    LIVE,
    Alert,
    AlertState,
    EvictedState,
    Explanation,
    NoData,
    NotThereError,
    Severity,
    StreamRow,
)

Record = TypeVar("Record")
Listing = list[dict[str, Any]]
OF_NO_DATA = {"open", "resolved"}
"""The states that missing data may have."""
EQUAL = ("run", "stream", "entity", "explanation")
"""What of an alert is asked for by its value."""
PAGE = 200
"""Dead letters read at a time; one has up to 64 KiB."""

COUNTED = (
    "streams",
    "entities",
    "models",
    "alerts",
    "explanations",
    "scores",
    "dead_letters",
    "log_templates",
    "orders",
)


CONDITIONS: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
    **{name: schema.alerts.c[name].__eq__ for name in EQUAL},
    "states": schema.alerts.c.state.in_, "severities": schema.alerts.c.severity.in_,
    "since": schema.alerts.c.last_time.__ge__, "until": schema.alerts.c.first_time.__lt__,
}  # fmt: skip
"""Those of an `AlertFilter`, each of a value or a parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts: every value that is given must hold. `since` is the least event time of an alert's last slot, its
    first one comes before `until`.

    `run` None means every run, also backfills that are never delivered.
    """

    run: str | None = LIVE
    stream: str | None = None
    entity: str | None = None
    states: Sequence[AlertState] = ()
    severities: Sequence[Severity] = ()
    since: datetime | None = None
    until: datetime | None = None
    explanation: str | None = None
    limit: int | None = 100

    def given(self) -> dict[str, Any]:
        """What must hold, by its name in `CONDITIONS`."""
        return {name: value for name in CONDITIONS if (value := getattr(self, name)) not in (None, (), [])}

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """What must hold."""
        return [CONDITIONS[name](value) for name, value in self.given().items()]

    def query(self) -> sa.Select[Any]:
        """Newest opening first."""
        table = schema.alerts
        query = sa.select(table).where(*self.conditions())
        return query.order_by(table.c.first_time.desc(), table.c.id).limit(self.limit)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The slots of an alert of `entity`, first and last included, and the event that explains it away, if any. One that
    is of no alert has no `id`, and its `entity` is a glob."""

    entity: str
    opened_slot: int
    first_slot: int
    last_slot: int
    state: AlertState
    explained_by_event: dict[str, Any] = field(default_factory=dict)
    id: str = ""


class Reader:
    """Questions to a database. Lists of dictionaries have the tables' column names as keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alerts(self, which: AlertFilter = AlertFilter()) -> list[Alert]:
        """The alerts that `which` lets through, newest opening first."""
        return self._records(Alert, which.query())

    def alert(self, identity: str) -> tuple[Alert, list[Explanation]]:
        """The alert `only` finds, with its explanations (strongest first)."""
        found, parts = self.only(identity), schema.explanations
        query = sa.select(parts).where(parts.c.alert_id == found.id)
        query = query.order_by(parts.c.slot, parts.c.target, sa.func.abs(parts.c.value).desc(), parts.c.feature)
        return found, self._records(Explanation, query)

    def only(self, identity: str) -> Alert:
        """The alert of this id, or of the only id that starts so. NotThereError if there is none, or more than one."""
        table = schema.alerts
        start = begins(table.c.id, identity.lower())
        found = self._records(Alert, sa.select(table).where(start).order_by(table.c.id).limit(2))
        if len(found) != 1 or not identity:
            which = "starts more than one alert's id" if found else "is no alert's id"
            raise NotThereError(f"{self._database.name}: {identity!r} {which}")
        return found[0]

    def these(self, identities: Iterable[str]) -> list[Alert]:
        """Of the alerts with these ids those that there are, by id."""
        table = schema.alerts
        parts = chunks(sorted(set(identities)))
        queries = (sa.select(table).where(table.c.id.in_(part)).order_by(table.c.id) for part in parts)
        return [alert for query in queries for alert in self._records(Alert, query)]

    def whose(self, which: AlertFilter) -> dict[tuple[str, str, str], datetime]:
        """Run, stream and entity of the alerts that `which` lets through, each with when the first of them began."""
        table = schema.alerts.c
        first = sa.func.min(table.first_time, type_=table.first_time.type)
        query = sa.select(table.run, table.stream, table.entity, first).where(*which.conditions())
        query = query.group_by(table.run, table.stream, table.entity)
        return self._database.read(
            lambda c: {(run, stream, entity): begun for run, stream, entity, begun in c.execute(query)}
        )

    def flagged(self, alerts: Iterable[Alert]) -> dict[str, tuple[int, ...]]:
        """The slots of alerts that were beyond the threshold by themselves, by id."""
        table = schema.scores

        def work(connection: Connection) -> dict[str, tuple[int, ...]]:
            found = {}
            for one in alerts:
                here = sa.and_(of_partition(table, one.run, one.stream, one.partition), table.c.entity == one.entity)
                there = sa.and_(here, table.c.slot.between(one.first_slot, one.last_slot), table.c.score > 1)
                query = sa.select(table.c.slot).where(there).order_by(table.c.slot)
                found[one.id] = tuple(connection.execute(query).scalars())
            return found

        return self._database.read(work)

    def stretches(self, stream: str, first: int, last: int, run: str = LIVE) -> list[Stretch]:
        """The alerts that were not retracted and touch the slots `first` to `last`, by opening."""
        table = schema.alerts
        mine = sa.and_(table.c.run == run, table.c.stream == stream, table.c.state != "retracted")
        there = sa.and_(table.c.last_slot >= first, table.c.first_slot <= last)
        names = ("entity", "opened_slot", "first_slot", "last_slot", "state", "explained_by_event", "id")
        query = sa.select(*(table.c[name] for name in names)).where(mine, there)
        return self._records(Stretch, query.order_by(table.c.opened_slot, table.c.entity))

    def pending(self, stream: str, run: str = LIVE, limit: int = 50, partition: int | None = None) -> list[Alert]:
        """Alerts (of one partition) that wait for their explanation, strongest first."""
        table = schema.alerts
        mine = sa.and_(table.c.run == run, table.c.stream == stream, table.c.explanation == "pending")
        if partition is not None:
            mine = sa.and_(mine, table.c.partition == partition)
        query = sa.select(table).where(mine).order_by(table.c.score.desc(), table.c.id).limit(limit)
        return self._records(Alert, query)

    def waiting(self, alerts: Iterable[str]) -> dict[str, bytes]:
        """What of these alerts (ids) waits to be explained, by id."""
        table = schema.alerts

        def work(connection: Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for part in chunks(list(alerts)):
                query = sa.select(table.c.id, table.c.window).where(table.c.id.in_(part), table.c.window.is_not(None))
                found |= dict(connection.execute(query).tuples().all())
            return found

        return self._database.read(work)

    def no_data(self, which: AlertFilter = AlertFilter()) -> list[tuple[str, int, NoData]]:
        """Stream, partition and row of those topics that have brought nothing, the newest first; of `which` run,
        stream, states, since and limit count."""
        table = schema.no_data
        query = sa.select(table).order_by(table.c.since.desc(), table.c.id).limit(which.limit)
        for column, value in (("run", which.run), ("stream", which.stream)):
            if value is not None:
                query = query.where(table.c[column] == value)
        over = table.c.resolved_at.is_not(None)
        if which.states:
            query = query.where(sa.or_(*(over if s == "resolved" else ~over for s in which.states if s in OF_NO_DATA)))
        if which.since is not None:
            query = query.where(sa.or_(~over, table.c.resolved_at >= which.since))
        if which.states and not OF_NO_DATA & set(which.states):
            return []

        def work(connection: Connection) -> list[tuple[str, int, NoData]]:
            rows = connection.execute(query).mappings()
            return [(row["stream"], row["partition"], record_of(NoData, row)) for row in rows]

        return self._database.read(work)

    def streams(self, run: str = LIVE) -> list[StreamRow]:
        """The run's streams, by name."""
        table = schema.streams
        return self._records(StreamRow, sa.select(table).where(table.c.run == run).order_by(table.c.stream))

    def entities(self, stream: str, run: str = LIVE) -> Listing:
        """A stream's entities, by name."""
        query = each(schema.entities.c.run == run, schema.entities.c.stream == stream)
        return self._dicts(query.order_by(query.selected_columns.entity))

    def templates(self, stream: str, run: str = LIVE) -> Listing:
        """A stream's log templates, most frequent first."""
        table = schema.log_templates
        return self._listing(
            table, table.c.count.desc(), table.c.partition, table.c.template_id, run=run, stream=stream
        )

    def dead_letters(
        self, stream: str | None = None, run: str = LIVE, reason: str | None = None, limit: int = 100
    ) -> Listing:
        """Rejected records, newest first."""
        table = schema.dead_letters
        newest = (table.c.saved_at.desc(), table.c.topic, table.c.partition, table.c.position.desc())
        return self._listing(table, *newest, limit=limit, run=run, stream=stream, reason=reason)

    def every_dead_letter(self, stream: str, run: str = LIVE, reason: str | None = None) -> Iterator[dict[str, Any]]:
        """All rejected records, by topic, partition and position; a page at a time is held in memory."""
        table = schema.dead_letters
        place = (table.c.topic, table.c.partition, table.c.position)
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream).order_by(*place).limit(PAGE)
        if reason is not None:
            query = query.where(table.c.reason == reason)
        page = self._dicts(query)
        while page:
            yield from page
            last = sa.tuple_(*(sa.literal(page[-1][column.name], column.type) for column in place))
            page = self._dicts(query.where(sa.tuple_(*place) > last))

    def audit(self, stream: str, run: str = LIVE, alert_id: str | None = None, limit: int = 100) -> Listing:
        """What was changed, newest first."""
        table = schema.audit
        return self._listing(table, table.c.at.desc(), limit=limit, run=run, stream=stream, alert_id=alert_id)

    def scores(self, stream: str, entity: str, run: str = LIVE, limit: int = 1000) -> Listing:
        """An entity's stored scores, newest first."""
        table = schema.scores
        return self._listing(table, table.c.slot.desc(), limit=limit, run=run, stream=stream, entity=entity)

    def rollups(self, stream: str, entity: str, run: str = LIVE, limit: int = 1000) -> Listing:
        """An entity's hours, newest first."""
        table = schema.score_rollups
        return self._listing(table, table.c.hour.desc(), limit=limit, run=run, stream=stream, entity=entity)

    def evicted(self, run: str, stream: str, partition: int, entities: Sequence[str], slot: int) -> list[EvictedState]:
        """What each of `entities` had learnt at its last eviction at or before `slot`, by name; none for the others."""
        table = schema.evicted_states
        mine = sa.and_(of_partition(table, run, stream, partition), table.c.slot <= slot)
        rows = []
        for names in chunks(sorted(set(entities))):
            these = sa.and_(mine, table.c.entity.in_(names))
            newest = sa.select(table.c.entity, sa.func.max(table.c.slot)).where(these).group_by(table.c.entity)
            query = sa.select(table).where(these, sa.tuple_(table.c.entity, table.c.slot).in_(newest))
            rows += self._records(EvictedState, query.order_by(table.c.entity))
        return rows

    def counts(self, run: str | None = None) -> dict[str, int]:
        """Rows by table; with `run`, that run's only (models and explanations have none and are left out then)."""
        tables = [metadata.tables[name] for name in COUNTED]

        def work(connection: Connection) -> dict[str, int]:
            found = {}
            for table in tables:
                query = sa.select(sa.func.count()).select_from(table)
                if run is None or "run" in table.c:
                    query = query if run is None else query.where(table.c.run == run)
                    found[table.name] = connection.execute(query).scalar_one()
            return found

        return self._database.read(work)

    def health(self, stream: str, run: str = LIVE) -> dict[str, Any]:
        """A stream's figures: alerts by state, how many are pending, and each partition's checkpoint with its owner.

        `partitions`: {partition: {"next_slot", "counts", "positions", "saved_at", "owner", "epoch"}}.
        """
        alerts, points, owners = schema.alerts, schema.checkpoints, schema.leases
        mine = sa.and_(alerts.c.run == run, alerts.c.stream == stream)
        by_state = sa.select(alerts.c.state, sa.func.count()).where(mine).group_by(alerts.c.state)
        waiting = sa.select(sa.func.count()).select_from(alerts).where(mine, alerts.c.explanation == "pending")
        same = [owners.c[key] == points.c[key] for key in ("run", "stream", "partition")]
        joined = points.outerjoin(owners, sa.and_(*same))
        places = sa.select(points, owners.c.owner, owners.c.epoch).select_from(joined)
        places = places.where(points.c.run == run, points.c.stream == stream).order_by(points.c.partition)
        shown = ("next_slot", "counts", "positions", "saved_at", "owner", "epoch")

        def work(connection: Connection) -> dict[str, Any]:
            return {
                "alerts": dict(connection.execute(by_state).tuples().all()),
                "pending": connection.execute(waiting).scalar_one(),
                "partitions": {
                    row["partition"]: {key: row[key] for key in shown} for row in connection.execute(places).mappings()
                },
            }

        return self._database.read(work)

    def _records(self, kind: type[Record], query: sa.Select[Any]) -> list[Record]:
        return self._database.read(lambda c: [record_of(kind, row) for row in c.execute(query).mappings()])

    def _listing(self, table: sa.Table, *order: Any, limit: int | None = None, **equal: Any) -> Listing:
        wanted = [table.c[column] == value for column, value in equal.items() if value is not None]
        return self._dicts(sa.select(table).where(*wanted).order_by(*order).limit(limit))

    def _dicts(self, query: sa.Select[Any]) -> Listing:
        return self._database.read(lambda c: [dict(row) for row in c.execute(query).mappings()])
