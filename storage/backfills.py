"""Runs over history: what each reads, the units that it is made of, and what became of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.engine import Database, chunks
from storage.events import ContextEvent
from storage.leases import Clock, utc_now
from storage.served import backfill_units, backfills
from storage.types import LIVE, NotThereError, StoreError
from storage.upsert import encode, upsert

RunState = Literal["running", "finished", "failed"]
UnitState = Literal["pending", "running", "finished", "failed"]
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True, slots=True)
class BackfillRow:
    """A run over the history of `stream` with one model version; `spec` (JSON) says what it reads."""

    run: str
    stream: str
    model_version: str
    spec: dict[str, Any]
    state: RunState
    epoch: int
    created_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A part of a run that one process does from its beginning to its end; `seconds` of the last attempt."""

    run: str
    unit: int
    spec: dict[str, Any]
    entities: int = 0
    rows: int = 0
    state: UnitState = "pending"
    attempts: int = 0
    alerts: int = 0
    seconds: float = 0.0
    reason: str = ""
    updated_at: datetime | None = field(default=None, compare=False)


class TakenOverError(StoreError):
    """Somebody else drives the run now."""


class Backfills:
    """The backfill runs of a database; `clock` is the wall's."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def row(self, run: str) -> BackfillRow | None:
        """The run of this name, if there is one."""
        return self._database.read(lambda connection: _row(connection, run))

    def listing(self, stream: str | None = None) -> list[BackfillRow]:
        """Every run, of `stream` if it is given, the newest first."""
        query = sa.select(backfills).order_by(backfills.c.created_at.desc(), backfills.c.run)
        if stream is not None:
            query = query.where(backfills.c.stream == stream)
        return self._database.read(
            lambda connection: [BackfillRow(**row) for row in connection.execute(query).mappings()]
        )

    def units(self, run: str) -> list[UnitRow]:
        """The run's units by number."""
        query = sa.select(backfill_units).where(backfill_units.c.run == run).order_by(backfill_units.c.unit)
        return self._database.read(lambda connection: [UnitRow(**row) for row in connection.execute(query).mappings()])

    def found(self, run: str, stream: str, unit: int) -> tuple[int, int]:
        """How many entities a unit has met, and alerts that it has opened and not taken back."""
        counts = [
            sa.select(sa.func.count()).where(table.c.run == run, table.c.stream == stream, table.c.partition == unit)
            for table in (schema.entities, schema.alerts)
        ]
        entities, alerts = counts[0], counts[1].where(schema.alerts.c.state != "retracted")
        return self._database.read(lambda one: (one.execute(entities).scalar_one(), one.execute(alerts).scalar_one()))

    def add(
        self, run: str, stream: str, version: str, spec: dict[str, Any], units: Sequence[UnitRow],
        events: Sequence[ContextEvent] = (),
    ) -> BackfillRow:  # fmt: skip
        """A run with its `units`, which nobody drives yet, and the context `events` that it knows. StoreError for a
        name that cannot be used, or is."""
        checked(run)
        row = BackfillRow(run, stream, version, spec, "running", 0, self._clock())
        shared = {"run": run, "stream": stream, "saved_at": row.created_at}
        told = encode(schema.context_events, self._database.dialect, events, shared)

        def work(connection: Connection) -> None:
            if _row(connection, run) is not None:
                raise StoreError(f"there is a run {run!r} already; take another name, or delete it first")
            if any(connection.execute(one).first() is not None for one in _left_of(run)):
                raise StoreError(
                    f"there are rows of a run {run!r} that nothing goes on with, as of a deletion that was broken off; "
                    f"take another name, or delete it first (tsad runs delete {run})"
                )
            connection.execute(backfills.insert(), _values(row))
            dated = [_values(unit) | {"run": run, "updated_at": row.created_at} for unit in units]
            for part in chunks(dated):
                connection.execute(backfill_units.insert(), part)
            upsert(connection, schema.context_events, told, None)

        self._database.write(work)
        return row

    def drive(self, run: str, again: bool = False) -> int:
        """Take the run: what was under way is pending again, with `again` what failed too. The epoch under which to
        speak of it. NotThereError where there is none."""

        def work(connection: Connection) -> int:
            row = _row(connection, run)
            if row is None:
                raise NotThereError(f"there is no run {run!r}")
            where = backfills.c.run == run
            taken = {"epoch": row.epoch + 1, "state": "running", "ended_at": None}
            connection.execute(backfills.update().where(where), taken)
            left = ("running", "failed") if again else ("running",)
            units = backfill_units.update().where(backfill_units.c.run == run, backfill_units.c.state.in_(left))
            connection.execute(units, {"state": "pending", "updated_at": self._clock()})
            return row.epoch + 1

        return self._database.write(work)

    def mark(self, epoch: int, units: Iterable[UnitRow]) -> None:
        """How `units` of one run stand. TakenOverError where another has driven it since `epoch`."""
        rows = list(units)

        def work(connection: Connection) -> None:
            _claim(connection, rows[0].run, epoch)
            for row in rows:
                where = (backfill_units.c.run == row.run, backfill_units.c.unit == row.unit)
                values = _values(row) | {"updated_at": self._clock()}
                connection.execute(backfill_units.update().where(*where), values)

        if rows:
            self._database.write(work)

    def end(self, run: str, epoch: int, state: RunState) -> None:
        """The run has ended, in one of two ways. TakenOverError likewise."""

        def work(connection: Connection) -> None:
            _claim(connection, run, epoch)
            ended = {"state": state, "ended_at": self._clock()}
            connection.execute(backfills.update().where(backfills.c.run == run), ended)

        self._database.write(work)


def checked(run: str) -> str:
    """`run` as the name of a backfill; StoreError where it cannot be one."""
    if run == LIVE or not RUN_NAME.fullmatch(run):
        allowed = "1 to 61 letters, digits, '.', '_' or '-', a letter or digit first, and not 'live'"
        raise StoreError(f"run {run!r}: {allowed} are allowed")
    return run


def _row(connection: Connection, run: str) -> BackfillRow | None:
    found = connection.execute(sa.select(backfills).where(backfills.c.run == run)).mappings().first()
    return None if found is None else BackfillRow(**found)


def _left_of(run: str) -> list[sa.Select[Any]]:
    """What finds rows of a run, whether it has a beginning or not."""
    return [sa.select(table.c.run).where(table.c.run == run).limit(1) for table in (schema.streams, backfill_units)]


def _claim(connection: Connection, run: str, epoch: int) -> None:
    """Hold the run's row, if it is still driven under `epoch`."""
    where = (backfills.c.run == run, backfills.c.epoch == epoch)
    if not connection.execute(backfills.update().where(*where), {"epoch": epoch}).rowcount:
        raise TakenOverError(f"run {run!r} is driven by another process now (or was deleted)")


def _values(row: BackfillRow | UnitRow) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in fields(row)}
