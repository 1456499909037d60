"""Which model versions a stream has, and which one is active."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.acts import record
from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.store import record_of
from storage.types import ModelRow, StoreError
from storage.upsert import encode, upsert

TABLE = schema.models


class Models:
    """The versions of a database's streams: candidate, active (at most one a stream), retired."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def add(self, row: ModelRow) -> None:
        """Add a version, as a candidate whatever `row` says; one that is there stays as it is."""
        rows = encode(TABLE, self._database.dialect, [replace(row, state="candidate", activated_at=None)], {})
        self._database.write(lambda connection: upsert(connection, TABLE, rows, None))

    def listing(self, stream: str | None = None) -> list[ModelRow]:
        """The versions of a stream (or of all), oldest first."""
        query = sa.select(TABLE).order_by(TABLE.c.stream, TABLE.c.created_at, TABLE.c.version)
        if stream is not None:
            query = query.where(TABLE.c.stream == stream)
        return self._database.read(lambda c: [record_of(ModelRow, row) for row in c.execute(query).mappings()])

    def active(self, stream: str) -> ModelRow | None:
        """The active version; None if there is none."""
        found = [row for row in self.listing(stream) if row.state == "active"]
        return found[0] if found else None

    def promote(
        self,
        stream: str,
        version: str,
        by: str | None = None,
        detail: Mapping[str, Any] | None = None,
        instead_of: str | None = None,
    ) -> ModelRow:
        """Make `version` the active one and retire the one that was; StoreError if there is no such version, or another
        one than `instead_of` (if said) is active. `by`: the person who does it, for the chain of acts, with `detail`.
        """

        def work(connection: Connection) -> ModelRow:
            before = [row.version for row in of_stream(connection, stream).values() if row.state == "active"]
            if instead_of is not None and before != [instead_of]:
                raise StoreError(f"stream {stream!r}: {instead_of!r} is not the active model any more: {before}")
            now = self._clock()
            row = activate(connection, stream, version, now)
            if by is not None:
                said = {"before": before[0] if before else None, **(detail or {})}
                record(connection, now, by, "promote model", f"model:{stream}/{version}", said)
            return row

        return self._database.write(work)

    def rollback(self, stream: str) -> ModelRow:
        """Make the version active that was so before the active one, and retire that; StoreError if there is none.

        The version that is left loses its activation time: no later rollback comes back to it.
        """

        def work(connection: Connection) -> ModelRow:
            used = [row for row in of_stream(connection, stream).values() if row.activated_at is not None]
            used.sort(key=lambda row: (row.state == "active", row.activated_at))
            if not used or used[-1].state != "active":
                raise StoreError(f"stream {stream!r} has no active model to roll back from")
            if len(used) == 1:
                raise StoreError(f"stream {stream!r}: no model was active before {used[0].version!r}")
            write(connection, replace(used[-1], state="retired", activated_at=None))
            return write(connection, replace(used[-2], state="active"))

        return self._database.write(work)


def of_stream(connection: Connection, stream: str) -> dict[str, ModelRow]:
    """A stream's versions by name."""
    query = sa.select(TABLE).where(TABLE.c.stream == stream)
    return {row["version"]: record_of(ModelRow, row) for row in connection.execute(query).mappings()}


def activate(connection: Connection, stream: str, version: str, now: datetime) -> ModelRow:
    """`Models.promote` within a transaction."""
    versions = of_stream(connection, stream)
    if version not in versions:
        have = ", ".join(sorted(versions)) or "none"
        raise StoreError(f"stream {stream!r} has no model version {version!r}; it has: {have}")
    if versions[version].state == "active":
        return versions[version]
    for row in versions.values():
        if row.state == "active":
            write(connection, replace(row, state="retired"))
    return write(connection, replace(versions[version], state="active", activated_at=now))


def write(connection: Connection, row: ModelRow) -> ModelRow:
    """Write a version's state and figures."""
    place = sa.and_(TABLE.c.stream == row.stream, TABLE.c.version == row.version)
    values = {"state": row.state, "activated_at": row.activated_at, "meta": row.meta}
    connection.execute(sa.update(TABLE).where(place).values(values))
    return row
