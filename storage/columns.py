"""The kinds of columns that tables are made of, the same on SQLite and PostgreSQL, and what tables are named by."""

import math
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from storage.documents import storable

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


class Utc(sa.TypeDecorator[datetime]):
    """An instant. A naive datetime is refused with ValueError; what is read is aware and in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to UTC (SQLite stores what the clock reads, without a zone)."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value.isoformat()}: times are stored with their zone, e.g. UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Name(sa.TypeDecorator[str]):
    """Text from outside: whatever no database could hold is replaced (`types.storable`)."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Make storable."""
        return None if value is None else storable(value)


class Whole(sa.TypeDecorator[int]):
    """A 64-bit integer. numpy's integers are converted: sqlite3 would store them as blobs."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Convert to int."""
        return None if value is None else int(value)


class Real(sa.TypeDecorator[float]):
    """A double; NaN is NULL, as sqlite3 has it."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Convert to float."""
        return None if value is None or math.isnan(value) else float(value)


def name(column: str, **options: Any) -> sa.Column[Any]:
    """A text column that is never NULL unless `nullable` says so."""
    return sa.Column(column, Name, **{"nullable": False, **options})


def whole(column: str, **options: Any) -> sa.Column[Any]:
    """An integer column, likewise."""
    return sa.Column(column, Whole, **{"nullable": False, "autoincrement": False, **options})


def real(column: str, **options: Any) -> sa.Column[Any]:
    """A double column, likewise."""
    return sa.Column(column, Real, **{"nullable": False, **options})


def instant(column: str, **options: Any) -> sa.Column[Any]:
    """A UTC timestamp, likewise."""
    return sa.Column(column, Utc, **{"nullable": False, **options})


def document(column: str) -> sa.Column[Any]:
    """A JSON column."""
    return sa.Column(column, sa.JSON, nullable=False)


def blob(column: str, **options: Any) -> sa.Column[Any]:
    """Bytes."""
    return sa.Column(column, sa.LargeBinary, **{"nullable": False, **options})


def partition_key() -> tuple[sa.Column[Any], ...]:
    """Run, stream and partition, the start of every partition's keys."""
    key = {"primary_key": True}
    return name("run", **key), name("stream", **key), whole("partition", **key)


KEY = {"primary_key": True}


def begins(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    """Whether `column`, of hexadecimal digits, begins with `text`. An index finds it by the range, whatever the order
    of the database's language is, by which LIKE alone would read every row."""
    return sa.and_(column >= text, column < f"{text}g", column.startswith(text, autoescape=True))
