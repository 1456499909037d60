"""A query of anyone's database as history: its rows as Arrow batches, for some entities and a range of time."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.elements import quoted_name

from storage.connect import label
from storage.querytimes import QueryTimes
from storage.types import StoreError

BATCH_ROWS = 10_000
MAX_NAMED = 1000
"""Entities that a statement names; of more, all rows are read and chosen from afterwards."""
MAX_NAME = 256
READING = ("select", "with", "values", "table", "from")
"""How statements begin that give rows."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class Query:
    """The rows of `statement` (one SELECT) on the database at `url` (SQLite, PostgreSQL, or what SQLAlchemy has a
    driver for), which is only read.

    `entity` (None: all rows are `default_entity`'s) and `time` are columns of it; `unit` is that of times that are
    numbers ("s", "ms", "us", "ns"; "auto": told by one of them). All times given and taken are ns since the epoch, UTC.
    Faults leave as StoreError, which names the database without its password.
    """

    def __init__(
        self,
        url: str,
        statement: str,
        entity: str | None,
        time: str,
        unit: str = "auto",
        default_entity: str = "main",
    ) -> None:
        self._engine = _engine(url)
        self.name = label(make_url(url))
        self._statement = _selecting(statement)
        self._default = default_entity
        with self._connected() as connection:
            self.columns = self._names(connection)
            lacking = [name for name in (entity, time) if name is not None and name not in self.columns]
            if lacking:
                raise StoreError(f"{self.name}: the query has no column {lacking}; its columns are {self.columns[:50]}")
            self._rows = self._subquery()
            self._entity = None if entity is None else self._rows.c[entity]
            self._time = self._rows.c[time]
            sample = self._sample(connection, self._time)
            self._times = QueryTimes(self._time, sample, unit, connection.dialect.name)
            self._entity_kind = type(self._sample(connection, self._entity))

    @property
    def exact(self) -> bool:
        """Whether the database can tell of each row in which stretch of time it lies: of text it cannot."""
        return self._times.kind != "text"

    def held(self, since_ns: int | None = None, until_ns: int | None = None) -> list[tuple[str, int, int, int]]:
        """(entity, rows, first, last) of [since, until), by entity, grouped by the database.

        Rows without a legal entity are the entity ""'s. Where nothing tells of an entity's times, they are those of the
        others; where times are text, rows up to two days beyond the range may be counted.
        """
        readable = self._times.readable()
        when = sa.case((readable, self._time))
        asked = [sa.func.count(), sa.func.count(when), sa.func.min(when), sa.func.max(when)]
        entity = sa.null() if self._entity is None else self._entity
        statement = sa.select(entity, *asked).where(*self._times.between(since_ns, until_ns))
        if self._entity is not None:
            statement = statement.group_by(self._entity)
        with self._connected() as connection:
            return self._sums(connection.execute(statement))

    def batches(
        self,
        columns: Sequence[str] | None = None,
        entities: Collection[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        rows: int = BATCH_ROWS,
    ) -> Iterator[Any]:
        """The rows as Arrow record batches of up to `rows`, from a cursor on the server: no more are in memory.

        Only `columns` (None: all), of `entities` (None: all; "": those that have none) and in [since, until), as far
        as the database can tell: where a time is text, two days more on either side come. A row without a time is in
        no range. The types of a column may differ from one batch to the next.
        """
        names = self.columns if columns is None else list(columns)
        lacking = [name for name in names if name not in self.columns]
        if lacking:
            raise StoreError(f"{self.name}: the query has no column {lacking}; its columns are {self.columns[:50]}")
        statement = sa.select(*[self._rows.c[name] for name in names]).where(*self._times.between(since_ns, until_ns))
        if entities is not None and self._entity is not None:
            statement = statement.where(*self._among(entities))
        entity = None if self._entity is None else self._entity.name
        with self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=rows)
            for part in streamed.execute(statement).partitions(rows):
                cells = zip(*part, strict=True)
                arrays = [_arrow(column, name == entity) for name, column in zip(names, cells, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names)

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def _names(self, connection: Connection) -> list[str]:
        given = sa.text(_literal(self._statement)).columns().subquery("given")
        names = list(connection.execute(sa.select(sa.text("*")).select_from(given).limit(0)).keys())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise StoreError(f"{self.name}: the query gives {twice} more than once; name its columns apart")
        return names

    def _subquery(self) -> Any:
        columns: list[Any] = [sa.column(quoted_name(name, quote=True)) for name in self.columns]
        return sa.text(_literal(self._statement)).columns(*columns).subquery("given")

    def _sample(self, connection: Connection, column: Any) -> Any:
        """A value of a column, None where it has none."""
        if column is None:
            return None
        return connection.execute(sa.select(column).where(column.is_not(None)).limit(1)).scalar()

    def _among(self, entities: Collection[str]) -> list[Any]:
        """Conditions that rows of `entities` meet."""
        column: Any = self._entity
        text = sa.cast(column, sa.String)
        named = sorted(set(entities) - {""})
        if len(named) > MAX_NAMED:
            return []
        if self._entity_kind is int:
            asked = column.in_([int(name) for name in named if re.fullmatch(r"0|-?[1-9]\d{0,17}", name)])
        else:
            asked = (column if self._entity_kind is str else text).in_(named)
        if "" not in entities:
            return [asked]
        return [sa.or_(asked, column.is_(None), text == "", sa.func.length(text) > MAX_NAME)]

    def _sums(self, rows: Any) -> list[tuple[str, int, int, int]]:
        counts, ends = Counter[str](), dict[str, tuple[int, int]]()
        for entity, count, readable, first, last in rows:
            name = self._default if self._entity is None else "" if entity is None else str(entity)
            name = name if len(name) <= MAX_NAME else ""
            counts[name] += count
            if readable and name:
                ends[name] = (self._times.ns(first), self._times.ns(last))
        others = min((one[0] for one in ends.values()), default=0), max((one[1] for one in ends.values()), default=0)
        return [(name, counts[name], *ends.get(name, others)) for name in sorted(+counts)]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            said = " ".join(str(getattr(error, "orig", None) or error).split())
            raise StoreError(f"{self.name}: {said}") from error


def _literal(statement: str) -> str:
    """A statement as SQLAlchemy's text, in which a colon begins no parameter; a comment at its end ends there."""
    return statement.replace(":", "\\:") + "\n"


def _arrow(cells: Sequence[Any], as_text: bool) -> Any:
    """A column's values as an Arrow array: numbers as float64 (whole ones as int64), times as they are, else text."""
    kinds = set(map(type, cells)) - {type(None)}
    if not as_text:
        if kinds <= {float}:
            return pa.array(cells, pa.float64())
        if kinds == {int} and all(cell is None or -(2**63) <= cell < 2**63 for cell in cells):
            return pa.array(cells, pa.int64())
        if kinds <= {int, float, Decimal}:
            return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
        if kinds == {datetime}:
            stamps = [cell and cell.replace(tzinfo=cell.tzinfo or UTC) for cell in cells]
            return pa.array(stamps, pa.timestamp("us", "UTC"))
        if kinds in ({bool}, {date}):
            return pa.array(cells)
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _selecting(statement: str) -> str:
    """The statement without what ends it. StoreError where it begins as none does that only reads."""
    said = statement.strip().rstrip(";").rstrip()
    first = re.match(r"[\s(]*(\w*)", _COMMENT.sub(" ", said))
    if first is None or first[1].lower() not in READING:
        allowed = ", ".join(READING).upper()
        raise StoreError(f"the query {said[:100]!r} is not one that only reads: one statement of {allowed} is allowed")
    return said


def _engine(text: str) -> Engine:
    """An engine that only reads: SQLite and PostgreSQL refuse anything else, others as far as their user may."""
    try:
        url = make_url(text)
        if url.get_backend_name() == "sqlite":
            return sa.create_engine(_reading_file(url), poolclass=NullPool)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql" or url.drivername == "postgres":
            url = url.set(drivername="postgresql+psycopg")
            told = "-c timezone=UTC -c default_transaction_read_only=on"
            options["connect_args"] = {"connect_timeout": 10, "options": told, "application_name": "tsad"}
        return sa.create_engine(url, poolclass=NullPool, hide_parameters=True, **options)
    except (ArgumentError, ValueError, NoSuchModuleError, ImportError) as error:
        shown = re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", text)
        raise StoreError(
            f"{shown!r} cannot be used as a database: {error}; sqlite:///FILE or postgresql://..."
        ) from error


def _reading_file(url: URL) -> URL:
    path = Path(url.database or "")
    if not path.is_file():
        raise StoreError(f"{label(url)}: there is no such file")
    place = f"file:{quote(str(path.absolute()))}"
    return URL.create("sqlite", database=place, query={"mode": "ro", "uri": "true"})
