"""`Store`: a poll's changes and the place to go on from, in one transaction, under the lease of each partition."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from storage import schema
from storage.engine import Database
from storage.leases import Clock, held, utc_now
from storage.outbox import Place, Post, fresh, numbers, told, unseen, write
from storage.scoretable import ScoreTable
from storage.types import (
    Alert,
    Announcement,
    Changes,
    Checkpoint,
    Explanation,
    LeaseLost,
    NoData,
    Order,
    Restored,
    Saved,
    SnapshotRow,
    StoreError,
    StreamRow,
)
from storage.upsert import COPY_ROWS, Copied, Row, encode, upsert

SNAPSHOTS_KEPT = 2

Record = TypeVar("Record")
Encoded = dict[str, list[Row] | Copied]
"""Rows by table."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A list of `Changes` and its table. `keep`: columns that a repeated row does not renew (None: nothing is)."""

    field: str
    table: sa.Table
    keep: frozenset[str] | None = frozenset()


KINDS = (
    Kind("alerts", schema.alerts, frozenset({"detected_at", "ingested_at"})),
    Kind("explanations", schema.explanations),
    Kind("scores", schema.scores),
    Kind("rollups", schema.score_rollups),
    Kind("dead_letters", schema.dead_letters, None),
    Kind("orders", schema.orders, None),
    Kind("audit", schema.audit, None),
    Kind("templates", schema.log_templates),
    Kind("template_aliases", schema.template_aliases),
    Kind("entities", schema.entities, frozenset({"first_slot"})),
    Kind("evicted", schema.evicted_states),
    Kind("no_data", schema.no_data, frozenset({"opened_at"})),
    Kind("context_events", schema.context_events, None),
)
"""In the order of writing: what is referred to comes first."""


def record_of(kind: type[Record], row: RowMapping) -> Record:
    """A table's row as the dataclass whose fields name its columns."""
    return kind(**{item.name: row[item.name] for item in fields(kind)})  # type: ignore[arg-type]


def of_partition(table: sa.Table, run: str, stream: str, partition: int) -> sa.ColumnElement[bool]:
    """The rows of one partition."""
    return sa.and_(table.c.run == run, table.c.stream == stream, table.c.partition == partition)


class Store:
    """Where a pipeline keeps what it found. `clock` dates the rows (`saved_at`, for retention)."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def save(self, bundles: Sequence[Changes]) -> Saved:
        """Write one bundle for each partition, in ONE transaction; the same save again adds nothing.

        A partition whose epoch is not its lease's any more is left out and named in `Saved.lost`. ValueError (before
        anything is written) for a naive datetime, an alert of another partition, or a partition named twice;
        StoreError if the database refuses; then nothing of the save is there.
        """
        ordered = sorted(bundles, key=lambda b: (b.run, b.stream, b.partition))
        if len({(b.run, b.stream, b.partition) for b in ordered}) < len(ordered):
            raise ValueError("two bundles of one partition in one save")
        prepared = [(bundle, self._rows(bundle)) for bundle in ordered]
        return self._database.write(lambda connection: self._write(connection, prepared))

    def _rows(self, bundle: Changes) -> Encoded:
        """The bundle in the driver's values, by table. Done ahead, so that the transaction is short."""
        place = (bundle.run, bundle.stream, bundle.partition)
        for alert in bundle.alerts:
            if (alert.run, alert.stream, alert.partition) != place:
                raise ValueError(
                    f"alert {alert.id} belongs to {(alert.run, alert.stream, alert.partition)}, not {place}"
                )
        shared = {"run": bundle.run, "stream": bundle.stream, "partition": bundle.partition, "saved_at": self._clock()}
        dialect = self._database.dialect
        rows: Encoded = {}
        for kind in KINDS:
            records: Sequence[Any] = getattr(bundle, kind.field)
            if isinstance(records, ScoreTable) and dialect.name == "postgresql" and len(records) >= COPY_ROWS:
                copied = records.copied(kind.table, dialect, shared)
                rows |= {kind.table.name: copied} if copied else {}
            if records and kind.table.name not in rows:
                rows[kind.table.name] = encode(kind.table, dialect, records, shared)
        if bundle.checkpoint is not None:
            rows["checkpoints"] = encode(schema.checkpoints, dialect, [bundle.checkpoint], shared)
        if bundle.snapshots:
            rows["snapshots"] = encode(schema.snapshots, dialect, bundle.snapshots, shared)
        return rows

    def _write(self, connection: Connection, prepared: list[tuple[Changes, Encoded]]) -> Saved:
        lost, kept = [], []
        for bundle, rows in prepared:
            place = (bundle.run, bundle.guard or bundle.stream, bundle.partition)
            if held(connection, *place, bundle.epoch):
                kept.append((bundle, rows))
            else:
                lost.append(LeaseLost(*place, bundle.epoch))
        replace_explanations(connection, [e for bundle, _ in kept for e in bundle.explanations])
        posts = {(b.run, b.stream, b.partition): [*unseen(connection, b), *fresh(connection, b)] for b, _ in kept}
        counts: dict[str, int] = {}
        for kind in (*KINDS, Kind("checkpoint", schema.checkpoints)):
            counts |= write_all(connection, kind, [part for _, rows in kept if (part := rows.get(kind.table.name))])
        stale: list[str] = []
        for bundle, rows in kept:
            if bundle.snapshots:
                stale += self._write_snapshots(connection, bundle, rows["snapshots"])
        for bundle, _ in kept:
            place = (bundle.run, bundle.stream, bundle.partition)
            count = self._post(connection, place, bundle.announcements, posts.get(place, []))
            counts |= {"outbox": counts.get("outbox", 0) + count} if count else {}
        return Saved(counts, tuple(lost), tuple(stale))

    def _post(
        self, connection: Connection, place: Place, announcements: Sequence[Announcement], posts: Sequence[Post]
    ) -> int:
        """Put into the outbox what is new of `announcements`, and `posts`; how many messages that were."""
        posts = [*told(connection, announcements), *posts]
        write(connection, place, posts, self._clock())
        return len(posts)

    def _write_snapshots(self, connection: Connection, bundle: Changes, rows: list[Row] | Copied) -> list[str]:
        """Add the rows, keep the newest two, and name the files that no row names any more."""
        table = schema.snapshots
        mine = of_partition(table, bundle.run, bundle.stream, bundle.partition)
        query = sa.select(table.c.slot, table.c.file).where(mine).order_by(table.c.slot.desc())
        before = {file for _, file in connection.execute(query)}
        upsert(connection, table, rows, frozenset())
        after = connection.execute(query).all()
        if len(after) > SNAPSHOTS_KEPT:
            oldest = after[SNAPSHOTS_KEPT - 1].slot
            connection.execute(sa.delete(table).where(mine, table.c.slot < oldest))
        kept = {file for _, file in after[:SNAPSHOTS_KEPT]}
        return sorted((before | {file for _, file in after}) - kept)

    def restore(self, run: str, stream: str, partition: int) -> Restored:
        """Where the partition stands; everything empty for one that was never saved."""

        def work(connection: Connection) -> Restored:
            def rows(table: sa.Table, kind: type[Record], *order: Any) -> list[Record]:
                query = sa.select(table).where(of_partition(table, run, stream, partition)).order_by(*order)
                if table is schema.alerts:
                    query = query.where(table.c.state.in_(["open", "confirmed"]))
                if table is schema.no_data:
                    query = query.where(table.c.resolved_at.is_(None))
                return [record_of(kind, row) for row in connection.execute(query).mappings()]

            checkpoints = rows(schema.checkpoints, Checkpoint)
            return Restored(
                checkpoints[0] if checkpoints else None,
                rows(schema.snapshots, SnapshotRow, schema.snapshots.c.slot.desc()),
                rows(schema.orders, Order, schema.orders.c.first_slot, schema.orders.c.kind, schema.orders.c.version),
                rows(schema.alerts, Alert, schema.alerts.c.opened_slot, schema.alerts.c.entity),
                rows(schema.no_data, NoData, schema.no_data.c.since, schema.no_data.c.topic),
            )

        return self._database.read(work)

    def put_stream(self, row: StreamRow) -> None:
        """Create or renew a stream's description."""
        rows = encode(schema.streams, self._database.dialect, [row], {"saved_at": self._clock()})
        self._database.write(lambda connection: upsert(connection, schema.streams, rows, frozenset()))

    def explained(
        self,
        alert: Alert,
        explanations: Sequence[Explanation],
        announcements: Sequence[Announcement] = (),
        waited: bytes | None = None,
    ) -> bool:
        """Store what was explained of an alert that waited for it: needs no lease.

        Only what explains is written (status, by what, sentence, window, evidence, attribution), when that was, and
        `announcements` of it; nothing, and False, where another window waits by now than `waited`, with which the alert
        was read.
        StoreError if there is no such alert.
        """
        rows = encode(schema.explanations, self._database.dialect, explanations, {})
        names = ("explanation", "explained_by", "sentence", "window", "evidence", "attribution")
        update = (
            sa.update(schema.alerts)
            .where(schema.alerts.c.id == alert.id)
            .values({name: getattr(alert, name) for name in names} | {"saved_at": self._clock()})
        )

        there = sa.select(schema.alerts.c.id).where(schema.alerts.c.id == alert.id)
        place = (alert.run, alert.stream, alert.partition)
        if waited is not None:
            update = update.where(schema.alerts.c.window == waited)

        def work(connection: Connection) -> bool:
            if announcements:
                numbers(connection, place, 0)
            if connection.execute(update).rowcount != 1:
                if connection.execute(there).first() is None:
                    raise StoreError(f"{self._database.name}: there is no alert {alert.id}")
                return False
            replace_explanations(connection, explanations)
            upsert(connection, schema.explanations, rows, frozenset())
            self._post(connection, place, announcements, [])
            return True

        return self._database.write(work)


def write_all(connection: Connection, kind: Kind, parts: Sequence[list[Row] | Copied]) -> dict[str, int]:
    """Write `parts`, whose keys differ; how many rows that were, by table (nothing where there are none)."""
    ready = [part for part in parts if isinstance(part, Copied)]
    batch = [row for part in parts if not isinstance(part, Copied) for row in part]
    upsert(connection, kind.table, batch, kind.keep)
    for part in ready:
        upsert(connection, kind.table, part, kind.keep)
    return {kind.table.name: sum(map(len, parts))} if parts else {}


def replace_explanations(connection: Connection, explanations: Sequence[Explanation]) -> None:
    """Remove what was stored for the (alert, slot) pairs that are explained again."""
    table = schema.explanations
    pairs = sorted({(e.alert_id, int(e.slot)) for e in explanations})
    if pairs:
        gone = sa.and_(table.c.alert_id == sa.bindparam("of"), table.c.slot == sa.bindparam("at"))
        connection.execute(sa.delete(table).where(gone), [{"of": alert, "at": slot} for alert, slot in pairs])
