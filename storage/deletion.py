"""A run over history goes: its rows in every table, in short transactions, its snapshots, and what else it wrote."""

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema, served, snapshots
from storage.acts import record
from storage.columns import metadata
from storage.engine import Database
from storage.runs import Runs

ABOUT = {schema.alerts: "alert", served.incidents: "incident"}
"""Of what people's marks speak."""
FEW = 500
"""Alerts and incidents in a transaction: with each alert go its explanations."""
KEPT = (schema.leases, schema.places)
"""What is not of a partition's records."""
LAST = (schema.leases, schema.streams)
"""What goes when all else is gone: as long as they are there, the run is listed and can be deleted again."""


def delete_run(
    database: Database,
    run: str,
    models: str,
    files: Callable[[], None],
    by: str,
    now: datetime,
    batch: int = 5000,
) -> dict[str, int]:
    """Delete all that there is of `run`: rows gone by table (those that hang on alerts are not counted).

    Who still writes it has lost its leases from the first transaction on. `models` is the URL below which snapshots
    lie; `files` removes what else the run has on disk; `by` does it at the wall clock's `now`. What was interrupted
    goes on when it is called again. NotThereError where there is no such run, or it is `live`.
    """
    Runs(database).known(run)
    gone = database.write(lambda connection: _cut_off(connection, run, by, now))
    snapshots.drop(models, run)
    files()
    kept = [table for table in metadata.sorted_tables if "run" in table.c and table.name not in gone]
    for table in [*(table for table in reversed(kept) if table not in LAST), *LAST]:
        gone[table.name] = _delete(database, table, (table.c.run == run,), FEW if table in ABOUT else batch)
    return {name: count for name, count in gone.items() if count}


def forget_part(database: Database, run: str, stream: str, partition: int, batch: int = 5000) -> None:
    """Delete what a partition of a run has saved, in short transactions: it begins anew. It keeps its lease."""
    for table in reversed(metadata.sorted_tables):
        if table not in KEPT and {"run", "stream", "partition"} <= set(table.c.keys()):
            mine = (table.c.run == run, table.c.stream == stream, table.c.partition == partition)
            _delete(database, table, mine, FEW if table in ABOUT else batch)


def _cut_off(connection: Connection, run: str, by: str, now: datetime) -> dict[str, int]:
    """Nobody drives it any more, and nobody holds a part of it."""
    leases, gone = schema.leases, {}
    record(connection, now, by, "delete run", f"run:{run}")
    connection.execute(sa.update(leases).where(leases.c.run == run).values(epoch=leases.c.epoch + 1))
    for table in (served.backfill_units, served.backfills):
        gone[table.name] = connection.execute(sa.delete(table).where(table.c.run == run)).rowcount
    return gone


def _delete(database: Database, table: sa.Table, mine: Sequence[sa.ColumnElement[bool]], batch: int) -> int:
    """Delete the table's rows that are `mine`, `batch` in a transaction."""
    key = list(table.primary_key.columns)
    chosen = sa.select(*key).where(*mine).limit(batch)

    def work(connection: Connection) -> int:
        if table not in ABOUT:
            return connection.execute(sa.delete(table).where(sa.tuple_(*key).in_(chosen))).rowcount
        these = list(connection.execute(chosen).scalars())
        _unmark(connection, ABOUT[table], these)
        return connection.execute(sa.delete(table).where(table.c.id.in_(these))).rowcount

    total = 0
    while gone := database.write(work):
        total += gone
    return total


def _unmark(connection: Connection, about: str, targets: list[str]) -> None:
    """What people said of them goes too; that they said it stays in the chain of acts."""
    marks, bearing = served.marks, served.mark_alerts
    mine = marks.c.about == about, marks.c.target.in_(targets)
    connection.execute(sa.delete(bearing).where(bearing.c.mark.in_(sa.select(marks.c.id).where(*mine))))
    if about == "alert":
        connection.execute(sa.delete(bearing).where(bearing.c.alert_id.in_(targets)))
    connection.execute(sa.delete(marks).where(*mine))
