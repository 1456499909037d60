"""What happened around a stream: context events that were told, from wherever."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.acts import record
from storage.engine import Database
from storage.events import LOGS, ContextEvent
from storage.leases import Clock, utc_now
from storage.store import record_of
from storage.types import LIVE, DeadLetter
from storage.upsert import encode, upsert


class ContextEvents:
    """The context events of a database; `clock` dates them."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def add(self, stream: str, events: Iterable[ContextEvent], run: str = LIVE, by: str | None = None) -> None:
        """Keep `events`, each once: one that is there stays as it is. `by`: the person who told, for the chain of
        acts."""
        table, told, now = schema.context_events, list(events), self._clock()
        rows = encode(table, self._database.dialect, told, {"run": run, "stream": stream, "saved_at": now})

        def work(connection: Connection) -> None:
            upsert(connection, table, rows, None)
            for one in told if by is not None else ():
                detail = {"stream": stream, "kind": one.kind, "entity": one.entity, "start": one.start}
                record(connection, now, by or "", "tell event", f"event:{one.id}", detail)

        self._database.write(work)

    def bury(self, stream: str, partition: int, letters: Iterable[DeadLetter], run: str = LIVE) -> None:
        """Keep messages of partition `partition` of the stream's topic of events that tell of none, each once."""
        table = schema.dead_letters
        shared = {"run": run, "stream": stream, "partition": partition, "saved_at": self._clock()}
        rows = encode(table, self._database.dialect, list(letters), shared)
        self._database.write(lambda connection: upsert(connection, table, rows, None))

    def listing(
        self, stream: str, run: str = LIVE, since: datetime | None = None, limit: int | None = None, told: bool = False
    ) -> list[ContextEvent]:
        """The stream's events, newest first: those that began at `since` or later, or had not ended by then. With
        `told` without those that partitions found in their own lines."""
        table = schema.context_events
        query = sa.select(table).where(table.c.run == run, table.c.stream == stream)
        if since is not None:
            query = query.where(sa.or_(table.c.start >= since, table.c.end >= since))
        if told:
            query = query.where(table.c.source != LOGS)
        query = query.order_by(table.c.start.desc(), table.c.id).limit(limit)
        return self._database.read(
            lambda connection: [record_of(ContextEvent, row) for row in connection.execute(query).mappings()]
        )
