"""Who fits a stream again, when, and what became of the version: one row a stream, taken by whoever comes first.

Taking it puts the next attempt a whole period off, so that one that brings the machine down is not repeated at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.models import activate, of_stream, write
from storage.store import record_of
from storage.types import LIVE, Audit, ModelRow
from storage.upsert import encode, upsert

TABLE = schema.refits
WHOLE_STREAM = -1
"""The partition of audit rows that speak of no single one."""


@dataclass(frozen=True, slots=True)
class RefitRow:
    """What is to be done next for a stream that is fitted again and again, and when: fit a candidate, or judge
    `version` by what it would have said since (its shadow).

    `epoch` rises whenever somebody begins one of them; only the newest may say how it ended.
    """

    stream: str
    epoch: int
    owner: str
    step: Literal["fit", "shadow"]
    next_at: datetime
    version: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Refits:
    """The refits of a database's streams; `clock` says what is due."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def row(self, stream: str) -> RefitRow | None:
        """Where the stream stands; None before it was ever looked at."""
        return self._database.read(lambda connection: _row(connection, stream))

    def take(
        self, stream: str, owner: str, every: timedelta, shadow: timedelta, soon: Callable[[], bool] = lambda: False
    ) -> RefitRow | None:
        """What is due, if it is and nobody else takes it; the first fit is due when `every` has passed, or as `soon` as
        somebody looks again.

        A fit is then due again after `every`, a shadow after `shadow`, unless `ended` says otherwise.
        """
        now, row = self._clock(), self.row(stream)
        if row is None:
            self._begin(RefitRow(stream, 0, owner, "fit", now if soon() else now + every))
            return None
        if row.next_at > now + every:  # the period was made shorter
            self._database.write(lambda connection: self._put(connection, row, replace(row, next_at=now + every)))
        if row.next_at > now:
            return None
        after = now + (every if row.step == "fit" else shadow)
        taken = replace(row, epoch=row.epoch + 1, owner=owner, next_at=after)
        return taken if self._database.write(lambda connection: self._put(connection, row, taken)) else None

    def release(self, taken: RefitRow) -> None:
        """It was broken off for a reason of ours: it is due at once, for anybody."""
        self._database.write(lambda connection: self._put(connection, taken, replace(taken, next_at=self._clock())))

    def ended(self, taken: RefitRow, following: RefitRow, audit: Audit, candidate: ModelRow | None = None) -> bool:
        """How it ended: what is `following`, an audit row, and perhaps a `candidate`. False, and nothing, where
        somebody else has begun since."""

        def work(connection: Connection) -> bool:
            if not self._put(connection, taken, following):
                return False
            if candidate is not None:
                rows = encode(schema.models, self._database.dialect, [replace(candidate, state="candidate")], {})
                upsert(connection, schema.models, rows, None)
            self._tell(connection, taken.stream, audit)
            return True

        return self._database.write(work)

    def judged(self, taken: RefitRow, following: RefitRow, figures: Mapping[str, Any], refused: str) -> str | None:
        """The shadow of `taken.version` is over: promote it, or retire it where `refused` says why not.

        It is retired too where another version than `detail["beside"]` is active now: somebody has chosen since. What
        became of it: "promoted", "retired", or "left" as somebody made it, with the reason; None where somebody else
        has begun since.
        """

        def work(connection: Connection) -> str | None:
            if not self._put(connection, taken, following):
                return None
            versions = of_stream(connection, taken.stream)
            candidate, reason = versions.get(taken.version or ""), refused
            active = next((row.version for row in versions.values() if row.state == "active"), None)
            waiting = candidate is not None and candidate.state == "candidate"
            if not waiting:
                reason = "it is no candidate any more"
            elif not reason and active != taken.detail.get("beside"):
                reason = f"{active} was made active meanwhile"
            decision = "left" if not waiting else "retired" if reason else "promoted"
            said = {**figures, "decision": decision, "reason": reason or "its alert rate keeps the budget"}
            if candidate is not None and waiting:
                meta = {**candidate.meta, "shadow": said}
                write(connection, replace(candidate, state="retired" if reason else "candidate", meta=meta))
                if not reason:
                    activate(connection, taken.stream, candidate.version, self._clock())
            detail = {"version": taken.version, "attempt": taken.epoch, **said}
            self._tell(connection, taken.stream, Audit("shadow", self._clock(), detail=detail))
            return f"{decision}: {said['reason']}"

        return self._database.write(work)

    def _begin(self, row: RefitRow) -> None:
        rows = self._encoded(row)
        self._database.write(lambda connection: upsert(connection, TABLE, rows, None))

    def _put(self, connection: Connection, before: RefitRow, after: RefitRow) -> bool:
        """Whether the stream's row still was of `before`'s epoch, and is `after` now."""
        place = sa.and_(TABLE.c.run == LIVE, TABLE.c.stream == before.stream, TABLE.c.epoch == before.epoch)
        names = ("epoch", "owner", "step", "next_at", "version", "detail")
        values = {name: getattr(after, name) for name in names} | {"saved_at": self._clock()}
        return connection.execute(sa.update(TABLE).where(place).values(values)).rowcount == 1

    def _encoded(self, row: RefitRow) -> list[tuple[Any, ...]]:
        return encode(TABLE, self._database.dialect, [row], {"run": LIVE, "saved_at": self._clock()})

    def _tell(self, connection: Connection, stream: str, audit: Audit) -> None:
        shared: dict[str, Any] = {"run": LIVE, "stream": stream, "partition": WHOLE_STREAM, "saved_at": self._clock()}
        upsert(connection, schema.audit, encode(schema.audit, self._database.dialect, [audit], shared), None)


def _row(connection: Connection, stream: str) -> RefitRow | None:
    query = sa.select(TABLE).where(TABLE.c.run == LIVE, TABLE.c.stream == stream)
    found = connection.execute(query).mappings().first()
    return None if found is None else record_of(RefitRow, found)
