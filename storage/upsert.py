"""Many rows into a table at once, by key: the fast way of each database."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from math import isfinite, isnan
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from storage.documents import dump_json

Row = tuple[Any, ...]
Piece = str | Sequence[str]
"""A part of many rows' text: the same in all of them, or one for each."""

COPY_ROWS = 50
"""From this many rows on, PostgreSQL gets them by COPY into a staging table (2 us a row; an upsert each takes 22)."""
_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Copied:
    """`count` rows, each key once, as PostgreSQL's COPY takes them."""

    text: str
    count: int

    def __len__(self) -> int:
        return self.count


def encode(table: sa.Table, dialect: Dialect, records: Sequence[Any], shared: dict[str, Any]) -> list[Row]:
    """`records` as rows of `table`, each key once (the last counts), in the driver's values.

    A column is read from `shared` if it is there, else from the records' attribute of its name. ValueError for a naive
    datetime, TypeError for what JSON cannot say.
    """
    columns: list[Iterable[Any]] = []
    for column in table.columns:
        if column.name in shared:
            (value,) = encoded(column, dialect, [shared[column.name]])
            columns.append(repeat(value, len(records)))
        else:
            columns.append(encoded(column, dialect, list(map(attrgetter(column.name), records))))
    size = len(table.primary_key.columns)
    return list({row[:size]: row for row in zip(*columns, strict=True)}.values())


def encoded(column: sa.Column[Any], dialect: Dialect, values: list[Any]) -> list[Any]:
    """`values` as the driver takes them: JSON as text, all else by the column's type, where they are not so already.

    A look at all values together costs a tenth of a call for each.
    """
    if isinstance(column.type, sa.JSON):
        return list(map(dump_json, values))
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    kinds = set(map(type, values))
    if process is None or _ready(kinds, values):
        return values
    if kinds != {datetime}:
        return list(map(process, values))
    known = {value: process(value) for value in set(values)}  # times repeat
    return [known[value] for value in values]


def _ready(kinds: set[type], values: Sequence[Any]) -> bool:
    """Whether all `values`, of these types, are bytes, numbers or names that every driver takes as they are."""
    if kinds == {str}:
        text = "".join(values)
        return text.isascii() and "\0" not in text
    return kinds <= {bytes, type(None)} or kinds == {int} or (kinds == {float} and not isnan(sum(values)))


def quoted(columns: Iterable[str]) -> str:
    """Column names as SQL."""
    return ", ".join(f'"{column}"' for column in columns)


def conflict(table: sa.Table, keep: frozenset[str] | None) -> str:
    """What happens to a row that is there: nothing (`keep` None), or all columns but the key and `keep` are renewed."""
    key = [column.name for column in table.primary_key.columns]
    renewed = [] if keep is None else [c.name for c in table.columns if c.name not in {*key, *keep}]
    action = "UPDATE SET " + ", ".join(f'"{c}" = excluded."{c}"' for c in renewed) if renewed else "NOTHING"
    return f"ON CONFLICT ({quoted(key)}) DO {action}"


def upsert(connection: Connection, table: sa.Table, rows: Sequence[Row] | Copied, keep: frozenset[str] | None) -> None:
    """Write `rows` (from `encode`, or `Copied`). Of rows that are there, see `conflict`."""
    if not rows:
        return
    names = quoted(column.name for column in table.columns)
    if isinstance(rows, Copied) or (connection.dialect.name == "postgresql" and len(rows) >= COPY_ROWS):
        stage = f'"stage_{table.name}"'
        connection.exec_driver_sql(
            f'CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE "{table.name}") ON COMMIT DELETE ROWS'
        )
        copy_rows(connection, f"COPY {stage} ({names}) FROM STDIN", rows if isinstance(rows, Copied) else copied(rows))
        source = f"SELECT {names} FROM {stage}"  # noqa: S608 - names come from the schema
    else:
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        source = f"VALUES ({', '.join([mark] * len(table.columns))})"
    statement = f'INSERT INTO "{table.name}" ({names}) {source} {conflict(table, keep)}'
    if isinstance(rows, Copied) or source.startswith("SELECT"):
        connection.exec_driver_sql(statement)
    else:
        connection.exec_driver_sql(statement, list(rows))


def copy_rows(connection: Connection, statement: str, rows: Copied) -> None:
    """Feed `rows` to a COPY."""
    cursor: Any = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            copy.write(rows.text)
    finally:
        cursor.close()


def copied(rows: Sequence[Row]) -> Copied:
    """`rows` as text, column by column; psycopg's own way, value by value, takes five times as long."""
    return Copied(lines([[_column(values)] for values in zip(*rows, strict=True)], len(rows)), len(rows))


def _column(values: Sequence[Any]) -> Piece:
    """A column's text; names and times are often the same in all rows."""
    first = values[0]
    if type(first) in (str, datetime) and first is values[-1] and values.count(first) == len(values):
        return copy_texts(values[:1])[0]
    return copy_texts(values)


def lines(columns: Iterable[Sequence[Piece]], count: int) -> str:
    """`count` rows in COPY's text format, of the pieces of each column."""
    pieces = [piece for column in columns for piece in ("\t", *column)]
    return "".join(chain.from_iterable(_merged([*pieces[1:], "\n"], count)))


def joined(pieces: Iterable[Piece], count: int) -> Iterator[str]:
    """The `count` texts that `pieces` give one after the other."""
    return map("".join, _merged(pieces, count))


def _merged(pieces: Iterable[Piece], count: int) -> Iterator[tuple[str, ...]]:
    """The pieces of each of `count` texts, what is the same in all as one."""
    parts: list[Iterable[str]] = []
    same = ""
    for piece in pieces:
        if isinstance(piece, str):
            same += piece
        else:
            parts += [repeat(same, count), piece]
            same = ""
    return zip(*parts, repeat(same, count), strict=True)


def copy_texts(values: Sequence[Any]) -> Sequence[str]:
    """A column's values in COPY's text format."""
    kinds = set(map(type, values))
    if kinds == {str}:
        whole = "".join(values)
        return [escaped(value) for value in values] if any(one in whole for one in "\\\t\n\r") else values
    if kinds == {int}:
        return list(map(str, values))
    if kinds == {float} and isfinite(sum(values)):
        return msgspec.json.encode(values).decode()[1:-1].split(",")
    known = {value: _text(value) for value in set(values)}
    return [known[value] for value in values]


def escaped(value: str) -> str:
    """A text as COPY spells it."""
    return value.translate(_ESCAPES)


def _text(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return escaped(value)
    return "\\\\x" + value.hex() if isinstance(value, bytes) else str(value)
