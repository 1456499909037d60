"""What rules alerts beside the records: versions of the rules, calendars; and what was decided of each alert."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.acts import record
from storage.deliveries import Gather, Telling, alone, enqueue
from storage.engine import Database, chunks
from storage.leases import Clock, utc_now
from storage.served import calendars, decisions, marks, rulebooks
from storage.store import record_of
from storage.types import LIVE, Severity, StoreError
from storage.upsert import encode, upsert

Standing = Literal["notify", "hold", "suppress", "withdraw"]


class StaleError(StoreError):
    """Rules were made of a version that is not the newest any more."""


@dataclass(frozen=True, slots=True)
class RulebookRow:
    """A version of the rules: `rules` is their document, in force for alerts that last until `since` (event time) or
    longer. `undoes`: the version that it takes back."""

    version: int
    at: datetime
    since: datetime
    by: str
    cause: str
    rules: dict[str, Any]
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """A calendar as it is kept."""

    name: str
    calendar: dict[str, Any]
    by: str
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What is to become of an alert: whether people are told, how bad it is, and why that is so.

    `rule` names the rule, calendar or mark that decided, `thread` the alert that this one goes on, `version` that of
    the rules.
    """

    alert_id: str
    standing: Standing
    severity: Severity
    reason: str
    rule: str
    thread: str
    version: int


class Rulings:
    """The rules, calendars and decisions of a database; `clock` dates them."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def rulebooks(self) -> list[RulebookRow]:
        """Every version, the oldest first."""
        query = sa.select(rulebooks).order_by(rulebooks.c.version)
        return self._database.read(lambda c: [record_of(RulebookRow, row) for row in c.execute(query).mappings()])

    def apply(
        self, rules: dict[str, Any], by: str, cause: str, since: datetime | None = None, undoes: int | None = None,
        after: int | None = None,
    ) -> RulebookRow:  # fmt: skip
        """A new version of the rules, in force from `since` on, else for all that is not over and all that comes.
        StaleError where `after`, the version that they were made of, is not the newest."""

        def work(connection: Connection) -> RulebookRow:
            now = self._clock()
            last = connection.execute(sa.select(sa.func.max(rulebooks.c.version))).scalar() or 0
            if after is not None and after != last:
                raise StaleError(f"version {after} of the rules is not the newest, which is {last}")
            row = RulebookRow(last + 1, now, since or _not_over(connection) or now, by, cause, rules, undoes)
            record(connection, now, by, "apply rules", f"rules:{row.version}", {"cause": cause, "rules": rules})
            connection.execute(rulebooks.insert(), asdict(row))
            return row

        return self._database.write(work)

    def undo(self, version: int, by: str) -> RulebookRow:
        """Take the newest version back: the rules before it become the next one, from the same moment on. StoreError
        where `version` is not the newest."""
        known = self.rulebooks()
        if not known or known[-1].version != version:
            newest = known[-1].version if known else "none"
            raise StoreError(f"version {version} of the rules is not the newest, which is {newest}")
        before = known[-2].rules if len(known) > 1 else {}
        return self.apply(before, by, f"version {version} is taken back", known[-1].since, version)

    def calendars(self) -> list[CalendarRow]:
        """By name."""
        query = sa.select(calendars).order_by(calendars.c.name)
        return self._database.read(lambda c: [record_of(CalendarRow, row) for row in c.execute(query).mappings()])

    def put_calendar(self, name: str, calendar: dict[str, Any], by: str) -> CalendarRow:
        """Keep a calendar; one of that name is replaced."""
        row = CalendarRow(name, calendar, by, self._clock())

        def work(connection: Connection) -> None:
            record(connection, row.saved_at, by, "put calendar", f"calendar:{name}", calendar)
            upsert(connection, calendars, encode(calendars, connection.dialect, [row], {}), frozenset())

        self._database.write(work)
        return row

    def drop_calendar(self, name: str, by: str) -> None:
        """Take a calendar out. StoreError where there is none."""

        def work(connection: Connection) -> None:
            if connection.execute(calendars.delete().where(calendars.c.name == name)).rowcount != 1:
                raise StoreError(f"there is no calendar {name!r}")
            record(connection, self._clock(), by, "drop calendar", f"calendar:{name}")

        self._database.write(work)

    def decide(
        self,
        rows: Iterable[DecisionRow],
        tell: Callable[[DecisionRow], Iterable[Telling]] = lambda _: (),
        gather: Gather = lambda _connection, _alerts: (),
    ) -> list[DecisionRow]:
        """Keep decisions, and what there is to `tell` of those that are news and, by `gather`, of their alerts'
        incidents; which those are."""
        wanted = {row.alert_id: row for row in rows}

        def work(connection: Connection) -> list[DecisionRow]:
            held = _decisions(connection, wanted)
            news = [row for identity, row in wanted.items() if held.get(identity) != row]
            now = self._clock()
            upsert(connection, decisions, encode(decisions, connection.dialect, news, {"saved_at": now}), frozenset())
            if news:
                alone(connection)
                mine = (one for row in news for one in tell(row))
                enqueue(connection, chain(mine, gather(connection, [row.alert_id for row in news])), now)
            return news

        return self._database.write(work)

    def over(self, now: datetime, run: str = LIVE) -> dict[tuple[str, str, str], datetime]:
        """Run, stream and entity of alerts that a snooze holds which is over at `now`, and when the first began."""
        alerts = schema.alerts
        joined = decisions.join(marks, marks.c.id == decisions.c.rule).join(alerts, alerts.c.id == decisions.c.alert_id)
        first = sa.func.min(alerts.c.first_time, type_=alerts.c.first_time.type)
        query = sa.select(alerts.c.run, alerts.c.stream, alerts.c.entity, first).select_from(joined)
        held = query.where(decisions.c.standing == "hold", marks.c.kind == "snooze", marks.c.until <= now)
        held = held.where(alerts.c.run == run).group_by(alerts.c.run, alerts.c.stream, alerts.c.entity)
        return self._database.read(
            lambda c: {(run, stream, entity): begun for run, stream, entity, begun in c.execute(held)}
        )

    def decisions(self, alerts: Collection[str]) -> dict[str, DecisionRow]:
        """What was decided of some alerts, by id."""
        return self._database.read(lambda connection: _decisions(connection, alerts))


def _decisions(connection: Connection, alerts: Collection[str]) -> dict[str, DecisionRow]:
    found: dict[str, DecisionRow] = {}
    for part in chunks(sorted(alerts)):
        rows = connection.execute(sa.select(decisions).where(decisions.c.alert_id.in_(part))).mappings()
        found |= {row["alert_id"]: record_of(DecisionRow, row) for row in rows}
    return found


def _not_over(connection: Connection) -> datetime | None:
    """When the first of the alerts that are not over began."""
    table = schema.alerts
    going = sa.and_(table.c.run == LIVE, table.c.state.in_(("open", "confirmed")))
    return connection.execute(
        sa.select(sa.func.min(table.c.first_time, type_=table.c.first_time.type)).where(going)
    ).scalar()
