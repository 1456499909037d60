"""An open database: whole transactions, retried while the fault is transient, and one writer a SQLite file."""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    wait_exponential,
    wait_random_exponential,
)

from storage.connect import create_engine, label, parse_url
from storage.migrate import check, current, upgrade
from storage.types import StoreError

Result = TypeVar("Result")
Value = TypeVar("Value")

CHUNK = 500
"""Values in one question: databases bound the number of parameters."""

SQLITE_TRANSIENT = {5, 6}
"""SQLITE_BUSY and SQLITE_LOCKED (sqlite.org/rescode.html); the low byte of an extended code."""
_SERIAL = count()
POSTGRES_TRANSIENT = ("08", "40", "53", "55P03", "57P")
"""Connection lost, rollback (deadlock, serialisation), no resources, lock not available, shutdown (appendix A)."""


def transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in SQLITE_TRANSIENT
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(POSTGRES_TRANSIENT)


PAUSES = wait_exponential(multiplier=0.05, max=2.0) + wait_random_exponential(multiplier=0.025, max=1.0)
TRANSIENT = retry_if_exception(transient)


def chunks(values: Sequence[Value]) -> Iterable[Sequence[Value]]:
    """`values` as many as one question may hold at a time."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


class Carrier(Protocol):
    """Runs a transaction, wherever that may be; TimeoutError where it did not wait for the end."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """What `work` gives."""
        ...


def at_once(work: Callable[[], Result]) -> Result:
    """The carrier that runs it here."""
    return work()


class Database:
    """Transactions on one database. Threads may share it.

    A transaction that met a transient fault is tried again, at least `attempts` times and for `patience` seconds;
    between two tries it pauses, doubling from 50 ms to 2 s and up to half as long again, through `sleep`. `retries`
    counts them. Every fault of the database leaves as StoreError, and so does a transaction that `carry` gave up.
    """

    def __init__(self, engine: Engine, attempts: int = 6, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = label(engine.url)
        self.patience = 0.0
        self.carry: Carrier = at_once
        self.retries = 0
        self.faulty = False
        self._running: dict[int, float] = {}
        self._engine = engine
        # PostgreSQL reads by statement either way ("read committed"): BEGIN and COMMIT would be two trips for nothing
        self._reader = (
            engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        self._writer = engine.execution_options(writes=True)
        self._attempts = attempts
        self._enough = stop_after_attempt(attempts)
        self._sleep = sleep

    @property
    def dialect(self) -> Dialect:
        """SQLAlchemy's dialect: its `name` is "sqlite" or "postgresql"."""
        return self._engine.dialect

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """`work` in one transaction that may write. It may be called more than once, each time after a rollback."""
        return self._transact(self._writer, work)

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """`work`, which only reads; it never waits for a writer. On SQLite it sees one state of the database, on
        PostgreSQL each of its statements sees the newest."""
        return self._transact(self._reader, work)

    def _transact(self, engine: Engine, work: Callable[[Connection], Result]) -> Result:
        tried = 0

        def once() -> Result:
            nonlocal tried
            tried += 1
            with engine.begin() as connection:
                return work(connection)

        stop = stop_all(self._enough, stop_after_delay(self.patience))
        tries = Retrying(
            stop=stop, wait=PAUSES, retry=TRANSIENT, sleep=self._sleep, before_sleep=self._again, reraise=True
        )
        key = next(_SERIAL)
        self._running[key] = time.monotonic()
        try:
            done = self.carry(lambda: tries(once))
        except SQLAlchemyError as error:
            attempts = f" ({tried} attempts)" if transient(error) else ""
            raise StoreError(f"{self.name}: {_said(error)}{attempts}") from error
        except TimeoutError as error:
            raise StoreError(f"{self.name}: {error}") from error
        finally:
            del self._running[key]
        self.faulty = False
        return done

    def waits(self) -> float:
        """Seconds since the oldest transaction that runs now was begun; 0 where none runs."""
        began = list(self._running.values())
        return time.monotonic() - min(began) if began else 0.0

    def _again(self, state: RetryCallState) -> None:
        self.retries += 1
        self.faulty = True
        fault = state.outcome and state.outcome.exception()
        # the first pauses are short: what they outlast is no news
        if state.attempt_number >= self._attempts - 1:
            structlog.get_logger().warning(
                "the database is held up", attempt=state.attempt_number, reason=_said(fault) if fault else ""
            )

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Be the one `tsad run` of a SQLite file while the block runs; a second is refused with StoreError.

        The lock is the operating system's, on a file beside the database: it ends with its process, however that
        ends. PostgreSQL needs none: there leases say who owns which partition.
        """
        path = self._engine.url.database
        if self.dialect.name != "sqlite" or path is None:
            yield
            return
        with Path(f"{path}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise StoreError(
                    f"{self.name} is in use by another `tsad run` (process {owner}): one SQLite file serves one. "
                    "To run several, use PostgreSQL: postgresql://user@host:5432/name"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _said(error: BaseException) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())


def open_database(
    url: str,
    *,
    create: bool = False,
    busy_ms: int = 5000,
    attempts: int = 6,
    sleep: Callable[[float], None] = time.sleep,
) -> Database:
    """Open the database at `url` ("sqlite:///FILE" or "postgresql://...") and check that its schema is the code's.

    With `create` a database without tables gets them; an older schema is never upgraded on the quiet. StoreError names
    the URL (without its password) and what to do: malformed, unreachable, schema missing, older or newer.
    """
    parsed = parse_url(url)
    engine = create_engine(parsed, busy_ms)
    if not create and parsed.drivername == "sqlite" and not Path(parsed.database or "").exists():
        # to look would make an empty file
        raise StoreError(f"{label(parsed)} does not exist yet: `tsad fit`, `tsad run` or `tsad db upgrade` makes it")
    database = Database(engine, attempts, sleep)
    try:
        if create and database.read(current) is None:
            upgrade(url)
        database.read(lambda connection: check(connection, database.name))
    except BaseException:
        database.close()
        raise
    return database
