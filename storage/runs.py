"""What a run found, in figures: sums and lists of bounded length, however many alerts and entities there are.

Alerts that were retracted count in `states` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.engine import Database
from storage.pages import LISTED
from storage.read import Listing
from storage.served import backfill_units, backfills
from storage.types import LIVE, NotThereError, Severity

ALERTS, HOURS, UNITS = schema.alerts, schema.score_rollups, backfill_units
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Totals:
    """Alerts that stand, entities that have some, and when the first began and the last ended."""

    alerts: int
    entities: int
    first: datetime | None
    last: datetime | None


class Runs:
    """The runs of a database but for `live`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[str]:
        """Every run, by name, those of which only some rows are left too."""
        begun = sa.select(schema.streams.c.run).where(schema.streams.c.run != LIVE)
        query = sa.union(begun, sa.select(backfills.c.run)).order_by("run")
        return self._database.read(lambda c: list(c.execute(query).scalars()))

    def known(self, run: str) -> str:
        """`run`; NotThereError where there is no such run, or it is `live`."""
        if run == LIVE:
            raise NotThereError("`live` is what the streams found as it came, and no run over history")
        if run not in (names := self.names()):
            raise NotThereError(f"there is no run {run!r}; there is: {', '.join(names) or 'none'}")
        return run

    def streams(self, run: str) -> list[str]:
        """The streams that it judged (one, and that of its sessions)."""
        table = schema.streams
        query = sa.select(table.c.stream).where(table.c.run == run).order_by(table.c.stream)
        return self._database.read(lambda c: list(c.execute(query).scalars()))

    def versions(self, run: str) -> list[str]:
        """The model versions that its alerts are of."""
        query = sa.select(ALERTS.c.model_version).distinct().where(ALERTS.c.run == run)
        return self._database.read(lambda c: sorted(c.execute(query).scalars()))

    def units(self, run: str) -> Listing:
        """Units by `state`: `count`, `rows`, `seconds`; none of a run that no backfill made."""
        sums = [sa.func.sum(UNITS.c[name]).label(name) for name in ("rows", "seconds")]
        query = sa.select(UNITS.c.state, sa.func.count().label("count"), *sums).where(UNITS.c.run == run)
        return self._dicts(query.group_by(UNITS.c.state).order_by(UNITS.c.state))

    def failures(self, run: str, limit: int) -> Listing:
        """The first units that failed: `unit`, `attempts`, `reason`."""
        query = sa.select(UNITS.c.unit, UNITS.c.attempts, UNITS.c.reason)
        query = query.where(UNITS.c.run == run, UNITS.c.state == "failed").order_by(UNITS.c.unit)
        return self._dicts(query.limit(limit))

    def states(self, run: str) -> Listing:
        """Alerts by `severity` and `state`: `count`."""
        columns = ALERTS.c.severity, ALERTS.c.state
        query = sa.select(*columns, sa.func.count().label("count")).where(ALERTS.c.run == run)
        return self._dicts(query.group_by(*columns).order_by(*columns))

    def totals(self, run: str) -> Totals:
        """Of the run."""
        first = sa.func.min(ALERTS.c.first_time, type_=ALERTS.c.first_time.type)
        last = sa.func.max(ALERTS.c.last_time, type_=ALERTS.c.last_time.type)
        query = sa.select(sa.func.count(), first, last).where(*_standing(run))
        whose = sa.select(ALERTS.c.stream, ALERTS.c.entity).distinct().where(*_standing(run)).subquery()
        entities = sa.select(sa.func.count()).select_from(whose)

        def work(connection: sa.Connection) -> Totals:
            count, begun, ended = connection.execute(query).one()
            return Totals(count, connection.execute(entities).scalar_one(), begun, ended)

        return self._database.read(work)

    def over_time(self, run: str, seconds: int) -> Listing:
        """`bucket` (since the epoch, of `seconds` each), `severity`, `count`, by bucket."""
        bucket = (sa.cast(sa.extract("epoch", ALERTS.c.first_time), sa.BigInteger) // seconds).label("bucket")
        query = sa.select(bucket, ALERTS.c.severity, sa.func.count().label("count")).where(*_standing(run))
        return self._dicts(query.group_by(bucket, ALERTS.c.severity).order_by(bucket))

    def busiest(self, run: str, limit: int) -> Listing:
        """The entities with most alerts: `stream`, `entity`, `count`, `critical`, `warning`, `info`, `score`."""
        whose = ALERTS.c.stream, ALERTS.c.entity
        count = sa.func.count().label("count")
        of = [sa.func.sum(sa.case((ALERTS.c.severity == name, 1), else_=0)).label(name) for name in SEVERITIES]
        score = sa.func.max(ALERTS.c.score).label("score")
        query = sa.select(*whose, count, *of, score).where(*_standing(run)).group_by(*whose)
        return self._dicts(query.order_by(count.desc(), score.desc(), *whose).limit(limit))

    def strongest(self, run: str, limit: int) -> Listing:
        """The alerts with the greatest scores."""
        query = sa.select(*(ALERTS.c[name] for name in LISTED)).where(*_standing(run))
        return self._dicts(query.order_by(ALERTS.c.score.desc(), ALERTS.c.id.desc()).limit(limit))

    def scores(self, run: str, edges: Sequence[float]) -> list[int]:
        """Alerts by score: N + 1 counts, below the first of N rising `edges`, between each two, from the last on."""
        return self._histogram(ALERTS.c.score, _standing(run), edges)

    def hours(self, run: str, edges: Sequence[float]) -> list[int]:
        """The hours of all entities by their greatest score, likewise."""
        return self._histogram(HOURS.c.maximum, [HOURS.c.run == run], edges)

    def _histogram(
        self, column: sa.Column[Any], where: Sequence[sa.ColumnElement[bool]], edges: Sequence[float]
    ) -> list[int]:
        place = sa.case(*((column < edge, number) for number, edge in enumerate(edges)), else_=len(edges))
        inner = sa.select(place.label("place")).where(*where).subquery()
        query = sa.select(inner.c.place, sa.func.count()).group_by(inner.c.place)
        found = self._database.read(lambda c: dict(c.execute(query).tuples().all()))
        return [found.get(number, 0) for number in range(len(edges) + 1)]

    def _dicts(self, query: sa.Select[Any]) -> Listing:
        return self._database.read(lambda c: [dict(row) for row in c.execute(query).mappings()])


def _standing(run: str) -> list[sa.ColumnElement[bool]]:
    return [ALERTS.c.run == run, ALERTS.c.state != "retracted"]
