"""Incidents: where each alert was put, and what came of it. Written by triage alone (`tsad.triage`), read by anybody.

Several processes may do triage: a pass says which epoch it has read, and writes only where that is still the run's. So
of two passes over the same alerts the first counts, and the second is made again from what the first has left.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from storage import schema, served
from storage.columns import begins
from storage.deliveries import Gather, alone, enqueue
from storage.engine import Database, chunks
from storage.leases import Clock, utc_now
from storage.store import record_of
from storage.types import LIVE, Alert, NotThereError, Severity
from storage.upsert import encode, upsert

IncidentState = Literal["open", "resolved", "retracted"]
MARGIN = timedelta(minutes=15)
"""So much earlier than the last alert that was seen others may be dated that were not: they are dated before they are
written, by their writers' clocks, and an outage may lie between."""
PAGE = 500
UNSEEN = [column for column in schema.alerts.columns if column.name != "window"]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far triage of a run has come: `epoch` counts its passes, `number` the incidents that have one."""

    epoch: int = 0
    reached: datetime | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """An alert as triage has it: its incident (None: it is explained away), when that `started`, its own first slot's
    time and the time at which its last one ends. `digest` is what grouping has to know of it; `seen_at` the alert's
    `saved_at` then."""

    alert_id: str
    run: str
    incident: str | None
    started: datetime | None
    first_time: datetime
    end_time: datetime
    digest: dict[str, Any]
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """Alerts that belong together. `number` is for people, by run; `stream`: that of its first alert; `entity` and
    `feature` moved first; `alerts` and `entities` count those that stand; `suspects` are ranked. `type`: the incident
    that was the first of its type, perhaps itself, which it is like by `likeness` (0 to 1)."""

    id: str
    run: str
    number: int
    stream: str
    state: IncidentState
    severity: Severity
    severity_score: float
    score: float
    first_time: datetime
    last_time: datetime
    entity: str
    feature: str
    title: str
    alerts: int
    entities: int
    suspects: list[dict[str, Any]]
    signature: dict[str, float]
    opened_at: datetime
    type: str | None = None
    likeness: float | None = None
    merged_into: str | None = None


CONDITIONS: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
    **{name: served.incidents.c[name].__eq__ for name in ("run", "stream", "entity", "type")},
    "states": served.incidents.c.state.in_, "severities": served.incidents.c.severity.in_,
    "since": served.incidents.c.last_time.__ge__, "until": served.incidents.c.first_time.__lt__,
}  # fmt: skip
"""Those of an `IncidentFilter`, each of a value or a parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFilter:
    """Which incidents: every value that is given must hold. `since` is the least event time of the last alert's last
    slot, the first one comes before `until`. `stream`: that of the first alert; `entity`: the one that moved first."""

    run: str = LIVE
    stream: str | None = None
    entity: str | None = None
    type: str | None = None
    states: Sequence[IncidentState] = ()
    severities: Sequence[Severity] = ()
    since: datetime | None = None
    until: datetime | None = None

    def given(self) -> dict[str, Any]:
        """What must hold, by its name in `CONDITIONS`."""
        return {name: value for name in CONDITIONS if (value := getattr(self, name)) not in (None, (), [])}


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A type of incidents, by the first of its kind: it outlives that."""

    id: str
    run: str
    number: int
    first_time: datetime
    title: str
    signature: dict[str, float]


@dataclass(slots=True)
class Triaged:
    """What one pass writes. `merged`: incidents without alerts now, by the one that those went to (None: nowhere)."""

    mark: Mark
    placed: list[Placed] = field(default_factory=list)
    incidents: list[IncidentRow] = field(default_factory=list)
    types: list[TypeRow] = field(default_factory=list)
    dropped_types: list[str] = field(default_factory=list)
    merged: dict[str, str | None] = field(default_factory=dict)


class Incidents:
    """The incidents of a database."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def mark(self, run: str = LIVE) -> Mark:
        """Where the last pass has ended."""
        query = sa.select(served.triage).where(served.triage.c.run == run)
        rows = self._rows(query)
        return Mark(rows[0]["epoch"], rows[0]["reached"], rows[0]["number"]) if rows else Mark()

    def changed(self, run: str, since: datetime | None, limit: int) -> list[tuple[Alert, datetime]]:
        """Alerts (without their windows) that were written since triage has seen them, with when that was, the oldest
        first. `since`: where the last pass has ended."""
        alerts, known = schema.alerts, served.incident_alerts
        query = (
            sa.select(*UNSEEN)
            .select_from(alerts.outerjoin(known, known.c.alert_id == alerts.c.id))
            .where(alerts.c.run == run, sa.or_(known.c.seen_at.is_(None), known.c.seen_at != alerts.c.saved_at))
            .order_by(alerts.c.saved_at, alerts.c.id)
            .limit(limit)
        )
        if since is not None:
            query = query.where(alerts.c.saved_at >= since - MARGIN)
        return [(_alert(row), row["saved_at"]) for row in self._rows(query)]

    def placed(self, alerts: Iterable[str]) -> dict[str, Placed]:
        """Where these alerts (ids) are, of those that triage has seen."""
        return {row.alert_id: row for row in self._of(served.incident_alerts.c.alert_id, alerts)}

    def members(self, incidents: Iterable[str]) -> list[Placed]:
        """The alerts of these incidents."""
        return self._of(served.incident_alerts.c.incident, incidents)

    def standing(self, run: str, since: datetime, until: datetime, end: datetime) -> list[Placed]:
        """Alerts of incidents that began from `since` on and before `until`, and lasted until `end` or longer."""
        table = served.incident_alerts
        query = sa.select(table).where(
            table.c.run == run, table.c.first_time >= since, table.c.first_time < until, table.c.end_time >= end,
            table.c.incident.is_not(None),
        )  # fmt: skip
        return self._placed(query)

    def following(self, run: str, since: datetime) -> Iterator[Placed]:
        """Alerts of incidents that began from `since` on, in the order of (first_time, id), read by pages."""
        table = served.incident_alerts
        place = sa.tuple_(table.c.first_time, table.c.alert_id)
        query = sa.select(table).where(table.c.run == run, table.c.incident.is_not(None))
        query = query.order_by(table.c.first_time, table.c.alert_id).limit(PAGE)
        page = self._placed(query.where(table.c.first_time >= since))
        while page:
            yield from page
            last = (page[-1].first_time, page[-1].alert_id)
            columns = (table.c.first_time, table.c.alert_id)
            behind = sa.tuple_(*(sa.literal(value, c.type) for value, c in zip(last, columns, strict=True)))
            page = self._placed(query.where(place > behind)) if len(page) == PAGE else []

    def incidents(self, identities: Iterable[str]) -> dict[str, IncidentRow]:
        """These incidents, of those that there are, by id."""
        table, found = served.incidents, dict[str, IncidentRow]()
        for part in chunks(sorted(set(identities))):
            found |= {row["id"]: record_of(IncidentRow, row) for row in self._rows(_among(table, table.c.id, part))}
        return found

    def signatures(self, run: str, since: datetime) -> list[IncidentRow]:
        """Incidents with a type that began from `since` on, in the order of (first_time, id)."""
        table = served.incidents
        query = sa.select(table).where(table.c.run == run, table.c.first_time >= since, table.c.type.is_not(None))
        return [record_of(IncidentRow, row) for row in self._rows(query.order_by(table.c.first_time, table.c.id))]

    def named(self, kinds: Iterable[str]) -> dict[str, TypeRow]:
        """These types, of those that there are, by id."""
        table, found = served.incident_types, dict[str, TypeRow]()
        for part in chunks(sorted(set(kinds))):
            found |= {row["id"]: record_of(TypeRow, row) for row in self._rows(_among(table, table.c.id, part))}
        return found

    def alerts(self, incident: str, limit: int | None = None) -> list[Alert]:
        """The alerts (without their windows) of an incident that stand, the first to begin first."""
        alerts, known = schema.alerts, served.incident_alerts
        query = sa.select(*UNSEEN).select_from(known.join(alerts, alerts.c.id == known.c.alert_id))
        query = query.where(known.c.incident == incident, alerts.c.state != "retracted")
        rows = self._rows(query.order_by(known.c.first_time, known.c.alert_id).limit(limit))
        return [_alert(row) for row in rows]

    def types(self, run: str, until: datetime | None = None) -> list[TypeRow]:
        """Types whose first incident began before `until`, the oldest first."""
        table = served.incident_types
        query = sa.select(table).where(table.c.run == run).order_by(table.c.first_time, table.c.id)
        if until is not None:
            query = query.where(table.c.first_time < until)
        return [record_of(TypeRow, row) for row in self._rows(query)]

    def labels(self, run: str, stream: str, entities: Collection[str]) -> dict[str, dict[str, str]]:
        """The labels of entities, by name."""
        table, found = schema.entities, dict[str, dict[str, str]]()
        for part in chunks(sorted(set(entities))):
            query = sa.select(table.c.entity, table.c.labels).where(table.c.run == run, table.c.stream == stream)
            rows = self._rows(query.where(table.c.entity.in_(part)).order_by(table.c.last_slot))
            found |= {row["entity"]: row["labels"] for row in rows}
        return found

    def write(self, run: str, told: Triaged, read: Mark, gather: Gather = lambda _connection, _incidents: ()) -> bool:
        """Write a pass that has begun at the mark `read`, and what there is to tell of its incidents (`gather`); False,
        and nothing, where another one has ended since."""
        now, dialect = self._clock(), self._database.dialect
        placed = encode(served.incident_alerts, dialect, told.placed, {})
        rows = encode(served.incidents, dialect, told.incidents, {"saved_at": now})
        types = encode(served.incident_types, dialect, told.types, {})
        changed = [*(row.id for row in told.incidents), *told.merged]

        def work(connection: Connection) -> bool:
            if not _first(connection, run, told.mark, read, now):
                return False
            gone = list(told.dropped_types)
            for part in chunks(gone):
                connection.execute(sa.delete(served.incident_types).where(served.incident_types.c.id.in_(part)))
            upsert(connection, served.incident_alerts, placed, frozenset())
            upsert(connection, served.incidents, rows, frozenset({"number"}))
            upsert(connection, served.incident_types, types, frozenset())
            for identity, into in sorted(told.merged.items()):
                _merge(connection, identity, into, now)
            alone(connection)
            enqueue(connection, gather(connection, changed), now)
            return True

        return self._database.write(work)

    def find(self, said: str, run: str = LIVE) -> IncidentRow:
        """The incident of this number ("12", "INC-12"), or of this id or the only one that starts so.
        NotThereError where there is none, or more than one."""
        table, (text, number) = served.incidents, told_by(said)
        if number is not None:
            query = sa.select(table).where(table.c.run == run, table.c.number == number)
        else:
            query = sa.select(table).where(begins(table.c.id, text)).limit(2)
        rows = self._rows(query) if text else []
        if len(rows) != 1:
            raise NotThereError(
                f"{self._database.name}: {said!r} " + ("is no incident" if not rows else "starts more than one")
            )
        return record_of(IncidentRow, rows[0])

    def alike(self, row: IncidentRow, limit: int = 10) -> list[IncidentRow]:
        """The other incidents of its type, the newest first."""
        table = served.incidents
        query = sa.select(table).where(table.c.type == row.type, table.c.id != row.id)
        query = query.order_by(table.c.first_time.desc(), table.c.id).limit(limit)
        return [record_of(IncidentRow, found) for found in self._rows(query)] if row.type is not None else []

    def times(self, kind: str, since: datetime, until: datetime) -> int:
        """How many incidents of a type began from `since` to `until`, that one included."""
        table = served.incidents
        query = sa.select(sa.func.count()).where(
            table.c.type == kind, table.c.first_time >= since, table.c.first_time <= until
        )
        return self._database.read(lambda connection: connection.execute(query).scalar_one())

    def of_alerts(self, alerts: Iterable[str]) -> dict[str, tuple[str, int, str]]:
        """Id, number and title of the incident of each of these alerts that has one."""
        known, table, found = served.incident_alerts, served.incidents, dict[str, tuple[str, int, str]]()
        for part in chunks(list(alerts)):
            query = sa.select(known.c.alert_id, table.c.id, table.c.number, table.c.title)
            query = query.select_from(known.join(table, table.c.id == known.c.incident))
            rows = self._rows(query.where(known.c.alert_id.in_(part)))
            found |= {row["alert_id"]: (row["id"], row["number"], row["title"]) for row in rows}
        return found

    def _of(self, column: sa.Column[Any], values: Iterable[str]) -> list[Placed]:
        queries = (_among(served.incident_alerts, column, part) for part in chunks(sorted(set(values))))
        return [row for query in queries for row in self._placed(query)]

    def _placed(self, query: sa.Select[Any]) -> list[Placed]:
        return [record_of(Placed, row) for row in self._rows(query)]

    def _rows(self, query: sa.Select[Any]) -> Sequence[RowMapping]:
        return self._database.read(lambda connection: connection.execute(query).mappings().all())


def told_by(said: str) -> tuple[str, int | None]:
    """What an incident is called by: the beginning of its id, or its number ("12", "INC-12"; -1: of none)."""
    text = said.strip().lower().removeprefix("inc-")
    named = said.strip().lower().startswith("inc-")
    digits = text.isascii() and text.isdecimal() and len(text) <= (18 if named else 5)
    return text, (int(text) if digits else -1) if named or digits else None


def _among(table: sa.Table, column: sa.Column[Any], values: Sequence[str]) -> sa.Select[Any]:
    return sa.select(table).where(column.in_(values))


def _alert(row: RowMapping) -> Alert:
    return record_of(Alert, {**row, "window": None})  # type: ignore[arg-type]


def _first(connection: Connection, run: str, mark: Mark, read: Mark, now: datetime) -> bool:
    """Whether no other pass has ended since `read`; the mark is set then."""
    table = served.triage
    values = {"epoch": read.epoch + 1, "reached": mark.reached, "number": mark.number, "saved_at": now}
    change = sa.update(table).where(table.c.run == run, table.c.epoch == read.epoch).values(values)
    if connection.execute(change).rowcount == 1:
        return True
    if read.epoch:
        return False
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    new = insert(table).values(run=run, **values).on_conflict_do_nothing().returning(table.c.epoch)
    return connection.execute(new).first() is not None


def _merge(connection: Connection, identity: str, into: str | None, now: datetime) -> None:
    """An incident without alerts, and those that were merged into it before."""
    table = served.incidents
    state = {"state": "retracted", "alerts": 0, "entities": 0, "type": None, "likeness": None, "saved_at": now}
    connection.execute(sa.update(table).where(table.c.id == identity).values(merged_into=into, **state))
    if into is not None:
        there = sa.and_(table.c.merged_into == identity, table.c.id != into)
        connection.execute(sa.update(table).where(there).values(merged_into=into))
