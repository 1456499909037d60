"""Many rows into a table at once, by key: the fast way of each database."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

Row = tuple[Any, ...]

COPY_ROWS = 100
"""From this many rows on, PostgreSQL gets them by COPY into a staging table (6 us a row; an upsert each takes 22)."""


def processors(table: sa.Table, dialect: Dialect) -> list[Callable[[Any], Any] | None]:
    """What turns each column's values into the driver's; None where they pass as they are."""
    return [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]


def encode(table: sa.Table, dialect: Dialect, records: Sequence[Any], shared: dict[str, Any]) -> list[Row]:
    """`records` as rows of `table`, each key once (the last counts), in the driver's values.

    A column is read from `shared` if it is there, else from the records' attribute of its name. ValueError for a naive
    datetime, TypeError for what JSON cannot say.
    """
    columns: list[Iterable[Any]] = []
    for column, process in zip(table.columns, processors(table, dialect), strict=True):
        if column.name in shared:
            value = shared[column.name]
            columns.append(repeat(process(value) if process else value, len(records)))
        else:
            values = map(attrgetter(column.name), records)
            columns.append(map(process, values) if process else values)
    size = len(table.primary_key.columns)
    return list({row[:size]: row for row in zip(*columns, strict=True)}.values())


def quoted(columns: Iterable[str]) -> str:
    """Column names as SQL."""
    return ", ".join(f'"{column}"' for column in columns)


def conflict(table: sa.Table, keep: frozenset[str] | None) -> str:
    """What happens to a row that is there: nothing (`keep` None), or all columns but the key and `keep` are renewed."""
    key = [column.name for column in table.primary_key.columns]
    renewed = [] if keep is None else [c.name for c in table.columns if c.name not in {*key, *keep}]
    action = "UPDATE SET " + ", ".join(f'"{c}" = excluded."{c}"' for c in renewed) if renewed else "NOTHING"
    return f"ON CONFLICT ({quoted(key)}) DO {action}"


def upsert(connection: Connection, table: sa.Table, rows: Sequence[Row], keep: frozenset[str] | None) -> None:
    """Write `rows` (from `encode`). Of rows that are there, see `conflict`."""
    if not rows:
        return
    names = quoted(column.name for column in table.columns)
    if connection.dialect.name == "postgresql" and len(rows) >= COPY_ROWS:
        stage = f'"stage_{table.name}"'
        connection.exec_driver_sql(
            f'CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE "{table.name}") ON COMMIT DELETE ROWS'
        )
        copy_rows(connection, f"COPY {stage} ({names}) FROM STDIN", rows)
        source = f"SELECT {names} FROM {stage}"  # noqa: S608 - names come from the schema
    else:
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        source = f"VALUES ({', '.join([mark] * len(table.columns))})"
    statement = f'INSERT INTO "{table.name}" ({names}) {source} {conflict(table, keep)}'
    if source.startswith("SELECT"):
        connection.exec_driver_sql(statement)
    else:
        connection.exec_driver_sql(statement, list(rows))


def copy_rows(connection: Connection, statement: str, rows: Iterable[Row]) -> None:
    """Feed `rows` to a COPY; psycopg's cursor alone knows how."""
    cursor: Any = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        cursor.close()
