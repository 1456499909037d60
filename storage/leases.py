"""Who owns a partition: a row whose epoch rises with every new owner (a fencing token).

A save names the epoch under which it writes; a stale one is refused by the row itself, within the save's transaction,
so that an owner that does not yet know of its successor cannot write. Kleppmann, "How to do distributed locking", 2016.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from storage.engine import Database
from storage.schema import leases
from storage.types import LIVE

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


HUNG = 20.0
"""Seconds after which a transaction that holds a lease's row is taken for one of a process that stands still."""
_END_HUNG = sa.text(
    "SELECT pg_terminate_backend(a.pid) FROM leases l JOIN pg_stat_activity a ON a.backend_xid = l.xmax "
    "WHERE l.run = :run AND l.stream = :stream AND l.partition = ANY(:partitions) "
    "AND a.xact_start < clock_timestamp() - make_interval(secs => :hung)"
)
_PATIENCE = sa.text("SELECT set_config('lock_timeout', :milliseconds, true)")


class Leases:
    """The leases of a database; `clock` only dates them, no decision depends on it.

    PostgreSQL: who takes over ends the session that has held a lease's row for `hung` seconds. A process that stands
    still while it sends rows is not idle to the server, so that `idle_in_transaction_session_timeout` never ends it.
    """

    def __init__(self, database: Database, clock: Clock = utc_now, hung: float = HUNG) -> None:
        self._database = database
        self._clock = clock
        self._hung = hung

    def acquire(self, stream: str, partitions: Iterable[int], owner: str, run: str = LIVE) -> dict[int, int]:
        """Take over `partitions`, from whomever: the new epoch of each. `owner` is for people (host, process)."""
        wanted = sorted(set(partitions))
        insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[self._database.dialect.name]
        now = self._clock()
        new = insert(leases)
        taken = new.on_conflict_do_update(
            index_elements=list(leases.primary_key.columns),
            set_={"epoch": leases.c.epoch + 1, "owner": new.excluded.owner, "taken_at": new.excluded.taken_at},
        ).returning(leases.c.epoch)

        def work(connection: Connection) -> dict[int, int]:
            row = {"run": run, "stream": stream, "epoch": 1, "owner": owner, "taken_at": now}
            self._end_hung(connection, run, stream, wanted)
            return {p: connection.execute(taken, {**row, "partition": p}).scalar_one() for p in wanted}

        return self._database.write(work)

    def _end_hung(self, connection: Connection, run: str, stream: str, partitions: list[int]) -> None:
        """Wait for a lease's row in turns only, each of which looks first whether somebody stands still on it."""
        if connection.dialect.name != "postgresql":
            return
        connection.execute(_PATIENCE, {"milliseconds": str(max(int(self._hung * 250), 1))})
        connection.execute(_END_HUNG, {"run": run, "stream": stream, "partitions": partitions, "hung": self._hung})

    def epochs(self, stream: str, run: str = LIVE) -> dict[int, int]:
        """The epoch of every partition that was ever owned: unchanged means that nobody has had it since."""
        query = sa.select(leases.c.partition, leases.c.epoch).where(leases.c.run == run, leases.c.stream == stream)
        return self._database.read(lambda connection: dict(connection.execute(query).tuples().all()))


def held(connection: Connection, run: str, stream: str, partition: int, epoch: int) -> bool:
    """Whether `epoch` is the partition's; if so, its row stays locked until the transaction ends."""
    mine = sa.and_(
        leases.c.run == run, leases.c.stream == stream, leases.c.partition == partition, leases.c.epoch == epoch
    )
    return connection.execute(sa.update(leases).where(mine).values(epoch=epoch)).rowcount == 1
