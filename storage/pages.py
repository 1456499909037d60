"""Long lists by pages: each begins behind the key of the last row of the one before, so that rows which come meanwhile
shift nothing, and a page costs the same wherever it lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, get_args

import sqlalchemy as sa

from storage import schema, served
from storage.columns import Name, Real, Utc, Whole
from storage.engine import Database
from storage.incidents import IncidentFilter
from storage.read import AlertFilter, Listing
from storage.rulings import Standing
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
        table, decided = schema.alerts, served.decisions
        keys = [table.c[sort.removeprefix("-")], table.c.id]
        query = _listed().where(decided.c.standing.in_(standings)) if standings else _listed()
        return self._page(query.where(*which.conditions()), keys, sort[0] == "-", after, limit)

    def members(self, incident: str, limit: int) -> Listing:
        """The alerts of an incident that stand, the first to begin first, as `alerts` tells of them."""
        table, known = schema.alerts, served.incident_alerts
        query = _listed().join(known, known.c.alert_id == table.c.id).where(known.c.incident == incident)
        query = query.where(table.c.state != "retracted").order_by(known.c.first_time, known.c.alert_id).limit(limit)
        return self._rows(query)

    def incidents(self, which: IncidentFilter, sort: IncidentSort, after: list[Any] | None, limit: int) -> Page:
        """Incidents that `which` lets through, by beginning or by how bad they are, falling with a "-"; with number and
        title of the first of their type ("like_number", "like_title"), where that is known."""
        table, kinds = served.incidents, served.incident_types
        keys = [table.c[sort.removeprefix("-")], table.c.id]
        columns = [table.c[name] for name in INCIDENTS_LISTED]
        like = [kinds.c[name].label(f"like_{name}") for name in ("number", "title")]
        query = sa.select(*columns, *like).outerjoin(kinds, kinds.c.id == table.c.type)
        return self._page(query.where(*which.conditions()), keys, sort[0] == "-", after, limit)

    def alike(self, incident: str, kind: str | None, limit: int = 10) -> Listing:
        """Id, number and title of the other incidents of a type, the newest first."""
        table = served.incidents
        query = sa.select(table.c.id, table.c.number, table.c.title)
        query = query.where(table.c.type == kind, table.c.id != incident)
        return self._rows(query.order_by(table.c.first_time.desc(), table.c.id).limit(limit)) if kind else []

    def entities(self, stream: str, contains: str | None, after: list[Any] | None, limit: int, run: str = LIVE) -> Page:
        """A stream's entities by name, of those whose name `contains` a text."""
        table = schema.entities
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream)
        if contains:
            query = query.where(table.c.entity.contains(contains, autoescape=True))
        return self._page(query, [table.c.entity, table.c.partition], False, after, limit)

    def dead_letters(
        self, stream: str, reason: str | None, after: list[Any] | None, limit: int, run: str = LIVE
    ) -> Page:
        """A stream's rejected records by their place: topic, partition, position."""
        table = schema.dead_letters
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream)
        if reason is not None:
            query = query.where(table.c.reason == reason)
        return self._page(query, [table.c.topic, table.c.partition, table.c.position], False, after, limit)

    def _page(
        self, query: sa.Select[Any], keys: list[sa.Column[Any]], falling: bool, after: list[Any] | None, limit: int
    ) -> Page:
        query = query.order_by(*(key.desc() if falling else key for key in keys)).limit(limit + 1)
        if after is not None:
            last = sa.tuple_(
                *(sa.literal(value, key.type) for key, value in zip(keys, _values(keys, after), strict=True))
            )
            place = sa.tuple_(*keys)
            query = query.where(place < last if falling else place > last)
        rows = self._rows(query)
        whole = len(rows) <= limit
        rows = rows[:limit]
        return Page(rows, None if whole else [_said(rows[-1][key.name]) for key in keys])

    def _rows(self, query: sa.Select[Any]) -> Listing:
        names, found = self._database.read(lambda connection: _read(connection.execute(query)))
        return [dict(zip(names, row, strict=True)) for row in found]


@cache
def _listed() -> sa.Select[Any]:
    """Alerts, each with what was decided of it."""
    table, decided = schema.alerts, served.decisions
    columns = [table.c[name] for name in LISTED]
    more = [decided.c[name].label(f"decided_{name}") for name in DECIDED]
    return sa.select(*columns, *more).select_from(table).outerjoin(decided, decided.c.alert_id == table.c.id)


def _read(result: sa.CursorResult[Any]) -> tuple[list[str], Sequence[sa.Row[Any]]]:
    return list(result.keys()), result.all()


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
