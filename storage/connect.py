"""From a URL to an engine whose connections and transactions behave."""

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from storage.documents import dump_json, load_json
from storage.types import StoreError

LEGAL = "use sqlite:///tsad.db (a file) or postgresql://user@host:5432/name"


def parse_url(text: str) -> URL:
    """`text` as a URL with the driver that tsad uses; StoreError, naming it without its password, if it is unusable."""
    shown = re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise StoreError(f"not a database URL: {shown!r}; {LEGAL}") from error
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not url.database or url.database == ":memory:":
            raise StoreError(f"database URL {shown!r} names no file: a database in memory is lost; {LEGAL}")
        return url.set(drivername="sqlite")
    if url.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    raise StoreError(f"database URL {shown!r}: {url.drivername!r} is not supported; {LEGAL}")


def label(url: URL) -> str:
    """The URL as it may be shown: without its password."""
    return url.render_as_string(hide_password=True)


CONNECTIONS = 15
"""Of a process with PostgreSQL, at most."""


def create_engine(url: URL, busy_ms: int = 5000, idle_ms: int = 20_000) -> Engine:
    """An engine for `url`.

    `busy_ms` is how long SQLite waits for another writer before it reports "locked"; `idle_ms` how long PostgreSQL
    bears a transaction in which nothing is said: a process that stands still in a save holds the row of its lease.
    """
    options: dict[str, Any] = {"json_serializer": dump_json, "json_deserializer": load_json, "hide_parameters": True}
    if url.drivername != "sqlite":
        # a server whose machine is gone is found out within a minute, on either side of a question
        dead = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 50_000}
        told = f"-c timezone=UTC -c idle_in_transaction_session_timeout={idle_ms}"
        session = {"connect_timeout": 10, "options": told, "application_name": "tsad"}
        options["connect_args"] = session | dead
        # kept open once they were needed: one more for each request would cost more than what is asked
        return sa.create_engine(url, pool_size=CONNECTIONS, max_overflow=0, **options)
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise StoreError(f"{label(url)}: there is no folder {folder}")
    engine = sa.create_engine(url, **options)

    def prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes late and deferred: it is switched off, `begin` below says it.
        connection.isolation_level = None
        for setting in (f"busy_timeout={busy_ms}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def begin(connection: sa.Connection) -> None:
    """Start a SQLite transaction. Writers lock at once: a reader that turns writer would fail without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
