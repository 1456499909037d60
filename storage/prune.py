"""Retention: rows older than their table's days go, in short transactions that hold up no stream beside them.

It is for what streams find as it comes. A run over history goes as a whole, when somebody deletes it: half of one would
be compared as if it had found no more.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema, served
from storage.engine import Database
from storage.types import LIVE

PRUNABLE = {
    table.name: table
    for table in (
        schema.alerts,
        schema.scores,
        schema.score_rollups,
        schema.dead_letters,
        schema.audit,
        schema.evicted_states,
        schema.no_data,
        schema.context_events,
        schema.homes,
        served.deliveries,
        served.incidents,
    )
}


def prune(database: Database, days: Mapping[str, float], now: datetime, batch: int = 5000) -> dict[str, int]:
    """Delete what was last saved more than `days[table]` days before `now`, of the run `live`: rows gone by table.

    Alerts and incidents go only when resolved or retracted, explanations with their alerts; types of incidents stay. An
    entity's newest evicted state stays, and its home as long as a snapshot has known it since.
    ValueError for a table that has no retention, or a negative number of days.
    """
    for table, count in days.items():
        if table not in PRUNABLE:
            raise ValueError(f"no retention for table {table!r}; legal: {', '.join(sorted(PRUNABLE))}")
        if count < 0:
            raise ValueError(f"retention of {table} is {count} days: it must not be negative")
    return {name: prune_table(database, PRUNABLE[name], now - timedelta(days=days[name]), batch) for name in days}


def prune_table(database: Database, table: sa.Table, before: datetime, batch: int) -> int:
    """Delete the table's old rows, `batch` in a transaction."""
    key = list(table.primary_key.columns)
    old = [table.c.saved_at < before, *([table.c.run == LIVE] if "run" in table.c else []), *sparing(table, before)]
    chosen = sa.select(*key).where(*old).limit(batch)
    # Said twice: PostgreSQL looks at the outer conditions again when a row was changed since it was chosen.
    statement = sa.delete(table).where(sa.tuple_(*key).in_(chosen), *old)

    def work(connection: Connection) -> int:
        return connection.execute(statement).rowcount

    total = 0
    while gone := database.write(work):
        total += gone
    return total


def sparing(table: sa.Table, before: datetime) -> list[sa.ColumnElement[bool]]:
    """What an old row must fulfil besides to be deleted."""
    if table in (schema.alerts, served.incidents):
        return [table.c.state.in_(["resolved", "retracted"])]
    if table is served.deliveries:
        return [table.c.state != "pending"]
    if table is schema.no_data:
        return [table.c.resolved_at.is_not(None)]
    if table is schema.homes:
        seen = schema.entities
        same = [seen.c[column] == table.c[column] for column in ("run", "stream", "entity")]
        return [~sa.exists().where(*same, seen.c.saved_at >= before)]
    if table is schema.evicted_states:
        newer = table.alias("newer")
        same = [newer.c[column] == table.c[column] for column in ("run", "stream", "partition", "entity")]
        return [sa.exists().where(*same, newer.c.slot > table.c.slot)]
    return []
