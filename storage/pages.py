"""Long lists by pages: each begins behind the key of the last row of the one before, so that rows which come meanwhile
shift nothing, and a page costs the same wherever it lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema, served
from storage.columns import Name, Real, Utc, Whole
from storage.engine import Database
from storage.incidents import CONDITIONS as INCIDENTS
from storage.incidents import IncidentFilter
from storage.read import CONDITIONS as ALERTS
from storage.read import AlertFilter, Listing
from storage.rulings import Standing
from storage.seen import each
from storage.types import LIVE

AlertSort = Literal["-first_time", "first_time", "-score", "score"]
ALERT_SORTS = get_args(AlertSort)
IncidentSort = Literal["-first_time", "first_time", "-severity_score", "severity_score"]
LISTED = (
    "id", "run", "stream", "entity", "state", "severity", "score", "p", "confidence", "first_time", "last_time",
    "peak_time", "detected_at", "model_version", "attribution", "explanation", "explained_by", "explained_by_event",
    "sentence", "merged_into", "reason",
)  # fmt: skip
"""What a list says of an alert: not its curves."""
INCIDENTS_LISTED = (
    "id", "run", "number", "stream", "title", "state", "severity", "severity_score", "score", "first_time", "last_time",
    "entity", "feature", "alerts", "entities", "opened_at", "type", "likeness", "merged_into",
)  # fmt: skip
"""What a list says of an incident: not its suspects."""
DECIDED = ("standing", "severity", "reason", "rule", "thread", "version")
"""And of what was decided of it, each with "decided_" before it."""
SEVERAL = ("states", "severities", "standings")
"""Conditions of several values."""
KEPT = 256
"""Statements, at most."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some `rows`, and the key of the last (None: nothing comes behind them)."""

    rows: Listing
    last: list[Any] | None


class Pages:
    """Pages of at most `limit` rows `after` a key: None is the first one. ValueError for a key of another list."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alerts(
        self,
        which: AlertFilter,
        sort: AlertSort,
        after: list[Any] | None,
        limit: int,
        standings: Sequence[Standing] = (),
    ) -> Page:
        """Alerts that `which` lets through (its limit does not count), by opening or score, falling with a "-"; with
        what was `decided` of each (None: nothing yet), only those of some `standings` if said."""
        given = which.given() | ({"standings": standings} if standings else {})
        query = _alerts(tuple(given), sort, after is not None)
        return self._page(query, _keys(schema.alerts, sort), after, limit, given)

    def incidents(self, which: IncidentFilter, sort: IncidentSort, after: list[Any] | None, limit: int) -> Page:
        """Incidents that `which` lets through, by beginning or by how bad they are, falling with a "-"; with number and
        title of the first of their type ("like_number", "like_title"), where that is known."""
        given = which.given()
        query = _incidents(tuple(given), sort, after is not None)
        return self._page(query, _keys(served.incidents, sort), after, limit, given)

    def entities(self, stream: str, contains: str | None, after: list[Any] | None, limit: int, run: str = LIVE) -> Page:
        """A stream's entities by name, of those whose name `contains` a text."""
        table = schema.entities
        named = [table.c.entity.contains(contains, autoescape=True)] if contains else []
        query = each(table.c.run == run, table.c.stream == stream, *named)
        keys: list[Any] = [query.selected_columns.entity]
        return self._page(_behind(query, keys, False, after is not None), keys, after, limit, {})

    def dead_letters(
        self, stream: str, reason: str | None, after: list[Any] | None, limit: int, run: str = LIVE
    ) -> Page:
        """A stream's rejected records by their place: topic, partition, position."""
        table = schema.dead_letters
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream)
        if reason is not None:
            query = query.where(table.c.reason == reason)
        keys = [table.c.topic, table.c.partition, table.c.position]
        return self._page(_behind(query, keys, False, after is not None), keys, after, limit, {})

    def _page(
        self, query: sa.Select[Any], keys: list[sa.Column[Any]], after: list[Any] | None, limit: int,
        given: Mapping[str, Any],
    ) -> Page:  # fmt: skip
        last = _values(keys, after) if after is not None else []
        told = {**given, "most": limit + 1} | {f"last_{key.name}": one for key, one in zip(keys, last, strict=False)}
        rows = self._database.read(lambda connection: rows_of(connection, query, told))
        whole = len(rows) <= limit
        rows = rows[:limit]
        return Page(rows, None if whole else [_said(rows[-1][key.name]) for key in keys])


def rows_of(connection: Connection, query: sa.Select[Any], told: Mapping[str, Any]) -> Listing:
    """The rows of a statement whose parameters are `told`."""
    result = connection.execute(query, told)
    names = list(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]


@cache
def listed() -> sa.Select[Any]:
    """Alerts, each with what was decided of it."""
    table, decided = schema.alerts, served.decisions
    columns = [table.c[name] for name in LISTED]
    more = [decided.c[name].label(f"decided_{name}") for name in DECIDED]
    return sa.select(*columns, *more).select_from(table).outerjoin(decided, decided.c.alert_id == table.c.id)


@cache
def listed_incidents() -> sa.Select[Any]:
    """Incidents, each with number and title of the first of its type."""
    table, kinds = served.incidents, served.incident_types
    like = [kinds.c[name].label(f"like_{name}") for name in ("number", "title")]
    columns = (table.c[name] for name in INCIDENTS_LISTED)
    return sa.select(*columns, *like).outerjoin(kinds, kinds.c.id == table.c.type)


# to build a statement costs several times as much as to execute it: those that are asked again and again are kept


@lru_cache(KEPT)
def _alerts(given: tuple[str, ...], sort: AlertSort, more: bool) -> sa.Select[Any]:
    conditions = ALERTS | {"standings": served.decisions.c.standing.in_}
    query = listed().where(*(conditions[name](_parameter(name)) for name in given))
    return _behind(query, _keys(schema.alerts, sort), sort[0] == "-", more)


@lru_cache(KEPT)
def _incidents(given: tuple[str, ...], sort: IncidentSort, more: bool) -> sa.Select[Any]:
    query = listed_incidents().where(*(INCIDENTS[name](_parameter(name)) for name in given))
    return _behind(query, _keys(served.incidents, sort), sort[0] == "-", more)


def _parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, expanding=name in SEVERAL)


def _keys(table: sa.Table, sort: str) -> list[sa.Column[Any]]:
    return [table.c[sort.removeprefix("-")], table.c.id]


def _behind(query: sa.Select[Any], keys: list[sa.Column[Any]], falling: bool, more: bool) -> sa.Select[Any]:
    """In the order of `keys`, with `more` behind a key whose parameters are their names with "last_" before them; as
    many as the parameter "most"."""
    query = query.order_by(*(key.desc() if falling else key for key in keys))
    query = query.limit(sa.bindparam("most", type_=sa.Integer))
    if not more:
        return query
    place, last = sa.tuple_(*keys), sa.tuple_(*(sa.bindparam(f"last_{key.name}", type_=key.type) for key in keys))
    return query.where(place < last if falling else place > last)


def _said(value: Any) -> Any:
    """As JSON has it, and `_values` takes back."""
    return value.isoformat() if isinstance(value, datetime) else value


def _values(keys: list[sa.Column[Any]], after: list[Any]) -> list[Any]:
    """A key as the columns have it. ValueError where it is none of theirs."""
    if not isinstance(after, list) or len(after) != len(keys):
        raise ValueError("the key is of another list")
    return [_KINDS[type(key.type)](value) for key, value in zip(keys, after, strict=True)]


def _moment(value: Any) -> datetime:
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text was expected, got {value!r}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"a whole number was expected, got {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number was expected, got {value!r}")
    return float(value)


_KINDS: Mapping[type, Callable[[Any], Any]] = {Utc: _moment, Name: _text, Whole: _whole, Real: _number}
