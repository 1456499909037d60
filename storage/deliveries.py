"""What is to be told on which route: written in the transaction of the decision that it tells of, and kept until the
receiver has taken it, so that nothing is lost and what was told and is no longer so is corrected.

Who delivers claims a few messages for a while; one that died meanwhile leaves them to the next. So each is sent at
least once, with the same dedup key, and those of one key in their order.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.read import Listing
from storage.served import deliveries
from storage.store import record_of
from storage.types import Severity

Status = Literal["firing", "resolved", "withdrawn"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the least on."""
CLAIM = timedelta(seconds=60)
"""So long a claim holds: longer than any attempt may take."""
FIRST, LONGEST = timedelta(seconds=5), timedelta(minutes=15)
"""Between two attempts: doubling from the one to the other."""
GIVEN_UP = timedelta(days=3)
"""A message that was not taken for so long is given up, and said so."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Something to tell on `route` of an alert, or of an incident (`alert_id` is its id then): `body` is what targets
    make their messages of."""

    route: str
    key: str
    alert_id: str
    status: Status
    severity: Severity
    body: dict[str, Any]


Gather = Callable[[Connection, Collection[str]], Iterable[Telling]]
"""What there is to tell, as a transaction finds it, about these ids."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that waits, or what came of it (`state`: pending, sent, failed, grouped)."""

    sequence: int
    route: str
    key: str
    alert_id: str
    status: Status
    severity: Severity
    body: dict[str, Any]
    state: str
    attempts: int
    next_at: datetime
    error: str
    saved_at: datetime


TURN = 0x7473_6164
"""The number of the advisory lock that `alone` takes."""


def alone(connection: Connection) -> None:
    """Until this transaction ends no other one adds messages. On SQLite none writes at all."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TURN)))


def enqueue(connection: Connection, tellings: Iterable[Telling], now: datetime) -> int:
    """Add what says something new to its receiver; how many are to be sent. One that ends something which nobody was
    told of is not told; where that was an alert which came and went at once, its beginning goes before. Of alerts under
    one key the first, what is worse, and the end of the last are sent; the rest is `grouped`."""
    alone(connection)
    last = connection.execute(sa.select(sa.func.max(deliveries.c.sequence))).scalar() or 0
    sent = 0
    for one in tellings:
        key, before = _before(connection, one)
        for status in _news(one, before):
            last += 1
            state = "grouped" if _covered(connection, replace(one, key=key, status=status)) else "pending"
            told = {name: getattr(one, name) for name in Telling.__slots__} | {"key": key, "status": status}
            more = {"sequence": last, "state": state, "attempts": 0, "next_at": now, "error": "", "saved_at": now}
            connection.execute(deliveries.insert(), told | more)
            sent += state == "pending"
    return sent


def _before(connection: Connection, one: Telling) -> tuple[str, tuple[Status, Severity] | None]:
    """The key under which a receiver knows an alert, and status and severity that it was told last."""
    table = deliveries.c
    query = sa.select(table.key, table.status, table.severity).where(
        table.route == one.route, table.alert_id == one.alert_id
    )
    row = connection.execute(query.order_by(table.sequence.desc()).limit(1)).first()
    return (one.key, None) if row is None else (row.key, (row.status, row.severity))


def _news(one: Telling, before: tuple[Status, Severity] | None) -> list[Status]:
    """What is to be told, in order."""
    if one.status == "firing":
        return [] if before == ("firing", one.severity) else ["firing"]
    if before is None:
        return ["firing", "resolved"] if one.status == "resolved" else []
    return [one.status] if before[0] == "firing" else []


def _covered(connection: Connection, one: Telling) -> bool:
    """Whether others of the same key that are not over say enough: as bad ones where this begins, any where it ends."""
    table = deliveries.c
    query = sa.select(table.alert_id, table.status, table.severity).where(
        table.route == one.route, table.key == one.key, table.alert_id != one.alert_id
    )
    last = {name: (status, severity) for name, status, severity in connection.execute(query.order_by(table.sequence))}
    firing = [SEVERITIES.index(severity) for status, severity in last.values() if status == "firing"]
    return bool(firing) and (one.status != "firing" or max(firing) >= SEVERITIES.index(one.severity))


class Deliveries:
    """The messages of a database."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def claim(self, limit: int, routes: Sequence[str]) -> list[Delivery]:
        """The oldest due message of each key of these routes, at most `limit`: nobody else gets them for a while."""
        table = deliveries.c
        first = (
            sa.select(sa.func.min(table.sequence))
            .where(table.state == "pending", table.route.in_(routes))
            .group_by(table.route, table.key)
        )

        def work(connection: Connection) -> list[Delivery]:
            now = self._clock()
            query = sa.select(deliveries).where(table.sequence.in_(first), table.next_at <= now)
            query = query.order_by(table.sequence).limit(limit).with_for_update(skip_locked=True)
            found = [record_of(Delivery, row) for row in connection.execute(query).mappings()]
            if found:
                mine = table.sequence.in_([one.sequence for one in found])
                connection.execute(deliveries.update().where(mine).values(next_at=now + CLAIM))
            return found

        return self._database.write(work)

    def sent(self, one: Delivery) -> None:
        """Its receiver has taken it."""
        self._change(one, state="sent", attempts=one.attempts + 1, error="")

    def failed(self, one: Delivery, error: str, final: bool = False) -> bool:
        """It was not taken: it is tried again later, or (`final`, or for too long) given up; whether that."""
        now, pause = self._clock(), min(FIRST * 2 ** min(one.attempts, 20), LONGEST)
        given_up = final or now - one.saved_at > GIVEN_UP
        state = "failed" if given_up else "pending"
        self._change(one, state=state, attempts=one.attempts + 1, error=error[:2000], next_at=now + pause)
        return given_up

    def listing(self, limit: int, state: str | None = None) -> Listing:
        """The newest first, without what they say."""
        names = [column for column in deliveries.columns if column.name != "body"]
        query = sa.select(*names).order_by(deliveries.c.sequence.desc()).limit(limit)
        query = query if state is None else query.where(deliveries.c.state == state)
        return self._database.read(lambda c: [dict(row) for row in c.execute(query).mappings()])

    def _change(self, one: Delivery, **values: Any) -> None:
        change = deliveries.update().where(deliveries.c.sequence == one.sequence).values(**values)
        self._database.write(lambda connection: connection.execute(change).rowcount)
