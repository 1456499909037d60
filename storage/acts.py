"""Who changed what, for good: an append-only list whose rows carry the hash of the one before.

A row that was changed, taken out or put in breaks the chain behind it, and one that was cut off its end does not fit
the head, which is kept apart. Haber and Stornetta, "How to time-stamp a digital document", 1991. It proves nothing
against somebody who may write the database and makes the whole chain anew: note `head` elsewhere for that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.documents import dump_json, storable
from storage.engine import Database
from storage.served import act_heads, acts
from storage.store import record_of

PAGE = 1000
"""Rows that are verified at a time."""


@dataclass(frozen=True, slots=True)
class Act:
    """`by` (a token's name, or the command line's user) did `action` to `target` at the wall clock's `at`. `detail` is
    JSON."""

    sequence: int
    at: datetime
    by: str
    action: str
    target: str
    detail: str
    previous: str
    hash: str

    @property
    def told(self) -> dict[str, Any]:
        """The detail."""
        found: dict[str, Any] = json.loads(self.detail)
        return found

    def digest(self) -> str:
        """What `hash` must be: SHA-256 of all the rest."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        text = dump_json([self.sequence, at, self.by, self.action, self.target, self.detail, self.previous])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` that fit, where the chain ends by its head, and what is wrong (None: nothing), naming the row."""

    rows: int
    head: Head
    fault: str | None


def record(
    connection: Connection, at: datetime, by: str, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Add a row in the transaction of what it tells of. The head stays locked until that ends, so rows follow one
    another without a gap."""
    head = connection.execute(sa.select(act_heads.c.sequence, act_heads.c.hash).with_for_update()).one()
    # as ASCII: what people send may hold what no database can
    said = json.dumps({} if detail is None else dict(detail), sort_keys=True, default=str)
    names = (storable(by), storable(action), storable(target), said)
    row = Act(head.sequence + 1, at, *names, head.hash, "")
    values = {name: getattr(row, name) for name in Act.__slots__} | {"hash": row.digest()}
    connection.execute(acts.insert(), values)
    connection.execute(act_heads.update().values(sequence=row.sequence, hash=values["hash"]))


class Acts:
    """The list of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listing(self, limit: int, before: int | None = None, target: str | None = None) -> list[Act]:
        """The newest first: those with a smaller sequence than `before`, only of `target` if said."""
        query = sa.select(acts).order_by(acts.c.sequence.desc()).limit(limit)
        query = query if before is None else query.where(acts.c.sequence < before)
        query = query if target is None else query.where(acts.c.target == target)
        return self._database.read(lambda c: [record_of(Act, row) for row in c.execute(query).mappings()])

    def holds(self, digest: str) -> bool:
        """Whether a row has this hash."""
        query = sa.select(acts.c.sequence).where(acts.c.hash == digest)
        return self._database.read(lambda c: c.execute(query).first() is not None)

    def verify(self) -> Verdict:
        """Follow the chain from its first row to its head."""
        return self._database.read(_verified)


def _verified(connection: Connection) -> Verdict:
    heads = sa.select(act_heads.c.sequence, act_heads.c.hash)
    head, last = Head(*connection.execute(heads).one()), Head(0, "")
    while last.sequence < head.sequence:
        here = sa.and_(acts.c.sequence > last.sequence, acts.c.sequence <= head.sequence)
        query = sa.select(acts).where(here).order_by(acts.c.sequence).limit(PAGE)
        rows = [record_of(Act, row) for row in connection.execute(query).mappings()]
        for row in rows:
            fault = _fault(row, last)
            if fault is not None:
                return Verdict(last.sequence, head, fault)
            last = Head(row.sequence, row.hash)
        if not rows:
            return Verdict(last.sequence, head, f"rows {last.sequence + 1} to {head.sequence} are missing")
    if last != head:
        return Verdict(last.sequence, head, f"row {last.sequence} is not the one that the chain ended with")
    newest = connection.execute(sa.select(sa.func.max(acts.c.sequence))).scalar() or 0
    ended = connection.execute(heads).one().sequence  # others may have added rows meanwhile
    return Verdict(last.sequence, head, f"row {newest} is behind the end of the chain" if newest > ended else None)


def _fault(row: Act, last: Head) -> str | None:
    if row.sequence != last.sequence + 1:
        return f"row {last.sequence + 1} is missing"
    if row.previous != last.hash:
        return f"row {row.sequence} does not follow row {last.sequence}: one of them was put in or changed"
    return None if row.hash == row.digest() else f"row {row.sequence} was changed"
