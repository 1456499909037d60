"""One alert and one incident as pages show them, in as few statements as may be. These are built once: to build one
costs as much as to execute it."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema, served
from storage.engine import Database
from storage.incidents import told_by
from storage.pages import listed, listed_incidents, rows_of
from storage.read import Listing
from storage.types import NotThereError

Found = dict[str, Any]
MORE = ("partition", "ingested_at", "amended_at", "votes", "evidence")
"""What a page says of an alert beyond a list."""
PARTS = ("target", "slot", "feature", "value", "share", "base", "score", "residual", "fidelity", "explained_by")
PLACED = ("first_time", "end_time", "digest")
REFERENCE = ("id", "number", "title")
WHOLE = 32
"""Characters of an id."""
SIMILAR = 10
"""Others of a type that are told."""


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident (as lists have it, with its suspects), others of its type, how many of that there were up to it, and
    its alerts that stand, as lists have them, each with how it was placed (`PLACED`, each with "placed_" before it)."""

    row: Found
    similar: Listing
    times: int
    members: Listing


class Details:
    """Questions about one. NotThereError where there is none of that id, or more than one begins so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alert(self, identity: str) -> tuple[Found, Listing]:
        """The alert as lists have it, `MORE`, and the incident it belongs to ("incident_id" and so on, None: none yet);
        the parts of its explanation, the strongest first."""

        def work(connection: Connection) -> tuple[Found, Listing]:
            found = self._one(connection, _alert(len(identity) == WHOLE), identity)
            return found, rows_of(connection, _parts(), {"alert": found["id"]})

        return self._database.read(work)

    def curves(self, identity: str) -> Found:
        """Id, run, stream and evidence of the alert."""
        return self._database.read(lambda connection: self._one(connection, _curves(len(identity) == WHOLE), identity))

    def incident(self, said: str, run: str, past: timedelta, most: int) -> IncidentDetails:
        """The incident of this number of a run ("12", "INC-12"), or of this id; of its type are counted those of the
        `past` before it, of its alerts `most` are told."""
        text, number = told_by(said)

        def work(connection: Connection) -> IncidentDetails:
            if number is None:
                row = self._one(connection, _incident(len(text) == WHOLE), text)
            else:
                row = self._only(rows_of(connection, _numbered(), {"run": run, "number": number}), said)
            begun = row["first_time"]
            of_it = {"type": row["type"], "id": row["id"], "since": begun - past, "until": begun}
            similar = rows_of(connection, _similar(), of_it) if row["type"] is not None else []
            times = similar[0]["times"] if similar else int(row["type"] is not None)
            members = rows_of(connection, _members(), {"incident": row["id"], "most": most})
            return IncidentDetails(row, similar, times, members)

        return self._database.read(work)

    def _one(self, connection: Connection, query: sa.Select[Any], identity: str) -> Found:
        start = identity.lower()
        return self._only(rows_of(connection, query, {"start": start, "end": f"{start}g"}) if start else [], identity)

    def _only(self, rows: Listing, said: str) -> Found:
        if len(rows) != 1:
            raise NotThereError(f"{self._database.name}: {said!r} is none, or more than one begins so")
        return rows[0]


@cache
def _alert(whole: bool) -> sa.Select[Any]:
    table, known, incidents = schema.alerts, served.incident_alerts, served.incidents
    query = listed().outerjoin(known, known.c.alert_id == table.c.id)
    query = query.outerjoin(incidents, incidents.c.id == known.c.incident)
    query = query.add_columns(*(table.c[name] for name in MORE))
    query = query.add_columns(*(incidents.c[name].label(f"incident_{name}") for name in REFERENCE))
    return _called(query, table.c.id, whole)


@cache
def _curves(whole: bool) -> sa.Select[Any]:
    table = schema.alerts.c
    return _called(sa.select(table.id, table.run, table.stream, table.evidence), table.id, whole)


@cache
def _parts() -> sa.Select[Any]:
    parts = schema.explanations.c
    query = sa.select(*(parts[name] for name in PARTS)).where(parts.alert_id == sa.bindparam("alert"))
    return query.order_by(parts.slot, parts.target, sa.func.abs(parts.value).desc(), parts.feature)


@cache
def _incident(whole: bool) -> sa.Select[Any]:
    return _called(_with_suspects(), served.incidents.c.id, whole)


@cache
def _numbered() -> sa.Select[Any]:
    table = served.incidents.c
    return _with_suspects().where(table.run == sa.bindparam("run"), table.number == sa.bindparam("number"))


def _with_suspects() -> sa.Select[Any]:
    return listed_incidents().add_columns(served.incidents.c.suspects)


@cache
def _similar() -> sa.Select[Any]:
    table, other = served.incidents, served.incidents.alias()
    kind = sa.bindparam("type", type_=table.c.type.type)
    since, until = (sa.bindparam(name, type_=table.c.first_time.type) for name in ("since", "until"))
    times = sa.select(sa.func.count()).where(other.c.type == kind, other.c.first_time.between(since, until))
    query = sa.select(*(table.c[name] for name in REFERENCE), times.scalar_subquery().label("times"))
    query = query.where(table.c.type == kind, table.c.id != sa.bindparam("id"))
    return query.order_by(table.c.first_time.desc(), table.c.id).limit(SIMILAR)


@cache
def _members() -> sa.Select[Any]:
    table, known = schema.alerts, served.incident_alerts
    query = listed().add_columns(*(known.c[name].label(f"placed_{name}") for name in PLACED))
    query = query.join(known, known.c.alert_id == table.c.id).where(known.c.incident == sa.bindparam("incident"))
    query = query.where(table.c.state != "retracted").order_by(known.c.first_time, known.c.alert_id)
    return query.limit(sa.bindparam("most", type_=sa.Integer))


def _called(query: sa.Select[Any], column: sa.ColumnElement[str], whole: bool) -> sa.Select[Any]:
    """Those whose id is "start", or begins so (as `columns.begins`, with "end" behind all of these): two are enough."""
    start: sa.BindParameter[str] = sa.bindparam("start")
    end: sa.BindParameter[str] = sa.bindparam("end")
    if whole:
        return query.where(column == start)
    return query.where(column >= start, column < end, column.startswith(start)).order_by(column).limit(2)
